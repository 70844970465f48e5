//! The ready queue: one FIFO of callbacks and tasks.

use std::cell::{Cell, RefCell};
use std::iter;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::vec::Drain;

use anyloop_api::{Handle, RemoteCall, Runnable};

/// Something that waits for its turn.
pub(crate) enum Entry {
    Handle(Handle),
    Task(Runnable),
    /// A call from another thread.
    Call(RemoteCall),
    /// The events of the last poll stand here in the order of things (SCHED-06).
    Events,
}

/// The queue, shared with the wakers of this thread.
#[derive(Default)]
pub(crate) struct Ready {
    queue: RefCell<Vec<Entry>>,
    refuses_calls: Cell<bool>,
}

impl Ready {
    /// The entry is made where it stays: to be dropped, should anything fail before, it would have to be put
    /// together on the stack and copied from there at once, for which the processor waits.
    #[inline]
    pub(crate) fn push(&self, make: impl FnOnce() -> Entry) {
        self.queue.borrow_mut().extend(iter::once_with(make));
    }

    /// Of one entry this is the first, and cheaper than a batch.
    #[inline]
    pub(crate) fn pop_last(&self) -> Option<Entry> {
        self.queue.borrow_mut().pop()
    }

    /// Takes out what is queued now; `memory` is empty, and the queue's from now on.
    #[inline]
    pub(crate) fn batch<'a>(&'a self, memory: &'a mut Vec<Entry>) -> Batch<'a> {
        let mut queue = self.queue.borrow_mut();
        // Both have had room for what came once.
        memory.reserve(queue.capacity());
        std::mem::swap(&mut *queue, memory);
        drop(queue);
        Batch { ready: self, entries: memory.drain(..) }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// After this, remote calls are no longer queued here.
    pub(crate) fn refuse_calls(&self) {
        self.refuses_calls.set(true);
    }
}

/// The entries of one iteration. Those whose turn did not come, because of an interruption, go back to
/// the front of the queue.
pub(crate) struct Batch<'a> {
    ready: &'a Ready,
    entries: Drain<'a, Entry>,
}

impl Batch<'_> {
    fn put_back(&mut self) {
        let mut queue = self.ready.queue.borrow_mut();
        drop(queue.splice(..0, &mut self.entries));
    }
}

impl Iterator for Batch<'_> {
    type Item = Entry;

    #[inline]
    fn next(&mut self) -> Option<Entry> {
        self.entries.next()
    }
}

impl Drop for Batch<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.entries.len() > 0 {
            self.put_back();
        }
    }
}

/// A loop's id, and its queue.
type Local = (u64, Rc<Ready>);

thread_local! {
    /// The loops that live on this thread, the one that ran last first. They leave it themselves, so
    /// it needs no destructor, nor a check whether it has run.
    static LOCAL: ManuallyDrop<RefCell<Vec<Local>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Makes `ready` reachable for wakers on this thread.
pub(crate) fn register_local(id: u64, ready: &Rc<Ready>) {
    LOCAL.with(|local| local.borrow_mut().insert(0, (id, ready.clone())));
}

pub(crate) fn unregister_local(id: u64) {
    let removed = LOCAL.with(|local| {
        let mut local = local.borrow_mut();
        let removed = local.iter().position(|(mine, _)| *mine == id).map(|at| local.remove(at));
        if local.is_empty() {
            // The thread may end.
            *local = Vec::new();
        }
        removed
    });
    drop(removed);
}

/// Moves the loop to the front: its wakers find it with one comparison.
pub(crate) fn prefer_local(id: u64) {
    LOCAL.with(|local| {
        let mut local = local.borrow_mut();
        if let Some(at) = local.iter().position(|(mine, _)| *mine == id) {
            local.swap(0, at);
        }
    });
}

/// Queues a woken task if its loop lives on this thread: no atomic, no system call.
pub(crate) fn schedule_local(id: u64, runnable: Runnable) -> Result<(), Runnable> {
    with_local(id, |ready| match ready {
        Some(ready) => {
            ready.push(|| Entry::Task(runnable));
            Ok(())
        }
        None => Err(runnable),
    })
}

/// Queues a remote call if its loop lives on this thread.
pub(crate) fn call_local(id: u64, call: RemoteCall) -> Result<(), RemoteCall> {
    with_local(id, |ready| match ready {
        Some(ready) if !ready.refuses_calls.get() => {
            ready.push(|| Entry::Call(call));
            Ok(())
        }
        _ => Err(call),
    })
}

/// Looks at the queue of the loop, if it lives on this thread.
fn with_local<R>(id: u64, f: impl FnOnce(Option<&Ready>) -> R) -> R {
    LOCAL.with(|local| {
        let local = local.borrow();
        f(local.iter().find(|(mine, _)| *mine == id).map(|(_, ready)| &**ready))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_batch_leaves_is_first_in_the_next_one() {
        let ready = Ready::default();
        let order = Rc::new(RefCell::new(Vec::new()));
        let push = |number| {
            let order = order.clone();
            let handle = Handle::new(move || order.borrow_mut().push(number));
            ready.push(|| Entry::Handle(handle));
        };
        let run = |entry| {
            let Entry::Handle(handle) = entry else { unreachable!("only handles are queued") };
            handle.run().unwrap();
        };
        let mut memory = Vec::new();
        (0..4).for_each(push);
        let mut batch = ready.batch(&mut memory);
        batch.by_ref().take(2).for_each(run);
        push(4);
        drop(batch);
        assert_eq!(ready.len(), 3);
        ready.batch(&mut memory).for_each(run);
        assert!(ready.is_empty());
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
    }
}
