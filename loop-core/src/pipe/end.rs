//! The end of a pipe: `connection_lost` once, then the descriptor is closed, whatever happens.

use anyloop_api::Error;

use super::{CHILDS, CLOSING, End, LOST, MADE, PAUSED, Pipe};

impl Pipe {
    pub(super) fn set_closing(&self) {
        self.set(CLOSING);
        self.fd.closing(&self.base);
    }

    pub(super) fn close_gracefully(&self) {
        if self.has(CLOSING) {
            return;
        }
        self.set_closing();
        if self.pending() == 0 {
            self.schedule_lost(None);
        } else {
            self.update_interest();
        }
    }

    /// Drops what is buffered and ends the pipe, with the error that did it.
    pub(super) fn force(&self, error: Option<Error>) {
        if self.has(LOST) {
            return;
        }
        self.set_closing();
        drop(self.out.take());
        self.schedule_lost(error);
    }

    pub(super) fn schedule_lost(&self, error: Option<Error>) {
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        if self.has(LOST) {
            return;
        }
        self.set(LOST);
        self.update_interest();
        base.soon(move || this.finish(error));
    }

    /// While data may arrive, the loop keeps the pipe going for its protocol. Paused and without a handle,
    /// nobody could ever touch it again (TR-39).
    pub(super) fn end_if_forgotten(&self) {
        let stuck = self.end == End::Read && self.has(MADE) && self.has(PAUSED);
        if !stuck || self.has(CLOSING | CHILDS) || self.user.borrow().upgrade().is_some() {
            return;
        }
        let Some(base) = self.base.upgrade() else { return };
        base.end_forgotten(self, || self.force(None));
    }

    /// `connection_lost`, once; then the descriptor is closed, whatever the protocol did.
    pub(super) fn finish(&self, error: Option<Error>) {
        let on_lost = self.on_lost.take();
        if self.has(MADE) {
            let told = error.clone();
            self.tell("connection_lost panicked", |protocol| protocol.connection_lost(told));
            if let Some(on_lost) = on_lost {
                on_lost(error);
            }
        }
        self.fd.close(&self.base);
        self.voice.end();
    }
}
