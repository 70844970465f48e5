//! Task factories, and bodies that were refused.

use std::future::ready;

use anyloop_api::{EagerTaskFactory, Result, TaskFactory, TaskOptions};

use crate::families::prelude::*;
use crate::tools::{Token, Trace};

/// Notes what it is asked for.
struct Recorder {
    trace: Trace,
    rename: bool,
    refuse: bool,
}

impl TaskFactory for Recorder {
    fn new_task(&self, _: &LoopRef, options: &mut TaskOptions) -> Result<()> {
        let name = options.name.as_deref().unwrap_or("-");
        self.trace.push(name.to_owned());
        if self.refuse {
            return Err(Error::usage("refused on purpose"));
        }
        if self.rename {
            options.name = Some(format!("renamed {name}").into());
        }
        Ok(())
    }
}

pub(super) fn a_factory_sees_every_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    ensure!(lp.get_task_factory().is_none(), "a fresh loop has a factory");
    let factory = Recorder { trace: trace.clone(), rename: false, refuse: false };
    lp.set_task_factory(Some(Rc::new(factory)));
    ensure!(lp.get_task_factory().is_some(), "the factory is not there");
    lp.create_task(ready(()))?;
    lp.task().name("builder").spawn(ready(()))?;
    trace.expect(["-", "builder"])?;
    lp.run_until_complete(async {
        anyloop::create_task(ready(()))?;
        LoopRef::current()?.task().name("inner").eager(true).spawn(ready(()))?.await
    })??;
    trace.expect(["-", "-", "inner"])?;
    let remote = lp.remote();
    let thread = thread::spawn(move || remote.spawn(async { 4 })?.wait());
    let stop = lp.remote();
    let joiner = thread::spawn(move || {
        let value = thread.join();
        stop.stop();
        value
    });
    lp.run_forever()?;
    let value = join(joiner)?.map_err(|_| Failure::new("the thread panicked"))??;
    ensure_eq!(value, 4, "the value of the task of the other thread");
    trace.expect(["-"])?;
    lp.set_task_factory(None);
    lp.create_task(ready(()))?;
    ensure!(lp.get_task_factory().is_none(), "the factory is still there");
    trace.expect([])
}

/// Has tasks recorded and renamed; a variable, and a context in which it is 6.
fn renaming(lp: &LoopRef, trace: &Trace) -> (ContextVar<i32>, Vars) {
    let factory = Recorder { trace: trace.clone(), rename: true, refuse: false };
    lp.set_task_factory(Some(Rc::new(factory)));
    let (var, context) = (ContextVar::new("var"), Vars::new());
    context.run(|| var.set(6));
    (var, context)
}

/// Every way to a task, with a name and a context where the way takes them.
pub(super) fn whoever_asks_for_the_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (var, context) = renaming(&lp, &trace);
    let main = lp.task().name("main").spawn(async move {
        let ensured = anyloop::ensure_future(async { Ok::<_, Error>(1) })?;
        ensure!(ensured.get_name().starts_with("renamed"), "by ensure_future: {ensured:?}");
        ensure_eq!(ensured.await?, 1, "the value");
        let value = var.clone();
        let child = anyloop::task_group(|group| async move {
            group.create_task(ready(()))?;
            let child = group.task()?.name("child").context(context);
            child.spawn(async move { value.get() })
        });
        let child = child.await?;
        ensure_eq!(&*child.get_name(), "renamed child", "the name of a group's child");
        ensure_eq!(child.result()?, Some(6), "the variable in the context that was given");
        anyloop::gather_vec([ready(()), ready(())]).await?;
        Ok(())
    })?;
    lp.run_until_done(&main)??;
    trace.expect(["main", "-", "-", "child", "-", "-"])
}

pub(super) fn a_factory_may_change_and_refuse(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (var, context) = renaming(&lp, &trace);
    let task = lp.task().name("a").context(context).spawn({
        let var = var.clone();
        async move { var.get() }
    })?;
    ensure_eq!(&*task.get_name(), "renamed a", "the name");
    ensure_eq!(lp.run_until_done(&task)?, Some(6), "the variable in the context that was given");

    let factory = Recorder { trace: trace.clone(), rename: false, refuse: true };
    lp.set_task_factory(Some(Rc::new(factory)));
    ensure_is!(lp.create_task(ready(())), Err(Error::Usage(_)));
    ensure_is!(lp.run_until_complete(ready(())), Err(Error::Usage(_)));
    ensure_eq!(lp.all_tasks().len(), 0, "tasks that were refused and are there");

    // One that makes the loop itself unset it, in the middle of its work.
    struct Once;
    impl TaskFactory for Once {
        fn new_task(&self, lp: &LoopRef, _: &mut TaskOptions) -> Result<()> {
            lp.set_task_factory(Some(Rc::new(EagerTaskFactory)));
            lp.set_task_factory(None);
            Ok(())
        }
    }
    lp.set_task_factory(Some(Rc::new(Once)));
    ensure_eq!(lp.run_until_complete(ready(7))?, 7, "the value");
    ensure!(lp.get_task_factory().is_none(), "the factory is still there");
    Ok(())
}

/// Must not be polled; counts that it was dropped.
pub(super) async fn never_polled(freed: Token, polled: Counter) {
    polled.add();
    freed.keep();
}

pub(super) fn a_refused_body_is_never_polled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let (freed, polled) = (Counter::new(), Counter::new());
    let body = || never_polled(freed.token(), polled.clone());
    let refuse = Recorder { trace, rename: false, refuse: true };
    lp.set_task_factory(Some(Rc::new(refuse)));
    ensure_is!(lp.create_task(body()), Err(Error::Usage(_)));
    ensure_is!(lp.task().eager(true).spawn(body()), Err(Error::Usage(_)));
    ensure_eq!(freed.get(), 2, "bodies dropped by a factory's refusal");
    lp.set_task_factory(None);
    let unbegun = lp.create_task(body())?;
    unbegun.mark_internal();
    lp.close()?;
    ensure_eq!(freed.get(), 3, "bodies dropped after close()");
    ensure_is!(lp.create_task(body()), Err(Error::Closed(_)));
    ensure_is!(lp.task().name("n").spawn(body()), Err(Error::Closed(_)));
    ensure_is!(lp.run_until_complete(body()), Err(Error::Closed(_)));
    ensure_is!(anyloop::create_task(body()), Err(Error::Usage(_)));
    ensure_eq!((freed.get(), polled.get()), (7, 0), "bodies dropped, and polled");
    reports.none()
}
