//! The context of callbacks.

use std::io::{Read, Write};

use anyloop_api::Snapshot;

use super::tasks::{Var, noter};
use crate::families::prelude::*;
use crate::tools::socket_pair;

pub(super) fn callbacks_keep_the_context_of_their_registration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    let noting = |at: &'static str| {
        let (note, var) = (note.clone(), var.clone());
        move || {
            note(at);
            // Must not reach the next one.
            var.set("overwritten");
        }
    };
    var.set("a");
    lp.call_soon(noting("soon"))?;
    var.set("b");
    lp.call_later(ms(1), noting("later"))?;
    var.set("c");
    lp.call_at(lp.time() + ms(2), noting("at"))?;
    let snapshot = Snapshot::current();
    var.set("d");
    lp.call_soon_handle(Handle::with_snapshot(noting("snapshot"), snapshot))?;
    let given = Vars::new();
    given.run(|| var.set("e"));
    let handle = lp.call_soon_in(given.clone(), noting("given"))?;
    ensure_eq!(handle.get_context().run(|| var.get()), Some("e"), "the context of a handle");
    run_for(&lp, ms(10))?;
    note("outside");
    trace.expect(["soon a", "snapshot c", "given e", "later b", "at c", "outside d"])?;
    ensure_eq!(given.run(|| var.get()), Some("overwritten"), "the value in the context given");
    // None at all is a context as well.
    let plain = Vars::new().run(|| lp.call_soon(noting("none")))?;
    run_once(&lp)?;
    trace.expect(["none -"])?;
    ensure!(!plain.cancelled(), "the callback was cancelled");
    Ok(())
}

pub(super) fn done_callbacks_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    let future = lp.create_future();
    let (waiting, own) = (future.clone(), var.clone());
    let task = lp.create_task(async move {
        own.set("of the task");
        waiting.await
    })?;
    var.set("a");
    let theirs = note.clone();
    future.add_done_callback(move |_| theirs("future"));
    var.set("b");
    let theirs = note.clone();
    task.add_done_callback(move |_| theirs("task"));
    var.set("c");
    let theirs = note.clone();
    task.any().add_done_callback(move |_| theirs("task without type"));
    run_once(&lp)?;
    var.set("d");
    future.set_result(())?;
    run_times(&lp, 3)?;
    // Late ones too.
    var.set("e");
    let theirs = note.clone();
    task.add_done_callback(move |_| theirs("late"));
    var.set("f");
    run_once(&lp)?;
    trace.expect(["future a", "task b", "task without type c", "late e"])
}

pub(super) fn watchers_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    let (mut near, mut far) = socket_pair()?;
    far.write_all(b"x")?;
    let noting = |at: &'static str| {
        let (note, var) = (note.clone(), var.clone());
        move || {
            note(at);
            var.set("overwritten");
        }
    };
    var.set("a");
    lp.add_reader(&near, noting("reader"))?;
    var.set("b");
    lp.add_writer(&far, noting("writer"))?;
    var.set("c");
    lp.add_signal_handler(USR1, noting("signal"))?;
    var.set("d");
    // Each of them twice.
    for _ in 0..2 {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::USR1)?;
        let (seen, before) = (trace.clone(), trace.count("signal c"));
        while seen.count("signal c") == before {
            run_for(&lp, ms(2))?;
        }
    }
    lp.remove_reader(&near)?;
    lp.remove_writer(&far)?;
    lp.remove_signal_handler(USR1)?;
    ensure!(near.read(&mut [0])? == 1, "the byte is gone");
    let events = trace.take();
    for (right, kind) in [("reader a", "reader"), ("writer b", "writer"), ("signal c", "signal")] {
        let calls = events.iter().filter(|event| event.starts_with(kind));
        ensure!(calls.clone().count() >= 2, "too few calls of the {kind}: {events:?}");
        ensure!(calls.clone().all(|event| event == right), "not all {right}: {events:?}");
    }
    note("outside");
    trace.expect(["outside d"])
}

const USR1: i32 = 10;

pub(super) fn calls_from_other_threads_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let remote = lp.remote();
    let (log, theirs) = (trace.clone(), var.clone());
    let thread = thread::spawn(move || {
        // A context of its own, which begins empty.
        let begins = theirs.get();
        let call = |at: &'static str| {
            let (log, var) = (log.clone(), theirs.clone());
            remote.call_soon_threadsafe(move || {
                log.push(format!("{at} {}", var.get().unwrap_or("-")));
                var.set("overwritten");
            })
        };
        call("empty")?;
        theirs.set("a");
        call("first")?;
        theirs.set("b");
        call("second")?;
        let own = theirs.clone();
        let task = remote.spawn(async move { own.get() })?;
        theirs.set("c");
        Ok::<_, Error>((begins, task))
    });
    var.set("of the loop");
    let (begins, task) = join(thread)??;
    run_times(&lp, 3)?;
    trace.expect(["empty -", "first a", "second b"])?;
    ensure_eq!((begins, task.wait()?), (None, Some("b")), "in the thread, and in its task");
    ensure_eq!(var.get(), Some("of the loop"), "the value outside");
    Ok(())
}

pub(super) fn to_thread_takes_it_along_the_executor_does_not(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.executor_threads(1))?;
    let var = Var::new("var");
    var.set("outside");
    let (inner, own) = (lp.clone(), var.clone());
    let seen = lp.run_until_complete(async move {
        own.set("of the task");
        let (theirs, last) = (own.clone(), own.clone());
        let with = anyloop::to_thread(move || {
            let seen = theirs.get();
            theirs.set("of the thread");
            seen
        });
        let with = with.await?;
        // The same thread: nothing was left there.
        let without = inner.run_in_executor(None, move || last.get())?.await?;
        Ok::<_, Error>((with, without, own.get()))
    })??;
    let expected = (Some("of the task"), None, Some("of the task"));
    ensure_eq!(seen, expected, "in to_thread, in the executor, and in the task");
    Ok(())
}
