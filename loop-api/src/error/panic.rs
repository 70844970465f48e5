//! What a panic leaves behind.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// A caught panic: its message, and the payload for whoever takes it first.
#[derive(Clone)]
pub struct Panic(Arc<Caught>);

struct Caught {
    message: Box<str>,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The payload is the user's, and whoever has caught the panic must not meet another one of its destructor.
impl Drop for Caught {
    fn drop(&mut self) {
        let payload = self.payload.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // That may have such a destructor as well, and so on.
            mem::forget(again);
        }
    }
}

impl Panic {
    /// Wraps what [`std::panic::catch_unwind`] returned.
    #[must_use]
    pub fn new(payload: Box<dyn Any + Send>) -> Self {
        let message: Box<str> = if let Some(text) = payload.downcast_ref::<&'static str>() {
            (*text).into()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.as_str().into()
        } else {
            "a payload that is not text".into()
        };
        Self(Arc::new(Caught { message, payload: Mutex::new(Some(payload)) }))
    }

    /// Calls `f`, which is other people's code, and catches its panic. What it was changing may be half done.
    ///
    /// ```
    /// use anyloop_api::Panic;
    /// assert_eq!(Panic::catch(|| 6 * 7).unwrap(), 42);
    /// assert_eq!(Panic::catch(|| panic!("oh no")).unwrap_err().message(), "oh no");
    /// ```
    ///
    /// # Errors
    /// The panic.
    #[inline]
    pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Self> {
        catch_unwind(AssertUnwindSafe(f)).map_err(Self::new)
    }

    /// What the panic said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The payload, for [`std::panic::resume_unwind`]; `None` if somebody took it before.
    #[must_use]
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.0.payload.lock().map_or(None, |mut slot| slot.take())
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.0.message).finish()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.0.message)
    }
}

impl StdError for Panic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_ends_there() {
        struct Chain(u8);
        impl Drop for Chain {
            fn drop(&mut self) {
                if self.0 > 0 {
                    std::panic::panic_any(Self(self.0 - 1));
                }
            }
        }
        let panic = Panic::new(Box::new(Chain(3)));
        drop(panic.clone());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(panic))).is_ok());
    }
}
