//! What a loop is doing: a list of its tasks, timers, watchers and operations, readable from any
//! thread, also while a callback does not return.

use std::fmt;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::state::LoopState;

/// What a loop has: its unfinished tasks with what they wait for (asyncio's `print_call_graph` for all
/// of them), its timers, and everything the kernel does for it. Plain data: it may go to another
/// thread; [`Display`](fmt::Display) is for people.
///
/// # Examples
/// ```
/// # fn show(lp: &dyn anyloop_api::EventLoop) {
/// use anyloop_api::EventLoopExt;
///
/// let dump = lp.dump();
/// for task in &dump.tasks {
///     println!("{} awaits {:?}", task.name, task.awaits);
/// }
/// println!("{} timers\n{dump}", dump.timers.len());
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The loop's number.
    pub loop_id: u64,
    /// The loop's backend.
    pub backend: &'static str,
    /// Whether it was running.
    pub running: bool,
    /// For a loop that did not answer: the callback it is in.
    pub executing: Option<Executing>,
    /// How old everything but the tasks is: zero if the loop answered.
    pub age: Duration,
    /// The tasks, oldest first.
    pub tasks: Vec<TaskInfo>,
    /// The timers that are to be called, earliest first.
    pub timers: Vec<TimerInfo>,
    /// What is watched by `add_reader`, `add_writer` and `add_signal_handler`, in words.
    pub watchers: Vec<String>,
    /// Operations that wait for the kernel, in words: connects, and those of raw sockets.
    pub operations: Vec<String>,
    /// Transports, servers and child processes, in words.
    pub transports: Vec<String>,
    /// The state of the kernel interface, in words of the backend.
    pub driver: String,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// Its first step is still to come.
    Created,
    /// A step of it is on the stack.
    Running,
    /// It waits for something, or for its next turn.
    Suspended,
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "not started",
            Self::Running => "running",
            Self::Suspended => "suspended",
        })
    }
}

/// One pending timer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TimerInfo {
    /// How long until it is due; zero if it is.
    pub due_in: Duration,
    /// Where its callback was created.
    pub created: &'static Location<'static>,
}

impl TimerInfo {
    /// For loops, which list their timers.
    #[must_use]
    pub fn new(due_in: Duration, created: &'static Location<'static>) -> Self {
        Self { due_in, created }
    }
}

impl Dump {
    pub(crate) fn of(state: &LoopState) -> Self {
        let tasks = state.tasks.all().iter().map(|task| task.core.info()).collect();
        let mut dump = Self {
            loop_id: state.id(),
            backend: state.backend(),
            running: state.is_running(),
            executing: None,
            age: Duration::ZERO,
            tasks,
            timers: Vec::new(),
            watchers: Vec::new(),
            operations: Vec::new(),
            transports: Vec::new(),
            driver: String::new(),
        };
        dump.connect();
        dump
    }

    /// Sorts the tasks and tells each who waits for it.
    fn connect(&mut self) {
        self.tasks.sort_by_key(|task| task.id);
        let edges: Vec<(u64, u64)> = self
            .tasks
            .iter()
            .flat_map(|task| task.awaits_tasks.iter().map(|awaited| (task.id, *awaited)))
            .collect();
        for task in &mut self.tasks {
            task.awaited_by.clear();
        }
        for (waiter, awaited) in edges {
            if let Ok(at) = self.find(awaited) {
                self.tasks[at].awaited_by.push(waiter);
            }
        }
    }

    fn find(&self, id: u64) -> Result<usize, usize> {
        self.tasks.binary_search_by_key(&id, |task| task.id)
    }

