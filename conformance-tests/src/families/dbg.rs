//! Debug mode.

mod dumps;

use std::any::Any;
use std::os::fd::AsRawFd;

use anyloop::{Config, Runner};
use anyloop_api::{Bind, DatagramEndpoint, LoopConfig, Protocol, ProtocolFactory};

use self::dumps::*;
use super::prelude::*;
use crate::tools::{Post, Seen, pipe, tcp_pair};

cases! {
    DBG_01 => off_by_default, on_by_configuration_or_setter, on_by_the_environment,
        on_by_the_runner;
    DBG_02 => a_slow_callback_is_logged, a_slow_step_is_logged_with_its_task,
        a_slow_watcher_is_logged, what_is_quick_is_not, nothing_outside_debug_mode;
    DBG_03 => renderings_say_where, reports_say_where;
    DBG_04 => what_closures_hold_is_not_rendered;
    DBG_05 => an_open_transport_is_named, others_and_servers_too, a_closed_one_is_not,
        nor_outside_debug_mode;
    DBG_06 => switchable_while_running;
    DBG_07 => same_order_same_outcome;
    DBG_08 => tasks_and_who_awaits_whom, children_are_where_they_were_gathered,
        timers_watchers_and_operations, from_another_thread,
        a_blocked_loop_names_its_task, a_blocked_loop_lists_what_waits;
}

/// A loop in debug mode that calls slow what takes 20 ms.
fn debugged(cx: &Context) -> Result<(LoopRef, Reports), Failure> {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    lp.state().set_slow_callback_duration(ms(20));
    let reports = Reports::of(&lp);
    Ok((lp, reports))
}

/// The one report about something that took at least 20 ms. The machine may make others slow.
fn slow(reports: &Reports, line: u32) -> Result<Seen, Failure> {
    let mut seen = reports.take();
    seen.retain(|seen| seen.line == Some(line) || seen.message.contains(&format!(".rs:{line}")));
    match <[Seen; 1]>::try_from(seen) {
        Ok([seen]) => Ok(seen),
        Err(seen) => Err(Failure::new(format!("expected one report about {line}, found {seen:?}"))),
    }
}

/// The duration in words that ends a report.
fn says_how_long(seen: &Seen) -> Outcome {
    let took = seen.message.rsplit_once("took ").map(|(_, took)| took);
    let number = took.and_then(|took| {
        let digits = took.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = &took[digits.len()..];
        let number: f64 = digits.parse().ok()?;
        match unit {
            "ms" => Some(number),
            "s" => Some(number * 1000.0),
            _ => None,
        }
    });
    ensure!(number.is_some_and(|number| number >= 25.0), "no 25 ms or more in {:?}", seen.message);
    Ok(())
}

fn off_by_default(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    ensure!(!lp.get_debug(), "debug mode is on by default");
    Ok(())
}

fn on_by_configuration_or_setter(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    ensure!(lp.get_debug(), "debug mode is off although it was asked for");
    let lp = cx.new_loop_with(|config| config.debug(false))?;
    ensure!(!lp.get_debug(), "debug mode is on although it was refused");
    lp.set_debug(true);
    ensure!(lp.get_debug(), "debug mode was not switched on");
    lp.set_debug(false);
    ensure!(!lp.get_debug(), "debug mode was not switched off");
    Ok(())
}

fn on_by_the_environment(cx: &Context) -> Outcome {
    for (text, expected) in [("1", true), ("0", false), ("", false)] {
        let config = Config::from_lookup(|name| (name == "ANYLOOP_DEBUG").then(|| text.into()))?;
        let lp = cx.new_loop_with(|_| config.loops)?;
        ensure_eq!(lp.get_debug(), expected, "debug mode with ANYLOOP_DEBUG={text}");
    }
    Ok(())
}

fn on_by_the_runner(cx: &Context) -> Outcome {
    let factory = cx.factory();
    let mut runner = Runner::new().debug(true).loop_factory(move || factory.new_loop());
    let on = runner.run(async { LoopRef::current().map(|lp| lp.get_debug()) })??;
    ensure!(on, "debug mode is off although the runner asked for it");
    runner.close()?;
    Ok(())
}

fn a_slow_callback_is_logged(cx: &Context) -> Outcome {
    let (lp, reports) = debugged(cx)?;
    let line = line!() + 1;
    lp.call_soon(|| block_for(ms(25)))?;
    run_once(&lp)?;
    let seen = slow(&reports, line)?;
    ensure!(seen.has("handle") && !seen.has("exception"), "fields: {:?}", seen.fields);
    says_how_long(&seen)?;
    let line = line!() + 1;
    lp.call_later(ms(1), || block_for(ms(25)))?;
    run_for(&lp, ms(10))?;
    says_how_long(&slow(&reports, line)?)
}

