//! What a report carries with it.

use std::io::Write;

use anyloop_api::{
    Command, DatagramEndpoint, Protocol, SubprocessProtocol, SubprocessTransport, Transport,
};

use crate::families::prelude::*;
use crate::tools::{Post, SIGUSR1, raise, socket_pair, tcp_pair};

pub(super) fn callbacks_carry_their_handle(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let line = line!() + 1;
    lp.call_soon(|| panic!("a callback"))?;
    run_once(&lp)?;
    let first = reports.one()?;
    ensure!(first.has("handle") && first.line == Some(line), "a callback: {first:?}");
    let line = line!() + 1;
    lp.call_later(ms(1), || panic!("a timer"))?;
    run_for(&lp, ms(5))?;
    let second = reports.one()?;
    ensure!(second.has("handle") && second.line == Some(line), "a timer: {second:?}");
    ensure!(first.is_panic("a callback") && second.is_panic("a timer"), "{first:?}, {second:?}");
    Ok(())
}

pub(super) fn calls_of_others_carry_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let future = lp.create_future();
    future.add_done_callback(|_| panic!("a done-callback"));
    future.set_result(())?;
    run_once(&lp)?;
    let seen = reports.one()?;
    ensure!(seen.has("handle") && seen.is_panic("a done-callback"), "a done-callback: {seen:?}");
    let remote = lp.remote();
    let call = move || remote.call_soon_threadsafe(|| panic!("from elsewhere")).map(drop);
    join(thread::spawn(call))??;
    run_times(&lp, 2)?;
    let seen = reports.one()?;
    ensure!(seen.has("handle") && seen.is_panic("from elsewhere"), "from a thread: {seen:?}");
    Ok(())
}

pub(super) fn watchers_carry_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = socket_pair()?;
    far.write_all(b"x")?;
    lp.add_reader(&near, || panic!("a reader"))?;
    run_once(&lp)?;
    ensure!(lp.remove_reader(&near)?, "the reader is gone");
    let seen = reports.one()?;
    ensure!(seen.has("handle") && seen.is_panic("a reader"), "a reader: {seen:?}");
    lp.add_writer(&near, || panic!("a writer"))?;
    run_once(&lp)?;
    ensure!(lp.remove_writer(&near)?, "the writer is gone");
    let seen = reports.one()?;
    ensure!(seen.has("handle") && seen.is_panic("a writer"), "a writer: {seen:?}");
    Ok(())
}

pub(super) fn signal_handlers_carry_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.add_signal_handler(SIGUSR1, || panic!("a signal handler"))?;
    raise(SIGUSR1)?;
    run_times(&lp, 4)?;
    let seen = reports.one()?;
    ensure!(seen.has("handle") && seen.is_panic("a signal handler"), "a signal handler: {seen:?}");
    Ok(())
}

pub(super) fn lost_errors_carry_their_task_or_future(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    drop(lp.task().name("loser").spawn(async { panic!("lost") })?);
    run_times(&lp, 2)?;
    let seen = reports.one()?;
    let names = seen.task.as_deref() == Some("loser") || seen.has("future");
    ensure!(names && seen.is_panic("lost"), "a lost task: {seen:?}");
    let future = lp.create_future::<()>();
    future.set_exception("nobody asked")?;
    drop(future);
    let seen = reports.one()?;
    ensure!(seen.has("future") && seen.has("exception"), "a lost future: {seen:?}");
    let pending = lp.task().name("pending").spawn(std::future::pending::<()>())?;
    run_once(&lp)?;
    lp.close()?;
    drop(pending);
    let seen = reports.one()?;
    ensure_eq!(seen.task.as_deref(), Some("pending"), "the task destroyed while pending");
    Ok(())
}

/// Fails in its first call.
struct Fails;

impl Protocol for Fails {
    fn connection_made(&self, _: Transport) {
        panic!("in a protocol");
    }
}

pub(super) fn protocols_carry_themselves(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, _far) = tcp_pair()?;
    let factory = Rc::new(|| anyloop_api::AnyProtocol::plain(Fails));
    let (transport, _) =
        lp.run_until_complete(lp.connect_accepted_socket(factory, near.into()))??;
    run_times(&lp, 2)?;
    let seen = reports.one()?;
    let carried = seen.has("transport") && seen.has("protocol") && seen.has("exception");
    ensure!(carried, "a failing protocol: {seen:?}");
    transport.abort();
    run_times(&lp, 2).map_err(Failure::from)
}

/// Fails in its first call, too.
struct Grumpy;

impl SubprocessProtocol for Grumpy {
    fn connection_made(&self, _: SubprocessTransport) {
        panic!("about a child");
    }
}

/// Which are no stream transports, and so are described.
pub(super) fn endpoints_and_children_are_named(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let post = Post::new().made(|_| panic!("about an endpoint"));
    let endpoint = post.open(&lp, DatagramEndpoint::local("127.0.0.1:0"))?;
    let seen = reports.one()?;
    ensure!(seen.has("socket") && seen.is_panic("about an endpoint"), "an endpoint: {seen:?}");
    endpoint.close();
    let starting = lp.subprocess_shell(|| Grumpy, Command::shell("exit 0"));
    let (child, _) = lp.run_until_complete(starting)??;
    let seen = reports.one()?;
    let named = seen.message.contains(&child.get_pid().to_string());
    ensure!(named && seen.is_panic("about a child"), "a child: {seen:?}");
    let inner = lp.clone();
    every_iteration(&lp, move |_| {
        let over = child.get_returncode().is_some();
        if over {
            inner.stop();
        }
        !over
    })?;
    lp.run_forever()?;
    Ok(run_times(&lp, 3)?)
}
