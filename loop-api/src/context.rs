//! Context variables: task-local values with copy-on-write snapshots (PEP 567's `contextvars`).
//!
//! Every thread has a current context. A task runs in a copy of the one in which it was created, a
//! callback in a copy of the one in which it was scheduled. Copying an unchanged context copies a
//! pointer; an empty one copies nothing.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

type Map = HashMap<usize, Arc<dyn Any + Send + Sync>>;

thread_local! {
    static CURRENT: Cell<Option<Arc<Map>>> = const { Cell::new(None) };
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
        CURRENT.with(|current| {
            let map = current.take();
            if map.is_none() {
                return Self(None);
            }
            let copy = map.clone();
            current.set(map);
            Self(copy)
        })
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
        let guard = Restore(CURRENT.replace(self.0));
        let result = f();
        drop(guard);
        result
    }
}

struct Restore(Option<Arc<Map>>);

impl Drop for Restore {
    #[inline]
    fn drop(&mut self) {
        let inner = CURRENT.replace(self.0.take());
        if inner.is_some() {
            // Dropping values may run user code that reads a context variable: after the restore.
            drop(inner);
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} variables)", self.0.as_ref().map_or(0, |map| map.len()))
    }
}

/// A context as an object: several tasks given the same one see each other's changes (CTX-03).
#[derive(Clone, Default)]
pub struct Context(Rc<RefCell<Snapshot>>);

impl Context {
    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of the current context (Python's `copy_context()`).
    #[must_use]
    pub fn copy_current() -> Self {
        Self::from(Snapshot::current())
    }

    /// Runs `f` inside this context and keeps what it changes.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let guard = self.enter();
        let result = f();
        drop(guard);
        result
    }

    /// A copy of what it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.borrow().clone()
    }

    fn enter(&self) -> ContextGuard<'_> {
        let inner = self.0.borrow_mut().0.take();
        ContextGuard { context: self, outer: CURRENT.replace(inner) }
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

struct ContextGuard<'a> {
    context: &'a Context,
    outer: Option<Arc<Map>>,
}

impl Drop for ContextGuard<'_> {
    fn drop(&mut self) {
        let inner = CURRENT.replace(self.outer.take());
        *self.context.0.borrow_mut() = Snapshot(inner);
    }
}

/// What a task runs in: a private copy, or a context shared on purpose.
pub(crate) enum TaskContext {
    Own(Cell<Snapshot>),
    Shared(Context),
}

impl TaskContext {
    pub(crate) fn new(shared: Option<Context>) -> Self {
        match shared {
            Some(context) => Self::Shared(context),
            None => Self::Own(Cell::new(Snapshot::current())),
        }
    }

    /// Runs one step of the task inside its context and keeps what the step changed.
    pub(crate) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        match self {
            Self::Own(own) => {
                let guard = OwnGuard { own, outer: CURRENT.replace(own.take().0) };
                let result = f();
                drop(guard);
                result
            }
            Self::Shared(context) => context.run(f),
        }
    }

    /// A copy of what the task would see now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        match self {
            Self::Own(own) => {
                let inner = own.take();
                let copy = inner.clone();
                own.set(inner);
                copy
            }
            Self::Shared(context) => context.snapshot(),
        }
    }

    pub(crate) fn clear(&self) {
        if let Self::Own(own) = self {
            drop(own.take());
        }
    }
}

struct OwnGuard<'a> {
    own: &'a Cell<Snapshot>,
    outer: Option<Arc<Map>>,
}

impl Drop for OwnGuard<'_> {
    fn drop(&mut self) {
        self.own.set(Snapshot(CURRENT.replace(self.outer.take())));
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
#[derive(Clone, Debug)]
pub struct ContextVar<T> {
    key: Arc<str>,
    _value: std::marker::PhantomData<fn() -> T>,
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
        let map = CURRENT.take();
        let entry = map.as_ref().and_then(|map| map.get(&self.id()).cloned());
        CURRENT.set(map);
        entry.and_then(|entry| entry.downcast_ref::<Entry<T>>().map(|entry| entry.value.clone()))
    }

    /// Sets the value in the current context; returns the value it replaces.
    pub fn set(&self, value: T) -> Option<T> {
        let old = self.get();
        let entry = Arc::new(Entry { _key: self.key.clone(), value });
        let mut map = CURRENT.take().unwrap_or_default();
        Arc::make_mut(&mut map).insert(self.id(), entry);
        CURRENT.set(Some(map));
        old
    }
}

/// Holds the key's allocation as well, so that its address is not reused while a value exists.
struct Entry<T> {
    _key: Arc<str>,
    value: T,
}
