//! Context variables: where they come from, and where they do not go.

use std::io::{Read, Write};
use std::rc::Rc;

use anyloop_api::{Protocol, Server, Snapshot, Transport, catch_cancel};

use super::prelude::*;
use crate::tools::{OnDrop, Trace, socket_pair};

cases! {
    CTX_01 => a_task_copies_the_context, or_has_the_one_it_is_given, asked_for_by_others_and_itself;
    CTX_02 => all_steps_share_one_context, also_in_scopes_and_destructors;
    CTX_03 => two_tasks_in_one_context, a_context_may_be_entered_again,
        a_tasks_own_is_found_behind_others;
    CTX_04 => callbacks_keep_the_context_of_their_registration, done_callbacks_too, watchers_too,
        calls_from_other_threads_too;
    CTX_05 => client_protocols_run_in_the_callers_context;
    CTX_06 => accepted_protocols_run_in_the_servers_context;
    CTX_07 => to_thread_takes_it_along_the_executor_does_not;
    CTX_08 => the_handler_runs_in_the_context_of_what_failed;
    CTX_09 => a_failing_callback_leaves_nothing_behind;
}

type Var = ContextVar<&'static str>;

/// Notes the value of `var`, by a name.
fn noter(trace: &Trace, var: &Var) -> impl Fn(&str) + Clone + 'static {
    let (trace, var) = (trace.clone(), var.clone());
    move |at| trace.push(format!("{at} {}", var.get().unwrap_or("-")))
}

fn a_task_copies_the_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    ensure_eq!(var.set("outside"), None, "the value before");
    let (inner, inside, own) = (lp.clone(), note.clone(), var.clone());
    let task = lp.create_task(async move {
        inside("parent begins");
        own.set("parent");
        let (theirs, child) = (inside.clone(), own.clone());
        let child = inner.create_task(async move {
            theirs("child begins");
            child.set("child");
            theirs("child ends");
        })?;
        own.set("parent again");
        let ended = child.await;
        inside("parent ends");
        ended
    })?;
    // After the creation: not seen inside.
    var.set("outside again");
    lp.run_until_done(&task)??;
    note("outside ends");
    trace.expect([
        "parent begins outside",
        "child begins parent",
        "child ends child",
        "parent ends parent again",
        "outside ends outside again",
    ])
}

fn or_has_the_one_it_is_given(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    var.set("outside");
    let empty = lp.task().context(Vars::new()).spawn({
        let note = note.clone();
        async move { note("empty") }
    })?;
    let given = Vars::new();
    given.run(|| var.set("given"));
    let task = lp.task().context(given.clone()).spawn({
        let (note, var) = (note.clone(), var.clone());
        async move {
            note("task");
            var.set("changed");
        }
    })?;
    lp.run_until_done(&empty)?;
    lp.run_until_done(&task)?;
    trace.expect(["empty -", "task given"])?;
    // It ran in the very context, not in a copy.
    ensure_eq!(given.run(|| var.get()), Some("changed"), "the variable in the context given");
    ensure_eq!(var.get(), Some("outside"), "the variable outside");
    ensure_eq!(
        Vars::copy_current().run(|| var.get()),
        Some("outside"),
        "a copy of the current one"
    );
    Ok(())
}

fn asked_for_by_others_and_itself(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = Var::new("var");
    var.set("outside");
    let (inner, own) = (lp.clone(), var.clone());
    let task = lp.create_task(async move {
        let look = |own: &Var| {
            current_task().and_then(|me| me.get_context().run(|| own.get())).unwrap_or("-")
        };
        let first = look(&own);
        own.set("first step");
        let changed = look(&own);
        // Asked by another task, in the middle of this one's step.
        let (me, theirs) = (current_task(), own.clone());
        let eager = inner.task().eager(true).spawn(async move {
            theirs.set("another task");
            me.and_then(|me| me.get_context().run(|| theirs.get())).unwrap_or("-")
        });
        let asked = eager.and_then(|eager| eager.take_result()).unwrap_or("not eager");
        yield_now().await;
        own.set("second step");
        let second = look(&own);
        yield_now().await;
        (first, changed, asked, second)
    })?;
    let see = |task: &Task<_>| task.get_context().run(|| var.get());
    ensure_eq!(see(&task), Some("outside"), "before the first step");
    run_once(&lp)?;
    ensure_eq!(see(&task), Some("first step"), "between two steps");
    ensure_eq!(see(&task.clone()), Some("first step"), "asked again");
    run_times(&lp, 3)?;
    let seen = task.take_result()?;
    let expected = ("outside", "first step", "first step", "second step");
    ensure_eq!(seen, expected, "as the task itself and another saw it");
    ensure_eq!(task.get_context().run(|| var.get()), Some("second step"), "after the end");
    ensure_eq!(var.get(), Some("outside"), "outside");

    // Whoever is given the context of a task shares it.
    let own = var.clone();
    let first = lp.create_task(async move {
        own.set("by the first");
        yield_now().await;
        own.get()
    })?;
    let own = var.clone();
    let second = lp.task().context(first.get_context()).spawn(async move {
        let seen = own.get();
        own.set("by the second");
        seen
    })?;
    ensure_eq!(lp.run_until_done(&second)?, Some("by the first"), "what the second task saw");
    ensure_eq!(lp.run_until_done(&first)?, Some("by the second"), "what the first task saw");
    Ok(())
}

