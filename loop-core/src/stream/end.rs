//! The end of a connection: `connection_lost` once, then the descriptor is closed, whatever happens.

use anyloop_api::Error;

use super::{CLOSING, EOF, LOST, MADE, PAUSED, Stream};

impl Stream {
    pub(super) fn close_gracefully(&self) {
        if self.has(CLOSING) {
            return;
        }
        self.set_closing();
        self.end_transfer(None);
        if self.pending() == 0 {
            self.schedule_lost(None);
        } else {
            self.stop_receiving();
        }
    }

    /// Drops what is buffered and ends the connection, with the error that did it.
    pub(crate) fn force(&self, error: Option<Error>) {
        if self.has(LOST) {
            return;
        }
        self.set_closing();
        self.end_transfer(error.as_ref());
        drop(std::mem::take(&mut *self.out.borrow_mut()));
        self.in_flight.set(0);
        self.schedule_lost(error);
    }

    fn set_closing(&self) {
        self.set(CLOSING);
        self.socket.closing(self.voice.base());
    }

    pub(super) fn schedule_lost(&self, error: Option<Error>) {
        let (Some(base), Some(this)) = (self.voice.base().upgrade(), self.this.upgrade()) else {
            return;
        };
        if self.has(LOST) {
            return;
        }
        self.set(LOST);
        base.soon(move || this.finish(error));
    }

    /// `connection_lost`, once; then the descriptor is closed, whatever the protocol did (TR-26).
    fn finish(&self, error: Option<Error>) {
        if self.has(MADE) {
            self.tell("connection_lost panicked", |protocol| protocol.connection_lost(error));
        }
        self.release();
        drop(self.take_held());
        self.voice.end();
        if let Some((server, index)) = self.server.take() {
            server.detach(index);
        }
    }

    /// The loop closes: the descriptor is freed, nobody is called.
    pub(super) fn give_up(&self) {
        self.set(CLOSING | LOST);
        self.release();
        self.voice.end();
        drop((self.out.take(), self.take_held()));
        drop(self.server.take());
    }

    fn release(&self) {
        if self.user().is_some() {
            // Whoever has the handle may still ask.
            self.own_name();
        }
        self.socket.close(self.voice.base());
    }

    /// While data may arrive or leave, the loop keeps the connection going for its protocol. Paused or at
    /// its end, with nothing to send and no handle left, nobody could ever touch it again (TR-39).
    pub(super) fn end_if_forgotten(&self) {
        let stuck = self.has(MADE) && self.has(PAUSED | EOF) && !self.has(CLOSING);
        if !stuck || self.pending() > 0 || self.user().is_some() {
            return;
        }
        let Some(base) = self.voice.base().upgrade() else { return };
        base.end_forgotten(self, || self.force(None));
    }
}
