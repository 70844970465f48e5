//! Sending: at once if nothing waits, else in order, each datagram whole.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use anyloop_api::{Error, EventLoop, EventLoopExt, Report, Result, SockAddr};
use rustix::io::Errno;

use super::{CLOSING, Datagram, LOST, RETRYING};
use crate::base::BaseLoop;
use crate::returns::retry_on_intr;
use crate::sock::sendto_once;
use crate::sockaddr;
use crate::sockets::SEND_FLAGS;

/// What a queued datagram counts beside its length (UDP-13).
const OVERHEAD: usize = 8;
/// How long to wait for a local socket that has no room.
const RETRY: Duration = Duration::from_millis(2);
/// From this datagram to a dead endpoint on, a warning is logged (asyncio's number).
const DEAD_WRITES: u8 = 5;

type Waiting = (Vec<u8>, Option<SockAddr>);

/// Datagrams that the kernel has not taken yet.
#[derive(Default)]
pub(super) struct Outgoing {
    queue: RefCell<VecDeque<Waiting>>,
    size: Cell<usize>,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// In bytes, with what each datagram counts beside its length.
    pub(super) fn size(&self) -> usize {
        self.size.get()
    }

    fn push(&self, data: &[u8], to: Option<&SockAddr>) {
        self.size.set(self.size.get() + data.len() + OVERHEAD);
        self.queue.borrow_mut().push_back((data.to_vec(), to.cloned()));
    }

    fn pop(&self) -> Option<Waiting> {
        let (data, to) = self.queue.borrow_mut().pop_front()?;
        self.size.set(self.size.get() - data.len() - OVERHEAD);
        Some((data, to))
    }

    /// Puts back what was popped.
    fn return_first(&self, (data, to): Waiting) {
        self.size.set(self.size.get() + data.len() + OVERHEAD);
        self.queue.borrow_mut().push_front((data, to));
    }

    pub(super) fn clear(&self) {
        self.size.set(0);
        drop(self.queue.take());
    }
}

impl Datagram {
    pub(super) fn send(&self, data: &[u8], to: Option<&SockAddr>) -> Result<()> {
        let to = self.destination(to)?;
        if self.has(LOST) && self.remote.is_some() {
            self.count_dead_write();
        }
        if self.has(CLOSING) {
            return Ok(());
        }
        if self.out.is_empty() {
            match self.send_once(data, to) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => {}
                Err(error) => {
                    self.on_error("sending a datagram", error);
                    return Ok(());
                }
            }
        }
        self.out.push(data, to);
        self.retry_later();
        self.update_interest();
        self.maybe_pause();
        Ok(())
    }

    /// Where a datagram goes; nowhere in particular if the kernel knows (UDP-05, -06).
    fn destination<'a>(&'a self, to: Option<&'a SockAddr>) -> Result<Option<&'a SockAddr>> {
        match (&self.remote, to) {
            (Some(remote), Some(to)) if to != remote => Err(Error::invalid_arg(format!(
                "sendto: this endpoint talks with {} only, not with {}",
                sockaddr::text(remote),
                sockaddr::text(to)
            ))),
            (Some(_), _) if self.connected => Ok(None),
            (Some(remote), _) => Ok(Some(remote)),
            (None, Some(to)) => Ok(Some(to)),
            // A local peer without a name.
            (None, None) if self.connected => Ok(None),
            (None, None) => {
                Err(Error::invalid_arg("sendto: an endpoint without a remote address needs one"))
            }
        }
    }

    fn count_dead_write(&self) {
        let writes = self.dead_writes.get().saturating_add(1);
        self.dead_writes.set(writes);
        if writes >= DEAD_WRITES
            && let Some(base) = self.base.upgrade()
        {
            let report = Report::warning("sending through an endpoint that is closed");
            base.call_exception_handler(report.socket(format!("{self:?}")));
        }
    }

    fn send_once(&self, data: &[u8], to: Option<&SockAddr>) -> std::result::Result<(), Errno> {
        let Some(socket) = self.socket() else { return Ok(()) };
        let sent = retry_on_intr(|| match to {
            Some(to) => sendto_once(&socket, data, to),
            None => rustix::net::send(&*socket, data, SEND_FLAGS),
        });
        sent.map(drop)
    }

    /// Sends what waits until the kernel has no room. An error costs one datagram (UDP-08).
    pub(super) fn flush(&self, base: &BaseLoop) {
        while !base.state().interrupted()
            && let Some(waiting) = self.out.pop()
        {
            match self.send_once(&waiting.0, waiting.1.as_ref()) {
                Ok(()) => {}
                Err(Errno::AGAIN) => {
                    self.out.return_first(waiting);
                    self.retry_later();
                    break;
                }
                Err(error) => self.on_error("sending a datagram", error),
            }
        }
        if base.state().interrupted() {
            // The loop stops here, and may run again (LIFE-18).
            return base.requeue_writable(self.socket.key());
        }
        if !self.has(LOST) && self.flow.should_resume(self.out.size()) {
            self.tell("resume_writing panicked", |protocol| protocol.resume_writing());
        }
        if self.out.is_empty() && self.has(CLOSING) {
            self.schedule_lost(None);
        }
        self.update_interest();
    }

    fn retry_later(&self) {
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        if self.blind && !self.has(RETRYING | LOST) {
            self.set(RETRYING);
            let _ = base.call_later(RETRY, move || {
                this.clear(RETRYING);
                if let Some(base) = this.base.upgrade() {
                    this.flush(&base);
                }
            });
        }
    }

    pub(super) fn maybe_pause(&self) {
        if !self.has(LOST) && self.flow.should_pause(self.out.size()) {
            self.tell("pause_writing panicked", |protocol| protocol.pause_writing());
        }
    }
}
