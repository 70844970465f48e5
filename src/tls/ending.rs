//! The end: a shutdown in order, a failure, or at once; `connection_lost` once, whatever happens.

use std::io;

use anyloop_api::{Error, Report};

use super::layer::{Layer, State};

impl Layer {
    /// Sends what is queued and a close-notify, waits for the peer's, and closes (TLS-06).
    pub(super) fn start_shutdown(&self) {
        match self.state.get() {
            State::Handshake => self.abort_with(None),
            State::Wrapped => {
                self.state.set(State::Flushing);
                self.arm(self.tls.shutdown_timeout(), Self::shutdown_timed_out);
                self.flush();
            }
            State::Flushing | State::Shutdown | State::Closed => {}
        }
    }

    /// Everything is sent.
    pub(super) fn say_goodbye(&self) {
        self.state.set(State::Shutdown);
        self.all_sent.set(self.queued() == 0);
        self.session.borrow_mut().send_close_notify();
        self.send();
        if self.close_notify.get() || self.below_ended.get() {
            self.close_below();
        } else {
            self.read_on();
        }
    }

    /// There is nothing more to be said; what is said already is still sent, in what is left of the time.
    pub(super) fn close_below(&self) {
        self.state.set(State::Closed);
        if let Some(below) = self.below.get() {
            below.close();
        }
    }

    fn shutdown_timed_out(&self) {
        let error = Error::TimedOut(
            format!(
                "TLS shutdown with {}: not done within {:?}",
                self.peer(),
                self.tls.shutdown_timeout()
            )
            .into(),
        );
        self.abort_with(Some(error));
    }

    /// Ends the connection now, with the error that did it, if one did.
    pub(super) fn abort_with(&self, error: Option<Error>) {
        self.state.set(State::Closed);
        self.remember(error);
        // A transport that has let go of us may have another protocol by now.
        if let Some(below) = self.below.get().filter(|_| self.protocol().is_some()) {
            below.abort();
        }
    }

    /// What arrived is not TLS, or not to our liking. The peer is told why, if it wants to know.
    pub(super) fn fail(&self, error: rustls::Error) {
        let handshaking = self.state.get() == State::Handshake;
        let what = if handshaking { "handshake" } else { "connection" };
        let text = format!("TLS {what} with {}", self.peer());
        let error = Error::os(text, io::Error::new(io::ErrorKind::InvalidData, error));
        self.remember(Some(error.clone()));
        if handshaking {
            self.end_handshake(Err(error));
        }
        // The alert is on its way already.
        self.arm(self.tls.shutdown_timeout(), Self::shutdown_timed_out);
        self.close_below();
    }

    /// The first reason counts.
    fn remember(&self, error: Option<Error>) {
        if let Some(error) = error {
            self.error.borrow_mut().get_or_insert(error);
        }
    }

    /// The transport below is gone.
    pub(super) fn finish(&self, error: Option<Error>) {
        self.disarm();
        self.state.set(State::Closed);
        drop((self.backlog.take(), self.held.take()));
        // A peer that goes away instead of hearing our close-notify is as with any other transport.
        let theirs = error.filter(|_| !self.all_sent.get());
        let error = self.error.take().or(theirs);
        if self.handshake.result.borrow().is_none() {
            let cut = error.clone().unwrap_or_else(|| self.handshake_cut());
            self.end_handshake(Err(cut));
        }
        if self.made.get() {
            self.tell("connection_lost panicked", |above| above.connection_lost(error));
        }
        self.replace_protocol(None);
    }

    /// The transport below has let go of us.
    pub(super) fn abandon(&self) {
        self.disarm();
        self.state.set(State::Closed);
        // With the loop everybody ends who could want to know.
        if self.get_loop().is_some_and(|lp| !lp.is_closed()) {
            let text = "start_tls: the transport was given another protocol";
            self.end_handshake(Err(Error::usage(text)));
        }
        self.replace_protocol(None);
    }

    /// Paused, and with no handle left, nobody could ever touch it again (TR-39).
    pub(super) fn end_if_forgotten(&self) {
        let stuck = self.is_held_back() && self.made.get() && !self.has_user();
        if stuck && self.handshake.result.borrow().is_some() {
            self.start_shutdown();
            self.warn("an open TLS transport was dropped");
        }
    }

    pub(super) fn warn(&self, what: &'static str) {
        if let Some(lp) = self.get_loop() {
            lp.call_exception_handler(Report::warning(what).transport(self.transport()));
        }
    }
}
