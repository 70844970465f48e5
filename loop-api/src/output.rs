//! What the output of a task says about how it has ended.

use std::any::{Any, TypeId};
use std::io;

use crate::error::{Cancelled, Error};

type Fallible<E> = Result<(), E>;
type Boxed = Box<dyn std::error::Error>;
type Sendable = Box<dyn std::error::Error + Send + Sync>;

/// Whether [`error_in`] may find something; decided when the program is compiled.
pub(crate) fn may_hold_error<T: 'static>() -> bool {
    let value = TypeId::of::<T>();
    value == TypeId::of::<Fallible<Error>>()
        || value == TypeId::of::<Fallible<io::Error>>()
        || value == TypeId::of::<Fallible<Boxed>>()
        || value == TypeId::of::<Fallible<Sendable>>()
        || value == TypeId::of::<Fallible<String>>()
}

/// The error inside an output of one of the usual shapes `Result<(), E>`: a detached task that
/// returns one must not lose it silently (TASK-16). Rust cannot ask "is this any `Result`?", so the
/// usual error types are listed.
pub(crate) fn error_in<T: 'static>(value: &T) -> Option<Error> {
    let value: &dyn Any = value;
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Error>>() {
        return Some(error.clone());
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<io::Error>>() {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Boxed>>() {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Sendable>>() {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<String>>() {
        return Some(Error::failed(error.clone()));
    }
    None
}

/// Whether [`error_in`] finds something; makes no text of the error, which is code of the user.
pub(crate) fn holds_error<T: 'static>(value: &T) -> bool {
    fn failed<E: 'static>(value: &dyn Any) -> bool {
        matches!(value.downcast_ref::<Fallible<E>>(), Some(Err(_)))
    }
    failed::<Error>(value)
        || failed::<io::Error>(value)
        || failed::<Boxed>(value)
        || failed::<Sendable>(value)
        || failed::<String>(value)
}

/// The cancellation inside an output of one of these shapes: a body that ends with `Cancelled` makes
/// a cancelled task (CANCEL-15). All of this is decided when the program is compiled.
pub(crate) fn cancelled_in<T: 'static>(value: &T) -> Option<Cancelled> {
    let value: &dyn Any = value;
    if let Some(Err(cancelled)) = value.downcast_ref::<Fallible<Cancelled>>() {
        return Some(cancelled.clone());
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Error>>() {
        return cancellation(error);
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<io::Error>>() {
        return cancellation(error.get_ref()?);
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Boxed>>() {
        return cancellation(&**error);
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Sendable>>() {
        return cancellation(&**error);
    }
    None
}

fn cancellation(error: &(dyn std::error::Error + 'static)) -> Option<Cancelled> {
    match error.downcast_ref::<Error>() {
        Some(Error::Cancelled(cancelled)) => Some(cancelled.clone()),
        Some(_) => None,
        None => error.downcast_ref::<Cancelled>().cloned(),
    }
}
