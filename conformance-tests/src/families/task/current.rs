//! Which task is running.

use std::future::pending;

use crate::families::prelude::*;
use crate::tools::OnDrop;

pub(super) fn awaiting_oneself_is_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let me: Rc<RefCell<Option<Task<u8>>>> = Rc::default();
    let own = me.clone();
    let errors = Rc::new(RefCell::new(Vec::new()));
    let theirs = errors.clone();
    let task = lp.create_task(async move {
        yield_now().await;
        let (by_reference, by_value) = (own.take(), own.take());
        let Some(me) = by_reference.or(by_value) else { return 0 };
        let result = (&me).await;
        theirs.borrow_mut().push(result.err());
        let result = me.clone().await;
        theirs.borrow_mut().push(result.err());
        if let Some(any) = current_task() {
            any.await;
        }
        8
    })?;
    me.replace(Some(task.clone()));
    ensure_eq!(lp.run_until_done(&task)?, 8, "the value of the task, which went on");
    let errors = errors.take();
    ensure!(
        matches!(&errors[..], [Some(Error::Usage(_)), Some(Error::Usage(_))]),
        "expected two errors of misuse, found {errors:?}"
    );
    Ok(())
}

/// The name of the current task, or a dash.
fn current_name() -> String {
    current_task().map_or_else(|| "-".to_owned(), |task| task.get_name().to_string())
}

pub(super) fn current_is_the_stepped_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let say = {
        let trace = trace.clone();
        move |at: &str| trace.push(format!("{at} {}", current_name()))
    };
    say("outside");
    let inside = say.clone();
    let task = lp.task().name("t").spawn(async move {
        inside("first");
        yield_now().await;
        inside("second");
    })?;
    ensure!(current_task().is_none(), "creating a task made it current");
    let callback = say.clone();
    lp.call_soon(move || callback("callback"))?;
    let done = say.clone();
    task.add_done_callback(move |_| done("done"));
    let timer = say.clone();
    lp.call_later(Duration::ZERO, move || timer("timer"))?;
    run_for(&lp, ms(5))?;
    say("outside");
    let mut events = trace.take();
    events.sort();
    let all = ["callback -", "done -", "first t", "outside -", "outside -", "second t", "timer -"];
    ensure_eq!(events, all, "who was current");
    Ok(())
}

pub(super) fn interleaved_tasks_are_told_apart(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let wrong = Counter::new();
    let steps = Counter::new();
    for number in 0..5 {
        let (wrong, steps) = (wrong.clone(), steps.clone());
        let name = format!("number {number}");
        lp.task().name(&name.clone()).spawn(async move {
            for _ in 0..=number {
                if current_name() != name {
                    wrong.add();
                }
                steps.add();
                yield_now().await;
            }
        })?;
    }
    run_times(&lp, 7)?;
    ensure_eq!((steps.get(), wrong.get()), (15, 0), "steps, and those with another current task");
    Ok(())
}

pub(super) fn also_in_destructors_and_after_a_panic(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for end in ["value", "cancelled", "panic"] {
        let log = trace.clone();
        let guard = OnDrop(move || log.push(current_name()));
        let task = lp.task().name(end).spawn(async move {
            guard.keep();
            if end == "cancelled" {
                pending::<()>().await;
            }
            assert!(end != "panic", "on purpose");
        })?;
        task.mark_inspected();
        if end == "cancelled" {
            run_once(&lp)?;
            task.cancel();
        }
        let log = trace.clone();
        lp.call_soon(move || log.push(current_name()))?;
        run_once(&lp)?;
        trace.expect([end, "-"])?;
    }
    Ok(())
}
