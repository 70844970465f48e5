//! `run` and `Runner`: a loop from its creation to its orderly end.

mod ctrl_c;

pub(super) use self::ctrl_c::CASES as CTRL_C;

use anyloop::{
    EventLoopPolicy, Runner, create_task, get_event_loop, reset_event_loop_policy, run,
    set_event_loop, set_event_loop_policy,
};
use anyloop_api::{Executor, Interrupt, Job, catch_cancel, on_cancel, sleep};

use super::prelude::*;
use crate::context::LoopFactory;
use crate::tools::{OnDrop, Trace};

cases! {
    RUN_01 => a_fresh_loop_is_closed_on_every_path;
    RUN_02 => the_end_has_an_order;
    RUN_03 => what_is_left_may_clean_up_and_fail, what_is_left_may_cancel_all_others;
    RUN_04 => not_inside_a_running_loop;
    RUN_05 => tasks_and_context_carry_over;
    RUN_06 => made_late_and_closed_for_good;
    RUN_07 => a_factory_leaves_the_threads_loop_alone;
    RUN_08 => debug_is_passed_on;
    RUN_13 => any_awaitable;
    RUN_14 => joining_the_executor_is_bounded;
}

/// Makes loops of the backend under test.
#[derive(Debug)]
struct Ours(LoopFactory);

impl EventLoopPolicy for Ours {
    fn new_event_loop(&self) -> anyloop_api::Result<LoopRef> {
        self.0.new_loop()
    }
}

fn runner(cx: &Context) -> Runner {
    let factory = cx.factory();
    Runner::new().loop_factory(move || factory.new_loop())
}

fn a_fresh_loop_is_closed_on_every_path(cx: &Context) -> Outcome {
    set_event_loop_policy(Ours(cx.factory()));
    let kept: Rc<RefCell<Vec<LoopRef>>> = Rc::default();
    let keep = || {
        let kept = kept.clone();
        move || kept.borrow_mut().extend(LoopRef::current().ok())
    };
    let seen = keep();
    let value = run(async move {
        seen();
        1
    });
    ensure_is!(value, Ok(1));
    let seen = keep();
    let error = run(async move {
        seen();
        Err::<(), _>("mine")
    });
    ensure_is!(error, Ok(Err("mine")));
    let seen = keep();
    let panicked = run(async move {
        seen();
        assert!(LoopRef::current().is_err(), "mine");
    });
    ensure_is!(panicked, Err(Error::Panicked(_)));
    let seen = keep();
    let interrupted = run(async move {
        seen();
        if let Ok(lp) = LoopRef::current() {
            lp.interrupt(Interrupt::new("mine"));
        }
        sleep(FAR).await;
    });
    ensure_is!(interrupted, Err(Error::Interrupt(_)));
    reset_event_loop_policy();
    let kept = kept.take();
    ensure_eq!(kept.len(), 4, "loops seen");
    for (number, lp) in kept.iter().enumerate() {
        ensure!(lp.is_closed(), "loop {number} is not closed");
        ensure!(!kept[..number].iter().any(|other| other.same(lp)), "loop {number} is not fresh");
    }
    Ok(())
}

fn the_end_has_an_order(cx: &Context) -> Outcome {
    set_event_loop_policy(Ours(cx.factory()));
    let trace = cx.trace();
    let mut runner = Runner::new();
    let lp = runner.get_loop()?;
    let (finalised, wait) = std::sync::mpsc::channel();
    let log = trace.clone();
    lp.state().add_finaliser(move || {
        Box::pin(async move {
            log.push("finaliser");
            let _ = finalised.send(());
            Ok(())
        })
    });
    // Dropped when the loop is closed.
    let log = trace.clone();
    let closing = OnDrop(move || {
        let unset = get_event_loop().is_err();
        log.push(if unset { "closed, nothing set" } else { "closed, a loop is set" });
    });
    lp.call_later(FAR, move || closing.keep())?;
    let (log, job_log) = (trace.clone(), trace.clone());
    runner.run(async move {
        create_task(on_cancel(sleep(FAR), || async move {
            sleep(ms(5)).await;
            log.push("task");
        }))?;
        LoopRef::current()?.run_in_executor(None, move || {
            let _ = wait.recv();
            thread::sleep(ms(50));
            job_log.push("job");
        })?;
        yield_now().await;
        Ok::<_, Error>(())
    })??;
    trace.expect([])?;
    ensure!(get_event_loop()?.same(&lp), "the runner's loop is not the thread's");
    runner.close()?;
    reset_event_loop_policy();
    ensure!(lp.is_closed(), "the loop is not closed");
    trace.expect(["task", "finaliser", "job", "closed, nothing set"])
}

