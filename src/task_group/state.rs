//! What happens in a task group: its body, its children, and what they end with.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, Waker};

use anyloop_api::{
    AnyTask, CallbackId, CancelScope, Cancellable, Cancelled, Error, ErrorGroup, LoopRef, Observer,
    Report, Result, catch_cancel, catch_panic, clear_waiter, current_task, set_waiter,
};
use slab::Slab;

use super::ending::{Body, Ending, no_value};

const BESIDE_A_PANIC: &str = "a task group failed with a panic or an interrupt, and with this";
const LEFT_BEHIND: &str = "a task group was dropped before its end, and had failed with this";

/// What the handles of one group share.
pub(super) struct State {
    stage: Cell<Stage>,
    /// Everybody has been told to end; no new children.
    aborting: Cell<bool>,
    children: RefCell<Slab<Child>>,
    errors: RefCell<Vec<Error>>,
    /// The first failure that is not to be wrapped.
    bare: RefCell<Option<Error>>,
    /// The body's.
    scope: RefCell<Option<CancelScope>>,
    /// The group has cancelled the body.
    requested: Cell<bool>,
    lp: RefCell<Option<LoopRef>>,
    waker: RefCell<Option<Waker>>,
}

struct Child {
    task: AnyTask,
    watch: CallbackId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    /// The body runs.
    Body,
    /// The body has ended.
    Waiting,
    Over,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            stage: Cell::new(Stage::New),
            aborting: Cell::new(false),
            children: RefCell::default(),
            errors: RefCell::default(),
            bare: RefCell::new(None),
            scope: RefCell::new(None),
            requested: Cell::new(false),
            lp: RefCell::new(None),
            waker: RefCell::new(None),
        }
    }

    pub(super) fn lp(&self) -> Option<LoopRef> {
        self.lp.borrow().clone()
    }

    /// How many children have not ended.
    pub(super) fn children(&self) -> usize {
        self.children.borrow().len()
    }

    pub(super) fn cancel(&self) {
        if self.stage.get() != Stage::Over {
            self.abort();
        }
    }

    pub(super) fn check_accepting(&self) -> Result<()> {
        let reason = match self.stage.get() {
            Stage::New => "the group was not entered yet",
            Stage::Over => "the group has ended",
            _ if self.aborting.get() => "the group is shutting down",
            _ => return Ok(()),
        };
        Err(Error::Usage(format!("TaskGroup::create_task: {reason}").into()))
    }

    pub(super) fn adopt(self: &Rc<Self>, task: AnyTask) {
        if task.done() {
            // An eager child that never suspended.
            self.ended(&task);
            return;
        }
        let mut children = self.children.borrow_mut();
        let entry = children.vacant_entry();
        let watch = task.observe(self.clone(), entry.key());
        entry.insert(Child { task: task.clone(), watch });
        drop(children);
        if self.aborting.get() {
            // Its own eager step has ended the group.
            task.cancel();
        }
    }

    /// A child has ended, in whatever way.
    fn ended(&self, task: &AnyTask) {
        let Ok(Some(error)) = task.exception() else { return };
        if matches!(error, Error::Interrupt(_) | Error::Panicked(_)) {
            self.bare.borrow_mut().get_or_insert(error.clone());
        }
        self.errors.borrow_mut().push(error);
        self.abort();
    }

    /// Tells everybody to end, once.
    fn abort(&self) {
        if self.aborting.replace(true) {
            return;
        }
        let children = self.children.borrow();
        let tasks: Vec<AnyTask> = children.iter().map(|(_, child)| child.task.clone()).collect();
        drop(children);
        let before: Vec<usize> = tasks.iter().map(AnyTask::cancelling).collect();
        self.cancel_body();
        for (task, before) in tasks.into_iter().zip(before) {
            // The body may have passed its cancellation on to a child that it waits for.
            if task.cancelling() == before {
                task.cancel();
            }
        }
    }

    fn cancel_body(&self) {
        let scope = self.scope.borrow().clone();
        if let Some(scope) = scope.filter(|_| self.stage.get() == Stage::Body) {
            self.requested.set(scope.cancel(Cancelled::new()));
        }
    }

    pub(super) async fn run<T: 'static>(
        self: Rc<Self>,
        body: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(task) = current_task() else {
            return Err(Error::usage("task_group: not inside a task"));
        };
        if self.stage.get() != Stage::New {
            return Err(Error::usage("task_group: a group is entered only once"));
        }
        *self.lp.borrow_mut() = task.get_loop();
        let mut left = LeftBehind { state: &self, ending: None };
        let ending = self.run_body(body).await;
        self.stage.set(Stage::Waiting);
        if ending.is_bad() {
            self.abort();
        }
        let kept = left.ending.insert(ending);
        self.wait_for_children(kept).await;
        self.stage.set(Stage::Over);
        let ending = left.ending.take();
        drop(left);
        // It was put there above.
        self.conclude(ending.unwrap_or_default()).await
    }

    async fn run_body<T>(&self, body: impl Future<Output = Result<T>>) -> Ending<T> {
        let mut body = pin!(catch_cancel(catch_panic(body)));
        let (mut requests, mut polled_by) = (0, None);
        let ended = poll_fn(|cx| {
            if let Some(task) = current_task()
                && polled_by != Some(task.id())
            {
                // Before the first poll of this task: an eager child may fail in it.
                polled_by = Some(task.id());
                let scope = body.as_mut().scope();
                requests = scope.as_ref().map_or(0, CancelScope::outer_requests);
                let left = self.scope.replace(scope);
                if let Some(left) = left.filter(|_| self.requested.take()) {
                    left.withdraw();
                }
                self.stage.set(Stage::Body);
                if self.aborting.get() {
                    self.cancel_body();
                }
            }
            body.as_mut().poll(cx)
        })
        .await;
        let scope = self.scope.borrow_mut().take();
        let remaining = match &scope {
            Some(scope) if self.requested.get() => scope.withdraw(),
            _ => usize::MAX,
        };
        let mut ending = Ending::default();
        match ended {
            Ok(Ok(output)) => ending.body = Body::Output(output),
            Ok(Err(payload)) => ending.body = Body::Panicked(payload),
            // The group's own request, and nobody else's.
            Err(_) if remaining <= requests => {}
            Err(cancelled) => ending.foreign = scope.map(|scope| (scope, cancelled)),
        }
        ending
    }

    /// TG-09: whatever comes meanwhile, all of them end first.
    async fn wait_for_children<T>(self: &Rc<Self>, ending: &mut Ending<T>) {
        while !self.children.borrow().is_empty() {
            let mut waiting = pin!(catch_cancel(AllEnded(self.clone())));
            let mut scope = None;
            let ended = poll_fn(|cx| {
                scope = waiting.as_mut().scope();
                waiting.as_mut().poll(cx)
            })
            .await;
            if let Err(cancelled) = ended {
                ending.foreign = scope.map(|scope| (scope, cancelled));
                self.abort();
            }
        }
    }

    async fn conclude<T: 'static>(&self, ending: Ending<T>) -> Result<T> {
        let mut errors = self.errors.take();
        let mut bare = self.bare.take();
        let mut value = None;
        let mut cancelled = None;
        match ending.body {
            Body::Output(output) => match output {
                Ok(output) => value = Some(output),
                Err(Error::Cancelled(reason)) => cancelled = Some(reason),
                Err(error) => {
                    if matches!(error, Error::Interrupt(_) | Error::Panicked(_)) {
                        bare.get_or_insert_with(|| error.clone());
                    }
                    errors.push(error);
                }
            },
            Body::Panicked(payload) => {
                self.report(BESIDE_A_PANIC, &errors, None);
                resume_unwind(payload);
            }
            Body::Cancelled => {}
        }
        if !errors.is_empty() {
            // They come first; the cancellation hits the next suspension (TG-07).
            if let Some((scope, cancelled)) = ending.foreign {
                scope.put_back(cancelled);
            }
            if let Some(bare) = bare {
                self.report(BESIDE_A_PANIC, &errors, Some(&bare));
                return Err(bare);
            }
            return Err(ErrorGroup::new("unhandled errors in a task group", errors).into());
        }
        if let Some((_, foreign)) = ending.foreign {
            return foreign.resume().await;
        }
        match (value, cancelled) {
            (Some(value), _) => Ok(value),
            (None, Some(reason)) => Err(reason.into()),
            (None, None) => no_value().ok_or_else(|| {
                Cancelled::with_message("the task group was cancelled before its body had a value")
                    .into()
            }),
        }
    }

    /// The failures beside one that comes bare (TG-16), or those of a group that nobody waits for.
    fn report(&self, message: &'static str, errors: &[Error], bare: Option<&Error>) {
        let lp = self.lp.borrow().clone();
        let Some(lp) = lp else { return };
        let mut bare = bare;
        for error in errors {
            let is_bare = matches!(error, Error::Interrupt(_) | Error::Panicked(_));
            if is_bare && bare.take().is_some() {
                continue;
            }
            lp.call_exception_handler(Report::new(message).exception(error.clone()));
        }
    }
}

