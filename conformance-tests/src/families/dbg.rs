//! Debug mode.

use std::any::Any;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use anyloop::{Config, Runner, gather_vec};
use anyloop_api::{
    Bind, DatagramEndpoint, Dump, LoopConfig, Protocol, ProtocolFactory, Sock, TaskState, sleep,
};

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

fn tasks_and_who_awaits_whom(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let gate = lp.create_future::<()>();
    let waiting = gate.clone();
    let line = line!() + 1;
    let inner = lp.task().name("inner").spawn(waiting)?;
    let awaited = inner.clone();
    let outer = lp.task().name("outer").spawn(async move { drop(awaited.await) })?;
    let sleeper = lp.task().name("sleeper").spawn(sleep(FAR))?;
    run_times(&lp, 2)?;
    let fresh = lp.task().name("fresh").spawn(async {})?;
    let dump = lp.dump();
    ensure!(!dump.running, "the loop is said to run");
    let names: Vec<_> = dump.tasks.iter().map(|task| task.name.as_str()).collect();
    ensure_eq!(names, ["inner", "outer", "sleeper", "fresh"], "the tasks");
    let [a, b, c, d] = &dump.tasks[..] else { return Err(Failure::new("not four tasks")) };
    ensure_eq!(a.created.line(), line, "where the first task was created");
    ensure_eq!((a.state, d.state), (TaskState::Suspended, TaskState::Created), "states");
    ensure!(a.awaits.as_deref().is_some_and(|text| text.contains("future")), "{a:?}");
    ensure_eq!((&a.awaited_by, &b.awaits_tasks), (&vec![b.id], &vec![a.id]), "edges");
    ensure!(b.awaits.as_deref().is_some_and(|text| text.contains("inner")), "{b:?}");
    ensure!(c.awaits.as_deref().is_some_and(|text| text.contains("sleep")), "{c:?}");
    let text = dump.to_string();
    for part in ["\"inner\" suspended", "awaited by \"outer\"", "dbg.rs:", "\"fresh\" not started"]
    {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }
    gate.set_result(())?;
    sleeper.cancel();
    lp.run_until_done(&outer)?;
    lp.run_until_done(&fresh)?;
    run_times(&lp, 2)?;
    // Inside a run the running task is known.
    let inner = lp.clone();
    let states = lp.run_until_complete(async move {
        inner.dump().tasks.iter().map(|task| task.state).collect::<Vec<_>>()
    })?;
    ensure_eq!(states, [TaskState::Running], "the state of the task that asks");
    Ok(())
}

/// A line of the library, the same for all of them, would help nobody.
fn children_are_where_they_were_gathered(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let main = lp.create_task(async move {
        let line = line!() + 1;
        let all = gather_vec([sleep(FAR), sleep(FAR)]);
        let made = inner.dump().tasks.into_iter().skip(1);
        let places: Vec<_> = made.map(|task| (task.created.file(), task.created.line())).collect();
        ensure_eq!(places, [(file!(), line); 2], "the places of the children");
        all.cancel();
        ensure_is!(all.await, Err(Error::Cancelled(_)));
        Ok(())
    })?;
    lp.run_until_done(&main)?
}

fn from_another_thread(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let sleeper = lp.task().name("sleeper").spawn(sleep(FAR))?;
    let asking = thread::spawn(move || {
        let dump = remote.dump(Duration::from_secs(10));
        remote.stop();
        dump
    });
    lp.run_forever()?;
    let dump = join(asking)??;
    let names: Vec<_> = dump.tasks.iter().map(|task| task.name.as_str()).collect();
    ensure_eq!(names, ["sleeper"], "the tasks");
    ensure!(dump.running, "the loop is said not to run");
    sleeper.cancel();
    run_times(&lp, 2)?;
    let remote = lp.remote();
    lp.close()?;
    ensure_is!(join(thread::spawn(move || remote.dump(FAR)))?, Err(Error::Closed(_)));
    Ok(())
}

/// Blocks `lp` in a task until `ask` has returned, in another thread.
fn while_blocked<T: Send + 'static>(
    lp: &LoopRef,
    ask: impl FnOnce(RemoteHandle) -> T + Send + 'static,
) -> Result<(T, u32), Failure> {
    let remote = lp.remote();
    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let body = async move {
        let _ = enter.send(());
        let _ = left.recv();
    };
    let line = line!() + 1;
    let blocker = lp.task().name("blocker").spawn(body)?;
    let asking = thread::spawn(move || {
        let _ = entered.recv_timeout(Duration::from_secs(10));
        let answer = ask(remote);
        drop(leave);
        answer
    });
    lp.run_until_done(&blocker)?;
    Ok((join(asking)?, line))
}

