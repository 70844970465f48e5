//! Policy, fork, asynchronous finalisers.

family! {
    POL "policy"
    POL_01 Must "set_event_loop is per thread; a running loop goes first";
    POL_02 Must "with nothing set get_event_loop is Usage";
    POL_03 Must "a custom policy makes the loops; unsetting restores";
    POL_04 Must "only policies and loops are accepted";
}

family! {
    FORK "fork"
    FORK_01 Should "a forked child starts clean";
    FORK_02 Should "signals do not cross the fork";
    FORK_03 Should "a parent's ring is never used by the child";
}

family! {
    AGEN "asynchronous finalisers"
    AGEN_01 Rust "registered async finalisers are awaited at shutdown, errors reported";
    AGEN_02 Rust "a finaliser dropped on another thread runs on its loop";
}
