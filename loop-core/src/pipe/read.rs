//! The read end.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyloop_api::{AnyProtocol, BufferedProtocol, Error, EventLoop, Panic};
use rustix::io::Errno;

use super::{CLOSING, End, HANGUP, Kind, LOST, MADE, PAUSED, Pipe, READABLE, UNPOLLABLE};
use crate::base::BaseLoop;
use crate::driver::{Readiness, Trigger};
use crate::returns::retry_on_intr;
use crate::scratch::READ_SIZE;

/// Reads of one pipe per event, so that a loud writer cannot starve the others.
const READS_PER_EVENT: usize = 4;

impl Pipe {
    pub(super) fn wants_data(&self) -> bool {
        self.end == End::Read && self.flags.get() & (MADE | PAUSED | CLOSING | LOST) == MADE
    }

    pub(super) fn pause(&self) {
        if self.end == End::Read && !self.has(CLOSING | PAUSED) {
            self.set(PAUSED);
            self.update_interest();
        }
    }

    pub(super) fn resume(&self) {
        if !self.has(PAUSED) || self.has(CLOSING) {
            return;
        }
        self.clear(PAUSED);
        let Some(base) = self.base.upgrade() else { return };
        // What is there already is delivered in the next iteration, never from inside this call.
        if self.has(READABLE) {
            self.try_again(&base);
        }
        self.update_interest();
    }

    pub(super) fn on_readable(&self, base: &BaseLoop, readiness: Readiness) {
        if readiness.closed {
            self.set(HANGUP);
        }
        if readiness.readable || readiness.closed {
            self.set(READABLE);
            self.read(base);
        }
    }

    /// Reads until drained or until others should have a turn.
    pub(super) fn read(&self, base: &BaseLoop) {
        for _ in 0..READS_PER_EVENT {
            if !self.wants_data() || !self.has(READABLE) {
                return;
            }
            let (Some(fd), Some(protocol)) = (self.fd(), self.voice.protocol()) else { return };
            let read = match protocol {
                AnyProtocol::Plain(_) => self.read_shared(base, &fd),
                AnyProtocol::Buffered(protocol) => self.read_into(&*protocol, &fd),
            };
            match read {
                None => return,
                Some(Ok((0, _))) => return self.on_eof(),
                // A short read drained the pipe, unless the end may be behind it; a terminal gives a line
                // at a time.
                Some(Ok((count, room))) => {
                    if count < room && self.kind != Kind::Device && !self.has(HANGUP) {
                        self.clear(READABLE);
                    }
                }
                Some(Err(error)) => return self.on_read_error(base, error),
            }
            if base.state().interrupted() {
                break;
            }
        }
        let by_hand = base.caps().trigger == Trigger::Edge || self.has(UNPOLLABLE);
        if by_hand && self.wants_data() && self.has(READABLE) {
            self.try_again(base);
        }
    }

    fn on_read_error(&self, base: &BaseLoop, error: Errno) {
        match error {
            Errno::AGAIN if self.has(UNPOLLABLE) => self.try_again(base),
            Errno::AGAIN => self.clear(READABLE),
            // The other side of a terminal was closed (PIPE-04).
            Errno::IO if self.kind == Kind::Device => self.on_eof(),
            error => self.force(Some(Error::os("reading from a pipe", error.into()))),
        }
    }

    /// One read into the loop's buffer: how much came, and how much could have.
    fn read_shared(
        &self,
        base: &BaseLoop,
        fd: &Rc<OwnedFd>,
    ) -> Option<Result<(usize, usize), Errno>> {
        let mut scratch = base.take_scratch();
        let count = retry_on_intr(|| rustix::io::read(fd, scratch.bytes()));
        if let Ok(count @ 1..) = count {
            let data = &scratch.bytes()[..count];
            self.call("data_received panicked", |protocol| {
                if let AnyProtocol::Plain(protocol) = protocol {
                    protocol.data_received(data);
                }
            });
        }
        base.give_scratch(scratch);
        Some(count.map(|count| (count, READ_SIZE)))
    }

    /// One read into the protocol's buffer. `None` if the protocol did not want it after all.
    fn read_into(
        &self,
        protocol: &dyn BufferedProtocol,
        fd: &Rc<OwnedFd>,
    ) -> Option<Result<(usize, usize), Errno>> {
        let mut buffer = self.call("get_buffer panicked", |_| protocol.get_buffer(READ_SIZE))?;
        if buffer.is_empty() {
            // As an error raised by the method (TR-35).
            let panic = Panic::new(Box::new("get_buffer returned an empty buffer"));
            let report = self.report("get_buffer returned an empty buffer", panic.clone());
            self.base.upgrade()?.call_exception_handler(report);
            self.force(Some(Error::Panicked(panic)));
            return None;
        }
        let room = buffer.len();
        let count = if self.wants_data() {
            Some(retry_on_intr(|| rustix::io::read(fd, &mut buffer[..])))
        } else {
            None
        };
        let filled = count.as_ref().and_then(|count| count.as_ref().ok()).copied().unwrap_or(0);
        self.call("buffer_updated panicked", |_| protocol.buffer_updated(buffer, filled));
        Some(count?.map(|count| (count, room)))
    }

    /// There is no kept-open state (PIPE-03).
    fn on_eof(&self) {
        self.clear(READABLE);
        self.call("eof_received panicked", AnyProtocol::eof_received);
        self.close_gracefully();
    }
}