fn all_steps_share_one_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = Var::new("var");
    let wrong = Counter::new();
    let mut tasks = Vec::new();
    for name in ["a", "b", "c"] {
        let (var, wrong) = (var.clone(), wrong.clone());
        tasks.push(lp.create_task(async move {
            let unset = var.get();
            var.set(name);
            for _ in 0..3 {
                yield_now().await;
                if var.get() != Some(name) {
                    wrong.add();
                }
            }
            async { var.set("changed in a nested body") }.await;
            yield_now().await;
            (unset, var.get())
        })?);
    }
    run_times(&lp, 6)?;
    for task in tasks {
        let seen = task.take_result()?;
        ensure_eq!(seen, (None, Some("changed in a nested body")), "the value, first and last");
    }
    ensure_eq!(wrong.get(), 0, "steps that saw the variable of another task");
    ensure_eq!(var.get(), None, "the value outside");
    Ok(())
}

fn also_in_scopes_and_destructors(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    let (inside, own) = (note.clone(), var.clone());
    let task = lp.create_task(async move {
        own.set("set before");
        let (dropped, theirs) = (inside.clone(), own.clone());
        let caught = catch_cancel(async move {
            let _guard = OnDrop(move || dropped("destructor"));
            theirs.set("set in the scope");
            std::future::pending::<()>().await;
        });
        let _ = caught.await;
        inside("after the scope");
        let last = inside.clone();
        let _guard = OnDrop(move || last("last destructor"));
        std::future::pending::<()>().await;
    })?;
    run_once(&lp)?;
    task.cancel();
    run_once(&lp)?;
    task.cancel();
    run_once(&lp)?;
    note("outside");
    trace.expect([
        "destructor set in the scope",
        "after the scope set in the scope",
        "last destructor set in the scope",
        "outside -",
    ])
}

fn two_tasks_in_one_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let shared = Vars::new();
    for name in ["a", "b"] {
        let (note, var) = (noter(&trace, &var), var.clone());
        lp.task().context(shared.clone()).spawn(async move {
            note(name);
            var.set(name);
            yield_now().await;
            note(name);
        })?;
    }
    run_once(&lp)?;
    // A callback joins in.
    let (note, own) = (noter(&trace, &var), var.clone());
    lp.call_soon_in(shared.clone(), move || {
        note("callback");
        own.set("c");
    })?;
    run_once(&lp)?;
    trace.expect(["a -", "b a", "a b", "b b", "callback b"])?;
    ensure_eq!(shared.run(|| var.get()), Some("c"), "the value in the shared context");
    Ok(())
}

/// Code inside a context starts something in the same one, at once.
fn a_context_may_be_entered_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = Var::new("var");
    let (shared, other) = (Vars::new(), Vars::new());
    shared.run(|| {
        var.set("first");
        let inside = shared.run(|| {
            let seen = var.get();
            var.set("second");
            seen
        });
        ensure_eq!(inside, Some("first"), "the value inside");
        ensure_eq!(var.get(), Some("second"), "the value after the inner part");
        // Through another context.
        let deep = other.run(|| {
            var.set("elsewhere");
            shared.run(|| var.set("third"))
        });
        ensure_eq!(deep, Some("second"), "the value deep inside");
        ensure_eq!(var.get(), Some("third"), "the value after the deep part");
        ensure_eq!(Vars::copy_current().run(|| var.get()), Some("third"), "the value in a copy");
        Ok::<_, Failure>(())
    })?;
    ensure_eq!(other.run(|| var.get()), Some("elsewhere"), "the value in the other context");

    let (inner, again, own) = (lp.clone(), shared.clone(), var.clone());
    let outer = lp.task().context(shared.clone()).spawn(async move {
        let theirs = own.clone();
        let eager = inner.task().context(again).eager(true).spawn(async move {
            let seen = theirs.get();
            theirs.set("by the eager task");
            yield_now().await;
            theirs.set("later");
            seen
        })?;
        let after = own.get();
        own.set("by the outer task");
        let seen = eager.await?;
        Ok::<_, Error>((seen, after, own.get()))
    })?;
    let seen = lp.run_until_done(&outer)??;
    let expected = (Some("third"), Some("by the eager task"), Some("later"));
    ensure_eq!(seen, expected, "as the eager task and the outer one saw it");
    ensure_eq!(shared.run(|| var.get()), Some("later"), "the value in the shared context");
    Ok(())
}