fn what_is_left_may_clean_up_and_fail(cx: &Context) -> Outcome {
    let trace = cx.trace();
    let mut runner = runner(cx);
    let lp = runner.get_loop()?;
    let reports = Reports::of(&lp);
    let (inner, log) = (lp, trace.clone());
    let output = runner.run(async move {
        create_task(on_cancel(sleep(FAR), || async move {
            sleep(ms(5)).await;
            log.push("cleaned up");
        }))?;
        inner.task().name("returns an error").spawn(async {
            let _ = catch_cancel(sleep(FAR)).await;
            Err::<(), _>(Error::usage("while cleaning up"))
        })?;
        inner.task().name("panics").spawn(async {
            let done = catch_cancel(sleep(FAR)).await;
            assert!(done.is_ok(), "while cleaning up");
        })?;
        yield_now().await;
        Ok::<_, Error>("output")
    })?;
    trace.expect([])?;
    runner.close()?;
    trace.expect(["cleaned up"])?;
    ensure_eq!(output?, "output", "the outcome of main");
    let mut about: Vec<_> = reports
        .take()
        .iter()
        .map(|seen| {
            let error = seen.exception.as_ref().map(ToString::to_string);
            (seen.task.as_deref().unwrap_or_default().to_owned(), error.unwrap_or_default())
        })
        .collect();
    about.sort();
    let expected = [
        ("panics".to_owned(), "panicked: while cleaning up".to_owned()),
        ("returns an error".to_owned(), "while cleaning up".to_owned()),
    ];
    ensure_eq!(about, expected, "tasks and errors reported");
    Ok(())
}

/// The clean-up of one cancels everybody else: the end waits for it all the same.
fn what_is_left_may_cancel_all_others(cx: &Context) -> Outcome {
    let trace = cx.trace();
    let mut runner = runner(cx);
    let log = trace.clone();
    runner.run(async move {
        create_task(on_cancel(sleep(FAR), || async move {
            let me = current_task();
            let others = LoopRef::current()?.all_tasks();
            others.into_iter().filter(|task| Some(task) != me.as_ref()).for_each(|task| {
                task.cancel();
            });
            sleep(ms(2)).await;
            log.push("cleaned up");
            Ok::<(), Error>(())
        }))?;
        yield_now().await;
        Ok::<_, Error>(())
    })??;
    runner.close()?;
    trace.expect(["cleaned up"])
}

fn not_inside_a_running_loop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    set_event_loop_policy(Ours(cx.factory()));
    let (made, polled) = (Counter::new(), Counter::new());
    let (counter, body) = (made.clone(), polled.clone());
    let factory = cx.factory();
    let outcome: Outcome = lp.run_until_complete(async move {
        let main = body.clone();
        ensure_is!(run(async move { main.add() }), Err(Error::Usage(_)));
        let mut inner = Runner::new().loop_factory(move || {
            counter.add();
            factory.new_loop()
        });
        ensure_is!(inner.run(async move { body.add() }), Err(Error::Usage(_)));
        // The run around it goes on.
        sleep(ms(1)).await;
        Ok(())
    })?;
    reset_event_loop_policy();
    outcome?;
    ensure_eq!((made.get(), polled.get()), (0, 0), "loops made, bodies polled");
    Ok(())
}

fn tasks_and_context_carry_over(cx: &Context) -> Outcome {
    let variable = ContextVar::new("variable");
    variable.set(1);
    let mut runner = runner(cx);
    let inside = variable.clone();
    let (seen, task) = runner.run(async move {
        let seen = inside.get();
        inside.set(2);
        let task = create_task(async {
            sleep(ms(1)).await;
            "carried over"
        });
        (seen, task)
    })?;
    let task = task?;
    ensure_eq!(seen, Some(1), "the variable in the first run");
    ensure!(!task.done(), "the task went on without a run");
    let inside = variable.clone();
    let (seen, output) = runner.run(async move { (inside.get(), task.await) })?;
    ensure_eq!(seen, Some(2), "the variable in the second run");
    ensure_eq!(output?, "carried over", "what the task of the first run returns");
    ensure_eq!(variable.get(), Some(1), "the variable outside");
    Ok(runner.close()?)
}

