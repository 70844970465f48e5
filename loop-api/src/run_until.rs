//! Running a loop until something is done.

use std::cell::Cell;
use std::rc::Rc;

use crate::completion::Completion;
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::future::CallbackId;

/// Runs the loop until `completion` is done; whatever happens, no stop is left behind (LIFE-12).
pub(crate) fn run_until<L, C>(lp: &L, completion: &C) -> Result<()>
where
    L: EventLoop + ?Sized,
    C: Completion,
{
    let weak = lp.state().weak();
    // The callback may be in the queue already when the run ends for another reason.
    let wanted = Rc::new(Cell::new(true));
    let still_wanted = wanted.clone();
    let stop = completion.on_done(Box::new(move || {
        if let (true, Some(lp)) = (still_wanted.get(), weak.upgrade()) {
            lp.stop();
        }
    }));
    let over = RunOver { completion, stop, wanted };
    let ran = lp.run_forever();
    drop(over);
    ran?;
    if !completion.is_done() {
        return Err(Error::usage(
            "run_until_complete: the event loop was stopped before the future was done",
        ));
    }
    Ok(())
}

/// The run has ended, perhaps by a panic that left it: completion stops nothing any more.
struct RunOver<'a, C: Completion> {
    completion: &'a C,
    stop: CallbackId,
    wanted: Rc<Cell<bool>>,
}

impl<C: Completion> Drop for RunOver<'_, C> {
    fn drop(&mut self) {
        self.wanted.set(false);
        self.completion.forget(self.stop);
    }
}
