//! The write end.

use anyloop_api::{AnyProtocol, Error, EventLoop, Report, Result};
use rustix::io::Errno;

use super::{CLOSING, DEAF, End, Kind, LOST, Pipe, UNPOLLABLE, hung_up};
use crate::driver::Readiness;
use crate::returns::retry_on_intr;
use crate::sockets::SEND_FLAGS;

/// From this write to a dead pipe on, a warning is logged (asyncio's number).
const DEAD_WRITES: u8 = 5;

impl Pipe {
    pub(super) fn pending(&self) -> usize {
        self.out.borrow().len()
    }

    pub(super) fn write_bytes(&self, data: &[u8]) -> Result<()> {
        if self.end == End::Read {
            return Err(Error::usage("write: this is the read end of a pipe"));
        }
        if data.is_empty() {
            return Ok(());
        }
        if self.has(LOST) {
            self.count_dead_write();
        }
        if self.has(CLOSING) {
            return Ok(());
        }
        let sent = if self.pending() > 0 { Ok(0) } else { self.write_once(data) };
        match sent {
            Ok(sent) if sent < data.len() => {
                self.out.borrow_mut().push(&data[sent..]);
                self.update_interest();
                if self.has(UNPOLLABLE)
                    && let Some(base) = self.base.upgrade()
                {
                    self.try_again(&base);
                }
                self.maybe_pause();
            }
            Ok(_) => {}
            Err(error) => self.force(Some(error)),
        }
        Ok(())
    }

    fn count_dead_write(&self) {
        let writes = self.dead_writes.get().saturating_add(1);
        self.dead_writes.set(writes);
        if writes >= DEAD_WRITES
            && let Some(base) = self.base.upgrade()
        {
            let report = Report::warning("writing to a pipe that is closed");
            base.call_exception_handler(report.transport(self.transport()));
        }
    }

    /// One non-blocking write; zero if there is no room. A broken pipe is an error, never a signal
    /// (PIPE-09).
    fn write_once(&self, data: &[u8]) -> Result<usize> {
        let Some(fd) = self.fd() else { return Ok(0) };
        let written = retry_on_intr(|| match self.kind {
            Kind::Socket => rustix::net::send(&fd, data, SEND_FLAGS),
            Kind::Fifo | Kind::Device => rustix::io::write(&fd, data),
        });
        match written {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(Error::os("writing to a pipe", error.into())),
        }
    }

    pub(super) fn on_writable(&self, readiness: Readiness) {
        if readiness.readable || readiness.closed {
            self.look_for_hang_up();
        }
        if readiness.writable {
            self.flush();
        }
    }

    /// PIPE-05; a terminal's readability means nothing (PIPE-06).
    fn look_for_hang_up(&self) {
        let Some(fd) = self.fd() else { return };
        if self.kind == Kind::Device || self.has(LOST) {
            return;
        }
        if hung_up(&fd) {
            let broken =
                (self.pending() > 0).then(|| Error::os("writing to a pipe", Errno::PIPE.into()));
            self.force(broken);
        } else {
            // It says something that nobody here listens to.
            self.set(DEAF);
            self.update_interest();
        }
    }

    pub(super) fn flush(&self) {
        while self.pending() > 0 {
            let written = self.write_once(self.out.borrow().rest());
            match written {
                Ok(0) => {
                    if self.has(UNPOLLABLE)
                        && let Some(base) = self.base.upgrade()
                    {
                        self.try_again(&base);
                    }
                    break;
                }
                Ok(count) => self.out.borrow_mut().sent(count),
                Err(error) => return self.force(Some(error)),
            }
        }
        self.maybe_resume();
        if self.pending() == 0 {
            drop(self.out.take());
            if self.has(CLOSING) {
                self.schedule_lost(None);
            }
        }
        self.update_interest();
    }

    pub(super) fn maybe_pause(&self) {
        if !self.has(LOST) && self.flow.should_pause(self.pending()) {
            self.tell("pause_writing panicked", AnyProtocol::pause_writing);
        }
    }

    fn maybe_resume(&self) {
        if !self.has(LOST) && self.flow.should_resume(self.pending()) {
            self.tell("resume_writing panicked", AnyProtocol::resume_writing);
        }
    }
}
