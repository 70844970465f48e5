//! Stream transports, flow control, servers, connections.

family! {
    TR "stream transports"
    TR_01 Must "connection_made, then reading, then the creating call returns";
    TR_02 Must "no data before connection_made";
    TR_03 Must "pause_reading() in connection_made holds data back";
    TR_04 Must "closing in connection_made is legal and ends in one connection_lost";
    TR_05 Must "a failing connection_made is reported and the connection lives";
    TR_06 Must "bytes in order, no gap, no repeat, chunks of 1 byte to 256 KiB";
    TR_07 Must "a protocol is never re-entered with data";
    TR_08 Must "a failing data callback is reported and aborts the connection with that error";
    TR_09 Must "eof_received once; false closes, true keeps the write side";
    TR_10 Must "no data after end of stream, and no spinning";
    TR_11 Must "a read error is connection_lost(err), not a report";
    TR_12 Must "would-block and interrupted reads are ignored";
    TR_13 Must "everything before the peer's close arrives before eof_received";
    TR_14 Must "write tries at once, buffers the rest, keeps order";
    TR_15 Must "the caller's buffer is free when write returns";
    TR_16 Must "an empty write does nothing";
    TR_17 Must "writelines is one write of the concatenation";
    TR_18 Must "write after write_eof, or during sendfile, is Usage";
    TR_19 Must "writing to a lost connection never fails; the fifth time warns";
    TR_20 Should "writing after close() is discarded, never an error";
    TR_21 Must "a write error is one connection_lost(err)";
    TR_22 Must "close() stops reading, flushes, then connection_lost(None)";
    TR_23 Must "connection_lost is never called inside close() or abort()";
    TR_24 Must "connection_lost exactly once per connection_made";
    TR_25 Must "also when closing from inside any protocol callback";
    TR_26 Must "nothing is called after connection_lost, and the fd closes even if it fails";
    TR_27 Must "abort() drops the buffer and ends soon, also during a slow close";
    TR_28 Must "close() and abort() are idempotent";
    TR_29 Must "write_eof half-closes after flushing; reading goes on; repeats do nothing";
    TR_30 Must "can_write_eof for TCP, UNIX and pipes, not TLS";
    TR_31 Must "pause and resume are idempotent, no-ops when closing; is_reading() tells";
    TR_32 Must "while paused nothing is delivered, also nothing the kernel had finished";
    TR_33 Must "while paused end and reset wait";
    TR_34 Must "set_protocol counts from the next callback and loses no byte";
    TR_35 Must "buffered protocols: n >= 1 within the buffer; an empty buffer is an error";
    TR_36 Must "extra info is stable and outlives the connection";
    TR_37 Must "the socket view cannot read, write, close or detach";
    TR_38 Must "Nagle is off";
    TR_39 Must "dropping an open transport closes its fd, warns, and is counted off the server";
    TR_40 Must "many small writes cost memory for unsent bytes only";
    TR_41 Must "a slow reader never blocks the loop";
    TR_42 Must "connections outlive a stopped run";
    TR_43 Must "one socket, one transport";
}

family! {
    FLOW "write flow control"
    FLOW_01 Must "pause_writing once, inside the write that passes the high mark";
    FLOW_02 Must "more writes above the mark do not repeat it";
    FLOW_03 Must "resume_writing once at or below the low mark";
    FLOW_04 Must "at high: no pause; at low: resume";
    FLOW_05 Must "the zero marks";
    FLOW_06 Must "defaults: 64 KiB, a quarter, four times";
    FLOW_07 Must "reversed or negative marks are refused; lowering may pause at once";
    FLOW_08 Should "raising the marks need not resume";
    FLOW_09 Must "a failing flow callback is reported and the connection lives";
    FLOW_10 Must "resume_writing may write, here or elsewhere";
    FLOW_11 Must "bytes in the kernel's hands still count";
    FLOW_12 Must "a write taken whole never pauses";
    FLOW_13 Must "after error or abort the size is 0 and drainers are freed";
}

family! {
    SRV "servers and accepting"
    SRV_01 Must "contradictory arguments fail before any socket exists";
    SRV_02 Must "no host binds every interface";
    SRV_03 Must "several hosts, each address once";
    SRV_04 Must "IPv6 listeners are IPv6-only";
    SRV_05 Must "port 0 is ephemeral and visible";
    SRV_06 Must "reuse_address, reuse_port, keep_alive";
    SRV_07 Must "a failed bind closes the rest and names the address";
    SRV_08 Must "an unavailable family is skipped if another address binds";
    SRV_09 Must "not serving yet: bound, not listening";
    SRV_10 Must "start_serving is idempotent and effective on return";
    SRV_11 Must "serve_forever blocks; cancelling it closes the server; twice or closed is Usage";
    SRV_12 Must "close() frees the address at once and leaves connections alone";
    SRV_13 Must "a closed server has no sockets and does not serve";
    SRV_14 Must "wait_closed: closed and the last connection lost";
    SRV_15 Must "close_clients and abort_clients end the connections";
    SRV_16 Must "leaving the scope closes and waits";
    SRV_17 Must "one factory call per connection; its failure closes that socket only";
    SRV_18 Must "one event accepts at most backlog + 1";
    SRV_19 Must "a peer gone before accept is skipped";
    SRV_20 Must "exhaustion is reported once, pauses a second, recovers";
    SRV_21 Must "closed during that pause: nothing happens";
    SRV_22 Must "accept racing with close leaks nothing";
    SRV_23 Must "accepted sockets are non-blocking and close-on-exec";
    SRV_24 Must "connections start in the kernel's order";
    SRV_25 Must "the loop owns the server";
    SRV_26 Must "a given listening socket is used as it is, and owned";
    SRV_27 Must "connect_accepted_socket is server-side and uncounted";
}

family! {
    CONN "outgoing connections"
    CONN_01 Must "contradictory arguments fail before any I/O";
    CONN_02 Must "addresses are tried in order";
    CONN_03 Must "one error as is, equal ones as one, different ones combined; all_errors gives all";
    CONN_04 Must "no attempt leaks a descriptor";
    CONN_05 Must "a literal address skips the resolver";
    CONN_06 Must "local_addr is matched by family and binds, or is an error";
    CONN_07 Must "cancelling at any stage closes the socket";
    CONN_08 Must "a socket handed over is closed exactly once";
    CONN_09 Should "happy eyeballs: staggered, first wins, losers closed";
    CONN_10 Should "two winners at once still give one";
    CONN_11 Must "the protocol returned is the factory's, already connected to the transport returned";
    CONN_12 Must "an empty resolver answer is an OS error";
}
