//! The context of a task.

use anyloop_api::{Snapshot, catch_cancel};

use crate::families::prelude::*;
use crate::tools::{OnDrop, Trace};

pub(super) type Var = ContextVar<&'static str>;

/// Notes the value of `var`, by a name.
pub(super) fn noter(trace: &Trace, var: &Var) -> impl Fn(&str) + Clone + 'static {
    let (trace, var) = (trace.clone(), var.clone());
    move |at| trace.push(format!("{at} {}", var.get().unwrap_or("-")))
}

pub(super) fn a_task_copies_the_context(cx: &Context) -> Outcome {
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

pub(super) fn or_has_the_one_it_is_given(cx: &Context) -> Outcome {
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

pub(super) fn asked_for_by_others_and_itself(cx: &Context) -> Outcome {
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

pub(super) fn all_steps_share_one_context(cx: &Context) -> Outcome {
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

pub(super) fn also_in_scopes_and_destructors(cx: &Context) -> Outcome {
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

pub(super) fn two_tasks_in_one_context(cx: &Context) -> Outcome {
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
pub(super) fn a_context_may_be_entered_again(cx: &Context) -> Outcome {
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
pub(super) fn a_tasks_own_is_found_behind_others(cx: &Context) -> Outcome {
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
