//! Receiving: a few datagrams per iteration, each as soon as it is had.

use anyloop_api::{Datagrams, EventLoop};
use rustix::io::Errno;

use super::{Datagram, MANY, READABLE};
use crate::base::BaseLoop;
use crate::driver::Trigger;

/// Datagrams of one endpoint per iteration.
const PER_ITERATION: usize = 16;
/// From so many that waited together on it is worth asking for many at once; see `recvmmsg`.
const WORTH_IT: usize = 2;

/// Datagrams that were received and not delivered, from the given one on.
pub(super) type Held = Option<Box<(Datagrams, usize)>>;

impl Datagram {
    pub(super) fn receive(&self, base: &BaseLoop) {
        if let Some(held) = self.held.take() {
            self.deliver(base, held.0, held.1);
        }
        let mut left = PER_ITERATION;
        while left > 0 && !base.state().interrupted() {
            let Some(socket) = self.socket() else { return };
            if !self.wants_data() || !self.has(READABLE) {
                return;
            }
            let mut batch = base.receiver.take(self.internet);
            let most = if self.has(MANY) { left } else { 1 };
            match base.receiver.receive(&*socket, &mut batch, most) {
                Ok(more) => {
                    left -= batch.len();
                    if !more {
                        self.clear(READABLE);
                    }
                    if PER_ITERATION - left >= WORTH_IT {
                        self.set(MANY);
                    } else if most > 1 {
                        self.clear(MANY);
                    }
                    self.deliver(base, batch, 0);
                }
                Err(error) => {
                    base.receiver.give(self.internet, batch);
                    left -= 1;
                    match error {
                        Errno::INTR => {}
                        Errno::AGAIN => self.clear(READABLE),
                        error => self.on_error("receiving a datagram", error),
                    }
                }
            }
        }
        if self.wants_data() && self.has(READABLE) && base.caps().trigger == Trigger::Edge {
            base.requeue_readable(self.socket.key());
        }
    }

    /// Tells the protocol, from `next` on. Once the endpoint is closed there is nobody to tell any more.
    fn deliver(&self, base: &BaseLoop, batch: Datagrams, next: usize) {
        for index in next..batch.len() {
            if !self.wants_data() {
                break;
            }
            if base.state().interrupted() {
                // The loop stops here, and may run again.
                self.held.set(Some(Box::new((batch, index))));
                base.requeue_readable(self.socket.key());
                return;
            }
            if let Some((data, from)) = batch.get(index) {
                self.tell("datagram_received panicked", |protocol| {
                    protocol.datagram_received(data, from);
                });
            }
        }
        base.receiver.give(self.internet, batch);
    }
}
