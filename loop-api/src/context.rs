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
    static CURRENT: Cell<Active> = const { Cell::new(Active::Private(Snapshot(None))) };
}

/// Where this thread's variables are now.
enum Active {
    /// Nobody else sees them: a callback's copy, a task that has set none.
    Private(Snapshot),
    Shared(Context),
}

impl Default for Active {
    fn default() -> Self {
        Self::Private(Snapshot(None))
    }
}

impl Active {
    /// Looks at the current one. No user code runs inside `f`.
    #[inline]
    fn with<R>(f: impl FnOnce(&mut Self) -> R) -> R {
        CURRENT.with(|current| {
            let mut active = current.take();
            let result = f(&mut active);
            current.set(active);
            result
        })
    }

    /// The same, with the variables.
    fn with_variables<R>(f: impl FnOnce(&mut Snapshot) -> R) -> R {
        Self::with(|active| match active {
            Self::Private(own) => f(own),
            Self::Shared(context) => f(&mut context.0.borrow_mut()),
        })
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Private(Snapshot(None)))
    }

    /// Makes this the current one until the guard is dropped.
    #[inline]
    fn enter(self) -> Restore {
        Restore(CURRENT.replace(self))
    }
}

struct Restore(Active);

impl Drop for Restore {
    #[inline]
    fn drop(&mut self) {
        let inner = CURRENT.replace(std::mem::take(&mut self.0));
        if !inner.is_empty() {
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
        CURRENT.with(|current| {
            let active = current.take();
            if active.is_empty() {
                return Self(None);
            }
            let copy = match &active {
                Active::Private(own) => own.clone(),
                Active::Shared(context) => context.snapshot(),
            };
            current.set(active);
            copy
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
        let guard = Active::Private(self).enter();
        let result = f();
        drop(guard);
        result
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

    /// Runs `f` inside this context and keeps what it changes, at once: code further out that is in the
    /// same context sees it.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let guard = Active::Shared(self.clone()).enter();
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

/// What a task runs in; made when it is first needed, because most tasks never set a variable.
pub(crate) struct TaskContext(Cell<Option<Context>>);

impl TaskContext {
    /// The one given, or a copy of the current one.
    pub(crate) fn new(given: Option<Context>) -> Self {
        Self(Cell::new(given.or_else(|| {
            let copy = Snapshot::current();
            (!copy.is_empty()).then(|| Context::from(copy))
        })))
    }

    /// Runs one step of the task inside its context and keeps what the step changed.
    #[inline]
    pub(crate) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        match self.made() {
            Some(context) => context.run(f),
            None => {
                let guard = Unmade { own: self, outer: CURRENT.take() };
                let result = f();
                drop(guard);
                result
            }
        }
    }

    /// The context as an object. `current`: the task asks for its own.
    pub(crate) fn get(&self, current: bool) -> Context {
        if current {
            self.share();
        }
        self.made().unwrap_or_else(|| {
            let context = Context::new();
            self.0.set(Some(context.clone()));
            if current {
                Active::with(|active| {
                    if active.is_empty() {
                        *active = Active::Shared(context.clone());
                    }
                });
            }
            context
        })
    }

    /// A copy of what it holds now.
    pub(crate) fn snapshot(&self, current: bool) -> Snapshot {
        match self.made() {
            Some(context) => context.snapshot(),
            None if current => Snapshot::current(),
            None => Snapshot::default(),
        }
    }

    /// The task is being stepped, and others are about to look: what it has set so far is to be seen.
    pub(crate) fn share(&self) {
        if self.made().is_none() {
            Active::with(|active| {
                if let Active::Private(Snapshot(Some(map))) = active {
                    let context = Context::from(Snapshot(Some(map.clone())));
                    self.0.set(Some(context.clone()));
                    *active = Active::Shared(context);
                }
            });
        }
    }

    fn made(&self) -> Option<Context> {
        let context = self.0.take();
        let copy = context.clone();
        self.0.set(context);
        copy
    }
}

/// A step of a task without variables. What it sets becomes its context.
struct Unmade<'a> {
    own: &'a TaskContext,
    outer: Active,
}

impl Drop for Unmade<'_> {
    #[inline]
    fn drop(&mut self) {
        let inner = CURRENT.replace(std::mem::take(&mut self.outer));
        let Active::Private(set) = inner else { return };
        if set.is_empty() {
            return;
        }
        match self.own.made() {
            None => self.own.0.set(Some(Context::from(set))),
            Some(context) => drop(context.0.replace(set)),
        }
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
        let found = Active::with_variables(|all| all.0.as_ref()?.get(&self.id()).cloned());
        value_of(&found?)
    }

    /// Sets the value in the current context; returns the value it replaces.
    pub fn set(&self, value: T) -> Option<T> {
        let entry = Arc::new(Entry { _key: self.key.clone(), value });
        let replaced = Active::with_variables(|all| {
            Arc::make_mut(all.0.get_or_insert_default()).insert(self.id(), entry)
        });
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
