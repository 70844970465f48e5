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
        let mut rare = self.rare.take().unwrap_or_default();
        let result = f(&mut rare);
        self.rare.set(Some(rare));
        result
    }

    /// The same, if there is any.
    fn if_rare<R>(&self, f: impl FnOnce(&Rare) -> R) -> Option<R> {
        let rare = self.rare.take();
        let result = rare.as_deref().map(f);
        self.rare.set(rare);
        result
    }

    /// The water marks of writing, low and high.
    pub(super) fn limits(&self) -> (usize, usize) {
        self.if_rare(|rare| rare.flow.limits()).unwrap_or(Flow::LIMITS)
    }

    /// Whether the protocol was told to pause writing.
    pub(super) fn is_writing_paused(&self) -> bool {
        self.if_rare(|rare| rare.flow.is_paused()).unwrap_or(false)
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
        self.if_rare(|rare| rare.transfer.clone())?
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
