//! File transfer and TLS.

family! {
    SENDFILE "sendfile"
    SENDFILE_01 Must "sends count bytes from offset, and moves the position by what was sent";
    SENDFILE_02 Must "an empty file sends 0";
    SENDFILE_03 Must "order with writes before and after; writes during are Usage";
    SENDFILE_04 Must "reading pauses meanwhile";
    SENDFILE_05 Must "falls back, or says unavailable";
    SENDFILE_06 Must "the fallback obeys flow control, off-thread";
    SENDFILE_07 Must "a vanishing peer is an error, not a hang";
    SENDFILE_08 Must "closing transport and wrong arguments";
    SENDFILE_09 Must "cancelling leaves the transport usable";
}

family! {
    TLS "TLS"
    TLS_01 Must "connection_made after the handshake";
    TLS_02 Must "a failed handshake fails the call; servers go on";
    TLS_03 Must "the handshake timeout";
    TLS_04 Must "a peer closing in the handshake is a reset";
    TLS_05 Must "cancelling in the handshake closes";
    TLS_06 Must "close() flushes, says close-notify, waits, or times out";
    TLS_07 Must "data before close-notify comes before eof_received";
    TLS_08 Must "no half-close";
    TLS_09 Must "one connection_lost, drainers woken";
    TLS_10 Must "flow control on both sides";
    TLS_11 Must "pausing holds plaintext; shutdown works while paused";
    TLS_12 Must "start_tls loses no byte and repeats no connection_made";
    TLS_13 Must "start_tls refuses other transports; failure closes";
    TLS_14 Must "start_tls keeps pause and resume balanced";
    TLS_15 Must "TLS over TLS";
    TLS_16 Must "writes after close vanish; others keep order";
    TLS_17 Must "the server name and its check";
    TLS_18 Must "extra info of the session";
    TLS_19 Must "abort() at any time";
    TLS_20 Must "buffered protocols get every byte";
}
