//! Streams that want something done before the next poll: bytes to flush, offers to withdraw.

use std::rc::Rc;

use super::BaseLoop;
use crate::driver::Event;
use crate::stream::Stream;

impl BaseLoop {
    /// A stream has bytes to hand to the engine before the next poll.
    pub(crate) fn mark_dirty(&self, stream: Rc<Stream>) {
        self.dirty.borrow_mut().push(stream);
    }

    /// A stream offers its protocol something to read. Returns the number of the last poll.
    pub(crate) fn offered(&self, stream: Rc<Stream>) -> u16 {
        self.offers[0].borrow_mut().push(stream);
        self.polls.get() as u16
    }

    /// An offer stands until the poll after the next: by then whoever was woken for it has run. If nobody
    /// was, it runs out now.
    pub(super) fn withdraw_offers(&self) {
        let [new, old] = &self.offers;
        if new.borrow().is_empty() && old.borrow().is_empty() {
            return;
        }
        let (mut spent, mut standing) = (old.take(), new.take());
        let idle = self.ready.is_empty();
        if idle {
            spent.append(&mut standing);
        }
        // A stream that is listed twice has taken the first offer, and the second one stands.
        let poll = (!idle).then_some(self.polls.get() as u16);
        for stream in spent.drain(..) {
            stream.withdraw(self, poll);
        }
        new.replace(spent);
        old.replace(standing);
    }

    /// The same before a sleep that is somebody else's: of those who run, nobody is left who would take
    /// what was offered.
    pub(crate) fn withdraw_offers_at_rest(&self) {
        if self.ready.is_empty() {
            self.withdraw_offers();
        }
    }

    pub(crate) fn flush_dirty(&self) {
        if !self.has_dirty() {
            return;
        }
        let mut dirty = self.dirty.take();
        let mut rest = dirty.drain(..);
        self.to_the_end(|| {
            while !self.state.interrupted()
                && let Some(stream) = rest.next()
            {
                if stream.flush_deferred(self) {
                    self.lazy.borrow_mut().push(stream);
                }
            }
        });
        // Flushing may have made streams dirty again: a protocol that was told to go on has written. And if it
        // has interrupted the run, others have not been flushed.
        let mut new = self.dirty.borrow_mut();
        new.extend(rest);
        dirty.append(&mut new);
        *new = dirty;
    }

    /// Whether streams wait for the next flush.
    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.borrow().is_empty()
    }

    /// After a poll: tells the streams whose lazy sends are over. Those that need another look get an event.
    pub(super) fn settle_lazy(&self, events: &mut Vec<Event>) {
        if self.lazy.borrow().is_empty() {
            return;
        }
        let (mut lazy, mut sent) = (self.lazy.take(), self.lazily_sent.take());
        self.driver.borrow_mut().lazily_sent(&mut sent);
        debug_assert!(sent.len() <= lazy.len(), "each lazy send is told once");
        let over = sent.len().min(lazy.len());
        for (stream, sent) in lazy.drain(..over).zip(sent.drain(..)) {
            if let Some(sent) = stream.on_lazily_sent(self, sent) {
                events.push(sent);
            }
        }
        self.lazily_sent.set(sent);
        self.lazy.replace(lazy);
    }

    /// The run ends, and perhaps there is no other: what its last iteration wrote leaves now.
    pub(super) fn flush_at_rest(&self) {
        for stream in self.dirty.take() {
            stream.flush_at_rest();
        }
    }
}
