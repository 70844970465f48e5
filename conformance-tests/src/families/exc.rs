//! The exception handler.

mod carried;

use std::fs;
use std::io::Write;

use anyloop_api::{Interrupt, Protocol, Report, Severity, raise_interrupt};

use self::carried::*;
use super::prelude::*;
use crate::tools::tcp_pair;

cases! {
    EXC_01 => a_message_always_the_rest_if_known;
    EXC_02 => the_default_handler_writes_everything;
    EXC_03 => a_handler_gets_loop_and_report, it_may_delegate;
    EXC_04 => a_failing_handler_is_reported_with_the_original, the_loop_lives_on,
        an_error_that_cannot_be_shown, a_log_that_cannot_be_written,
        a_payload_that_cannot_be_dropped;
    EXC_05 => unsetting_restores_the_default;
    EXC_06 => it_runs_on_the_spot, it_may_do_what_a_callback_may, it_may_replace_itself;
    EXC_07 => callbacks_carry_their_handle, calls_of_others_carry_one, watchers_carry_one,
        signal_handlers_carry_one, lost_errors_carry_their_task_or_future,
        protocols_carry_themselves, endpoints_and_children_are_named;
    EXC_08 => a_reset_is_no_news;
    EXC_09 => interrupts_pass_it_by;
}

/// What this process has written to its log so far, or a skip.
fn log() -> Result<String, Failure> {
    fs::read_to_string("/proc/self/fd/2")
        .map_err(|error| Failure::skip(format!("the log cannot be read: {error}")))
}

/// What `act` writes to the log.
fn logged(act: impl FnOnce() -> Outcome) -> Result<String, Failure> {
    let before = log()?.len();
    act()?;
    Ok(log()?.split_off(before))
}

fn a_message_always_the_rest_if_known(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.call_exception_handler(Report::new("bare"));
    let seen = reports.one()?;
    ensure_eq!(seen.message, "bare", "the message");
    ensure_eq!(seen.fields, Vec::<&str>::new(), "fields of a bare report");
    lp.call_soon(|| panic!("on purpose"))?;
    run_once(&lp)?;
    let seen = reports.one()?;
    ensure!(!seen.message.is_empty(), "a report without a message");
    ensure!(seen.has("exception") && seen.has("handle"), "fields: {:?}", seen.fields);
    ensure!(!seen.has("task") && !seen.has("transport"), "fields: {:?}", seen.fields);
    Ok(())
}

fn the_default_handler_writes_everything(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let line = line!() + 1;
    lp.call_soon(|| panic!("the reason"))?;
    let text = logged(|| Ok(run_once(&lp)?))?;
    for part in ["anyloop", "exception:", "the reason", "handle:", &format!("exc.rs:{line}")] {
        ensure!(text.contains(part), "{part:?} is not in {text:?}");
    }
    // The remaining fields in the order of their names, after the error.
    let mut report = Report::new("a message").exception(Error::usage("outer")).task(None);
    report.socket = Some("the socket".into());
    report.future = Some("the future".into());
    let text = logged(|| {
        lp.call_exception_handler(report);
        Ok(())
    })?;
    let places = ["a message", "outer", "the future", "the socket"].map(|part| text.find(part));
    ensure!(places.iter().all(Option::is_some) && places.is_sorted(), "the log says {text:?}");
    ensure!(!text.contains("warning"), "an error is called a warning: {text:?}");
    let text = logged(|| {
        lp.call_exception_handler(Report::warning("something minor"));
        Ok(())
    })?;
    ensure!(text.contains("warning: something minor"), "the log says {text:?}");
    Ok(())
}

fn a_handler_gets_loop_and_report(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (mine, log) = (lp.state().id(), trace.clone());
    lp.set_exception_handler(Some(Rc::new(move |lp, report| {
        let mine = if lp.state().id() == mine { "my loop" } else { "another loop" };
        log.push(format!("{mine}: {} {:?}", report.message, report.severity));
    })));
    ensure!(lp.get_exception_handler().is_some(), "the handler is not installed");
    lp.call_exception_handler(Report::new("one"));
    lp.call_exception_handler(Report::warning("two"));
    ensure_eq!(Severity::default(), Severity::Error, "the default severity");
    trace.expect(["my loop: one Error", "my loop: two Warning"])
}

