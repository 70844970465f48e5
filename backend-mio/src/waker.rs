//! Ending a sleep from another thread.

use anyloop_core::driver::Waker;

/// mio's own waker. Its event is recognised by the token and dropped.
#[derive(Debug)]
pub(crate) struct MioWaker(pub(crate) mio::Waker);

impl Waker for MioWaker {
    fn wake(&self) {
        // mio deals with the full counter; nothing else can go wrong with a write to our own eventfd
        // (or pipe), and nobody could do anything about it.
        let _ = self.0.wake();
    }
}
