//! The close of a stream's loop, for who waits for the stream on another executor.

use std::rc::{Rc, Weak};

use anyloop_api::WeakLoop;

use super::protocol::StreamReaderProtocol;

/// Has those who wait look again when the loop closes; lives as long as the stream.
pub(super) struct Closing {
    home: WeakLoop,
    key: usize,
}

/// What the loop keeps until it closes.
struct Bell(Weak<StreamReaderProtocol>);

impl Closing {
    pub(super) fn of(stream: &Rc<StreamReaderProtocol>, home: &WeakLoop) -> Option<Self> {
        let bell = Rc::new(Bell(Rc::downgrade(stream)));
        let key = home.upgrade()?.state().park(bell);
        Some(Self { home: home.clone(), key })
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        // A closed one has parted from everything.
        if let Some(home) = self.home.upgrade().filter(|home| !home.is_closed()) {
            drop(home.state().unpark(self.key));
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(stream) = self.0.upgrade() {
            stream.wake_all();
        }
    }
}
