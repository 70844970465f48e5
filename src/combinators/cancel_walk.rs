//! How a cancellation goes from a gather to its children, to what those gather, and so on.
//!
//! That may be deep, or a circle: this is a loop. A gather that is asked from inside the walk, by one of
//! its parents' children, takes its turn later.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use anyloop_api::Cancelled;

/// What has children that can be cancelled.
pub(crate) trait Parent {
    /// For the walk to note where it has met this.
    fn met(&self) -> &Cell<Option<usize>>;
    /// Cancels those that have not ended; true if any accepted.
    fn cancel_children(&self, reason: &Cancelled) -> bool;
}

/// One that the walk has met.
struct Step {
    parent: Rc<dyn Parent>,
    reason: Cancelled,
    /// Whose child waits for it; the first one has no such thing.
    from: usize,
}

#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
    /// Whose children are being cancelled.
    at: usize,
}

thread_local! {
    /// Empty between walks, so that it needs no destructor: there may be one at the end of the thread.
    static WALK: ManuallyDrop<RefCell<Walk>> = ManuallyDrop::default();
}

/// Cancels the children of `parent`, in the walk that is under way or in a new one; true if any accepts,
/// false if it waits for itself.
pub(crate) fn cancel_children(parent: Rc<dyn Parent>, reason: &Cancelled) -> bool {
    if let Some(met) = parent.met().get() {
        // On its way already, unless that way leads back here.
        return WALK.with(|walk| !walk.borrow().is_on_the_way(met));
    }
    let under_way = WALK.with(|walk| {
        let mut walk = walk.borrow_mut();
        parent.met().set(Some(walk.steps.len()));
        let from = walk.at;
        walk.steps.push(Step { parent, reason: reason.clone(), from });
        walk.steps.len() > 1
    });
    // Not finished, so that some child is not, and will accept it.
    under_way || walk()
}

/// Returns what became of the first step.
fn walk() -> bool {
    let _end = End;
    let mut accepted = false;
    for at in 0.. {
        let next = WALK.with(|walk| {
            let mut walk = walk.borrow_mut();
            walk.at = at;
            walk.steps.get(at).map(|step| (step.parent.clone(), step.reason.clone()))
        });
        let Some((parent, reason)) = next else { break };
        let took = parent.cancel_children(&reason);
        accepted |= at == 0 && took;
    }
    accepted
}

impl Walk {
    /// Whether what it met at `met` is where it is now, or led there.
    fn is_on_the_way(&self, met: usize) -> bool {
        let mut at = self.at;
        while at > met {
            at = self.steps[at].from;
        }
        at == met
    }
}

/// The walk is over, also if a waker panics.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let walk = WALK.with(|walk| walk.take());
        for step in &walk.steps {
            step.parent.met().set(None);
        }
    }
}
