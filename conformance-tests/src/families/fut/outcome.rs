//! Pending, and then done, once.

use std::fmt;

use crate::families::prelude::*;

/// An error of the suite's own.
#[derive(Debug, PartialEq)]
pub(super) struct Misfortune(pub(super) u8);

impl fmt::Display for Misfortune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "misfortune number {}", self.0)
    }
}

impl std::error::Error for Misfortune {}

/// Whether `error` is the misfortune with this number.
pub(super) fn is_misfortune(error: &Error, number: u8) -> bool {
    error.downcast_ref::<Misfortune>() == Some(&Misfortune(number))
}

pub(super) fn pending_then_a_value(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    ensure!(!future.done() && !future.cancelled(), "a fresh future is done or cancelled");
    ensure!(future.get_loop().is_some_and(|home| home.same(&lp)), "get_loop() is another loop");
    future.set_result(42)?;
    ensure!(future.done() && !future.cancelled(), "not done after set_result, or cancelled");
    ensure_eq!(future.result()?, 42, "the value");
    ensure_eq!(future.result()?, 42, "the value, asked for again");
    Ok(())
}

pub(super) fn pending_then_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    future.set_exception(Misfortune(1))?;
    ensure!(future.done() && !future.cancelled(), "not done after set_exception, or cancelled");
    ensure_is!(future.result(), Err(error) if is_misfortune(&error, 1));
    ensure_is!(future.exception(), Ok(Some(error)) if is_misfortune(&error, 1));
    Ok(())
}

pub(super) fn pending_then_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    ensure!(future.cancel(), "cancel() of a pending future says false");
    ensure!(future.done() && future.cancelled(), "not done after cancel(), or not cancelled");
    Ok(())
}

pub(super) fn completed_once_only(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    future.set_result(1)?;
    ensure_is!(future.set_result(2), Err(Error::InvalidState(_)));
    ensure_is!(future.set_exception(Misfortune(2)), Err(Error::InvalidState(_)));
    ensure_eq!(future.result()?, 1, "the value after failed attempts to change it");
    let failed = lp.create_future();
    failed.set_exception(Misfortune(3))?;
    ensure_is!(failed.set_result(4), Err(Error::InvalidState(_)));
    ensure_is!(failed.set_exception(Misfortune(4)), Err(Error::InvalidState(_)));
    ensure_is!(failed.exception(), Ok(Some(error)) if is_misfortune(&error, 3));
    Ok(())
}

pub(super) fn completing_a_cancelled_one_fails(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    future.cancel();
    ensure_is!(future.set_result(2), Err(Error::InvalidState(_)));
    ensure_is!(future.set_exception(Misfortune(2)), Err(Error::InvalidState(_)));
    ensure!(future.cancelled(), "the future is not cancelled any more");
    Ok(())
}

pub(super) fn questions_to_a_pending_future(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    ensure_is!(future.result(), Err(Error::InvalidState(_)));
    ensure_is!(future.take_result(), Err(Error::InvalidState(_)));
    ensure_is!(future.exception(), Err(Error::InvalidState(_)));
    ensure!(!future.done(), "asking completed the future");
    Ok(())
}

pub(super) fn questions_to_a_cancelled_future(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    future.cancel();
    ensure_is!(future.result(), Err(Error::Cancelled(_)));
    ensure_is!(future.take_result(), Err(Error::Cancelled(_)));
    ensure_is!(future.exception(), Err(Error::Cancelled(_)));
    Ok(())
}

pub(super) fn a_successful_future_has_no_exception(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    future.set_result(1)?;
    ensure_is!(future.exception(), Ok(None));
    Ok(())
}

pub(super) fn cancel_completes_what_is_pending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    ensure!(future.cancel(), "cancel() of a pending future says false");
    ensure!(!future.cancel(), "cancel() of a cancelled future says true");
    let done = lp.create_future();
    done.set_result(5)?;
    ensure!(!done.cancel(), "cancel() of a done future says true");
    ensure!(!done.cancelled(), "a done future was cancelled");
    ensure_eq!(done.result()?, 5, "the value after cancel()");
    Ok(())
}

pub(super) fn set_unless_done_never_fails(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let (setter, canceller) = (future.clone(), future.clone());
    lp.call_soon(move || {
        canceller.cancel();
    })?;
    let taken = Rc::new(Cell::new(None));
    let theirs = taken.clone();
    lp.call_soon(move || theirs.set(Some(setter.set_unless_done(Ok(3)))))?;
    run_once(&lp)?;
    ensure_eq!(taken.get(), Some(false), "whether the value was taken after a cancellation");
    ensure!(future.cancelled(), "the cancellation is gone");
    let pending = lp.create_future();
    ensure!(pending.set_unless_done(Ok(4)), "the value of a pending future was not taken");
    ensure_eq!(pending.result()?, 4, "the value");
    Ok(())
}

pub(super) fn any_error_can_be_stored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    future.set_exception("a text")?;
    ensure_is!(future.result(), Err(error) if error.to_string() == "a text");
    let future = lp.create_future::<u8>();
    future.set_exception(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
    let Err(error) = future.result() else {
        return Err(Failure::new("the error is gone"));
    };
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    ensure_eq!(kind, Some(std::io::ErrorKind::UnexpectedEof), "the kind of the stored error");
    let future = lp.create_future::<u8>();
    future.set_exception(Error::TimedOut("an error of the loop's own".into()))?;
    ensure_is!(future.result(), Err(Error::TimedOut(_)));
    Ok(())
}
