//! The unfinished tasks of a loop.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use slab::Slab;

use crate::dump::Activity;
use crate::elsewhere::Elsewhere;
use crate::event_loop::EventLoop;
use crate::task_cell::DynTask;
use crate::task_core::TaskCore;

/// The table of a loop's unfinished tasks: the loop owns them. Every task has hold of the table, by
/// which it also finds the loop.
#[derive(Default)]
pub(crate) struct Tasks {
    lp: OnceCell<Weak<dyn EventLoop>>,
    table: RefCell<Slab<Rc<DynTask>>>,
    /// Whether the activity is kept up.
    pub(crate) observed: Cell<bool>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) elsewhere: Elsewhere,
}

impl Tasks {
    /// Says which loop it is; the first time counts.
    pub(crate) fn bind(&self, lp: Weak<dyn EventLoop>) {
        self.lp.get_or_init(|| lp);
    }

    /// The loop, if it still exists.
    #[inline]
    pub(crate) fn lp(&self) -> Option<Rc<dyn EventLoop>> {
        self.lp.get()?.upgrade()
    }

    /// The loop owns `task` from now on.
    #[inline]
    pub(crate) fn insert(&self, task: Rc<DynTask>) {
        if self.observed.get() {
            self.activity.note(task.core.info());
        }
        let mut table = self.table.borrow_mut();
        let vacant = table.vacant_entry();
        // The tasks alone would take half a terabyte.
        task.core.index.set(u32::try_from(vacant.key()).expect("fewer than 2^32 tasks"));
        vacant.insert(task);
    }

    /// `task` is finished; its owner's reference, if there is one.
    #[inline]
    pub(crate) fn remove(&self, task: &TaskCore) -> Option<Rc<DynTask>> {
        if self.observed.get() {
            self.activity.forget(task.id);
        }
        self.table.borrow_mut().try_remove(task.index.get() as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.borrow().len()
    }

    pub(crate) fn all(&self) -> Vec<Rc<DynTask>> {
        self.table.borrow().iter().map(|(_, task)| task.clone()).collect()
    }

    /// Takes every task out.
    pub(crate) fn take(&self) -> Vec<Rc<DynTask>> {
        self.table.borrow_mut().drain().collect()
    }
}
