//! Another thread that a task talks to.

use std::future::poll_fn;
use std::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};

use crate::machine;

/// How the other thread waits for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Asleep in the kernel.
    Parked,
    /// Awake, looking all the time.
    Spinning,
}

/// A thread on the second CPU that does the same job whenever it is asked to.
#[derive(Debug)]
pub(super) struct Peer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    waiting: Waiting,
}

#[derive(Debug)]
struct Shared {
    asked: AtomicU32,
    /// Until `true`, in place of a request, ends the thread.
    done: AtomicU32,
}

impl Peer {
    /// Starts the thread; it runs `job` once for each request.
    pub(super) fn start(
        waiting: Waiting,
        mut job: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared { asked: AtomicU32::new(0), done: AtomicU32::new(0) });
        let seen_by_thread = Arc::clone(&shared);
        let (_, cpu) = machine::choose_cpus()?;
        let thread = thread::Builder::new().name("peer".into()).spawn(move || {
            // On the CPU of the load generator, if there is one.
            let _ = machine::pin(cpu);
            let mut served = 0;
            loop {
                while seen_by_thread.asked.load(SeqCst) == served {
                    if seen_by_thread.done.load(SeqCst) == 1 {
                        return;
                    }
                    match waiting {
                        Waiting::Parked => thread::park(),
                        Waiting::Spinning => spin_loop(),
                    }
                }
                served = served.wrapping_add(1);
                job();
            }
        })?;
        Ok(Self { shared, thread: Some(thread), waiting })
    }

    /// Has the job done once more.
    pub(super) fn ask(&self) {
        self.shared.asked.fetch_add(1, SeqCst);
        self.unpark();
    }

    fn unpark(&self) {
        if let (Waiting::Parked, Some(thread)) = (self.waiting, &self.thread) {
            thread.thread().unpark();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.done.store(1, SeqCst);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            // It only panics if the job does, which is reported by then.
            let _ = thread.join();
        }
    }
}

/// Something that happens on another thread and that a task waits for.
#[derive(Debug, Default)]
pub(super) struct Signal {
    count: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    /// Lets it happen once.
    pub(super) fn raise(&self) {
        self.count.fetch_add(1, SeqCst);
        let waker = self.waker.lock().expect("nothing panics with it").take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// How often it has happened.
    pub(super) fn count(&self) -> u32 {
        self.count.load(SeqCst)
    }

    /// Waits until it has happened `count` times, wrapping around.
    pub(super) async fn reached(&self, count: u32) {
        poll_fn(|context| {
            let arrived = || self.count() == count;
            if arrived() {
                return Poll::Ready(());
            }
            *self.waker.lock().expect("nothing panics with it") = Some(context.waker().clone());
            if arrived() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
