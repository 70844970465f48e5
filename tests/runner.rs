//! `run` and `Runner`, on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyloop::{
    Error, LoopRef, Report, Result, Runner, create_task, new_event_loop_with, on_cancel, run_with,
    sleep, yield_now,
};

fn hour() -> Duration {
    Duration::from_secs(3600)
}

#[track_caller]
fn failed<T: std::fmt::Debug>(outcome: Result<T>) -> Error {
    outcome.expect_err("this should have failed")
}

/// A runner whose loop keeps its reports for us.
fn reporting(backend: &'static str) -> (Runner, Rc<RefCell<Vec<Report>>>) {
    let reports: Rc<RefCell<Vec<Report>>> = Rc::default();
    let seen = reports.clone();
    let runner = Runner::new().loop_factory(move || {
        let lp = new_event_loop_with(backend)?;
        let seen = seen.clone();
        let handler = move |_: &LoopRef, report: &Report| seen.borrow_mut().push(report.clone());
        lp.set_exception_handler(Some(Rc::new(handler)));
        Ok(lp)
    });
    (runner, reports)
}

on_every_backend! {
    fn a_stopped_main_is_cancelled_at_the_end(backend) {
        let (mut runner, reports) = reporting(backend);
        let cleaned = Rc::new(Cell::new(false));
        let flag = cleaned.clone();
        let error = failed(runner.run(async move {
            LoopRef::current()?.stop();
            on_cancel(sleep(hour()), || async move { flag.set(true) }).await;
            Ok::<_, Error>(())
        }));
        assert!(matches!(error, Error::Usage(_)), "{error}");
        drop(runner);
        assert!(cleaned.get(), "dropping the runner did not close it");
        assert!(reports.borrow().is_empty(), "{reports:?}");
        Ok(())
    }

    /// COMB-30, COMB-31 as far as `sleep` goes.
    fn sleeping(backend) {
        run_with(backend, async {
            let lp = LoopRef::current()?;
            let started = lp.time();
            sleep(Duration::from_millis(10)).await;
            assert!(lp.time() - started >= Duration::from_millis(10));
            anyloop::sleep_until(lp.time() + Duration::from_millis(5)).await;
            assert!(lp.time() - started >= Duration::from_millis(15));
            // The past, and zero, yield once.
            let turns = Rc::new(Cell::new(0));
            let counter = turns.clone();
            let other = create_task(async move {
                for _ in 0..3 {
                    counter.set(counter.get() + 1);
                    yield_now().await;
                }
            })?;
            sleep(Duration::ZERO).await;
            assert_eq!(turns.get(), 1);
            anyloop::sleep_until(started).await;
            assert_eq!(turns.get(), 2);
            other.await?;
            // Cancelling ends it at the next step, and the task's count is right.
            let task = create_task(async {
                let caught = anyloop::catch_cancel(sleep(hour())).await;
                let count = anyloop::current_task().map(|task| task.cancelling());
                (caught.is_err(), count)
            })?;
            yield_now().await;
            assert!(task.cancel());
            assert!(!task.done());
            assert_eq!(task.await?, (true, Some(1)));
            // For ever and ever.
            let task = create_task(sleep(Duration::MAX))?;
            yield_now().await;
            assert!(!task.done());
            task.cancel();
            assert!(failed(task.await).is_cancelled());
            Ok(())
        })?
    }

    fn the_main_task_was_created_by_whoever_runs_it(backend) {
        let created = || async { Ok::<_, Error>(anyloop::dump()?.tasks[0].created) };
        let run_with = (run_with(backend, created())??, line!());
        let mut runner = Runner::new().backend(backend);
        let runner_runs = (runner.run(created())??, line!());
        runner.close()?;
        for (created, line) in [run_with, runner_runs] {
            assert_eq!((created.file(), created.line()), (file!(), line));
        }
        Ok(())
    }
}

/// Every test above ran on a loop of this thread; here is none.
#[test]
fn outside_a_loop() {
    assert!(matches!(failed(create_task(async {}).map(drop)), Error::Usage(_)));
    assert!(matches!(failed(anyloop::all_tasks().map(drop)), Error::Usage(_)));
    assert!(anyloop::current_task().is_none());
}
