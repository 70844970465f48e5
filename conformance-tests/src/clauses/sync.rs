//! Synchronisation and queues.

family! {
    LOCK "locks"
    LOCK_01 Must "a free lock is taken without suspending";
    LOCK_02 Must "waiters are served FIFO and nobody overtakes a woken one";
    LOCK_03 Must "release wakes one waiter; releasing a free lock is Usage";
    LOCK_04 Must "any task may release";
    LOCK_05 Must "a cancelled waiter passes its wake-up on";
    LOCK_06 Must "cancel and release in one callback grant the lock to exactly one other";
    LOCK_07 Must "the scoped form releases on every way out";
    LOCK_08 Must "a primitive binds to the first loop that waits on it";
}

family! {
    EVENT "events"
    EVENT_01 Must "set frees all current waiters; waiting on a set event does not suspend";
    EVENT_02 Must "set then clear still frees them, later waiters block";
    EVENT_03 Must "a cancelled waiter disturbs nobody";
}

family! {
    COND "conditions"
    COND_01 Must "wait needs the lock and holds it again when it ends, in whatever way";
    COND_02 Must "a cancel during re-acquisition waits for the lock";
    COND_03 Must "notify wakes n in order, needs the lock, keeps it";
    COND_04 Must "a notified waiter that fails passes the notification on";
    COND_05 Must "wait_for re-checks and returns the predicate's value";
    COND_06 Must "several conditions may share a lock";
}

family! {
    SEM "semaphores"
    SEM_01 Must "no suspension only when a permit is free and nobody waits";
    SEM_02 Must "FIFO over repeated cycles";
    SEM_03 Must "n releases wake n waiters";
    SEM_04 Must "a woken, cancelled waiter gives its permit to the next";
    SEM_05 Must "locked() tells whether acquire would wait";
    SEM_06 Must "only the bounded kind refuses over-release; negative starts are refused";
}

family! {
    BAR "barriers"
    BAR_01 Must "the last arrival frees all, with distinct indices";
    BAR_02 Must "reusable; arrivals during draining wait for the next round";
    BAR_03 Must "a cancelled waiter just leaves";
    BAR_04 Must "reset breaks the current waiters only";
    BAR_05 Must "abort breaks it until reset";
    BAR_06 Must "n_waiting is zero while draining; parties below one are refused";
}

family! {
    QUEUE "queues"
    QUEUE_01 Must "FIFO, priority and LIFO orders";
    QUEUE_02 Must "put with room and get with items do not suspend";
    QUEUE_03 Must "maxsize <= 0 is unbounded";
    QUEUE_04 Must "blocked put and get re-check after waking";
    QUEUE_05 Must "wake-ups go in order of waiting; an overtaken waiter waits again; none is lost";
    QUEUE_06 Must "cancelling get loses no item";
    QUEUE_07 Must "cancelling put inserts nothing and passes the slot on";
    QUEUE_08 Must "cancelled waiters leave the lists";
    QUEUE_09 Must "the _nowait forms fail instead of waiting";
    QUEUE_10 Must "the unfinished count, and one task_done too many";
    QUEUE_11 Must "join waits for zero and frees all joiners";
    QUEUE_12 Must "shutdown fails puts, lets gets drain";
    QUEUE_13 Must "immediate shutdown discards items and counts them done";
    QUEUE_14 Must "shutdown wakes everyone once";
}
