//! Streams that want something done before the next poll: bytes to flush, offers to withdraw.

use std::rc::Rc;

use super::BaseLoop;
use crate::driver::Event;
use crate::stream::Stream;

impl BaseLoop {
    /// A stream has bytes to hand to the engine before the next poll.
    pub(crate) fn mark_dirty(&self, stream: Rc<Stream>) {
        let mut dirty = self.dirty.take();
        dirty.push(stream);
        self.dirty.set(dirty);
    }

    /// A stream offers its protocol something to read. Returns the number of the last poll.
    pub(crate) fn offered(&self, stream: Rc<Stream>) -> u16 {
        let mut offers = self.offers[0].take();
        offers.push(stream);
        self.offers[0].set(offers);
        self.polls.get() as u16
    }

    /// An offer stands until the poll after the next: by then whoever was woken for it has run. If nobody
    /// was, it runs out now.
    pub(super) fn withdraw_offers(&self) {
        let [new, old] = [self.offers[0].take(), self.offers[1].take()];
        if new.is_empty() && old.is_empty() {
            return;
        }
        let (mut spent, mut standing) = (old, new);
        let idle = self.ready.is_empty();
        if idle {
            spent.append(&mut standing);
        }
        // A stream that is listed twice has taken the first offer, and the second one stands.
        let poll = (!idle).then_some(self.polls.get() as u16);
        for stream in spent.drain(..) {
            stream.withdraw(self, poll);
        }
        self.offers[0].set(spent);
        self.offers[1].set(standing);
    }

    pub(crate) fn flush_dirty(&self) {
        let mut dirty = self.dirty.take();
        for stream in dirty.drain(..) {
            if stream.flush_deferred(self) {
                let mut lazy = self.lazy.take();
                lazy.push(stream);
                self.lazy.set(lazy);
            }
        }
        // Flushing may have made streams dirty again: a protocol that was told to go on has written.
        let mut new = self.dirty.take();
        dirty.append(&mut new);
        self.dirty.set(dirty);
    }

    /// Whether streams wait for the next flush.
    pub(super) fn has_dirty(&self) -> bool {
        let dirty = self.dirty.take();
        let any = !dirty.is_empty();
        self.dirty.set(dirty);
        any
    }

    /// After a poll: tells the streams whose lazy sends are over. Those that need another look get an event.
    pub(super) fn settle_lazy(&self, events: &mut Vec<Event>) {
        let mut lazy = self.lazy.take();
        if !lazy.is_empty() {
            let mut sent = self.lazily_sent.take();
            self.driver.borrow_mut().lazily_sent(&mut sent);
            debug_assert!(sent.len() <= lazy.len(), "each lazy send is told once");
            let over = sent.len().min(lazy.len());
            for (stream, sent) in lazy.drain(..over).zip(sent.drain(..)) {
                if let Some(sent) = stream.on_lazily_sent(self, sent) {
                    events.push(sent);
                }
            }
            self.lazily_sent.set(sent);
        }
        self.lazy.set(lazy);
    }

    /// The run ends, and perhaps there is no other: what its last iteration wrote leaves now.
    pub(super) fn flush_at_rest(&self) {
        for stream in self.dirty.take() {
            stream.flush_at_rest();
        }
    }
}
