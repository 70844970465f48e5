//! Closing a loop: nothing of the user's is left in it, whatever the destructors do.

use std::cell::RefCell;
use std::io::{self, Write as _};

use anyloop_api::Report;

use super::BaseLoop;
use crate::driver::{Closed, Driver};
use crate::ready::{self, Entry};

impl BaseLoop {
    /// Takes the driver out and leaves a dead one.
    pub(crate) fn replace_driver(&self) -> Box<dyn Driver> {
        self.driver.replace(Box::new(Closed::new(self.state.backend(), self.caps)))
    }

    pub(super) fn close_now(&self) {
        self.check_home();
        self.state.set_closed();
        // Else what posts itself again when it is dropped would never be gone.
        self.inbox.refuse_calls();
        self.ready.refuse_calls();
        let lp = self.state.weak().upgrade();
        let signals = self.signals.borrow_mut().take();
        self.quietly(|| drop(signals));
        let executor = self.executor.borrow_mut().take();
        if let Some(executor) = executor {
            self.quietly(|| executor.shutdown());
        }
        self.state.abort_tasks(lp.as_ref(), || {
            self.drain_inbox();
            self.discard_ready();
        });
        if self.state.debug() {
            self.warn_of_open();
        }
        for item in self.inbox.close() {
            self.ready.push(|| item.into());
        }
        self.free_spent();
        self.discard_ready();
        for timer in self.timers.take() {
            self.quietly(|| timer.cancel());
        }
        let watchers = std::mem::take(&mut *self.watchers.borrow_mut());
        for source in self.sources.all() {
            self.quietly(|| source.abandon());
        }
        drop(watchers);
        drop((self.dirty.take(), self.lazy.take()));
        drop(self.offers.each_ref().map(RefCell::take));
        self.quietly(|| drop(self.events.take()));
        self.quietly(|| drop(self.again.take()));
        self.discard_ready();
        self.driver.borrow_mut().shutdown();
        drop(self.replace_driver());
        ready::unregister_local(self.state.id());
    }

    /// Destructors of user code run here; they must not stop the close.
    fn quietly(&self, f: impl FnOnce()) {
        let _ = self.guard(f, |panic| {
            Report::new("a destructor panicked while the event loop was closing").exception(panic)
        });
    }

    fn discard_ready(&self) {
        while !self.ready.is_empty() {
            for entry in self.ready.batch(&mut Vec::new()) {
                self.quietly(|| match entry {
                    Entry::Handle(handle) => handle.cancel(),
                    // The task is marked as aborted: its step drops the future.
                    Entry::Task(runnable) => drop(runnable.run()),
                    Entry::Call(call) => drop(call.cancel()),
                    Entry::Events => {}
                });
            }
        }
    }
}

impl Drop for BaseLoop {
    fn drop(&mut self) {
        if !self.state.is_closed() {
            let _ = writeln!(
                io::stderr(),
                "anyloop: warning: an event loop was dropped without being closed: {:?}",
                self.state
            );
            self.close_now();
        }
    }
}
