//! What a loop tells about itself when it is asked.

use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use anyloop::gather_vec;
use anyloop_api::{Dump, Protocol, Sock, TaskState, sleep};

use crate::families::prelude::*;

pub(super) fn tasks_and_who_awaits_whom(cx: &Context) -> Outcome {
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
    for part in
        ["\"inner\" suspended", "awaited by \"outer\"", "dumps.rs:", "\"fresh\" not started"]
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
pub(super) fn children_are_where_they_were_gathered(cx: &Context) -> Outcome {
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

pub(super) fn from_another_thread(cx: &Context) -> Outcome {
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

pub(super) fn a_blocked_loop_names_its_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    lp.state().set_slow_callback_duration(FAR);
    let ask = |remote: RemoteHandle| (remote.dump(ms(20)), remote.activity());
    let ((dump, activity), line) = while_blocked(&lp, ask)?;
    for executing in [dump?.executing, activity] {
        let executing = executing.ok_or_else(|| Failure::new("it is not said to be stuck"))?;
        let text = executing.to_string();
        let named = text.contains("blocker") && text.contains(&format!("dumps.rs:{line}"));
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

pub(super) fn a_blocked_loop_lists_what_waits(cx: &Context) -> Outcome {
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

pub(super) fn timers_watchers_and_operations(cx: &Context) -> Outcome {
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