/// A task that has set nothing yet asks for its context while it is inside another one, or is asked
/// for it by a task that runs in the middle of its step: it is the one in which it goes on.
fn a_tasks_own_is_found_behind_others(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = Var::new("var");
    let own = || current_task().map(|me| me.get_context());

    let inside = var.clone();
    let task = lp.create_task(async move {
        let found = Snapshot::default().run(|| {
            inside.set("private");
            own()
        });
        let found = found.ok_or_else(|| Failure::new("there is no current task"))?;
        ensure_eq!(inside.get(), None, "the variable after the private part");
        ensure_eq!(found.run(|| inside.get()), None, "the variable in the context found");
        inside.set("the task");
        ensure_eq!(found.run(|| inside.get()), Some("the task"), "the same, set by the task");
        let again = Vars::new().run(own);
        let seen = again.and_then(|again| again.run(|| inside.get()));
        ensure_eq!(seen, Some("the task"), "as found behind another one");
        yield_now().await;
        found.run(|| inside.set("the next step"));
        ensure_eq!(inside.get(), Some("the next step"), "the variable in the next step");
        Ok::<_, Failure>(())
    })?;
    lp.run_until_done(&task)??;

    let (inner, outside) = (lp.clone(), var.clone());
    let outer = lp.create_task(async move {
        let (me, theirs) = (current_task(), outside.clone());
        let eager = inner.task().eager(true).spawn(async move {
            let outer = me.map(|me| me.get_context());
            outer.map(|outer| outer.run(|| theirs.set("the eager task")));
            (theirs.get(), own().and_then(|mine| mine.run(|| theirs.get())))
        })?;
        let seen = eager.take_result()?;
        Ok::<_, Error>((seen, outside.get(), Vars::copy_current().run(|| outside.get())))
    })?;
    let seen = lp.run_until_done(&outer)??;
    let by_the_eager_task = Some("the eager task");
    let expected = ((None, None), by_the_eager_task, by_the_eager_task);
    ensure_eq!(seen, expected, "as the eager task and the outer one saw it");
    Ok(())
}

