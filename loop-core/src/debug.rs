//! Debug mode: what took too long, and what was left open. With debug mode off, nothing in here runs.

use std::rc::Rc;
use std::time::Duration;

use anyloop_api::{EventLoop, LoopInstant, Report, observe_step};

use crate::base::BaseLoop;
use crate::driver::Event;
use crate::ready::Entry;
use crate::sources::Source;

impl BaseLoop {
    /// Runs an entry and complains if it took too long (DBG-02).
    pub(crate) fn run_observed(&self, entry: Entry) {
        let activity = self.state().activity().clone();
        let begin = self.time();
        match entry {
            Entry::Handle(handle) => {
                activity.begin(Some(handle.created()));
                self.run_entry(Entry::Handle(handle.clone()));
                activity.end();
                self.complain(begin, |took| {
                    Report::warning(format!("a callback took {took:?}")).handle(handle)
                });
            }
            Entry::Task(runnable) => {
                activity.begin(None);
                let task = observe_step(|| self.run_entry(Entry::Task(runnable)));
                activity.end();
                self.complain(begin, |took| {
                    let what = task.as_ref().map(|task| format!("a step of {task:?}"));
                    let what = what.unwrap_or_else(|| "a step of a task".into());
                    let report = Report::warning(format!("{what} took {took:?}"));
                    match task {
                        Some(task) => report.source(task.created()).task(Some(task)),
                        None => report,
                    }
                });
            }
            // Each event is timed by itself.
            Entry::Events => self.run_entry(Entry::Events),
        }
    }

    /// The same for one event.
    pub(crate) fn dispatch_observed(&self, source: Rc<dyn Source>, event: Event) {
        let activity = self.state().activity().clone();
        // Described before: afterwards it may be closed.
        let what = source.describe();
        let begin = self.time();
        activity.begin(None);
        source.on_event(event);
        activity.end();
        self.complain(begin, |took| {
            Report::warning(format!("the I/O callback of {what} took {took:?}"))
        });
    }

    fn complain(&self, begin: LoopInstant, report: impl FnOnce(Duration) -> Report) {
        let took = self.time() - begin;
        if took >= self.state().slow_callback_duration() {
            self.call_exception_handler(report(took));
        }
    }

    /// The loop closes: names the transports and servers that are still open (DBG-05).
    pub(crate) fn warn_of_open(&self) {
        for source in self.sources.all() {
            if source.is_open() {
                self.call_exception_handler(Report::warning(format!(
                    "still open when the event loop was closed: {}",
                    source.describe()
                )));
            }
        }
    }
}
