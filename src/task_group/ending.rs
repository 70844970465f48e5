//! How the body of a task group ended.

use std::any::Any;

use anyloop_api::{CancelScope, Cancelled, Error, Panic, Result};

/// `()`, if that is what is asked for.
pub(super) fn no_value<T: 'static>() -> Option<T> {
    let mut value = None::<T>;
    if let Some(unit) = (&mut value as &mut dyn Any).downcast_mut::<Option<()>>() {
        *unit = Some(());
    }
    value
}

/// How the body ended, and a cancellation that is not the group's.
pub(super) struct Ending<T> {
    pub(super) body: Body<T>,
    pub(super) foreign: Option<(CancelScope, Cancelled)>,
}

impl<T> Default for Ending<T> {
    fn default() -> Self {
        Self { body: Body::Cancelled, foreign: None }
    }
}

pub(super) enum Body<T> {
    Output(Result<T>),
    Panicked(Box<dyn Any + Send>),
    Cancelled,
}

impl<T> Ending<T> {
    /// What the body has failed with; a cancellation is no failure.
    pub(super) fn failure(self) -> Option<Error> {
        match self.body {
            Body::Output(output) => output.err().filter(|error| !error.is_cancelled()),
            Body::Panicked(payload) => Some(Panic::new(payload).into()),
            Body::Cancelled => None,
        }
    }

    pub(super) fn is_bad(&self) -> bool {
        match &self.body {
            Body::Output(output) => output.is_err(),
            Body::Panicked(_) | Body::Cancelled => true,
        }
    }
}