fn callbacks_keep_the_context_of_their_registration(cx: &Context) -> Outcome {
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

fn done_callbacks_too(cx: &Context) -> Outcome {
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

fn watchers_too(cx: &Context) -> Outcome {
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

fn calls_from_other_threads_too(cx: &Context) -> Outcome {
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

/// Notes where its methods run, and changes it.
struct Noting {
    side: &'static str,
    trace: Trace,
    var: Var,
}

impl Noting {
    fn note(&self, method: &str) {
        self.trace.push(format!("{} {method} {}", self.side, self.var.get().unwrap_or("-")));
        self.var.set("overwritten");
    }
}

impl Protocol for Noting {
    fn connection_made(&self, transport: Transport) {
        self.note("made");
        if self.side == "client" {
            let _ = transport.write(b"x");
        }
    }

    fn data_received(&self, _: &[u8]) {
        self.note("data");
    }

    fn eof_received(&self) -> bool {
        self.note("eof");
        false
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.note("lost");
    }
}

/// A server, listening, and the events of one connection to it that comes and goes.
fn one_connection(
    lp: &LoopRef,
    trace: &Trace,
    var: &Var,
) -> Result<(Server, Vec<String>), Failure> {
    let make = |side: &'static str| Noting { side, trace: trace.clone(), var: var.clone() };
    var.set("serving");
    let accepted = make("server");
    let (theirs, own) = (trace.clone(), var.clone());
    let factory = move || {
        theirs.push(format!("server factory {}", own.get().unwrap_or("-")));
        own.set("overwritten");
        Noting { side: accepted.side, trace: accepted.trace.clone(), var: accepted.var.clone() }
    };
    let server = lp.run_until_complete(lp.serve(factory, ("127.0.0.1", 0)))??;
    var.set("connecting");
    let Some(address) =
        server.sockets().first().and_then(|socket| socket.local_addr().ok()?.as_socket())
    else {
        return Err(Failure::new("the server listens nowhere"));
    };
    let connecting = lp.connect(
        {
            let client = make("client");
            move || client
        },
        address,
    );
    let own = var.clone();
    let (transport, _) = lp.run_until_complete(async move {
        let connected = connecting.await;
        // After the connection was made: its protocol does not see this.
        own.set("afterwards");
        connected
    })??;
    let seen = trace.clone();
    while seen.count("server data serving") == 0 && seen.len() < 7 {
        run_for(lp, ms(2))?;
    }
    transport.close();
    while seen.len() < 7 {
        run_for(lp, ms(2))?;
    }
    run_for(lp, ms(5))?;
    Ok((server, trace.take().iter().map(ToString::to_string).collect()))
}

fn client_protocols_run_in_the_callers_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = Var::new("var");
    let (server, events) = one_connection(&lp, &cx.trace(), &var)?;
    server.close();
    run_for(&lp, ms(5))?;
    let client: Vec<_> = events.iter().filter(|event| event.starts_with("client")).collect();
    ensure_eq!(
        client,
        ["client made connecting", "client lost connecting"],
        "the client's methods"
    );
    ensure_eq!(var.get(), Some("connecting"), "the value outside");
    Ok(())
}

fn accepted_protocols_run_in_the_servers_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = Var::new("var");
    let (server, events) = one_connection(&lp, &cx.trace(), &var)?;
    server.close();
    run_for(&lp, ms(5))?;
    let methods: Vec<_> = events.iter().filter(|event| event.starts_with("server")).collect();
    let expected = ["factory", "made", "data", "eof", "lost"];
    let expected = expected.map(|method| format!("server {method} serving"));
    ensure_eq!(methods, expected.iter().collect::<Vec<_>>(), "the server's methods");
    Ok(())
}

fn to_thread_takes_it_along_the_executor_does_not(cx: &Context) -> Outcome {
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

fn the_handler_runs_in_the_context_of_what_failed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    let own = var.clone();
    lp.set_exception_handler(Some(Rc::new(move |_, report| {
        note(if report.task.is_some() { "task" } else { "handle" });
        own.set("of the handler");
    })));
    var.set("of the callback");
    lp.call_soon(|| panic!("in a callback"))?;
    let given = Vars::new();
    given.run(|| var.set("given"));
    lp.call_soon_in(given.clone(), || panic!("in a callback"))?;
    var.set("outside");
    run_once(&lp)?;
    trace.expect(["handle of the callback", "handle given"])?;
    ensure_eq!(given.run(|| var.get()), Some("given"), "the value in the context of the handle");

    // A destructor in the middle of a step, and one at the end of a cancelled task.
    let own = var.clone();
    let task = lp.create_task(async move {
        own.set("first step");
        let caught = catch_cancel(async {
            let _guard = OnDrop(|| panic!("in a destructor"));
            std::future::pending::<()>().await;
        });
        let _ = caught.await;
        own.set("second step");
        let _guard = OnDrop(|| panic!("in a destructor"));
        std::future::pending::<()>().await;
    })?;
    run_once(&lp)?;
    task.cancel();
    run_once(&lp)?;
    trace.expect(["task first step"])?;
    task.cancel();
    run_once(&lp)?;
    trace.expect(["task second step"])?;

    // Destroyed while pending.
    let own = var.clone();
    lp.create_task(async move {
        own.set("pending");
        std::future::pending::<()>().await;
    })?;
    run_once(&lp)?;
    lp.close()?;
    trace.expect(["task pending"])?;
    ensure_eq!(var.get(), Some("outside"), "the value outside");
    Ok(())
}

fn a_failing_callback_leaves_nothing_behind(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let var = Var::new("var");
    let note = noter(&trace, &var);
    let shared = Vars::new();
    let failing = |value: &'static str| {
        let var = var.clone();
        move || {
            var.set(value);
            panic!("on purpose");
        }
    };
    let noting = |at: &'static str| {
        let note = note.clone();
        move || note(at)
    };
    lp.call_soon(failing("in a callback"))?;
    lp.call_soon(noting("after a callback"))?;
    lp.call_soon_in(shared.clone(), failing("in a context"))?;
    lp.call_soon(noting("after a context"))?;
    let own = var.clone();
    let task = lp.create_task(async move {
        own.set("in a task");
        panic!("on purpose");
    })?;
    task.mark_inspected();
    lp.call_soon(noting("after a task"))?;
    run_once(&lp)?;
    note("outside");
    trace.expect(["after a callback -", "after a context -", "after a task -", "outside -"])?;
    ensure_eq!(reports.take().len(), 2, "reports");
    // What it changed before it failed stays in the context that was given.
    ensure_eq!(shared.run(|| var.get()), Some("in a context"), "the value in the shared context");
    // By hand, outside of any loop.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        shared.run(|| {
            var.set("by hand");
            panic!("on purpose");
        })
    }));
    ensure!(panicked.is_err(), "the panic is gone");
    ensure_eq!(var.get(), None, "the value outside");
    ensure_eq!(shared.run(|| var.get()), Some("by hand"), "the value in the shared context");
    Ok(())
}
