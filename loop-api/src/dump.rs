//! What a loop is doing: a list of its tasks, and the callback it is in, readable from any thread.

use std::fmt;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::state::LoopState;

/// The unfinished tasks of a loop, with what they wait for (asyncio's `print_call_graph` for all of
/// them). Plain data: it may go to another thread; [`Display`](fmt::Display) is for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The loop's number.
    pub loop_id: u64,
    /// The loop's backend.
    pub backend: &'static str,
    /// Whether it was running.
    pub running: bool,
    /// The tasks, oldest first.
    pub tasks: Vec<TaskInfo>,
}

/// One unfinished task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// A number that no other task of the process has.
    pub id: u64,
    /// The label.
    pub name: String,
    /// Where it was created.
    pub created: &'static Location<'static>,
    /// How far it is.
    pub state: TaskState,
    /// How many cancellation requests are outstanding.
    pub cancelling: usize,
    /// What it is suspended on, in words, if that is known.
    pub awaits: Option<String>,
    /// The numbers of the tasks it waits for.
    pub awaits_tasks: Vec<u64>,
    /// The numbers of the tasks that wait for it.
    pub awaited_by: Vec<u64>,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// Its first step is still to come.
    Created,
    /// A step of it is on the stack.
    Running,
    /// It waits for something, or for its next turn.
    Suspended,
}

impl Dump {
    pub(crate) fn of(state: &LoopState) -> Self {
        let all = state.tasks.all();
        let mut tasks: Vec<_> = all.iter().map(|task| task.core.info()).collect();
        tasks.sort_by_key(|task| task.id);
        let edges: Vec<(u64, u64)> = tasks
            .iter()
            .flat_map(|task| task.awaits_tasks.iter().map(|awaited| (task.id, *awaited)))
            .collect();
        for task in &mut tasks {
            let waiting = edges.iter().filter(|(_, awaited)| *awaited == task.id);
            task.awaited_by = waiting.map(|(waiter, _)| *waiter).collect();
        }
        Self { loop_id: state.id(), backend: state.backend(), running: state.is_running(), tasks }
    }

    fn name(&self, id: u64) -> &str {
        let task = self.tasks.iter().find(|task| task.id == id);
        task.map_or("a task that is gone", |task| &task.name)
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = if self.running { "running" } else { "not running" };
        write!(f, "event loop {} ({}), {running}", self.loop_id, self.backend)?;
        write!(f, ", unfinished tasks: {}", self.tasks.len())?;
        for task in &self.tasks {
            let state = match task.state {
                TaskState::Created => "not started",
                TaskState::Running => "running",
                TaskState::Suspended => "suspended",
            };
            write!(f, "\n  {:?} {state}", task.name)?;
            if task.cancelling > 0 {
                write!(f, ", cancellation requests: {}", task.cancelling)?;
            }
            write!(f, ", created at {}", task.created)?;
            if let Some(awaits) = &task.awaits {
                write!(f, "\n    awaits {awaits}")?;
            }
            for waiter in &task.awaited_by {
                write!(f, "\n    awaited by {:?}", self.name(*waiter))?;
            }
        }
        Ok(())
    }
}

/// What a loop is executing at this moment. Kept up in debug mode only; readable from any thread, also
/// while a callback does not return.
#[derive(Debug, Default)]
pub struct Activity(Mutex<Option<Current>>);

#[derive(Debug)]
struct Current {
    task: Option<String>,
    created: Option<&'static Location<'static>>,
    since: Instant,
}

impl Activity {
    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A callback begins; where it was created, if that is known.
    pub fn begin(&self, created: Option<&'static Location<'static>>) {
        *self.lock() = Some(Current { task: None, created, since: Instant::now() });
    }

    /// It is the step of a task.
    pub(crate) fn is_task(&self, name: &str, created: &'static Location<'static>) {
        if let Some(current) = &mut *self.lock()
            && current.task.is_none()
        {
            current.task = Some(name.to_owned());
            current.created = Some(created);
        }
    }

    /// The callback returned.
    pub fn end(&self) {
        *self.lock() = None;
    }

    /// What is being executed, and for how long, in words.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let current = self.lock();
        let current = current.as_ref()?;
        let what = match &current.task {
            Some(name) => format!("a step of task {name:?}"),
            None => "a callback".into(),
        };
        let created = current.created.map(|at| format!(" created at {at}")).unwrap_or_default();
        Some(format!("{what}{created}, for {:?}", current.since.elapsed()))
    }
}