fn a_blocked_loop_names_its_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    lp.state().set_slow_callback_duration(FAR);
    let ask = |remote: RemoteHandle| (remote.dump(ms(20)), remote.activity());
    let ((dump, activity), line) = while_blocked(&lp, ask)?;
    for executing in [dump?.executing, activity] {
        let executing = executing.ok_or_else(|| Failure::new("it is not said to be stuck"))?;
        let text = executing.to_string();
        let named = text.contains("blocker") && text.contains(&format!("dbg.rs:{line}"));
        ensure!(named, "{text:?} does not name the task and its place");
    }
    ensure!(lp.remote().activity().is_none(), "a loop that does not run executes something");
    // What was listed while it ran is not what there is now.
    let remote = lp.remote();
    ensure_is!(join(thread::spawn(move || remote.dump(ms(1))))?, Err(Error::TimedOut(_)));
    run_times(&lp, 2)?;
    // Not observed, it cannot say more than that it does not answer.
    lp.set_debug(false);
    let ((dump, activity), _) = while_blocked(&lp, ask)?;
    ensure_is!(dump, Err(Error::TimedOut(_)));
    ensure!(activity.is_none(), "observed without having been asked to: {activity:?}");
    Ok(())
}

fn a_blocked_loop_lists_what_waits(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.set_introspection(true);
    let sleeper = lp.task().name("sleeper").spawn(sleep(FAR))?;
    let (ours, _theirs) = UnixStream::pair()?;
    lp.add_reader(&ours, || ())?;
    // Dumps are taken now and then, before a callback.
    let activity = lp.state().activity().clone();
    let seen = |dump: &Dump| {
        let mut sleepers = dump.tasks.iter().filter(|task| task.name == "sleeper");
        (dump.watchers.len(), dump.timers.len()) == (1, 1)
            && sleepers.any(|task| task.awaits.as_deref() == Some("sleep"))
    };
    let l2 = lp.clone();
    every_iteration(&lp, move |_| {
        let known = activity.last_dump().as_ref().is_some_and(seen);
        if known {
            l2.stop();
        }
        !known
    })?;
    lp.run_forever()?;
    let (dump, _) = while_blocked(&lp, |remote| remote.dump(ms(20)))?;
    let dump = dump?;
    ensure!(seen(&dump), "it does not list what there is: {dump}");
    let names: Vec<_> = dump.tasks.iter().map(|task| &*task.name).collect();
    ensure_eq!(names.last(), Some(&"blocker"), "the newest task");
    ensure!(dump.running, "the loop is said not to run");
    ensure!(dump.age > Duration::ZERO, "it is said to be fresh");
    let text = dump.to_string();
    for part in ["it has been executing a step of task \"blocker\"", "\"sleeper\" suspended"] {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }
    lp.remove_reader(&ours)?;
    sleeper.cancel();
    run_times(&lp, 2)?;
    Ok(())
}

#[derive(Debug)]
struct Quiet;

impl Protocol for Quiet {}

fn timers_watchers_and_operations(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let nothing = lp.dump();
    ensure!(nothing.timers.is_empty() && nothing.watchers.is_empty(), "{nothing:?}");
    let line = line!() + 1;
    let late = lp.call_later(Duration::from_secs(7200), || ())?;
    let soon = lp.call_later(Duration::from_secs(3600), || ())?;
    lp.call_later(ms(1), || ())?.cancel();
    let (watched, _other) = UnixStream::pair()?;
    lp.add_reader(&watched, || ())?;
    let (ours, theirs) = UnixStream::pair()?;
    let (sock, l2) = (Sock::new(ours)?, lp.clone());
    let receiving = lp.create_task(async move { l2.sock_recv(&sock, 8).await })?;
    let server = lp.run_until_complete(lp.serve(|| Quiet, ("127.0.0.1", 0)))??;
    let address = server.local_addr();
    let asleep = line!() + 1;
    let sleeping = lp.create_task(async { sleep(Duration::from_secs(9000)).await })?;
    run_times(&lp, 2)?;

    let dump = lp.dump();
    let places: Vec<_> = dump.timers.iter().map(|timer| timer.created).collect();
    let lines: Vec<_> = places.iter().map(|at| at.line()).collect();
    ensure_eq!(lines, [line + 1, line, asleep], "the timers, without the cancelled one");
    ensure!(places.iter().all(|at| at.file() == file!()), "{places:?}");
    let [first, ..] = &dump.timers[..] else { return Err(Failure::new("no timers")) };
    let hour = Duration::from_secs(3600);
    ensure!(first.due_in <= hour && first.due_in > hour / 2, "{first:?}");
    let watcher = format!("add_reader of descriptor {}", watched.as_raw_fd());
    ensure_eq!(dump.watchers, [watcher], "the watchers");
    ensure_eq!(dump.operations.len(), 1, "the operations");
    ensure!(dump.operations[0].contains("sock_recv"), "{:?}", dump.operations);
    ensure_eq!(dump.transports.len(), 1, "the server alone");
    let port = address.map(|address| address.port().to_string()).unwrap_or_default();
    ensure!(dump.transports[0].contains(&port), "{:?} does not say {port}", dump.transports);
    let text = dump.to_string();
    for part in ["timers: 3", "add_reader of", "sock_recv on", "transports and servers: 1"] {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }

    (&theirs).write_all(b"x")?;
    ensure_eq!(lp.run_until_done(&receiving)??, b"x".to_vec(), "what was received");
    server.close();
    lp.remove_reader(&watched)?;
    late.cancel();
    soon.cancel();
    sleeping.cancel();
    run_times(&lp, 2)?;
    let after = lp.dump();
    let left = after.timers.len() + after.watchers.len() + after.operations.len();
    ensure_eq!(left + after.transports.len(), 0, "what is left");
    Ok(())
}
