//! `run` and `Runner`, on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyloop::{
    ContextVar, Error, EventLoopExt, Interrupt, LoopRef, Report, Result, Runner, create_task,
    get_event_loop, new_event_loop_with, on_cancel, run, run_with, set_event_loop, sleep,
    yield_now,
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
    /// RUN-01
    fn the_loop_is_closed_whatever_happens(backend) {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let keep = || {
            let kept = kept.clone();
            move || kept.borrow_mut().push(LoopRef::current().expect("inside a run"))
        };
        let keep_loop = keep();
        assert_eq!(run_with(backend, async move { keep_loop(); 1 })?, 1);
        let keep_loop = keep();
        let output: Result<()> = run_with(backend, async move {
            keep_loop();
            Err(Error::usage("mine"))
        })?;
        assert_eq!(failed(output).to_string(), "mine");
        let keep_loop = keep();
        let error = failed(run_with(backend, async move {
            keep_loop();
            panic!("mine")
        }).map(|never: ()| never));
        assert!(matches!(error, Error::Panicked(_)), "{error}");
        let keep_loop = keep();
        let error = failed(run_with(backend, async move {
            keep_loop();
            LoopRef::current()?.interrupt(Interrupt::new("mine"));
            sleep(hour()).await;
            Ok::<_, Error>(())
        }));
        assert!(matches!(error, Error::Interrupt(_)), "{error}");
        assert_eq!(kept.borrow().len(), 4);
        assert!(kept.borrow().iter().all(|lp| lp.is_closed()));
        Ok(())
    }

    /// RUN-02: tasks, finalisers, executor, current loop, close.
    fn the_end_has_an_order(backend) {
        let log: Rc<RefCell<Vec<&str>>> = Rc::default();
        let factory = move || new_event_loop_with(backend);
        let mut runner = Runner::new().loop_factory(factory);
        let lp = runner.get_loop()?;
        let (at_task, at_finaliser) = (log.clone(), log.clone());
        lp.state().add_finaliser(move || Box::pin(async move {
            at_finaliser.borrow_mut().push("finaliser");
            Ok(())
        }));
        let (sender, receiver) = std::sync::mpsc::channel();
        runner.run(async move {
            create_task(on_cancel(sleep(hour()), || async move {
                sleep(Duration::from_millis(5)).await;
                at_task.borrow_mut().push("task");
            }))?;
            let lp = LoopRef::current()?;
            lp.run_in_executor(None, move || {
                std::thread::sleep(Duration::from_millis(50));
                sender.send("job").expect("the test waits");
            })?;
            yield_now().await;
            Ok::<_, Error>(())
        })??;
        assert!(log.borrow().is_empty());
        runner.close()?;
        assert_eq!(*log.borrow(), ["task", "finaliser"]);
        assert_eq!(receiver.try_recv(), Ok("job"), "the executor was not joined");
        assert!(lp.is_closed());
        Ok(())
    }

    /// RUN-03
    fn left_over_tasks_may_clean_up_and_fail(backend) {
        let (mut runner, reports) = reporting(backend);
        let cleaned = Rc::new(Cell::new(false));
        let flag = cleaned.clone();
        let output = runner.run(async move {
            create_task(on_cancel(sleep(hour()), || async move {
                sleep(Duration::from_millis(5)).await;
                flag.set(true);
            }))?;
            LoopRef::current()?.task().name("returns an error").spawn(async {
                let _ = anyloop::catch_cancel(sleep(hour())).await;
                Err::<(), _>(Error::usage("while cleaning up"))
            })?;
            LoopRef::current()?.task().name("panics").spawn(async {
                let _ = anyloop::catch_cancel(sleep(hour())).await;
                panic!("while cleaning up")
            }).map(|_: anyloop::Task<()>| ())?;
            yield_now().await;
            Ok::<_, Error>("output")
        })?;
        assert!(!cleaned.get());
        runner.close()?;
        assert!(cleaned.get());
        assert_eq!(output?, "output");
        let mut about: Vec<_> = reports
            .borrow()
            .iter()
            .map(|report| {
                let task = report.task.as_ref().map(|task| task.get_name().to_string());
                (task.unwrap_or_default(), report.exception.as_ref().map(Error::to_string))
            })
            .collect();
        about.sort();
        assert_eq!(about, [
            ("panics".into(), Some("panicked: while cleaning up".into())),
            ("returns an error".into(), Some("while cleaning up".into())),
        ]);
        Ok(())
    }

    /// RUN-04
    fn not_inside_a_running_loop(backend) {
        run_with(backend, async move {
            let polled = Rc::new(Cell::new(false));
            let flag = polled.clone();
            let error = failed(run(async move { flag.set(true) }));
            assert!(matches!(error, Error::Usage(_)), "{error}");
            let error = failed(Runner::new().run(async {}));
            assert!(matches!(error, Error::Usage(_)), "{error}");
            assert!(!polled.get());
            // The outer run is intact.
            sleep(Duration::from_millis(1)).await;
        })
    }

    /// RUN-05
    fn tasks_and_context_carry_over(backend) {
        let variable = ContextVar::new("variable");
        variable.set(1);
        let mut runner = Runner::new().backend(backend);
        let inside = variable.clone();
        let task = runner.run(async move {
            assert_eq!(inside.get(), Some(1));
            inside.set(2);
            create_task(async {
                sleep(Duration::from_millis(1)).await;
                "carried over"
            })
        })??;
        assert!(!task.done());
        let inside = variable.clone();
        let output = runner.run(async move { (inside.get(), task.await) })?;
        assert_eq!(output.0, Some(2));
        assert_eq!(output.1?, "carried over");
        assert_eq!(variable.get(), Some(1), "changes inside are invisible outside");
        runner.close()
    }

    /// RUN-06
    fn close_is_idempotent_and_final(backend) {
        let made = Rc::new(Cell::new(0));
        let counter = made.clone();
        let mut runner = Runner::new().loop_factory(move || {
            counter.set(counter.get() + 1);
            new_event_loop_with(backend)
        });
        assert_eq!(made.get(), 0, "entering is lazy");
        runner.run(async {})?;
        runner.run(async {})?;
        assert_eq!(made.get(), 1);
        runner.close()?;
        runner.close()?;
        let error = failed(runner.run(async {}));
        assert!(matches!(error, Error::Usage(_)), "{error}");
        let error = failed(runner.get_loop());
        assert!(matches!(error, Error::Usage(_)), "{error}");
        // One that never ran has nothing to close.
        Runner::new().close()
    }

    /// RUN-07
    fn a_factory_leaves_the_threads_loop_alone(backend) {
        let mine = new_event_loop_with(backend)?;
        set_event_loop(mine.clone());
        let mut runner = Runner::new().backend(backend);
        runner.run(async {})?;
        assert!(get_event_loop()?.same(&mine));
        runner.close()?;
        assert!(get_event_loop()?.same(&mine));
        set_event_loop(None);
        mine.close()?;

        let mut runner = Runner::new();
        let lp = runner.get_loop()?;
        assert!(get_event_loop()?.same(&lp));
        runner.close()?;
        assert!(get_event_loop().is_err());
        Ok(())
    }

    /// RUN-08
    fn debug_is_passed_on(backend) {
        let debug = || async { LoopRef::current().map(|lp| lp.get_debug()) };
        assert!(Runner::new().backend(backend).debug(true).run(debug())??);
        assert!(!Runner::new().backend(backend).debug(false).run(debug())??);
        let default = Runner::new().backend(backend).run(debug())??;
        let lp = new_event_loop_with(backend)?;
        assert_eq!(default, lp.get_debug());
        lp.close()
    }

    /// RUN-13
    fn any_awaitable(backend) {
        let mut runner = Runner::new().backend(backend);
        let lp = runner.get_loop()?;
        let future = lp.create_future::<u32>();
        future.set_result(1)?;
        assert_eq!(runner.run(future.clone())??, 1);
        let task = lp.create_task(async { 2 })?;
        assert_eq!(runner.run(&task)??, 2);
        assert_eq!(runner.run(std::future::ready(3))?, 3);
        Ok(())
    }

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
}

/// Every test above ran on a loop of this thread; here is none.
#[test]
fn outside_a_loop() {
    assert!(matches!(failed(create_task(async {}).map(drop)), Error::Usage(_)));
    assert!(matches!(failed(anyloop::all_tasks().map(drop)), Error::Usage(_)));
    assert!(anyloop::current_task().is_none());
}