fn made_late_and_closed_for_good(cx: &Context) -> Outcome {
    let made = Counter::new();
    let (counter, factory) = (made.clone(), cx.factory());
    let mut runner = Runner::new().loop_factory(move || {
        counter.add();
        factory.new_loop()
    });
    ensure_eq!(made.get(), 0, "loops before the first run");
    let first = runner.get_loop()?;
    runner.run(async {})?;
    ensure!(runner.get_loop()?.same(&first), "the second run has another loop");
    ensure_eq!(made.get(), 1, "loops made for two runs");
    runner.close()?;
    ensure!(first.is_closed(), "its loop is open");
    runner.close()?;
    ensure_is!(runner.run(async {}), Err(Error::Usage(_)));
    ensure_is!(runner.get_loop(), Err(Error::Usage(_)));
    ensure_eq!(made.get(), 1, "loops made by a closed runner");
    // One that never ran has nothing to close, and is closed all the same.
    let mut unused = self::runner(cx);
    unused.close()?;
    ensure_is!(unused.run(async {}), Err(Error::Usage(_)));
    Ok(())
}

fn a_factory_leaves_the_threads_loop_alone(cx: &Context) -> Outcome {
    set_event_loop_policy(Ours(cx.factory()));
    let mine = cx.new_loop()?;
    set_event_loop(mine.clone());
    let mut with_factory = runner(cx);
    ensure!(!with_factory.get_loop()?.same(&mine), "the factory is not asked");
    with_factory.run(async {})?;
    ensure!(get_event_loop()?.same(&mine), "a run has changed the thread's loop");
    with_factory.close()?;
    ensure!(get_event_loop()?.same(&mine), "the end has changed the thread's loop");
    ensure!(!mine.is_closed(), "it has closed a loop that it does not own");
    // Without a factory it is the other way round.
    let mut without = Runner::new();
    let lp = without.get_loop()?;
    ensure!(get_event_loop()?.same(&lp), "the thread's loop is not the runner's");
    without.close()?;
    ensure_is!(get_event_loop(), Err(Error::Usage(_)));
    reset_event_loop_policy();
    Ok(())
}

fn debug_is_passed_on(cx: &Context) -> Outcome {
    for default in [false, true] {
        for (wanted, expected) in [(None, default), (Some(true), true), (Some(false), false)] {
            let factory = cx.factory();
            let mut runner = Runner::new()
                .loop_factory(move || factory.new_loop_with(|config| config.debug(default)));
            if let Some(on) = wanted {
                runner = runner.debug(on);
            }
            let found = runner.run(async { LoopRef::current().map(|lp| lp.get_debug()) })??;
            ensure_eq!(found, expected, "debug with the default {default} and {wanted:?}");
        }
    }
    Ok(())
}

fn any_awaitable(cx: &Context) -> Outcome {
    let mut runner = runner(cx);
    let lp = runner.get_loop()?;
    let future = lp.create_future::<u32>();
    lp.call_soon({
        let future = future.clone();
        move || {
            future.set_unless_done(Ok(1));
        }
    })?;
    ensure_is!(runner.run(future)?, Ok(1));
    let task = lp.create_task(async { 2 })?;
    ensure_is!(runner.run(&task)?, Ok(2));
    ensure_is!(runner.run(std::future::ready(3)), Ok(3));
    let closure = || async { 4 };
    ensure_is!(runner.run(closure()), Ok(4));
    Ok(runner.close()?)
}

/// Never gets its workers to end.
#[derive(Debug)]
struct Stuck(Trace);

impl Executor for Stuck {
    fn execute(&self, job: Job) -> anyloop_api::Result<()> {
        job();
        Ok(())
    }

    fn shutdown(&self) {
        self.0.push("shut down");
    }

    fn join(&self, timeout: Option<Duration>) -> bool {
        self.0.push(format!("join {timeout:?}"));
        // As if that time were over.
        false
    }
}

fn joining_the_executor_is_bounded(cx: &Context) -> Outcome {
    let trace = cx.trace();
    let mut runner = runner(cx);
    let lp = runner.get_loop()?;
    let reports = Reports::of(&lp);
    lp.set_default_executor(std::sync::Arc::new(Stuck(trace.clone())));
    runner.run(async {})?;
    trace.expect([])?;
    runner.close()?;
    ensure_eq!(trace.take(), ["shut down", "join Some(300s)"], "what the executor is told");
    reports.one()?;
    ensure!(lp.is_closed(), "the end stopped there");
    Ok(())
}
