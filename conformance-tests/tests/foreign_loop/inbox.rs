//! What other threads want from the loop.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyloop_api::{Error, LoopState, RemoteCall, RemoteLoop, Result, Runnable, Scheduler};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::{Entry, push_local};

pub(super) enum Item {
    Call(RemoteCall),
    Task(Runnable),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    closed: bool,
}

pub(super) struct Inbox {
    id: u64,
    queue: Mutex<Queue>,
    refuses_calls: AtomicBool,
    stop: AtomicBool,
    /// Keeps one permit, so that no wake-up is lost between looking and sleeping.
    notify: Notify,
}

impl Inbox {
    pub(super) fn new(state: &LoopState) -> Self {
        Self {
            id: state.id(),
            queue: Mutex::default(),
            refuses_calls: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            notify: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }

    pub(super) fn has_items(&self) -> bool {
        self.stop.load(Ordering::Acquire) || !self.lock().items.is_empty()
    }

    pub(super) fn drain(&self) -> VecDeque<Item> {
        mem::take(&mut self.lock().items)
    }

    pub(super) fn take_stop(&self) -> bool {
        self.stop.swap(false, Ordering::AcqRel)
    }

    /// Refuses calls from now on (THR-07). Tasks are still taken: they have to come to be dropped.
    pub(super) fn refuse_calls(&self) {
        // Under the lock: whoever pushes has looked before, or looks afterwards.
        let _queue = self.lock();
        self.refuses_calls.store(true, Ordering::Release);
    }

    /// Refuses everything from now on and returns what was queued.
    pub(super) fn close(&self) -> VecDeque<Item> {
        let mut queue = self.lock();
        queue.closed = true;
        mem::take(&mut queue.items)
    }
}

impl Scheduler for Inbox {
    fn schedule(&self, runnable: Runnable) {
        let Err(Entry::Task(runnable)) = push_local(self.id, Entry::Task(runnable)) else { return };
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            // Its future belongs to the loop's thread, and was dropped there.
            mem::forget(runnable);
            return;
        }
        queue.items.push_back(Item::Task(runnable));
        drop(queue);
        self.notify.notify_one();
    }
}

impl RemoteLoop for Inbox {
    fn submit(&self, call: RemoteCall) -> Result<()> {
        let closed = || Err(Error::closed("call_soon_threadsafe: the event loop is closed"));
        if self.is_closed() {
            return closed();
        }
        // On the loop's own thread it is `call_soon` (THR-05).
        let Err(Entry::Call(call)) = push_local(self.id, Entry::Call(call)) else { return Ok(()) };
        let mut queue = self.lock();
        if self.is_closed() {
            return closed();
        }
        queue.items.push_back(Item::Call(call));
        drop(queue);
        self.notify.notify_one();
        Ok(())
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.refuses_calls.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox(loop {})", self.id)
    }
}