fn a_slow_step_is_logged_with_its_task(cx: &Context) -> Outcome {
    let (lp, reports) = debugged(cx)?;
    let body = async {
        block_for(ms(25));
        yield_now().await;
        block_for(ms(26));
    };
    let line = line!() + 1;
    let task = lp.task().name("sluggish").spawn(body)?;
    lp.create_task(async { yield_now().await })?;
    run_once(&lp)?;
    let seen = slow(&reports, line)?;
    ensure_eq!(seen.task.as_deref(), Some("sluggish"), "the task of the first slow step");
    ensure!(seen.message.contains("sluggish"), "the name is not in {:?}", seen.message);
    says_how_long(&seen)?;
    lp.run_until_done(&task)?;
    let seen = slow(&reports, line)?;
    ensure_eq!(seen.task.as_deref(), Some("sluggish"), "the task of the second slow step");
    Ok(())
}

fn a_slow_watcher_is_logged(cx: &Context) -> Outcome {
    let (lp, reports) = debugged(cx)?;
    let (near, far) = crate::tools::socket_pair()?;
    drop(far);
    let fd = near.as_raw_fd();
    let inner = lp.clone();
    lp.add_reader(&near, move || {
        block_for(ms(25));
        let _ = inner.remove_reader(&fd);
    })?;
    run_times(&lp, 3)?;
    let seen = reports.take();
    let named = seen.iter().find(|seen| seen.message.contains(&format!("{fd}")));
    let Some(named) = named else {
        return Err(Failure::new(format!("no report names descriptor {fd}: {seen:?}")));
    };
    says_how_long(named)
}

fn what_is_quick_is_not(cx: &Context) -> Outcome {
    let (lp, reports) = debugged(cx)?;
    lp.state().set_slow_callback_duration(FAR);
    lp.call_soon(|| block_for(ms(5)))?;
    lp.create_task(async { block_for(ms(5)) })?;
    run_times(&lp, 3)?;
    reports.none()
}

fn nothing_outside_debug_mode(cx: &Context) -> Outcome {
    let (lp, reports) = debugged(cx)?;
    lp.set_debug(false);
    lp.call_soon(|| block_for(ms(25)))?;
    lp.create_task(async { block_for(ms(25)) })?;
    run_times(&lp, 3)?;
    reports.none()
}

fn renderings_say_where(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    let line = line!() + 1;
    let handle = lp.call_soon(|| ())?;
    let timer = lp.call_later(FAR, || ())?;
    let future = lp.create_future::<()>();
    let task = lp.create_task(async {})?;
    let named = lp.task().name("named").spawn(async {})?;
    let texts = [
        format!("{handle:?}"),
        format!("{timer:?}"),
        format!("{future:?}"),
        format!("{task:?}"),
        format!("{named:?}"),
    ];
    for (text, line) in texts.iter().zip(line..) {
        ensure!(text.contains(&format!("dbg.rs:{line}")), "line {line} is not in {text}");
    }
    run_times(&lp, 2)?;
    Ok(())
}

fn reports_say_where(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    let reports = Reports::of(&lp);
    let line = line!() + 1;
    lp.call_soon(|| panic!("a callback"))?;
    run_once(&lp)?;
    ensure_eq!(reports.one()?.line, Some(line), "where the callback was created");
    let line = line!() + 1;
    drop(lp.create_task(async { panic!("a task") })?);
    run_times(&lp, 2)?;
    let seen = reports.one()?;
    ensure_eq!(seen.line, Some(line), "where the task was created, in {seen:?}");
    Ok(())
}

fn what_closures_hold_is_not_rendered(cx: &Context) -> Outcome {
    const SECRET: &str = "correct horse battery staple";
    let lp = cx.new_loop()?;
    let texts = Rc::new(RefCell::new(Vec::new()));
    let theirs = texts.clone();
    lp.set_exception_handler(Some(Rc::new(move |_, report| {
        theirs.borrow_mut().push(format!("{report}{report:?}"));
    })));
    let mut seen = Vec::new();
    for debug in [false, true] {
        lp.set_debug(debug);
        lp.state().set_slow_callback_duration(Duration::ZERO);
        let secret = SECRET.to_owned();
        let handle = lp.call_soon(move || assert!(secret.is_empty(), "not the right one"))?;
        let secret = SECRET.to_owned();
        let task = lp.create_task(async move { assert!(secret.is_empty(), "nor this") })?;
        seen.push(format!("{handle:?} {task:?} {}", lp.describe()));
        run_times(&lp, 2)?;
        drop(task);
    }
    lp.state().set_slow_callback_duration(FAR);
    seen.append(&mut texts.borrow_mut());
    ensure!(seen.len() >= 6, "too few reports: {seen:?}");
    let leak = seen.iter().find(|text| text.contains(SECRET));
    ensure!(leak.is_none(), "an argument is in {leak:?}");
    Ok(())
}

/// Does nothing.
struct Idle;

impl Protocol for Idle {}

/// Closes a loop with a connection, after `act` with its transport; what was reported about it.
fn close_with_a_connection(
    cx: &Context,
    debug: bool,
    act: impl FnOnce(&anyloop_api::Transport),
) -> Result<Vec<Seen>, Failure> {
    let lp = cx.new_loop_with(|config| config.debug(debug))?;
    let (near, _far) = tcp_pair()?;
    let fd = near.as_raw_fd();
    let factory = Rc::new(|| anyloop_api::AnyProtocol::plain(Idle));
    let (transport, _) =
        lp.run_until_complete(lp.connect_accepted_socket(factory, near.into()))??;
    act(&transport);
    run_times(&lp, 3)?;
    let reports = Reports::of(&lp);
    lp.close()?;
    let mut seen = reports.take();
    seen.retain(|seen| seen.has("transport") || seen.message.contains(&format!("{fd}")));
    Ok(seen)
}

