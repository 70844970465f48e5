//! Debug mode: what took too long, and what was left open. Introspection: which callback runs, and a
//! dump now and then. With both off, nothing in here runs.

use std::rc::Rc;
use std::time::Duration;

use anyloop_api::{EventLoop, EventLoopExt, LoopInstant, Report, observe_step};

use rustix::time::{ClockId, clock_gettime};

use crate::base::BaseLoop;
use crate::driver::Event;
use crate::ready::Entry;
use crate::sources::Source;

/// How many times as long as it took to take a dump the next one has to wait.
const DUMP_SHARE: u32 = 20;

impl BaseLoop {
    /// Runs an entry and complains if it took too long (DBG-02).
    pub(crate) fn run_observed(&self, entry: Entry) {
        let activity = self.state().activity().clone();
        let begin = self.publish_dump();
        match entry {
            Entry::Handle(handle) => {
                activity.begin(Some(handle.created()), None);
                self.run_entry(Entry::Handle(handle.clone()));
                activity.end();
                self.complain(begin, |took| {
                    Report::warning(format!("a callback took {took:?}")).handle(handle)
                });
            }
            Entry::Task(runnable) => {
                activity.begin(None, None);
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
            Entry::Call(call) => {
                activity.begin(Some(call.created()), None);
                self.run_entry(Entry::Call(call.clone()));
                activity.end();
                self.complain(begin, |took| {
                    Report::warning(format!("a callback took {took:?}")).handle(call.stand_in())
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
        let begin = self.publish_dump();
        activity.begin(None, Some(what.clone()));
        source.on_event(event);
        activity.end();
        self.complain(begin, |took| {
            Report::warning(format!("the I/O callback of {what} took {took:?}"))
        });
    }

    /// Takes a dump for those who ask while a callback does not return (DBG-08), unless the last one
    /// took more than a twentieth of the time since. Returns the time at which the callback begins.
    fn publish_dump(&self) -> LoopInstant {
        let begin = self.time();
        if begin < self.next_dump.get() {
            return begin;
        }
        let worked = cpu_time();
        self.state().activity().publish(self.dump());
        let end = self.time();
        self.next_dump.set(end + cpu_time().saturating_sub(worked) * DUMP_SHARE);
        end
    }

    fn complain(&self, begin: LoopInstant, report: impl FnOnce(Duration) -> Report) {
        let took = self.time() - begin;
        if self.state().debug() && took >= self.state().slow_callback_duration() {
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

/// That of this thread: what else the machine does is no reason to take fewer dumps.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
