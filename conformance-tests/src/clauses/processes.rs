//! Children, signals, worker threads, name lookup.

family! {
    SUB "subprocesses"
    SUB_01 Must "order of the child's events";
    SUB_02 Must "events before connection_made are queued";
    SUB_03 Must "no output is lost";
    SUB_04 Must "returncode: none, status, or minus the signal";
    SUB_05 Must "wait() for any number; cancelling one is harmless";
    SUB_06 Must "wait() does not wait for the pipes";
    SUB_07 Must "every child is reaped";
    SUB_08 Must "other people's children are left alone";
    SUB_09 Must "a child reaped elsewhere is 255 with a warning";
    SUB_10 Must "any thread's loop";
    SUB_11 Must "signals never hit a recycled pid; afterwards ProcessGone";
    SUB_12 Must "close() kills what still runs";
    SUB_13 Must "cancelled creation kills and reaps";
    SUB_14 Must "a failed spawn is the OS error, without leaks";
    SUB_15 Must "communicate feeds, reads, waits";
    SUB_16 Must "communicate cannot deadlock";
    SUB_17 Must "a broken stdin is ignored; no input closes stdin";
    SUB_18 Should "a cancelled communicate keeps its output";
    SUB_19 Must "stdin is flow-controlled";
    SUB_20 Must "only named descriptors are inherited";
    SUB_21 Must "redirections, cwd, env, executable, session";
    SUB_22 Must "text mode, buffering and shell mismatches are refused";
    SUB_23 Must "pipe transports by number, paused one by one";
    SUB_24 Should "spawning is quick and thread-safe";
    SUB_25 Must "the child starts with default signals";
    SUB_26 Must "closing the loop with a running child";
}

family! {
    SIG "signals"
    SIG_01 Must "a handler is an ordinary callback";
    SIG_02 Must "a signal wakes the poll";
    SIG_03 Must "only the allowed thread registers";
    SIG_04 Must "bad numbers are InvalidArg, uncatchable ones Usage";
    SIG_05 Must "registering again replaces";
    SIG_06 Must "removing says whether, and restores the default";
    SIG_07 Must "at least one call after the last delivery, none lost to another's flood";
    SIG_08 Must "a signal between runs is handled by the next";
    SIG_09 Must "handlers outlive runs";
    SIG_10 Must "other system calls restart";
    SIG_11 Must "no handlers, no change to the process";
    SIG_12 Must "a handler may remove itself or stop the loop";
    SIG_13 Should "SIGCHLD may be reserved";
    SIG_14 Should "two loops keep their signals apart";
}

family! {
    EXEC "executors"
    EXEC_01 Must "a job starts on its own; its outcome arrives on the loop thread";
    EXEC_02 Must "busy workers do not hold up the loop; jobs queue";
    EXEC_03 Must "a panicking job is the awaitable's error";
    EXEC_04 Must "a cancelled job leaves the queue if it can, else ends unobserved";
    EXEC_05 Must "the default pool refuses after shutdown, others work";
    EXEC_06 Must "shutdown waits without blocking, up to a timeout";
    EXEC_07 Should "workers have recognisable names";
    EXEC_08 Must "the pool is lazy";
}

family! {
    DNS "name lookup"
    DNS_01 Must "resolving never blocks and runs in parallel";
    DNS_02 Must "answers and errors are the platform's";
    DNS_03 Must "late answers are ignored, cancelled ones end at once";
    DNS_04 Debug "slow lookups are logged";
}
