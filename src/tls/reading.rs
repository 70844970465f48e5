//! Reading: from ciphertext to the protocol, in order, nothing while it is paused.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, Read};

use anyloop_api::{AnyProtocol, BufferedProtocol, Error, EventLoopExt, Panic, Protocol};
use rustls::Connection;

use super::layer::{Attachment, Layer, State};
use crate::streams::buffer::Buffer;

/// With more ciphertext than this held back, the transport below is paused; with no more than a quarter
/// of it, it goes on (TLS-10).
const READ_HIGH: usize = 256 * 1024;
const READ_LOW: usize = READ_HIGH / 4;
/// So much plaintext is gathered from several records before the protocol gets it.
const GATHER: usize = 128 * 1024;
/// What a buffered protocol is asked for at least: the most that a record holds.
const RECORD: usize = 16 * 1024;

thread_local! {
    /// Memory for plaintext, one for all connections of the thread; gone when the thread ends, where a loop that
    /// a thread-local holds may still be closed.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why decrypting stopped.
enum Stop {
    /// Nothing more has arrived.
    Empty,
    /// There is plaintext.
    Data,
    /// The handshake is done.
    Handshaken,
    /// The peer has said close-notify.
    CloseNotify,
    Failed(rustls::Error),
}

impl Layer {
    /// Ciphertext from the transport below.
    pub(super) fn receive(&self, data: &[u8]) {
        if self.receiving.get() || self.held.borrow().len() > 0 {
            self.held.borrow_mut().push(data);
            self.pump_held();
        } else {
            let used = self.pump(data);
            // What came meanwhile is behind it.
            let came = self.held.take();
            let mut held = Buffer::default();
            held.push(&data[used..]);
            held.push(came.as_slice());
            *self.held.borrow_mut() = held;
            if came.len() > 0 {
                self.pump_held();
            }
        }
        self.control_below_reading();
    }

    /// The transport below has read to its end.
    pub(super) fn below_ends(&self) {
        self.below_ended.set(true);
        self.pump_held();
    }

    /// Goes on with what was held back.
    pub(super) fn pump_held(&self) {
        if self.receiving.get() {
            return;
        }
        loop {
            let mut held = self.held.take();
            let used = self.pump(held.as_slice());
            held.skip(used);
            // What came meanwhile is behind it.
            let came = self.held.replace(held);
            self.held.borrow_mut().push(came.as_slice());
            if came.len() == 0 || self.is_held_back() {
                break;
            }
        }
        self.control_below_reading();
    }

    /// Decrypts and delivers: how much of `data` is done with.
    fn pump(&self, data: &[u8]) -> usize {
        let _busy = Busy::begin(&self.receiving);
        let mut rest = data;
        loop {
            if self.state.get() == State::Closed {
                return data.len();
            }
            if self.is_held_back() {
                break;
            }
            let stop = self.decrypt(&mut rest);
            self.send();
            match stop {
                _ if self.state.get() == State::Closed => {}
                Stop::Data => self.deliver(&mut rest),
                Stop::Handshaken => self.handshake_done(),
                Stop::Empty => {
                    if self.below_ended.get() {
                        self.peer_ended();
                    }
                    break;
                }
                Stop::CloseNotify => {
                    self.close_notify.set(true);
                    self.peer_ended();
                    return data.len();
                }
                Stop::Failed(error) => {
                    self.fail(error);
                    return data.len();
                }
            }
        }
        data.len() - rest.len()
    }

    /// Feeds the session until something comes of it.
    fn decrypt(&self, rest: &mut &[u8]) -> Stop {
        let mut session = self.session.borrow_mut();
        let handshaking = session.is_handshaking();
        loop {
            match session.reader().fill_buf() {
                Ok([]) => return Stop::CloseNotify,
                Ok(_) => return Stop::Data,
                Err(_) => {}
            }
            if let Some(error) = self.broken.take() {
                return Stop::Failed(error);
            }
            if rest.is_empty() {
                return Stop::Empty;
            }
            let processed = match session.read_tls(rest) {
                Ok(_) => process(&mut session),
                Err(error) => Err(rustls::Error::General(error.to_string())),
            };
            match processed {
                Ok(_) if handshaking && !session.is_handshaking() => return Stop::Handshaken,
                Ok(_) => {}
                // What came before it is delivered first.
                Err(error) => *self.broken.borrow_mut() = Some(error),
            }
        }
    }

    /// Hands the plaintext that there is to the protocol; after close to nobody.
    fn deliver(&self, rest: &mut &[u8]) {
        if self.state.get() != State::Wrapped {
            return self.discard();
        }
        match self.protocol() {
            Some(AnyProtocol::Plain(protocol)) => self.deliver_plain(&*protocol, rest),
            Some(AnyProtocol::Buffered(protocol)) => self.fill(&*protocol),
            None => self.discard(),
        }
    }

    fn deliver_plain(&self, protocol: &dyn Protocol, rest: &mut &[u8]) {
        let mut plain = PLAIN.try_with(RefCell::take).unwrap_or_default();
        loop {
            let mut session = self.session.borrow_mut();
            let mut reader = session.reader();
            while let Ok(chunk @ [_, ..]) = reader.fill_buf() {
                plain.extend_from_slice(chunk);
                let count = chunk.len();
                reader.consume(count);
            }
            drop(session);
            // Whatever else comes of it comes again.
            if plain.len() >= GATHER || !matches!(self.decrypt_more(rest), Stop::Data) {
                break;
            }
        }
        self.call("data_received panicked", |_| protocol.data_received(&plain));
        plain.clear();
        let _ = PLAIN.try_with(|kept| kept.replace(plain));
    }

    /// [`Layer::decrypt`], keeping a failure for the next one.
    fn decrypt_more(&self, rest: &mut &[u8]) -> Stop {
        let stop = self.decrypt(rest);
        if let Stop::Failed(error) = &stop {
            *self.broken.borrow_mut() = Some(error.clone());
        }
        stop
    }

    /// Decrypts into the protocol's own memory.
    fn fill(&self, protocol: &dyn BufferedProtocol) {
        let Some(mut buffer) = self.call("get_buffer panicked", |_| protocol.get_buffer(RECORD))
        else {
            return;
        };
        if buffer.is_empty() {
            // As an error raised by the method (TR-35).
            let panic = Panic::new(Box::new("get_buffer returned an empty buffer"));
            self.report("get_buffer returned an empty buffer", panic.clone());
            return self.abort_with(Some(Error::Panicked(panic)));
        }
        let wanted = self.state.get() == State::Wrapped && !self.reading_paused.get();
        let mut count = 0;
        if wanted {
            let mut session = self.session.borrow_mut();
            count = session.reader().read(&mut buffer).unwrap_or(0);
        }
        self.call("buffer_updated panicked", |_| protocol.buffer_updated(buffer, count));
    }

    fn discard(&self) {
        let mut session = self.session.borrow_mut();
        let mut reader = session.reader();
        while let Ok(chunk @ [_, ..]) = reader.fill_buf() {
            let count = chunk.len();
            reader.consume(count);
        }
    }

    /// The peer will send no more, and the protocol has had everything (TLS-07).
    fn peer_ended(&self) {
        match self.state.get() {
            State::Handshake => {
                let error = self.handshake_cut();
                self.end_handshake(Err(error.clone()));
                self.abort_with(Some(error));
            }
            State::Wrapped => {
                let keep = self.call("eof_received panicked", AnyProtocol::eof_received);
                // A layer above closes by itself, and always answers so.
                let layered =
                    self.protocol().is_some_and(|above| above.downcast::<Attachment>().is_some());
                if keep == Some(true) && !layered {
                    self.warn("eof_received returned true: that has no effect over TLS");
                }
                self.start_shutdown();
            }
            State::Flushing | State::Closed => {}
            State::Shutdown => self.close_below(),
        }
    }

    pub(super) fn set_reading(&self, on: bool) {
        if self.state.get() > State::Wrapped || self.reading_paused.get() != on {
            return;
        }
        self.reading_paused.set(!on);
        let (true, Some(lp)) = (on, self.get_loop()) else { return };
        let this = self.this.clone();
        // Not from inside of the protocol's call.
        let resumed = lp.call_soon(move || {
            if let Some(this) = this.upgrade() {
                this.pump_held();
            }
        });
        // A closed loop delivers nothing.
        drop(resumed);
    }

    /// Keeps what is held back within bounds.
    fn control_below_reading(&self) {
        let Some(below) = self.below.get() else { return };
        let held = self.held.borrow().len();
        if held > READ_HIGH && !self.below_reading_paused.replace(true) {
            below.pause_reading();
        } else if held <= READ_LOW && self.below_reading_paused.replace(false) {
            below.resume_reading();
        }
    }

    /// What arrives now is wanted only for its close-notify.
    pub(super) fn read_on(&self) {
        self.reading_paused.set(false);
        self.pump_held();
    }
}

/// What was read, if it makes sense. With debug assertions rustls panics at nonsense that arrives after our
/// close-notify (it would send an alert, too late): the peer's fault, and not for whoever calls us.
fn process(session: &mut Connection) -> Result<(), rustls::Error> {
    let processed = Panic::catch(|| session.process_new_packets().map(drop));
    processed.unwrap_or_else(|panic| Err(rustls::Error::General(panic.to_string())))
}

/// While it lives, what arrives is left to whoever made it.
struct Busy<'a>(&'a Cell<bool>);

impl<'a> Busy<'a> {
    fn begin(receiving: &'a Cell<bool>) -> Self {
        receiving.set(true);
        Self(receiving)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