fn it_may_delegate(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.set_exception_handler(Some(Rc::new(|lp, report| lp.default_exception_handler(report))));
    let text = logged(|| {
        lp.call_exception_handler(Report::new("passed on"));
        Ok(())
    })?;
    ensure!(text.contains("passed on"), "the default handler wrote {text:?}");
    Ok(())
}

fn a_failing_handler_is_reported_with_the_original(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.set_exception_handler(Some(Rc::new(|_, _| panic!("the handler fails"))));
    let text = logged(|| {
        lp.call_exception_handler(Report::new("the original"));
        Ok(())
    })?;
    for part in ["exception handler", "the handler fails", "the original"] {
        ensure!(text.contains(part), "{part:?} is not in {text:?}");
    }
    Ok(())
}

fn the_loop_lives_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.set_exception_handler(Some(Rc::new(|_, _| panic!("the handler fails"))));
    lp.call_soon(|| panic!("a callback fails"))?;
    lp.call_soon(trace.pusher("the next callback"))?;
    run_once(&lp)?;
    trace.expect(["the next callback"])?;
    ensure_eq!(lp.run_until_complete(async { 1 })?, 1, "a later run");
    Ok(())
}

/// Panics when somebody wants to read it.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no words");
    }
}

impl std::error::Error for Unspeakable {}

/// The default handler itself fails: a last line, and on.
fn an_error_that_cannot_be_shown(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let failed = || -> Result<LoopFuture<u8>, Error> {
        let future = lp.create_future();
        future.set_exception(Unspeakable)?;
        Ok(future)
    };
    // Lost by a callback, by a task, in the value of a task, and handed to a handler that fails.
    let lost = failed()?;
    lp.call_soon(move || drop(lost))?;
    lp.create_task(async { Err::<(), Box<dyn std::error::Error>>(Box::new(Unspeakable)) })?;
    lp.call_soon(trace.pusher("same batch"))?;
    let text = logged(|| Ok(run_times(&lp, 2)?))?;
    ensure!(text.contains("anyloop: the default exception handler panicked"), "the log: {text}");
    trace.expect(["same batch"])?;
    lp.set_exception_handler(Some(Rc::new(|_, report| {
        assert!(report.exception.is_none(), "the handler fails");
    })));
    drop(failed()?);
    lp.call_soon(trace.pusher("a later run"))?;
    run_once(&lp)?;
    trace.expect(["a later run"])
}

fn a_log_that_cannot_be_written(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let before = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
    let (reader, writer) = rustix::pipe::pipe()?;
    drop(reader);
    rustix::stdio::dup2_stderr(&writer)?;
    lp.call_soon(|| panic!("nobody reads this"))?;
    lp.call_soon(trace.pusher("same batch"))?;
    lp.call_exception_handler(Report::new("nor this"));
    lp.set_exception_handler(Some(Rc::new(|_, _| panic!("nor that the handler fails"))));
    lp.call_exception_handler(Report::new("on something"));
    let ran = run_once(&lp);
    rustix::stdio::dup2_stderr(&before)?;
    ran?;
    trace.expect(["same batch"])
}

/// The payload of a panic; its destructor panics, too.
struct Undroppable;

impl Drop for Undroppable {
    fn drop(&mut self) {
        panic!("the destructor of a payload");
    }
}

fn fail() {
    std::panic::panic_any(Undroppable);
}

/// The loop is who drops it, for nobody else wants it.
fn a_payload_that_cannot_be_dropped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.call_soon(fail)?;
    lp.call_at(lp.time(), fail)?;
    let remote = lp.remote();
    join(thread::spawn(move || remote.call_soon_threadsafe(fail).map(drop)))??;
    let future = lp.create_future();
    future.add_done_callback(|_| fail());
    future.set_result(())?;
    lp.create_task(async { fail() })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_times(&lp, 2)?;
    trace.expect(["same batch"])?;
    // Of the handler itself, and of what it is told of.
    lp.set_exception_handler(Some(Rc::new(|_, _| fail())));
    lp.call_soon(fail)?;
    lp.call_soon(trace.pusher("next batch"))?;
    run_once(&lp)?;
    trace.expect(["next batch"])?;
    lp.set_exception_handler(None);
    let inner = lp.clone();
    let ran = lp.run_until_complete(async move { inner.run_in_executor(None, fail)?.await })?;
    ensure!(matches!(ran, Err(Error::Panicked(_))), "in the executor: {ran:?}");
    drop(ran);
    let again = lp.clone();
    let ran = lp.run_until_complete(async move { again.run_in_executor(None, || 1)?.await })??;
    ensure_eq!(ran, 1, "the executor's next job");
    Ok(())
}

