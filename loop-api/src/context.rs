//! Context variables: task-local values with copy-on-write snapshots (PEP 567's `contextvars`).
//!
//! Every thread has a current context. A task runs in a copy of the one in which it was created, a
//! callback in a copy of the one in which it was scheduled. Copying an unchanged context copies a
//! pointer; an empty one copies nothing.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;

use crate::current::{in_step, with_current};

type Map = HashMap<usize, Arc<dyn Any + Send + Sync>>;

thread_local! {
    /// None is an empty context, which is the usual one: of the task whose step this is, or private.
    ///
    /// Without a destructor, so that looking costs no check whether it has run: `CLEANUP` drops what a
    /// thread leaves here.
    static CURRENT: ManuallyDrop<Cell<Option<Context>>> =
        const { ManuallyDrop::new(Cell::new(None)) };
    static CLEANUP: Cleanup = const { Cleanup };
}

struct Cleanup;

impl Drop for Cleanup {
    fn drop(&mut self) {
        let left = CURRENT.with(|current| current.take());
        drop(left);
    }
}

/// The current context.
#[inline]
fn current() -> Option<Context> {
    CURRENT.with(|current| {
        let context = current.take()?;
        current.set(Some(context.clone()));
        Some(context)
    })
}

#[inline]
fn replace(context: Option<Context>) -> Option<Context> {
    CURRENT.with(|current| current.replace(context))
}

/// Makes this the current context until the guard is dropped.
#[inline]
fn enter(context: Option<Context>) -> Restore {
    Restore(replace(context))
}

/// The same for user code that may be in the middle of a step.
#[inline]
pub(crate) fn enter_nested(context: Option<Context>) -> Restore {
    enter(if in_step() { Some(nested(context)) } else { context })
}

/// Inside a step, no context at all means the task's own, which is made before it is hidden.
#[cold]
fn nested(context: Option<Context>) -> Context {
    with_current(|task| task.core.get_context());
    context.unwrap_or_default()
}

/// The context further out, which is the current one again when this goes.
pub(crate) struct Restore(Option<Context>);

impl Drop for Restore {
    #[inline]
    fn drop(&mut self) {
        let inner = replace(self.0.take());
        if inner.is_some() {
            // Dropping values may run user code that reads a context variable: after the restore.
            drop(inner);
        }
    }
}

/// An immutable copy of a context: what a callback captures. `Send`, so that it can follow work to
/// another thread.
#[derive(Clone, Default)]
pub struct Snapshot(Option<Arc<Map>>);

impl Snapshot {
    /// Of this thread's current context.
    #[must_use]
    #[inline]
    pub fn current() -> Self {
        let Some(context) = current() else { return Self(None) };
        context.snapshot()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Runs `f` with this as the current context; what `f` changes is gone afterwards, also when it
    /// panics (CTX-09).
    #[inline]
    pub fn run<R>(self, f: impl FnOnce() -> R) -> R {
        let guard = enter_nested(self.into_context());
        let result = f();
        drop(guard);
        result
    }

    /// As a context of its own; none for the empty one.
    #[inline]
    pub(crate) fn into_context(self) -> Option<Context> {
        if self.is_empty() { None } else { Some(Context::from(self)) }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} variables)", self.0.as_ref().map_or(0, |map| map.len()))
    }
}

/// A context as an object: several tasks given the same one see each other's changes (CTX-03).
#[derive(Clone)]
pub struct Context(Rc<RefCell<Snapshot>>);

impl Context {
    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::from(Snapshot::default())
    }

    /// A copy of the current context (Python's `copy_context()`).
    #[must_use]
    pub fn copy_current() -> Self {
        Self::from(Snapshot::current())
    }

    /// Runs `f` inside this context and keeps what it changes, at once: code further out that is in the
    /// same context sees it.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let guard = enter_nested(Some(self.clone()));
        let result = f();
        drop(guard);
        result
    }

    /// A copy of what it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.borrow().clone()
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Snapshot> for Context {
    fn from(snapshot: Snapshot) -> Self {
        Self(Rc::new(RefCell::new(snapshot)))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

/// What a new task runs in: the one given, or a copy of the current one.
pub(crate) fn for_task(given: Option<Context>) -> Option<Context> {
    given.or_else(|| Snapshot::current().into_context())
}

/// Runs one step of a task inside its context and keeps what the step changed.
#[inline]
pub(crate) fn step<R>(context: Option<Context>, f: impl FnOnce() -> R) -> R {
    let guard = enter(context);
    let result = f();
    drop(guard);
    result
}

/// The task whose step this is has got a context: nothing hides one that is not made.
pub(crate) fn made(context: Context) {
    replace(Some(context));
}

/// The step goes on after that of another task, which may have asked for the context of this one.
pub(crate) fn resume(made: impl FnOnce() -> Option<Context>) {
    if current().is_none() {
        replace(made());
    }
}

/// A variable with one value per context.
///
/// ```
/// use anyloop_api::{Context, ContextVar};
/// let user = ContextVar::new("user");
/// user.set("ada");
/// let other = Context::copy_current();
/// other.run(|| user.set("grace"));
/// assert_eq!(user.get(), Some("ada"));
/// assert_eq!(other.run(|| user.get()), Some("grace"));
/// ```
#[derive(Clone)]
pub struct ContextVar<T> {
    key: Arc<str>,
    _value: std::marker::PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ContextVar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextVar({:?})", self.key)
    }
}

impl<T: Clone + Send + Sync + 'static> ContextVar<T> {
    /// A new variable, different from every other one, whatever the name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { key: name.into(), _value: std::marker::PhantomData }
    }

    /// The name given at creation.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.key
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.key).cast::<u8>().addr()
    }

    /// The value in the current context.
    #[must_use]
    pub fn get(&self) -> Option<T> {
        let context = current()?;
        let found = context.0.borrow().0.as_ref()?.get(&self.id()).cloned();
        value_of(&found?)
    }

    /// Sets the value in the current context; returns the value it replaces.
    pub fn set(&self, value: T) -> Option<T> {
        let context = current().unwrap_or_else(|| {
            with_current(|task| task.core.get_context()).unwrap_or_else(|| {
                let context = Context::new();
                let _ = CLEANUP.try_with(|_| ());
                replace(Some(context.clone()));
                context
            })
        });
        let entry = Arc::new(Entry { _key: self.key.clone(), value });
        let replaced = {
            let mut all = context.0.borrow_mut();
            Arc::make_mut(all.0.get_or_insert_default()).insert(self.id(), entry)
        };
        // Cloned and dropped here, where the code of the user that does so finds a context.
        value_of(&replaced?)
    }
}

fn value_of<T: Clone + 'static>(entry: &Arc<dyn Any + Send + Sync>) -> Option<T> {
    entry.downcast_ref::<Entry<T>>().map(|entry| entry.value.clone())
}

/// Holds the key's allocation as well, so that its address is not reused while a value exists.
struct Entry<T> {
    _key: Arc<str>,
    value: T,
}
