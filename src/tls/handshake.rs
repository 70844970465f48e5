//! The handshake: its time limit, its end, and whoever waits for it.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use anyloop_api::{Error, EventLoopExt, Result};

use super::layer::{Layer, State};

impl Layer {
    pub(super) fn begin_handshake(&self) {
        self.arm(self.tls.handshake_timeout(), Self::handshake_timed_out);
        self.send();
    }

    fn handshake_timed_out(&self) {
        if self.state.get() == State::Handshake {
            let text = format!(
                "TLS handshake with {}: not done within {:?}",
                self.peer(),
                self.tls.handshake_timeout()
            );
            let error = Error::os(text, io::ErrorKind::ConnectionAborted.into());
            self.end_handshake(Err(error.clone()));
            self.abort_with(Some(error));
        }
    }

    /// The session is ready: the protocol learns of the connection, then the caller (TLS-01).
    pub(super) fn handshake_done(&self) {
        self.disarm();
        self.state.set(State::Wrapped);
        if !self.made.replace(true) {
            let transport = self.transport();
            // A panic leaves the connection up (TR-05).
            self.tell("connection_made panicked", |above| above.connection_made(transport));
        }
        self.end_handshake(Ok(()));
        self.flush();
    }

    /// Tells whoever waits; only the first time counts.
    pub(super) fn end_handshake(&self, result: Result<()>) {
        let outcome = &self.handshake;
        if outcome.result.borrow().is_some() {
            return;
        }
        if let (Err(error), true) = (&result, outcome.unattended.get())
            && self.get_loop().is_some_and(|lp| lp.get_debug())
        {
            self.report("a TLS handshake failed", error.clone());
        }
        *outcome.result.borrow_mut() = Some(result);
        outcome.waiter.notify();
    }

    /// What an end before its time means to the handshake (TLS-04).
    pub(super) fn handshake_cut(&self) -> Error {
        let text = format!("TLS handshake with {}: the connection was lost", self.peer());
        Error::os(text, io::ErrorKind::ConnectionReset.into())
    }

    /// Runs `then` after `delay`, instead of what was to be run before.
    pub(super) fn arm(&self, delay: Duration, then: fn(&Self)) {
        self.disarm();
        let Some(lp) = self.get_loop() else { return };
        let this = self.this.clone();
        let late = move || {
            if let Some(this) = this.upgrade() {
                then(&this);
            }
        };
        // A loop that is closed lets go of the connection by itself.
        self.timer.set(lp.call_later(delay, late).ok());
    }

    pub(super) fn disarm(&self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }
}

/// A handshake that somebody waits for; if that is given up, the connection is, too (TLS-05).
pub(super) struct Handshaking {
    layer: Rc<Layer>,
    claimed: bool,
}

impl Handshaking {
    pub(super) fn of(layer: &Rc<Layer>) -> Self {
        Self { layer: layer.clone(), claimed: false }
    }

    /// How it ended.
    pub(super) async fn done(mut self) -> Result<()> {
        loop {
            let result = self.layer.handshake.result.borrow().clone();
            if let Some(result) = result {
                self.claimed = true;
                return result;
            }
            poll_fn(|cx| self.layer.handshake.waiter.poll(cx)).await;
        }
    }
}

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.layer.handshake.waiter.reset();
        if !self.claimed {
            self.layer.abort_with(None);
        }
    }
}