    fn name(&self, id: u64) -> &str {
        self.find(id).map_or("a task that is gone", |at| &self.tasks[at].name)
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = if self.running { "running" } else { "not running" };
        write!(f, "event loop {} ({}), {running}", self.loop_id, self.backend)?;
        if let Some(executing) = &self.executing {
            write!(f, "\nit has been executing {executing}")?;
            write!(
                f,
                "\nit does not answer; its tasks now, the rest as it was {:?} ago",
                self.age
            )?;
        }
        write!(f, "\nunfinished tasks: {}", self.tasks.len())?;
        for task in &self.tasks {
            write!(f, "\n  {:?} {}", task.name, task.state)?;
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
        if !self.timers.is_empty() {
            write!(f, "\ntimers: {}", self.timers.len())?;
        }
        for timer in &self.timers {
            write!(f, "\n  in {:?}, created at {}", timer.due_in, timer.created)?;
        }
        let lists = [
            ("watchers", &self.watchers),
            ("operations in flight", &self.operations),
            ("transports and servers", &self.transports),
        ];
        for (what, list) in lists {
            if !list.is_empty() {
                write!(f, "\n{what}: {}", list.len())?;
            }
            for item in list {
                write!(f, "\n  {item}")?;
            }
        }
        if !self.driver.is_empty() {
            write!(f, "\ndriver: {}", self.driver)?;
        }
        Ok(())
    }
}

/// The callback that a loop is in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Executing {
    /// The task, if it is the step of one.
    pub task: Option<TaskInfo>,
    /// What is called, for a callback that the loop makes itself, in words.
    pub what: Option<String>,
    /// Where the callback or task was created, if that is known.
    pub created: Option<&'static Location<'static>>,
    /// For how long.
    pub time: Duration,
}

impl fmt::Display for Executing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.task, &self.what) {
            (Some(task), _) => write!(f, "a step of task {:?}", task.name)?,
            (None, Some(what)) => write!(f, "the callback of {what}")?,
            (None, None) => f.write_str("a callback")?,
        }
        if let Some(created) = self.created {
            write!(f, " created at {created}")?;
        }
        write!(f, ", for {:?}", self.time)
    }
}

/// What a loop is executing at this moment, and the last dump that it took of itself. Kept up while the
/// loop is [observed](LoopState::observed); readable from any thread, also while a callback does not
/// return.
#[derive(Debug, Default)]
pub struct Activity(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    current: Option<(Instant, Executing)>,
    last: Option<(Instant, Dump)>,
}

impl Activity {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A callback begins: where it was created, or what calls it, if that is known.
    pub fn begin(&self, created: Option<&'static Location<'static>>, what: Option<String>) {
        let executing = Executing { task: None, what, created, time: Duration::ZERO };
        self.lock().current = Some((Instant::now(), executing));
    }

    /// The step of a task begins; `first`: it is what the loop called.
    pub(crate) fn step(&self, task: TaskInfo, first: bool) {
        if first && let Some((_, executing)) = &mut self.lock().current {
            executing.created = Some(task.created);
            executing.task = Some(task.clone());
        }
        self.note(task);
    }

    /// A task is new, or a step of it begins or ends: brings the last dump up to date.
    pub(crate) fn note(&self, task: TaskInfo) {
        let mut seen = self.lock();
        let Some((_, dump)) = &mut seen.last else { return };
        match dump.find(task.id) {
            Ok(at) => dump.tasks[at] = task,
            Err(at) => dump.tasks.insert(at, task),
        }
    }

    /// A task is finished.
    pub(crate) fn forget(&self, id: u64) {
        let mut seen = self.lock();
        let Some((_, dump)) = &mut seen.last else { return };
        if let Ok(at) = dump.find(id) {
            dump.tasks.remove(at);
        }
    }

    /// The callback returned.
    pub fn end(&self) {
        let old = self.lock().current.take();
        drop(old);
    }

    /// Keeps `dump` for those who ask while the loop does not answer.
    pub fn publish(&self, dump: Dump) {
        let old = self.lock().last.replace((Instant::now(), dump));
        drop(old);
    }

    /// What is being executed.
    #[must_use]
    pub fn executing(&self) -> Option<Executing> {
        let seen = self.lock();
        let (since, executing) = seen.current.as_ref()?;
        Some(Executing { time: since.elapsed(), ..executing.clone() })
    }

    /// The last dump, its tasks brought up to date; `None` if nothing is being executed, or if none was
    /// published.
    #[must_use]
    pub fn last_dump(&self) -> Option<Dump> {
        let executing = self.executing()?;
        let (taken, mut dump) = self.lock().last.clone()?;
        dump.connect();
        dump.age = taken.elapsed();
        dump.executing = Some(executing);
        Some(dump)
    }
}
