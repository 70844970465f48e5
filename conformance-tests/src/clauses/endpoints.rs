//! Datagrams, local sockets, pipes.

family! {
    UDP "datagram endpoints"
    UDP_01 Must "connection_made, then receiving, then the call returns";
    UDP_02 Must "one callback per datagram, empty ones included";
    UDP_03 Must "sendto sends now or queues whole, in order";
    UDP_04 Must "sending nothing sends an empty datagram";
    UDP_05 Must "a connected endpoint takes no other address";
    UDP_06 Must "an unconnected one needs an address, never a name";
    UDP_07 Must "OS errors go to error_received; the endpoint lives";
    UDP_08 Must "an error while flushing loses no other datagram";
    UDP_09 Must "anything else is fatal, reported, and connection_lost(err)";
    UDP_10 Must "a failing callback is reported; the endpoint lives";
    UDP_11 Must "close() flushes, abort() discards";
    UDP_12 Must "sendto after close is discarded";
    UDP_13 Must "flow control counts length and overhead, both ways";
    UDP_14 Must "contradictory arguments";
    UDP_15 Must "reuse_port and allow_broadcast; no address reuse";
    UDP_16 Must "candidates are tried in turn without leaks";
    UDP_17 Must "AF_UNIX datagrams; an unbound peer has no address";
    UDP_18 Must "a stale socket file is replaced";
    UDP_19 Must "a flood is bounded per iteration";
}

family! {
    UNIX "local stream sockets"
    UNIX_01 Must "paths and abstract names";
    UNIX_02 Must "a stale socket file goes, any other file stays and fails the call";
    UNIX_03 Must "close() removes its own socket file only";
    UNIX_04 Must "contradictory arguments";
    UNIX_05 Must "a failed connect closes the socket";
}

family! {
    PIPE "pipe transports"
    PIPE_01 Must "FIFOs, sockets and character devices only";
    PIPE_02 Must "the transport owns the fd and closes it once";
    PIPE_03 Must "a read pipe ends with eof_received, connection_lost(None)";
    PIPE_04 Must "a closed terminal peer ends it quietly";
    PIPE_05 Must "a write pipe notices its reader leaving";
    PIPE_06 Must "not for character devices";
    PIPE_07 Must "write_eof is close";
    PIPE_08 Must "close() flushes, abort() drops";
    PIPE_09 Must "a broken pipe is connection_lost(err), never a signal";
    PIPE_10 Must "pause and resume as for transports";
    PIPE_11 Must "both directions of one terminal";
    PIPE_12 Must "the pipe stays in the extra info";
}
