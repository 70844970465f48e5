//! Futures, tasks, cancellation, contexts.

family! {
    FUT "futures"
    FUT_01 Must "a future is pending and then completes once: value, error or cancelled";
    FUT_02 Must "completing it again fails with InvalidState and changes nothing";
    FUT_03 Must "result() and exception() say InvalidState while pending and Cancelled when cancelled";
    FUT_04 Must "cancel() completes a pending future and returns true; on a done one false";
    FUT_05 Must "done-callbacks are scheduled in registration order, never called by the completion";
    FUT_06 Must "each done-callback is a handle of its own: one failing does not stop the others";
    FUT_07 Must "a callback added to a done future is scheduled too";
    FUT_08 Must "removing a callback takes all its registrations and counts them; once scheduled it stays scheduled";
    FUT_09 Must "the callback list may change under its own callbacks without a skip or a repeat";
    FUT_10 Must "callbacks run in the context of their registration";
    FUT_11 Must "awaiting a done future does not suspend";
    FUT_12 Must "an awaiter of a pending future resumes one hop after completion, in FIFO order";
    FUT_13 Must "many tasks may await one future and wake in the order they came";
    FUT_14 Must "a completed future can be awaited again with the same outcome";
    FUT_15 Must "awaiting a future of another loop fails with Usage";
    FUT_16 Must "an error nobody looked at is reported once when the last handle goes";
    FUT_17 Must "one look, or cancel(), silences that report; values never report";
    FUT_18 Must "dropping a pending future is silent";
    FUT_19 Must "the reason given to cancel is seen by the awaiter";
    FUT_20 Must "a wrapped thread-side future delivers through the thread-safe path and forwards cancellation";
    FUT_21 Must "wrapping a loop future, or ensuring a task of this loop, gives the same object; a foreign one is refused";
    FUT_22 Must "set-unless-cancelled never fails after a cancellation";
    FUT_23 Rust "exception classes and StopIteration have no Rust form: any error value can be stored";
    FUT_24 Debug "reports say where the future was created";
    FUT_25 Should "the debug rendering is short: state, outcome in brief, two callbacks at most";
}

family! {
    TASK "task execution"
    TASK_01 Must "create_task only schedules the first step";
    TASK_02 Must "first steps come in creation order";
    TASK_03 Must "a step runs through nested and done awaits without yielding to the loop";
    TASK_04 Must "a returned value or error completes the task and never reaches the loop";
    TASK_05 Must "the body is dropped before joiners resume";
    TASK_06 Must "a task has no set_result and no set_exception";
    TASK_07 Must "sleep(0) goes to the end of the ready queue";
    TASK_08 Must "awaiting oneself is an error, not a hang";
    TASK_09 Must "current_task() is the task being stepped, none in plain callbacks";
    TASK_10 Must "all_tasks() lists the unfinished tasks of its loop, and is safe to ask from other threads";
    TASK_11 Must "default names are unique and numbered; given names are kept";
    TASK_12 Must "a step is never re-entered";
    TASK_13 Must "many wakes before a step make one step";
    TASK_14 Rust "the loop owns tasks: dropping the handle detaches";
    TASK_15 Must "a task destroyed while pending is reported, internal ones excepted";
    TASK_16 Must "an uninspected error is reported once when the last handle is gone";
    TASK_17 Must "a task factory is used by every way of making tasks, and can be unset";
    TASK_18 Must "a task that cannot be created drops its body unpolled";
    TASK_19 Must "waiting on a finished task does not suspend";
    TASK_20 Should "tasks that yield in a loop stay within a round of each other";
    TASK_21 Rust "futures are must_use, which stands for the never-awaited warning";
}

family! {
    CANCEL "task cancellation"
    CANCEL_01 Must "cancel() is true until the task is done, then false";
    CANCEL_02 Must "cancel() is only a request: the task is neither done nor cancelled right after it";
    CANCEL_03 Must "every accepted request counts in cancelling()";
    CANCEL_04 Must "the awaited future is cancelled and the task sees it at that await";
    CANCEL_05 Must "a task awaiting a task passes the request on and waits for the inner one to end";
    CANCEL_06 Must "if the inner task swallows it, the outer one goes on with the value";
    CANCEL_07 Must "a completed but not yet delivered await is cancelled all the same; the value stays in the future";
    CANCEL_08 Must "a task cancelled before its first step never starts";
    CANCEL_09 Must "a self-cancel is delivered at the next real suspension";
    CANCEL_10 Must "a self-cancelled task that returns without suspending ends cancelled";
    CANCEL_11 Must "after a self-cancel, awaiting a task cancels that task";
    CANCEL_12 Must "a cancellation can be caught: clean up, then go on, return, fail or let it pass";
    CANCEL_13 Must "requests before delivery coalesce; one during clean-up interrupts the clean-up";
    CANCEL_14 Must "a future cancelled by somebody else shows as Cancelled with a zero count";
    CANCEL_15 Must "a body ending in Cancelled makes a cancelled task";
    CANCEL_16 Must "uncancel() counts down to zero and returns the rest; no effect once done";
    CANCEL_17 Must "uncancel() to zero before delivery withdraws the request";
    CANCEL_18 Must "timeouts and groups take back exactly their own requests";
    CANCEL_19 Must "a task in a pool call ends at once when cancelled; the thread's result is dropped";
    CANCEL_20 Must "a cancelled I/O wait lets go of its descriptor before the task sees it";
    CANCEL_21 Must "awaiters of a cancelled task see Cancelled and are not counted as cancelled";
    CANCEL_22 Must "Cancelled does not convert into a user's error by accident";
}

family! {
    EAGER "eager start"
    EAGER_01 Must "an eager first step runs inside create_task, on a running loop only";
    EAGER_02 Must "a body that never suspends is done on return and schedules nothing";
    EAGER_03 Must "current_task() is the new task during the eager step, the creator again after it";
    EAGER_04 Must "all_tasks() holds it during the eager step, and later only if it suspended";
    EAGER_05 Must "the eager step runs in the new task's context";
    EAGER_06 Must "cancelling after the eager step is ordinary";
    EAGER_07 Must "a gather of eagerly finished tasks is done on return";
    EAGER_08 Must "a task group treats eager failures and cancels like later ones";
    EAGER_09 Must "no eager start for a loop of another thread";
}

family! {
    CTX "context propagation"
    CTX_01 Must "a task copies the context; its changes stay inside";
    CTX_02 Must "all steps of a task share one context";
    CTX_03 Must "two tasks given the same context see each other's changes";
    CTX_04 Must "every kind of callback runs in the context of its registration";
    CTX_05 Should "client protocols run in the context of the creating call";
    CTX_06 Should "accepted protocols run in the context in which serving started";
    CTX_07 Must "to_thread takes the context along, run_in_executor does not";
    CTX_08 Must "the exception handler runs in the context of what failed";
    CTX_09 Must "a failing callback leaves no context installed";
}