fn an_open_transport_is_named(cx: &Context) -> Outcome {
    let seen = close_with_a_connection(cx, true, |_| ())?;
    ensure_eq!(seen.len(), 1, "reports about the open transport, in {seen:?}");
    Ok(())
}

fn others_and_servers_too(cx: &Context) -> Outcome {
    type Open = fn(&LoopRef) -> Result<Box<dyn Any>, Failure>;
    fn factory() -> ProtocolFactory {
        Rc::new(|| anyloop_api::AnyProtocol::plain(Idle))
    }
    let kinds: [(&str, Open); 4] = [
        ("a read pipe", |lp| {
            let (read, write) = pipe()?;
            let connecting = lp.connect_read_pipe(factory(), read);
            Ok(Box::new((lp.run_until_complete(connecting)??, write)))
        }),
        ("a write pipe", |lp| {
            let (read, write) = pipe()?;
            let connecting = lp.connect_write_pipe(factory(), write);
            Ok(Box::new((lp.run_until_complete(connecting)??, read)))
        }),
        ("a datagram endpoint", |lp| {
            Ok(Box::new(Post::new().open(lp, DatagramEndpoint::local("127.0.0.1:0"))?))
        }),
        ("a server", |lp| {
            let serving = lp.create_server(factory(), Bind::to("127.0.0.1", 0));
            Ok(Box::new(lp.run_until_complete(serving)??))
        }),
    ];
    for (kind, open) in kinds {
        let lp = cx.new_loop_with(|config| config.debug(true))?;
        let kept = open(&lp)?;
        run_times(&lp, 3)?;
        let reports = Reports::of(&lp);
        lp.close()?;
        let seen = reports.take();
        ensure_eq!(seen.len(), 1, "reports about {kind}, in {seen:?}");
        drop(kept);
    }
    Ok(())
}

fn a_closed_one_is_not(cx: &Context) -> Outcome {
    let seen = close_with_a_connection(cx, true, |transport| transport.close())?;
    ensure_eq!(seen.len(), 0, "reports about a closed transport, in {seen:?}");
    Ok(())
}

fn nor_outside_debug_mode(cx: &Context) -> Outcome {
    let seen = close_with_a_connection(cx, false, |_| ())?;
    ensure_eq!(seen.len(), 0, "reports without debug mode, in {seen:?}");
    Ok(())
}

fn switchable_while_running(cx: &Context) -> Outcome {
    let (lp, reports) = debugged(cx)?;
    lp.set_debug(false);
    let inner = lp.clone();
    lp.call_soon(move || {
        block_for(ms(25));
        inner.set_debug(true);
    })?;
    let line = line!() + 1;
    lp.call_soon(|| block_for(ms(25)))?;
    let inner = lp.clone();
    lp.call_soon(move || inner.set_debug(false))?;
    lp.call_soon(|| block_for(ms(25)))?;
    run_once(&lp)?;
    slow(&reports, line).map(drop)
}

fn same_order_same_outcome(cx: &Context) -> Outcome {
    let program = |config: LoopConfig| -> Result<Vec<_>, Failure> {
        let lp = cx.new_loop_with(|_| config)?;
        lp.state().set_slow_callback_duration(Duration::ZERO);
        let reports = Reports::of(&lp);
        let trace = crate::tools::Trace::new();
        let (near, mut far) = crate::tools::socket_pair()?;
        std::io::Write::write_all(&mut far, b"x")?;
        let log = trace.clone();
        crate::tools::on_readable(&lp, &near, move || log.push("watcher"))?;
        for name in ["a", "b", "c"] {
            let log = trace.clone();
            lp.create_task(async move {
                for step in 0..3 {
                    log.push(format!("{name}{step}"));
                    yield_now().await;
                }
            })?;
            lp.call_soon(trace.pusher(format!("soon {name}")))?;
            lp.call_later(Duration::ZERO, trace.pusher(format!("timer {name}")))?;
        }
        let failing = lp.task().eager(true).spawn(async { panic!("a failure") })?;
        run_times(&lp, 6)?;
        let failure: Result<(), _> = failing.take_result();
        trace.push(format!("{failure:?}"));
        let errors = reports.take().into_iter().filter(|seen| seen.has("exception"));
        trace.push(format!("{} errors reported", errors.count()));
        Ok(trace.take())
    };
    let plain = program(LoopConfig::default().debug(false).poll_every_iteration(true))?;
    let debug = program(LoopConfig::default().debug(true).poll_every_iteration(true))?;
    ensure_eq!(debug, plain, "what happens in debug mode");
    ensure!(plain.len() > 15, "too little happened: {plain:?}");
    Ok(())
}
