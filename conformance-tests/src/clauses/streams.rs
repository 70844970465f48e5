//! Stream reader and writer.

family! {
    STREAM "stream reader and writer"
    STREAM_01 Must "read(n) gives 1 to n bytes, or empty at the end";
    STREAM_02 Must "reading to the end ignores the limit";
    STREAM_03 Must "readexactly gives n or IncompleteRead, past the limit too";
    STREAM_04 Must "readuntil: through the separator that ends first, across chunks";
    STREAM_05 Must "the end before a separator is IncompleteRead; a buffered separator still counts";
    STREAM_06 Must "past the limit is LimitOverrun and keeps the data";
    STREAM_07 Must "readline: the partial line at the end; over the limit an error, and the stream goes on";
    STREAM_08 Must "iteration yields lines";
    STREAM_09 Must "paused above twice the limit, resumed at the limit";
    STREAM_10 Must "one waiter at a time";
    STREAM_11 Must "a cancelled read loses nothing";
    STREAM_12 Must "a stored error beats the buffer, a clean end does not";
    STREAM_13 Must "at_eof: the end seen and nothing buffered";
    STREAM_14 Must "write never waits; drain only while paused";
    STREAM_15 Must "several drainers";
    STREAM_16 Must "drain fails on a lost connection and yields on a closing one";
    STREAM_17 Must "wait_closed: after connection_lost, with its error, for anyone, again";
    STREAM_18 Must "closing with unread data is fine";
    STREAM_19 Must "an async client callback is a task; its error is reported and closes";
    STREAM_20 Must "a plain callback works too";
    STREAM_21 Must "end of stream keeps the write side";
    STREAM_22 Must "a limit of 0 is refused, feeding after the end fails";
    STREAM_23 Should "dropping the last writer closes and warns";
    STREAM_24 Must "start_tls drains and feeds buffered bytes to TLS";
    STREAM_25 Must "pipes read the same way";
}
