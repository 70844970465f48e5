//! What the output of a child means: a value, a failure, a cancellation.

use std::any::Any;
use std::error::Error as StdError;

use anyloop_api::{Cancelled, Error, Result};

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// With a value.
    Value,
    /// Cancelled, which is no failure to task groups and to `FirstException`.
    Cancelled,
    /// With an error.
    Failed,
}

impl Fate {
    /// What an error says.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        if error.is_cancelled() { Self::Cancelled } else { Self::Failed }
    }
}

/// What a child of [`gather`](crate::gather), of a [`TaskGroup`](crate::TaskGroup) and the like may return.
///
/// A `Result` says whether the child failed, as an exception does in Python; its error may be of any type
/// that converts into `Box<dyn Error + Send + Sync>`, and is found again by
/// [`Error::downcast_ref`]. The usual plain types are successes. For a plain type of your own, return
/// `Result`, or say so: `impl anyloop::PlainOutput for Page {}`.
#[diagnostic::on_unimplemented(
    message = "a child that returns `{Self}` does not say whether it failed",
    note = "let it return a `Result<_, _>` whose error converts into `Box<dyn Error + Send + Sync>`",
    note = "or, if it cannot fail: `impl anyloop::PlainOutput for {Self} {{}}`"
)]
pub trait TaskOutput: 'static {
    /// What a success gives.
    type Value: 'static;

    /// The value or the error.
    ///
    /// # Errors
    /// The child's.
    fn into_result(self) -> Result<Self::Value>;

    /// Which of them it is.
    fn fate(&self) -> Fate;
}

impl<T, E> TaskOutput for std::result::Result<T, E>
where
    T: 'static,
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    type Value = T;

    fn into_result(self) -> Result<T> {
        self.map_err(Error::from_user)
    }

    fn fate(&self) -> Fate {
        let Err(error) = self else { return Fate::Value };
        let error: &dyn Any = error;
        match error.downcast_ref::<Error>() {
            Some(error) => Fate::of(error),
            None if error.is::<Cancelled>() => Fate::Cancelled,
            None => Fate::Failed,
        }
    }
}

/// A type that is nothing but a value: a child that returns it has succeeded.
pub trait PlainOutput: 'static {}

impl<T: PlainOutput> TaskOutput for T {
    type Value = T;

    fn into_result(self) -> Result<T> {
        Ok(self)
    }

    fn fate(&self) -> Fate {
        Fate::Value
    }
}

macro_rules! plain {
    ($($type:ty),+ $(,)?) => {
        $(impl PlainOutput for $type {})+
    };
}

macro_rules! plain_generic {
    ($($($name:ident)::+ <$($param:ident),+>,)+) => {
        $(impl<$($param: 'static),+> PlainOutput for $($name)::+<$($param),+> {})+
    };
}

plain!((), bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64);
plain!(String, &'static str, std::ffi::OsString, std::path::PathBuf);
plain!(std::time::Duration, std::time::Instant, std::time::SystemTime);
plain!(std::net::SocketAddr, std::net::IpAddr, anyloop_api::LoopInstant, anyloop_api::LoopRef);
plain!(std::borrow::Cow<'static, str>, anyloop_api::AnyTask);
plain_generic! {
    Option<T>, Vec<T>, Box<T>, std::rc::Rc<T>, std::sync::Arc<T>,
    std::collections::VecDeque<T>, std::collections::BTreeMap<K, V>, std::collections::BTreeSet<T>,
    std::collections::HashMap<K, V, S>, std::collections::HashSet<T, S>,
    anyloop_api::Task<T>, anyloop_api::LoopFuture<T>,
}

impl<T: 'static, const N: usize> PlainOutput for [T; N] {}

macro_rules! plain_tuples {
    ($($name:ident)+) => {
        impl<$($name: 'static),+> PlainOutput for ($($name,)+) {}
    };
}

plain_tuples!(A);
plain_tuples!(A B);
plain_tuples!(A B C);
plain_tuples!(A B C D);
plain_tuples!(A B C D E);
plain_tuples!(A B C D E F);

/// `!`, which has no name of its own yet: what a body returns that never ends. `Infallible` is another type for now,
/// but the same with newer compilers, which would refuse both.
type Never = <fn() -> ! as Returns>::Output;

trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

impl PlainOutput for Never {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_say_how_it_went() {
        let fates = [
            Ok::<u8, Error>(1).fate(),
            Err::<u8, Error>(Error::QueueEmpty).fate(),
            Err::<u8, Error>(Cancelled::new().into()).fate(),
            Err::<u8, Cancelled>(Cancelled::new()).fate(),
            Err::<u8, String>("no".into()).fate(),
            Some(Err::<u8, ()>(())).fate(),
        ];
        use Fate::{Cancelled as C, Failed as F, Value as V};
        assert_eq!(fates, [V, F, C, C, F, V]);
    }

    #[test]
    fn errors_keep_their_kind() {
        assert!(matches!(Err::<(), _>(Error::QueueFull).into_result(), Err(Error::QueueFull)));
        let cancelled = Err::<(), _>(Cancelled::with_message("why")).into_result();
        assert!(matches!(cancelled, Err(Error::Cancelled(c)) if c.message() == Some("why")));
        let own = Err::<(), _>(std::fmt::Error).into_result();
        assert!(own.unwrap_err().downcast_ref::<std::fmt::Error>().is_some());
    }

    #[test]
    fn a_body_that_never_ends_is_a_child_too() {
        fn child<F: Future<Output: TaskOutput>>(_: F) {}
        child(async {
            loop {
                anyloop_api::yield_now().await;
            }
        });
    }
}