fn unsetting_restores_the_default(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    ensure!(lp.get_exception_handler().is_none(), "a fresh loop has a handler");
    let reports = Reports::of(&lp);
    lp.set_exception_handler(None);
    ensure!(lp.get_exception_handler().is_none(), "the handler is still there");
    let text = logged(|| {
        lp.call_exception_handler(Report::new("to the default"));
        Ok(())
    })?;
    ensure!(text.contains("to the default"), "the default handler wrote {text:?}");
    reports.none()
}

fn it_runs_on_the_spot(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (log, home) = (trace.clone(), thread::current().id());
    lp.set_exception_handler(Some(Rc::new(move |_, _| {
        let here = thread::current().id() == home;
        log.push(if here { "handler" } else { "handler elsewhere" });
    })));
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        log.push("before");
        inner.call_exception_handler(Report::new("on the spot"));
        log.push("after");
    })?;
    lp.call_soon(|| panic!("at its end"))?;
    lp.call_soon(trace.pusher("next"))?;
    run_once(&lp)?;
    trace.expect(["before", "handler", "after", "handler", "next"])
}

fn it_may_do_what_a_callback_may(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let victim = lp.call_later(ms(1), trace.pusher("never"))?;
    let log = trace.clone();
    lp.set_exception_handler(Some(Rc::new(move |lp, _| {
        log.push("handler");
        let _ = lp.call_soon(log.pusher("scheduled"));
        victim.cancel();
        lp.stop();
    })));
    lp.call_soon(|| panic!("on purpose"))?;
    lp.run_forever()?;
    trace.expect(["handler"])?;
    lp.call_later(ms(5), {
        let inner = lp.clone();
        move || inner.stop()
    })?;
    lp.run_forever()?;
    trace.expect(["scheduled"])
}

fn it_may_replace_itself(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let freed = Counter::new();
    let (log, token) = (trace.clone(), freed.token());
    lp.set_exception_handler(Some(Rc::new(move |lp, _| {
        token.keep();
        log.push("first");
        let log = log.clone();
        lp.set_exception_handler(Some(Rc::new(move |_, _| log.push("second"))));
    })));
    for _ in 0..2 {
        lp.call_exception_handler(Report::new("a report"));
    }
    trace.expect(["first", "second"])?;
    ensure_eq!(freed.get(), 1, "replaced handlers freed");
    Ok(())
}

/// Remembers how its connection ended.
#[derive(Default)]
struct Ends(Rc<RefCell<Option<Option<Error>>>>);

impl Protocol for Ends {
    fn connection_lost(&self, error: Option<Error>) {
        *self.0.borrow_mut() = Some(error);
    }
}

fn a_reset_is_no_news(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let ends = Rc::new(RefCell::new(None));
    let theirs = ends.clone();
    let (near, mut far) = tcp_pair()?;
    let factory = Rc::new(move || anyloop_api::AnyProtocol::plain(Ends(theirs.clone())));
    let (transport, _) =
        lp.run_until_complete(lp.connect_accepted_socket(factory, near.into()))??;
    transport.write(b"never read by the other end")?;
    run_times(&lp, 3)?;
    // Closed with unread bytes, a socket resets its connection.
    far.write_all(b"x")?;
    drop(far);
    let (seen, inner) = (ends.clone(), lp.clone());
    every_iteration(&lp, move |_| {
        if seen.borrow().is_some() {
            inner.stop();
        }
        seen.borrow().is_none()
    })?;
    lp.run_forever()?;
    let error = ends.borrow_mut().take().flatten();
    ensure_is!(error, Some(error) if error.io_kind() == std::io::ErrorKind::ConnectionReset);
    reports.none()
}

fn interrupts_pass_it_by(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let inner = lp.clone();
    lp.call_soon(move || inner.interrupt(Interrupt::new("from a callback")))?;
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
    let task = lp.create_task(async {
        raise_interrupt::<()>(Interrupt::new("from a task")).await;
    })?;
    ensure_is!(lp.run_until_done(&task), Err(Error::Interrupt(_)));
    drop(task);
    run_times(&lp, 2)?;
    reports.none()
}
