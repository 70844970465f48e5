//! The inbox: what other threads want from a loop, and how they wake it.
//!
//! ```text
//!  remote:  push; state.swap(NOTIFIED) == ASLEEP ──▶ waker.wake()      (one system call)
//!  loop:    before sleeping  compare_exchange(AWAKE → ASLEEP), else drain and do not sleep
//!           after waking     swap(AWAKE), drain
//! ```
//!
//! Both sides use read-modify-write on the same atomic, so either the loop sees the push before it
//! sleeps, or the remote sees the sleep and wakes. While the loop runs, a burst of calls makes no
//! system call.
//!
//! Memory that one thread allocates and another frees is dear for both. So calls that are over go back with the
//! next batch that the loop takes, for those who post to free; before it sleeps it frees what is left.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyloop_api::{
    Activity, Error, LoopState, RemoteCall, RemoteLoop, Result, Runnable, Scheduler,
    fork_generation,
};

use crate::driver::Waker;
use crate::ready::{Entry, call_local, schedule_local};

pub(crate) enum Item {
    Call(RemoteCall),
    Task(Runnable),
}

impl From<Item> for Entry {
    fn from(item: Item) -> Self {
        match item {
            Item::Call(call) => Self::Call(call),
            Item::Task(runnable) => Self::Task(runnable),
        }
    }
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const NOTIFIED: u8 = 2;

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Calls that have been made; only their memory is left.
    spent: Vec<RemoteCall>,
    refuses_calls: bool,
    closed: bool,
}

pub(crate) struct Inbox {
    /// The loop's id, for finding it on its own thread.
    id: u64,
    /// On its own cache line, because remote threads write it.
    state: CacheLine,
    stop: AtomicBool,
    queue: Mutex<Queue>,
    /// `None` once closed: the descriptor is the loop's, and goes with it (LIFE-21, THR-07).
    waker: Mutex<Option<Arc<dyn Waker>>>,
    activity: Arc<Activity>,
    /// The process that the waker belongs to.
    born: u64,
}

#[repr(align(64))]
struct CacheLine(AtomicU8);

impl Inbox {
    pub(crate) fn new(state: &LoopState, waker: Arc<dyn Waker>) -> Self {
        Self {
            id: state.id(),
            activity: state.activity().clone(),
            born: fork_generation(),
            state: CacheLine(AtomicU8::new(AWAKE)),
            stop: AtomicBool::new(false),
            queue: Mutex::default(),
            waker: Mutex::new(Some(waker)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is there: sees to it that the loop looks.
    pub(crate) fn notify(&self) {
        if self.state.0.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
            && self.born == fork_generation()
            && let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner)
        {
            waker.wake();
        }
    }

    /// The same after a push. Whoever pushes while somebody's notification is unseen has nothing to
    /// add: the loop takes that one back before it locks the queue, so seeing it after the push means
    /// that the loop has yet to look.
    fn notify_pushed(&self) {
        if !self.is_notified() {
            self.notify();
        }
    }

    /// The loop means to sleep. False: something arrived, drain first.
    pub(crate) fn prepare_sleep(&self) -> bool {
        self.state.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether something arrived since the loop last looked.
    pub(crate) fn is_notified(&self) -> bool {
        self.state.0.load(Ordering::Acquire) == NOTIFIED
    }

    /// The loop runs. True if something arrived since it last looked.
    pub(crate) fn awake(&self) -> bool {
        // The plain load keeps an idle inbox's cache line shared.
        self.state.0.load(Ordering::Acquire) != AWAKE
            && self.state.0.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Takes everything out, in the order in which it came; `into` must be empty and keeps its memory. What is
    /// `spent` is exchanged for what nobody has freed since the last time.
    pub(crate) fn drain(&self, into: &mut VecDeque<Item>, spent: &mut Vec<RemoteCall>) {
        let mut queue = self.lock();
        mem::swap(&mut queue.items, into);
        mem::swap(&mut queue.spent, spent);
    }

    /// What nobody has freed.
    pub(crate) fn take_spent(&self) -> Vec<RemoteCall> {
        mem::take(&mut self.lock().spent)
    }

    pub(crate) fn take_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) && self.stop.swap(false, Ordering::AcqRel)
    }

    /// Refuses calls from now on. Tasks are still taken: they have to come to be dropped.
    pub(crate) fn refuse_calls(&self) {
        self.lock().refuses_calls = true;
    }

    /// Refuses everything from now on and returns what was queued.
    pub(crate) fn close(&self) -> VecDeque<Item> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut queue = self.lock();
        queue.closed = true;
        mem::take(&mut queue.items)
    }
}

impl Scheduler for Inbox {
    fn schedule(&self, runnable: Runnable) {
        let Err(runnable) = schedule_local(self.id, runnable) else { return };
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            // Its future belongs to the loop's thread and was dropped there when the loop closed;
            // dropping the runnable here would touch it from this thread.
            mem::forget(runnable);
            return;
        }
        queue.items.push_back(Item::Task(runnable));
        drop(queue);
        self.notify_pushed();
    }
}

impl RemoteLoop for Inbox {
    fn submit(&self, call: RemoteCall) -> Result<()> {
        // On the loop's own thread it is `call_soon` (THR-05).
        if self.born != fork_generation() {
            return Err(Error::usage(
                "call_soon_threadsafe: the event loop belongs to the parent process",
            ));
        }
        let Err(call) = call_local(self.id, call) else { return Ok(()) };
        let mut queue = self.lock();
        if queue.refuses_calls {
            return Err(Error::closed("call_soon_threadsafe: the event loop is closed"));
        }
        queue.items.push_back(Item::Call(call));
        let spent = (queue.spent.pop(), queue.spent.pop());
        drop(queue);
        self.notify_pushed();
        drop(spent);
        Ok(())
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.notify();
    }

    fn is_closed(&self) -> bool {
        self.lock().refuses_calls
    }

    fn activity(&self) -> Option<&Activity> {
        Some(&self.activity)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state.0.load(Ordering::Relaxed) {
            _ if self.lock().closed => "closed",
            AWAKE => "awake",
            ASLEEP => "asleep",
            _ => "notified",
        };
        write!(f, "Inbox(loop {}, {state})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl Waker for Nobody {
        fn wake(&self) {}
    }

    #[test]
    fn it_says_whether_a_wake_up_is_needed_not_whether_the_loop_runs() {
        let inbox = Inbox::new(&LoopState::new("test"), Arc::new(Nobody));
        let text = || format!("{inbox:?}");
        assert!(text().ends_with("awake)"), "{}", text());
        inbox.close();
        assert!(text().ends_with("closed)"), "{}", text());
    }
}
