//! What few streams have, in a box of its own: an idle connection is to be small.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::names::Name;
use super::transfer::Wait;
use super::{HELD, Stream};
use crate::flow::Flow;

#[derive(Default)]
pub(super) struct Rare {
    /// Of writing: it was paused once, or the marks were set.
    pub(super) flow: Flow,
    held: Held,
    /// The file that is being sent.
    pub(super) transfer: Option<Rc<Wait>>,
    pub(super) own_name: Name,
    /// Writes after the connection was lost.
    pub(super) dead_writes: u8,
}

/// What arrived while nobody wanted it (TR-32).
#[derive(Default)]
pub(super) struct Held {
    pub(super) data: VecDeque<Vec<u8>>,
    pub(super) end: Option<Option<io::Error>>,
}

impl Stream {
    /// No user code runs inside `f`.
    pub(super) fn rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> R {
        f(self.rare.borrow_mut().get_or_insert_default())
    }

    /// The water marks of writing, low and high.
    pub(super) fn limits(&self) -> (usize, usize) {
        self.rare.borrow().as_ref().map_or(Flow::LIMITS, |rare| rare.flow.limits())
    }

    /// Whether the protocol was told to pause writing.
    pub(super) fn is_writing_paused(&self) -> bool {
        self.rare.borrow().as_ref().is_some_and(|rare| rare.flow.is_paused())
    }

    /// See [`Flow::should_pause`].
    pub(super) fn should_pause(&self) -> bool {
        let pending = self.pending();
        pending > self.limits().1 && self.rare(|rare| rare.flow.should_pause(pending))
    }

    /// See [`Flow::should_resume`].
    pub(super) fn should_resume(&self) -> bool {
        self.is_writing_paused() && self.rare(|rare| rare.flow.should_resume(self.pending()))
    }

    pub(super) fn transfer(&self) -> Option<Rc<Wait>> {
        self.rare.borrow().as_ref()?.transfer.clone()
    }

    /// Something is held from now on. No user code runs inside `f`.
    pub(super) fn held<R>(&self, f: impl FnOnce(&mut Held) -> R) -> R {
        self.set(HELD);
        self.rare(|rare| f(&mut rare.held))
    }

    /// Nothing is held any more.
    pub(super) fn take_held(&self) -> Held {
        if !self.has(HELD) {
            return Held::default();
        }
        self.clear(HELD);
        self.rare(|rare| std::mem::take(&mut rare.held))
    }
}
