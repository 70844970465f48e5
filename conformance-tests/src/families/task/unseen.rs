//! Failures that nobody saw, and futures that nobody awaited.

use std::future::{pending, ready};

use anyloop_api::{Result, catch_cancel, sleep};

use super::factory::never_polled;
use crate::families::prelude::*;
use crate::tools::Seen;

pub(super) fn a_lost_failure_is_reported_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    // Detached: when it ends.
    drop(lp.task().name("detached").spawn(async {
        yield_now().await;
        panic!("detached");
    })?);
    run_once(&lp)?;
    reports.none()?;
    run_once(&lp)?;
    let report = reports.one()?;
    ensure!(report.is_panic("detached"), "another report: {report:?}");
    ensure!(report.has("future") || report.has("task"), "it names no task: {report:?}");
    // Held: when the last handle goes.
    let (task, line) = (lp.create_task(async { panic!("held") })?, line!());
    let other = task.any();
    run_once(&lp)?;
    drop(task);
    run_once(&lp)?;
    reports.none()?;
    drop(other);
    let report = reports.one()?;
    ensure!(report.is_panic("held"), "another report: {report:?}");
    ensure_eq!(report.line, Some(line), "where the report says that the task was created");
    run_once(&lp)?;
    reports.none()
}

/// A body that returns an error nobody will see must not lose it.
pub(super) fn a_returned_error_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.create_task(async { Err::<(), _>(Error::usage("ours")) })?;
    lp.create_task(async { Err::<(), _>(std::io::Error::other("of the system")) })?;
    lp.create_task(async { Err::<(), Box<dyn std::error::Error>>("of anybody".into()) })?;
    lp.create_task(async {
        Err::<(), Box<dyn std::error::Error + Send + Sync>>("of any thread".into())
    })?;
    lp.create_task(async { Ok::<(), Error>(()) })?;
    lp.create_task(async { 3 })?;
    run_times(&lp, 2)?;
    let texts: Vec<_> = reports.take().iter().map(text).collect();
    ensure_eq!(texts, ["ours", "of the system", "of anybody", "of any thread"], "reported errors");
    Ok(())
}

fn text(seen: &Seen) -> String {
    seen.exception.as_ref().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn a_look_is_enough(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let panicked = || -> Result<Task<u8>> {
        let task = lp.create_task(async { panic!("on purpose") })?;
        run_once(&lp)?;
        Ok(task)
    };
    ensure!(panicked()?.result().is_err(), "no error from result()");
    ensure!(panicked()?.take_result().is_err(), "no error from take_result()");
    ensure_is!(panicked()?.exception(), Ok(Some(_)));
    ensure_is!(panicked()?.any().exception(), Ok(Some(_)));
    let task = panicked()?;
    ensure!(lp.run_until_complete(task)?.is_err(), "no error from the await");
    ensure_is!(lp.run_until_complete(async { panic!("main") }), Err::<(), _>(Error::Panicked(_)));
    let cancelled = lp.create_task(pending::<()>())?;
    cancelled.cancel();
    run_once(&lp)?;
    drop(cancelled);
    let returned = lp.create_task(async { Err::<(), _>(Error::usage("on purpose")) })?;
    run_once(&lp)?;
    ensure_is!(returned.take_result(), Ok(Err(_)));
    drop(returned);
    reports.none()
}

/// The compiler warns, which the expectations below would miss; nothing else happens.
pub(super) fn a_future_never_awaited_is_noticed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (freed, polled) = (Counter::new(), Counter::new());
    #[expect(unused_must_use, reason = "this is what the clause is about")]
    {
        never_polled(freed.token(), polled.clone());
        sleep(FAR);
        yield_now();
        catch_cancel(ready(()));
        anyloop_api::shield(lp.create_future::<()>());
    }
    run_times(&lp, 2)?;
    ensure_eq!((freed.get(), polled.get()), (1, 0), "bodies dropped, and polled");
    reports.none()
}
