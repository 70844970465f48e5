//! Errors that nobody saw, and what a future shows of itself.

use super::outcome::{Misfortune, is_misfortune};
use crate::families::prelude::*;

pub(super) fn a_lost_error_is_reported_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let future = lp.create_future::<u8>();
    future.set_exception(Misfortune(6))?;
    let last = future.clone();
    drop(future);
    run_once(&lp)?;
    reports.none()?;
    drop(last);
    run_once(&lp)?;
    let report = reports.one()?;
    ensure!(report.has("future"), "the report names no future: {report:?}");
    ensure_is!(report.exception, Some(error) if is_misfortune(&error, 6));
    Ok(())
}

pub(super) fn a_look_silences_the_report(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let failed = || -> Result<_, Error> {
        let future = lp.create_future::<u8>();
        future.set_exception(Misfortune(7))?;
        Ok(future)
    };
    let _ = failed()?.result();
    let _ = failed()?.take_result();
    let _ = failed()?.exception();
    let (by_value, by_reference) = (failed()?, failed()?);
    lp.run_until_complete(async move {
        let _ = by_value.await;
        let _ = (&by_reference).await;
    })?;
    let _ = lp.run_until_done(&failed()?);
    reports.none()
}

pub(super) fn cancel_silences_the_report(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let future = lp.create_future::<u8>();
    future.set_exception(Misfortune(8))?;
    ensure!(!future.cancel(), "cancel() of a failed future says true");
    drop(future);
    let pending = lp.create_future::<u8>();
    pending.cancel();
    drop(pending);
    run_once(&lp)?;
    reports.none()
}

pub(super) fn values_never_report(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let future = lp.create_future();
    future.set_result(vec![1, 2, 3])?;
    drop(future);
    run_once(&lp)?;
    reports.none()
}

pub(super) fn dropping_a_pending_future_is_silent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let freed = Counter::new();
    let future = lp.create_future::<u8>();
    let token = freed.token();
    future.add_done_callback(move |_| token.keep());
    drop(future);
    run_once(&lp)?;
    ensure_eq!(freed.get(), 1, "callbacks freed with the future");
    drop(lp.create_future::<u8>());
    lp.close()?;
    drop(lp.create_future::<u8>());
    reports.none()
}

pub(super) fn reports_say_where_it_was_created(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    let reports = Reports::of(&lp);
    let (future, line) = (lp.create_future::<u8>(), line!());
    ensure_eq!(future.created().line(), line, "the line of created()");
    ensure_eq!(future.created().file(), file!(), "the file of created()");
    future.set_exception(Misfortune(9))?;
    drop(future);
    ensure_eq!(reports.one()?.line, Some(line), "the line in the report");
    Ok(())
}

pub(super) fn the_rendering_is_short_and_tells_the_state(cx: &Context) -> Outcome {
    /// Has no `Debug`, so that nobody can format it.
    struct Secret([u8; 1000]);

    let lp = cx.new_loop()?;
    let pending = lp.create_future::<Secret>();
    let done = lp.create_future::<Secret>();
    done.set_result(Secret([7; 1000]))?;
    let cancelled = lp.create_future::<Secret>();
    cancelled.cancel();
    let failed = lp.create_future::<Secret>();
    failed.set_exception(Misfortune(1))?;
    failed.mark_inspected();
    for _ in 0..1000 {
        pending.add_done_callback(|_| ());
    }
    // Four futures of one line each: only the state can tell them apart.
    let location = pending.created().to_string();
    let text = |future: &LoopFuture<Secret>| {
        format!("{future:?}").replace(&future.created().to_string(), &location)
    };
    let texts = [text(&pending), text(&done), text(&cancelled), text(&failed)];
    for (at, text) in texts.iter().enumerate() {
        ensure!(text.len() < 400, "a rendering of {} characters", text.len());
        ensure!(!texts[..at].contains(text), "two states look the same: {text}");
    }
    ensure_eq!(done.take_result()?.0.len(), 1000, "the size of the value");
    Ok(())
}
