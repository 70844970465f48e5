//! `examples/stuck.rs` on every backend: a loop in a callback that does not return is dumped on a signal.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

#[path = "../examples/stuck.rs"]
#[allow(dead_code, reason = "the example's own main")]
mod stuck;

use std::io::ErrorKind;
use std::sync::Mutex;

use anyloop::{Dump, Error, Result, TaskState, dump_on_signal};

fn names(dump: &Dump) -> Vec<&str> {
    let unnamed = |name: &&str| !name.starts_with("Task-");
    dump.tasks.iter().map(|task| &*task.name).filter(unnamed).collect()
}

/// One at a time: all of them are this process's SIGUSR1.
static ONE: Mutex<()> = Mutex::new(());

on_every_backend! {
    fn the_dump_names_the_culprit_and_who_waits(backend) {
        let _one = ONE.lock();
        let seen = stuck::run(backend, |_| Ok(()))?;
        assert!(seen.before.executing.is_none() && seen.before.running, "{:?}", seen.before);
        assert_eq!(names(&seen.before), ["worker", "boss"]);

        let dump = &seen.stuck;
        assert_eq!(names(dump), ["worker", "boss", "number cruncher"]);
        let culprit = dump.executing.as_ref().expect("the loop was stuck");
        let task = culprit.task.as_ref().expect("in the step of a task");
        assert_eq!((&*task.name, task.state), ("number cruncher", TaskState::Running));
        // Exactly who waits for whom at this moment, however long ago the rest was listed.
        let cruncher = dump.tasks.last().expect("the newest task");
        let main = dump.tasks.iter().find(|waiter| waiter.awaits_tasks == [cruncher.id]);
        assert_eq!(cruncher.awaited_by, [main.expect("the main task waits for it").id]);
        assert!(culprit.created.is_some_and(|at| at.file().ends_with("stuck.rs")), "{culprit:?}");
        for dump in [&seen.before, &seen.stuck] {
            assert_eq!(dump.timers.len(), 2, "the heartbeat and a sleep: {dump}");
            assert!(dump.timers.iter().all(|timer| timer.created.file().ends_with("stuck.rs")));
            assert!(dump.transports.iter().any(|what| what.contains("listener")), "{dump}");
            let boss = dump.tasks.iter().find(|task| task.name == "boss").expect("a boss");
            assert!(boss.awaits.as_ref().is_some_and(|what| what.contains("worker")), "{boss:?}");
            let worker = dump.tasks.iter().find(|task| task.name == "worker").expect("a worker");
            assert_eq!((worker.awaits.as_deref(), &worker.awaited_by), (Some("sleep"), &vec![boss.id]));
        }
        Ok(())
    }

    /// As on a disk that is full: it ends, with an error.
    fn a_dump_that_nobody_can_read_is_an_error(backend) {
        let _one = ONE.lock();
        let full = stuck::run(backend, |_| Err(ErrorKind::StorageFull.into())).map(drop);
        let full = full.expect_err("it was not shown");
        assert_eq!(full.io_kind(), ErrorKind::StorageFull, "{full:?}");
        let gone = stuck::run(backend, |_| panic!("where it is shown")).map(drop);
        assert!(matches!(gone, Err(Error::Usage(_))), "{gone:?}");
        Ok(())
    }

    fn what_is_no_signal_is_refused(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        let try_signal = |signal| dump_on_signal(&lp, signal, |_| ()).map(drop);
        assert!(matches!(try_signal(9), Err(Error::Usage(_))), "SIGKILL");
        assert!(matches!(try_signal(0), Err(Error::InvalidArg(_))), "none");
        assert!(matches!(try_signal(999), Err(Error::InvalidArg(_))), "too many");
        assert!(!lp.state().introspection(), "left on");
        lp.close()
    }

    /// Each for a signal of its own, and one of them is dropped before the other.
    fn several_keep_the_loop_observed_until_the_last_is_gone(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        // The highest ones, which nobody else uses here.
        let [one, two] = [63, 64].map(|signal| dump_on_signal(&lp, signal, |_| ()));
        let (one, two) = (one?, two?);
        drop(one);
        assert!(lp.state().introspection() && lp.state().observed(), "off, with one left");
        drop(two);
        assert!(!lp.state().introspection() && !lp.state().observed(), "left on");
        // Whoever had switched it on has it on.
        lp.set_introspection(true);
        drop(dump_on_signal(&lp, 64, |_| ())?);
        assert!(lp.state().introspection(), "switched off");
        lp.close()
    }
}
