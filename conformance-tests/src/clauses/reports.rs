//! The exception handler and debug mode.

family! {
    EXC "exception handler"
    EXC_01 Must "a report has a message and known, optional keys";
    EXC_02 Must "the default handler logs everything at error level";
    EXC_03 Must "a custom handler gets loop and report and may delegate";
    EXC_04 Must "a failing handler is reported by the default, and the loop lives";
    EXC_05 Must "unsetting restores the default";
    EXC_06 Must "it runs on the spot and may schedule, cancel, stop or replace itself";
    EXC_07 Must "each kind of failure carries its objects";
    EXC_08 Must "expected socket errors are not reported";
    EXC_09 Rust "interrupts bypass the handler";
}

family! {
    DBG "debug mode"
    DBG_01 Must "off by default, switched on in four ways";
    DBG_02 Debug "slow callbacks are logged";
    DBG_03 Debug "renderings say where things were created";
    DBG_04 Must "outside debug no arguments in logs";
    DBG_05 Debug "resource warnings";
    DBG_06 Must "switchable while running";
    DBG_07 Must "changes no order and no outcome";
    DBG_08 Should "a dump of tasks and who awaits whom";
}
