//! Descriptors and raw sockets.

family! {
    FD "readiness watchers"
    FD_01 Must "watchers are level-triggered";
    FD_02 Must "one reader and one writer per fd; registering again replaces, even when queued";
    FD_03 Must "the directions are independent";
    FD_04 Must "remove_* tells whether something was removed";
    FD_05 Must "removal within the batch prevents the queued call";
    FD_06 Must "add_* on a closed loop is Closed";
    FD_07 Must "a live transport's fd is off limits; a closing one's is not";
    FD_08 Must "numbers and objects name the same registration";
    FD_09 Must "error and hang-up wake both directions";
    FD_10 Must "reader before writer in one poll";
    FD_11 Must "remove then close at once is safe";
    FD_12 Must "a reused number never gets the old file's events";
    FD_13 Should "closing without removing neither crashes nor spins";
    FD_14 Should "files that cannot be polled are refused with the OS error";
    FD_15 Must "spurious readiness is tolerated";
    FD_16 Must "completion backends keep level triggering by re-arming";
}

family! {
    SOCK "raw socket operations"
    SOCK_01 Must "each operation gives what one non-blocking call would";
    SOCK_02 Must "receiving zero bytes returns at once";
    SOCK_03 Should "an operation that can finish at once may do so";
    SOCK_04 Debug "a blocking socket is refused, or made non-blocking";
    SOCK_05 Must "sock_sendall sends all, in order, or fails";
    SOCK_06 Must "sending nothing succeeds";
    SOCK_07 Must "sock_connect connects, or fails with the socket's error and the address";
    SOCK_08 Must "names resolve with the socket's own family, type and protocol";
    SOCK_09 Must "sock_accept gives a non-blocking, close-on-exec socket and the peer";
    SOCK_10 Must "a cancelled receive loses no byte";
    SOCK_11 Must "a cancelled accept loses no connection";
    SOCK_12 Must "the same for recvfrom and the _into forms";
    SOCK_13 Must "a receive right after a cancelled one gets the next bytes";
    SOCK_14 Must "a cancelled sendall sends nothing more and leaves the socket usable";
    SOCK_15 Must "after a cancelled operation the descriptor may be closed and reused at once";
    SOCK_16 Must "buffers outlive the kernel's use of them";
    SOCK_17 Should "one receive and one send may be pending; a second in one direction is refused";
    SOCK_18 Must "a live transport's fd is off limits";
    SOCK_19 Should "closing the socket in flight neither hangs nor touches another file";
    SOCK_20 Must "errors come from the awaiting call";
    SOCK_21 Must "one datagram with its sender, truncated as the OS does, empty ones included";
    SOCK_22 Must "sock_sendto sends one datagram or fails, and wedges nothing";
    SOCK_23 Must "interrupted calls are retried";
    SOCK_24 Must "connecting twice, and to a path, does as the OS does";
    SOCK_25 Must "megabytes between two tasks of one loop do not deadlock";
}
