//! What a runtime must offer to be measured.

use std::future::Ready;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::time::Duration;

pub(crate) use super::datagrams::Receive;

/// A future for which one allocation per measurement does not matter.
pub(crate) type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// What drives tasks: all that a line has, which is measured by these alone.
///
/// Everything but [`run`](Self::run) is called from within it, on its thread. Implement each
/// function the way the runtime's own documentation would: wrappers cost what they cost, so there
/// should be none beyond unwrapping a result.
pub(crate) trait Executor: 'static {
    /// Runs `suite` to its end on a fresh runtime on this thread, as a task where the runtime can
    /// spawn a future that is not `Send`.
    fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T>;

    /// Spawns a task on this thread, which begins when its turn comes; the result is its join handle.
    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + 'static;

    /// Spawns a task whose first step is taken at once, before this returns.
    fn spawn_eagerly<T: Send + 'static>(
        _task: impl Future<Output = T> + Send + 'static,
    ) -> Option<impl Future<Output = T> + 'static> {
        None::<Ready<T>>
    }

    /// Has `call` run soon, but not now, in the cheapest way there is.
    fn call_soon(call: impl FnOnce() + Send + 'static);

    /// The runtime's own way of letting others run first, if it has one.
    fn yield_now() -> Option<impl Future<Output = ()> + 'static> {
        None::<Ready<()>>
    }

    /// `rounds` times: make a one-shot channel of the runtime's own, send, and receive.
    fn one_shot(_rounds: u32) -> Option<Boxed> {
        None
    }

    /// `rounds` times: put into a bounded queue of the runtime's own and get from it.
    fn queue(_rounds: u32) -> Option<Boxed> {
        None
    }
}

/// A runtime under measurement.
pub(crate) trait Runtime: Executor {
    /// A timer: armed at the first poll, cancelled when dropped.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;

    /// Has `call` run after `delay`: a callback where there are such, else a task that sleeps.
    fn call_later(delay: Duration, call: impl FnOnce() + Send + 'static);

    /// Runs `work` on the pool for blocking calls.
    fn unblock(work: impl FnOnce() + Send + 'static) -> impl Future<Output = ()> + 'static;

    /// Receives datagrams one at a time.
    fn recv_from(_socket: UdpSocket) -> Option<Receive> {
        None
    }

    /// Receives as many as wait at a time.
    fn recv_batch(_socket: UdpSocket) -> Option<Receive> {
        None
    }

    /// Has a protocol called for each datagram.
    fn datagram_protocol(_socket: UdpSocket) -> Option<Receive> {
        None
    }

    /// A way for other threads to have something run on this one.
    fn poster() -> Option<impl Post> {
        None::<NoPoster>
    }
}

/// Has something run on the thread of a runtime; what `call_soon_threadsafe` is in asyncio.
pub(crate) trait Post: Send + 'static {
    /// Has `call` run on the runtime's thread.
    fn post(&self, call: impl FnOnce() + Send + 'static);
}

/// For runtimes that accept nothing from other threads but wake-ups.
#[derive(Debug)]
pub(crate) enum NoPoster {}

impl Post for NoPoster {
    fn post(&self, _call: impl FnOnce() + Send + 'static) {
        match *self {}
    }
}
