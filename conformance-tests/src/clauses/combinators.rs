//! What is built from tasks: combinators, timeouts, groups, the runner.

family! {
    COMB "gather, wait, as_completed, shield, sleep"
    COMB_01 Must "gather keeps argument order";
    COMB_02 Must "gather of nothing is done at once";
    COMB_03 Must "the same awaitable twice runs once and fills both slots";
    COMB_04 Must "the first error completes a gather; the rest run on and their errors count as seen";
    COMB_05 Must "with return_exceptions errors and cancellations are values and all children are awaited";
    COMB_06 Must "a child cancelled by others is an error of the gather, not its cancellation";
    COMB_07 Must "cancelling a gather cancels its children and it ends after them";
    COMB_08 Must "a cancelled gather ends Cancelled, also with return_exceptions";
    COMB_09 Must "cancelling a finished gather touches no child";
    COMB_10 Must "children of several loops are refused";
    COMB_11 Must "wait takes tasks and futures, refuses an empty set, folds duplicates";
    COMB_12 Must "wait partitions its input; it neither raises nor cancels";
    COMB_13 Must "the three modes of wait";
    COMB_14 Must "a cancelled child is no error to FIRST_EXCEPTION";
    COMB_15 Must "done or pending is decided when the waiter resumes";
    COMB_16 Must "on timeout wait returns normally";
    COMB_17 Must "wait over finished children returns promptly";
    COMB_18 Must "a cancelled wait leaves children alone and no callbacks behind";
    COMB_19 Must "as_completed yields each input once, in completion order";
    COMB_20 Must "as an async iterator it yields the given tasks; as a plain one, awaitables for the next completion";
    COMB_21 Must "an abandoned iteration can be resumed";
    COMB_22 Must "after the timeout each item not yet produced is TimedOut; children go on; an unused timer is cancelled";
    COMB_23 Must "shield of a done future is that future";
    COMB_24 Must "cancelling the awaiter of a shield leaves the inner work running";
    COMB_25 Must "cancelling the inner work shows through the shield";
    COMB_26 Must "values and errors pass through a shield";
    COMB_27 Should "a failure behind an abandoned shield is reported once";
    COMB_28 Must "shields come and go without growing the inner task's callback list";
    COMB_29 Must "cancelling a gather of shields spares the work";
    COMB_30 Must "sleep of zero or less yields once and makes no timer";
    COMB_31 Must "sleep is never short, returns its value, and drops its timer when cancelled";
}

family! {
    TMO "timeout scopes and wait_for"
    TMO_01 Must "the deadline cancels the task once and the scope turns that into TimedOut";
    TMO_02 Must "only its own cancel is converted; any other goes on outwards";
    TMO_03 Must "after TimedOut the task is healthy and its count as before";
    TMO_04 Must "a scope without deadline can be armed later";
    TMO_05 Must "a past deadline fires at the first suspension";
    TMO_06 Must "the body's own error passes unchanged";
    TMO_07 Must "of nested scopes with one deadline the outermost raises; both have expired";
    TMO_08 Must "an inner, later scope never converts the outer's cancellation";
    TMO_09 Must "both due at once: inner first, then the outer at the next await";
    TMO_10 Must "a scope works inside clean-up, and a new request beats its timeout";
    TMO_11 Must "reschedule works while active and is Usage otherwise";
    TMO_12 Must "when() and expired() tell the state";
    TMO_13 Must "a scope is used once, inside a task";
    TMO_14 Must "leaving the scope disarms it";
    TMO_15 Must "wait_for without a timeout is a plain await";
    TMO_16 Must "wait_for(<= 0): the outcome if done, else cancel, wait, TimedOut; a bare coroutine never starts";
    TMO_17 Must "wait_for waits for the cancelled work to end";
    TMO_18 Must "work that answers the cancel with a value or an error wins over TimedOut";
    TMO_19 Must "cancelling the caller cancels the work and is never swallowed";
    TMO_20 Must "resumed before the deadline means the value; in a tie the value stays in its future";
    TMO_21 Must "a shield survives the timeout";
    TMO_22 Should "a bare future runs in the caller's own task";
}

family! {
    TG "task groups"
    TG_01 Must "the group waits for all children, late ones included";
    TG_02 Must "one failure cancels siblings and body; the failures come as a group";
    TG_03 Must "a cancelled child is no failure";
    TG_04 Must "the body's error cancels the children and joins the group";
    TG_05 Must "no failure during the abort is lost";
    TG_06 Must "an outside cancel ends the children, then propagates";
    TG_07 Must "failure and outside cancel together: the errors win, the request stays counted";
    TG_08 Must "the group takes back its own cancel";
    TG_09 Must "repeated outside cancels do not make it leave early";
    TG_10 Must "a foreign cancel that arrived while waiting is raised afterwards";
    TG_11 Must "nested groups aborted together keep their own errors";
    TG_12 Must "no new child before entry, in shutdown or after the end: Usage, body dropped";
    TG_13 Must "a group is entered once, inside a task";
    TG_14 Must "finished children are let go";
    TG_15 Must "a child that ignores its cancellation is waited for and not cancelled twice";
    TG_16 Rust "interrupts and panics leave the group bare, after the children";
    TG_17 Must "cancel() ends the group without an error";
    TG_18 Must "cancel() early, late and twice";
    TG_19 Must "children take names and contexts";
    TG_20 Must "children start in creation order";
}

family! {
    RUN "runner"
    RUN_01 Must "run makes a loop, runs main, closes the loop on every path";
    RUN_02 Must "shutdown order: tasks, async finalisers, executor, current loop, close";
    RUN_03 Must "remaining tasks may clean up; their errors are reported and do not replace main's outcome";
    RUN_04 Must "run inside a running loop is Usage";
    RUN_05 Must "a Runner runs several times on one loop and keeps its state";
    RUN_06 Must "close() is idempotent, a closed runner is Usage, entering is lazy";
    RUN_07 Must "a loop factory beats the policy and leaves the current loop alone";
    RUN_08 Must "the debug option: default, on, off";
    RUN_09 Should "the first Ctrl-C cancels main and shows as an interrupt";
    RUN_10 Should "the second Ctrl-C interrupts at once";
    RUN_11 Should "Cancelled wins if main was cancelled for another reason too";
    RUN_12 Should "the Ctrl-C hook: main thread, default disposition only, removed afterwards";
    RUN_13 Must "run takes any awaitable";
    RUN_14 Must "joining the executor is bounded";
}
