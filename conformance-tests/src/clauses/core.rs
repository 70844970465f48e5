//! The loop itself.

family! {
    LIFE "loop lifecycle"
    LIFE_01 Must "a fresh loop neither runs nor is closed; it runs exactly while a run_* call is on the stack";
    LIFE_02 Must "run_forever ends by stop, interrupt or a dead backend only; an idle loop sleeps without using CPU";
    LIFE_03 Must "stop() from a callback lets the current batch finish and nothing newer start";
    LIFE_04 Must "whatever was left when the loop stopped continues in the next run";
    LIFE_05 Must "stop() ahead of run_forever() gives one iteration with a non-blocking poll";
    LIFE_06 Must "a stop request dies with its run, and many count as one";
    LIFE_07 Must "readiness seen while stopping is dispatched once, not again by the next run";
    LIFE_08 Must "run_until_complete runs a coroutine as a task and returns its value or error";
    LIFE_09 Must "run_until_complete on a finished future still runs one whole iteration";
    LIFE_10 Must "stopped early, run_until_complete fails with Usage and the future stays pending and resumable";
    LIFE_11 Must "run_until_complete can be called again, and tasks left between the calls go on";
    LIFE_12 Must "a future completing after its run has ended does not stop a later, unrelated run";
    LIFE_13 Must "another loop's future is refused with InvalidArg before anything runs";
    LIFE_14 Must "nested, second-on-the-thread and second-thread runs fail with AlreadyRunning; the coroutine is dropped unpolled";
    LIFE_15 Must "close() of a running loop fails with Usage and does nothing";
    LIFE_16 Must "close() is idempotent and final: scheduling and running then fail with Closed";
    LIFE_17 Must "getters, stop, time, create_future and watcher removal still answer on a closed loop";
    LIFE_18 Rust "an interrupt leaves run_forever at once; the rest of the batch stays queued and the loop runs again";
    LIFE_19 Must "a task's interrupt is stored as its error and also ends the run, leaving no stale stop behind";
    LIFE_20 Must "close() drops what is queued without running it and frees what the closures own";
    LIFE_21 Must "close() gives back every descriptor of the loop";
    LIFE_22 Must "close() removes the loop's signal handlers and restores the default dispositions";
    LIFE_23 Must "close() does not wait for executor jobs and ignores their late results";
    LIFE_24 Should "dropping an open loop closes it with a warning, and its transports without connection_lost";
    LIFE_25 Must "the running loop is known to all code it calls, and to nobody outside the run or on other threads";
    LIFE_26 Must "a loop made on one thread may run on another, one thread at a time";
}

family! {
    SCHED "ready queue"
    SCHED_01 Must "call_soon is first in, first out, each callback once at most";
    SCHED_02 Must "scheduling never calls the callback itself";
    SCHED_03 Must "what is scheduled during a batch waits for the next iteration, behind another poll";
    SCHED_04 Must "a callback that always reschedules itself starves nobody";
    SCHED_05 Must "the poll blocks only when nothing is ready and no stop is pending, and then no longer than it must";
    SCHED_06 Should "in one iteration: earlier handles, then I/O of this poll, then due timers";
    SCHED_07 Must "callbacks queued before the run begin in order when it starts";
    SCHED_08 Must "a handle cancelled before its turn is not called, not even within the same batch";
    SCHED_09 Must "cancel() frees the captured state on the spot";
    SCHED_10 Must "after a normal call the captured state is gone, cancelled() stays false, a late cancel() is harmless";
    SCHED_11 Must "a panicking callback is reported with its handle; the rest of the batch runs";
    SCHED_12 Must "scheduling from the exception handler or from a destructor of captured state is safe";
    SCHED_13 Must "a chain of a million callbacks needs constant stack";
    SCHED_14 Must "dropping the handle does not cancel the callback";
    SCHED_15 Must "a callback runs in the context captured, or given, when it was scheduled";
    SCHED_16 Debug "something that is no plain callback is refused";
}

family! {
    THR "threads"
    THR_01 Must "call_soon_threadsafe works from any thread and calls back on the loop's";
    THR_02 Must "it wakes a loop asleep in the poll, promptly";
    THR_03 Must "no wake-up is lost between looking at the queue and falling asleep";
    THR_04 Must "per-thread order is kept and every call runs exactly once";
    THR_05 Must "on the loop's own thread it is call_soon";
    THR_06 Must "the caller never blocks on the wake channel";
    THR_07 Must "after close() the call is refused or dropped; no panic, no write to a recycled descriptor";
    THR_08 Must "a storm of wakes leaves no busy loop behind";
    THR_09 Must "the returned handle can be cancelled, from any thread: not started means it will not run";
    THR_10 Must "a coroutine submitted from a thread hands back its value, error or cancellation";
    THR_11 Must "cancellation crosses between the thread-side future and the task both ways";
    THR_12 Must "a failure to create the task reaches the thread-side future and is reported";
    THR_13 Debug "scheduling from a foreign thread without the thread-safe call is refused";
    THR_14 Must "loops on different threads share nothing a user could see";
    THR_15 Must "a worker's completion that arrives after close() is thrown away in silence";
}

family! {
    TIMER "timers"
    TIMER_01 Must "call_later(d) is call_at(time() + d), with the clock read at the call";
    TIMER_02 Must "time() never goes back and advances within a blocking callback";
    TIMER_03 Must "never early";
    TIMER_04 Must "due timers run by deadline; one falling due during a callback runs in the next iteration";
    TIMER_05 Should "equal deadlines run in creation order";
    TIMER_06 Must "zero and past deadlines mean the next iteration, with an ordinary cancellable handle";
    TIMER_07 Must "an already due timer made by a timer callback waits for the next iteration";
    TIMER_08 Should "call_soon against call_later(0) has no portable order; both run";
    TIMER_09 Must "cancelling a pending timer prevents it and frees its closure at once; when() remains";
    TIMER_10 Must "cancelling a fired timer, or twice, disturbs no bookkeeping";
    TIMER_11 Should "cancelled timers do not pile up";
    TIMER_12 Must "a cancelled timer in front wakes nobody at its deadline";
    TIMER_13 Must "very long delays are legal; an infinite one never fires and can be cancelled";
    TIMER_14 Must "delays too large for the types saturate";
    TIMER_15 Must "sub-millisecond remainders cause no busy polling";
    TIMER_16 Must "the due test stays exact after a long uptime";
    TIMER_17 Must "NaN delays are refused (by type, where the delay is a Duration)";
    TIMER_18 Must "pending timers hold up neither stop, close nor run_until_complete";
    TIMER_19 Must "lateness makes timers late, never lost and never doubled";
    TIMER_20 Must "an earlier timer added from another thread shortens the poll in progress";
}