/// The group's future is dropped before its end: the children are told, and nobody waits. What those failed
/// with that have ended is reported; the others speak for themselves.
struct LeftBehind<'a, T> {
    state: &'a Rc<State>,
    /// How the body has ended.
    ending: Option<Ending<T>>,
}

impl<T> Drop for LeftBehind<'_, T> {
    fn drop(&mut self) {
        let state = self.state;
        if state.stage.replace(Stage::Over) == Stage::Over {
            return;
        }
        let scope = state.scope.borrow_mut().take();
        if let Some(scope) = scope.filter(|_| state.requested.get()) {
            scope.withdraw();
        }
        state.abort();
        for child in state.children.take().drain() {
            child.task.remove_done_callback(child.watch);
        }
        let mut errors = state.errors.take();
        errors.extend(self.ending.take().and_then(Ending::failure));
        // The run has ended with it (EXC-09).
        errors.retain(|error| !matches!(error, Error::Interrupt(_)));
        state.report(LEFT_BEHIND, &errors, None);
    }
}

impl Observer for State {
    fn done(self: Rc<Self>, number: usize) {
        let child = self.children.borrow_mut().try_remove(number);
        if let Some(child) = child {
            self.ended(&child.task);
        }
        if self.children.borrow().is_empty() {
            let waker = self.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Cancellable for State {
    /// Nothing ends here: the group is told, and waits on.
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("task group, {} children", self.children.borrow().len())
    }

    fn tasks(&self) -> Vec<u64> {
        self.children.borrow().iter().map(|(_, child)| child.task.id()).collect()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.stage.get())?;
        if self.aborting.get() {
            f.write_str(" shutting down")?;
        }
        write!(f, ", {} children", self.children())
    }
}

/// Waits until no child is left.
struct AllEnded(Rc<State>);

impl Future for AllEnded {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        let state = &self.0;
        if state.children.borrow().is_empty() {
            return Poll::Ready(());
        }
        let old = state.waker.borrow_mut().replace(cx.waker().clone());
        drop(old);
        set_waiter(|| state.clone());
        Poll::Pending
    }
}

impl Drop for AllEnded {
    fn drop(&mut self) {
        clear_waiter(&self.0);
    }
}
