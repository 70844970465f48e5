//! Which tasks there are, and their names.

use std::future::ready;

use anyloop_api::AnyTask;

use crate::families::prelude::*;
use crate::tools::Gate;

pub(super) fn names(tasks: &[AnyTask]) -> Vec<String> {
    let mut names: Vec<_> = tasks.iter().map(|task| task.get_name().to_string()).collect();
    names.sort();
    names
}

pub(super) fn the_unfinished_ones_are_listed(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let task = |lp: &LoopRef, name: &str| {
        let gate = Gate::new();
        let wait = gate.clone();
        let task = lp.task().name(name).spawn(async move { wait.wait().await })?;
        Ok::<_, Error>((task, gate))
    };
    let (a, gate) = task(&lp, "a")?;
    let (b, _) = task(&lp, "b")?;
    let (elsewhere, _) = task(&other, "elsewhere")?;
    ensure_eq!(names(&lp.all_tasks()), ["a", "b"], "tasks that have not begun");
    let inner = lp.clone();
    let inside = lp.task().name("me").spawn(async move { names(&inner.all_tasks()) })?;
    ensure_eq!(lp.run_until_done(&inside)?, ["a", "b", "me"], "tasks, the current one included");
    gate.open();
    b.cancel();
    ensure_eq!(names(&lp.all_tasks()), ["a", "b"], "tasks that are about to end");
    run_times(&lp, 2)?;
    ensure_eq!(names(&lp.all_tasks()), [""; 0], "tasks after the last has ended");
    ensure!(a.done() && b.cancelled(), "the tasks did not end as they should");
    ensure_eq!(names(&other.all_tasks()), ["elsewhere"], "tasks of the other loop");
    elsewhere.mark_internal();
    Ok(())
}

pub(super) fn asked_from_another_thread(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let stop = lp.remote();
    // Comes and goes while the other thread asks.
    let inner = lp.clone();
    lp.task().name("parent").spawn(async move {
        loop {
            let _ = inner.task().name("child").spawn(async { yield_now().await });
            yield_now().await;
        }
    })?;
    let thread = thread::spawn(move || {
        let mut parents = 0;
        for _ in 0..200 {
            let tasks = remote.all_tasks(Duration::from_secs(10))?;
            parents += tasks.iter().filter(|task| task.contains("parent")).count();
        }
        stop.stop();
        Ok::<_, Error>(parents)
    });
    lp.run_forever()?;
    ensure_eq!(join(thread)??, 200, "answers that named the task, of two hundred");
    ensure_is!(lp.remote().all_tasks(ms(10)), Err(Error::TimedOut(_)));
    lp.set_exception_handler(Some(Rc::new(|_, _| ())));
    lp.close()?;
    ensure_is!(lp.remote().all_tasks(ms(10)), Err(Error::Closed(_)));
    Ok(())
}

pub(super) fn names_are_numbered_or_given(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let mut numbers = Vec::new();
    for lp in [&lp, &other, &lp, &other] {
        let name = lp.create_task(ready(()))?.get_name();
        let Some(number) = name.strip_prefix("Task-") else {
            return Err(Failure::new(format!("the name {name} does not begin with Task-")));
        };
        numbers.push(number.parse::<u64>()?);
    }
    let unique: std::collections::HashSet<_> = numbers.iter().collect();
    ensure_eq!(unique.len(), 4, "different names of four tasks of two loops: {numbers:?}");
    let odd = "  a name, kept as it is \u{e9}\n";
    let task = lp.task().name(odd).spawn(ready(()))?;
    ensure_eq!(&*task.get_name(), odd, "the name that was given");
    ensure_eq!(&*task.any().get_name(), odd, "the name, asked without the type");
    task.set_name("another");
    ensure_eq!(&*task.get_name(), "another", "the name that was changed");
    ensure!(format!("{task:?}").contains("another"), "the rendering does not name the task");
    run_times(&lp, 2)?;
    ensure_eq!(&*task.get_name(), "another", "the name of a finished task");
    run_times(&other, 2).map_err(Failure::from)
}
