//! Forked children and their parent's loop.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use ::fork::Fork;
use anyloop_api::sleep;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::prelude::*;
use crate::tools::{SIGUSR1, raise, socket_pair};

cases! {
    FORK_01 => no_loop_runs_in_a_child, a_child_makes_loops_of_its_own;
    FORK_02 => signals_stay_where_they_are_sent;
    FORK_03 => the_parents_loop_is_refused_in_a_child, a_child_that_returns_into_it_leaves_it,
        closing_it_in_a_child_leaves_the_parents_alone,
        asking_for_its_timeout_in_a_child_takes_nothing;
}

/// A forked child, from its parent's side.
struct Child {
    pid: Pid,
    complaint: UnixStream,
}

/// Runs `body` in a forked child, which ends with it. What it complains about, the parent hears.
fn fork(body: impl FnOnce() -> Outcome) -> Result<Child, Failure> {
    let (complaint, mut complain) = UnixStream::pair()?;
    match ::fork::fork()? {
        Fork::Parent(pid) => {
            let pid = Pid::from_raw(pid).ok_or_else(|| Failure::new("a child has the number 0"))?;
            Ok(Child { pid, complaint })
        }
        Fork::Child => {
            let outcome = catch_unwind(AssertUnwindSafe(body));
            let outcome = outcome.unwrap_or_else(|_| Err(Failure::new("the child panicked")));
            end_child(&mut complain, outcome)
        }
    }
}

fn end_child(complain: &mut UnixStream, outcome: Outcome) -> ! {
    if let Err(failure) = outcome {
        let _ = complain.write_all(failure.to_string().as_bytes());
    }
    std::process::exit(0)
}

impl Child {
    /// Waits for its end.
    fn join(mut self) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some((_, status)) = waitpid(Some(self.pid), WaitOptions::NOHANG)? {
                break status;
            }
            if Instant::now() > deadline {
                kill_process(self.pid, Signal::KILL)?;
                waitpid(Some(self.pid), WaitOptions::empty())?;
                return Err(Failure::new("the child did not end"));
            }
            thread::sleep(ms(1));
        };
        let mut complaint = String::new();
        self.complaint.read_to_string(&mut complaint)?;
        ensure!(complaint.is_empty(), "in the child: {complaint}");
        ensure_eq!(status.exit_status(), Some(0), "how the child ended: {status:?}");
        Ok(())
    }
}

/// Succeeds if timers, watchers and other threads still reach `lp`.
fn works(lp: &LoopRef) -> Outcome {
    let (near, mut far) = socket_pair()?;
    let (fd, remote) = (near.as_raw_fd(), lp.remote());
    let trace = crate::tools::Trace::new();
    let (weak, log) = (lp.downgrade(), trace.clone());
    lp.add_reader(&near, move || {
        log.push("watcher");
        if let Some(lp) = weak.upgrade() {
            let _ = lp.remove_reader(&fd);
            lp.stop();
        }
    })?;
    let ((log, log2), (fired, fire)) = ((trace.clone(), trace.clone()), mpsc::channel());
    let thread = thread::spawn(move || {
        // Each after the one before; the loop that drops its end early fails by the trace.
        let _ = fire.recv();
        let (called, call) = mpsc::channel();
        remote.call_soon_threadsafe(move || {
            log.push("thread");
            let _ = called.send(());
        })?;
        let _ = call.recv();
        far.write_all(b"x").map_err(Error::from)
    });
    lp.call_later(ms(1), move || {
        log2.push("timer");
        let _ = fired.send(());
    })?;
    lp.run_forever()?;
    join(thread)??;
    trace.expect(["timer", "thread", "watcher"])
}

fn no_loop_runs_in_a_child(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let outcome = Rc::new(RefCell::new(None));
    let (theirs, inner) = (outcome.clone(), lp.clone());
    lp.call_soon(move || {
        let child = fork(|| {
            ensure_is!(LoopRef::current(), Err(Error::Usage(_)));
            ensure!(!inner.is_running(), "the parent's loop is said to run in the child");
            Ok(())
        });
        let running = LoopRef::current().is_ok_and(|lp| lp.is_running());
        *theirs.borrow_mut() = Some((child, running));
    })?;
    run_once(&lp)?;
    let Some((child, running)) = outcome.borrow_mut().take() else {
        return Err(Failure::new("the callback was not called"));
    };
    child?.join()?;
    ensure!(running, "no loop runs in the parent any more");
    works(&lp)
}

fn a_child_makes_loops_of_its_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let factory = cx.factory();
    let body = move || {
        let lp = factory.new_loop()?;
        ensure_eq!(lp.run_until_complete(async { sleep(ms(1)).await })?, (), "a sleep");
        works(&lp)?;
        Ok(lp.close()?)
    };
    // Outside a run …
    fork(body.clone())?.join()?;
    // … and in the middle of one.
    let child = Rc::new(RefCell::new(None));
    let theirs = child.clone();
    lp.call_soon(move || *theirs.borrow_mut() = Some(fork(body)))?;
    run_once(&lp)?;
    child.borrow_mut().take().ok_or_else(|| Failure::new("no child was made"))??.join()?;
    works(&lp)
}

fn signals_stay_where_they_are_sent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let calls = Counter::new();
    lp.add_signal_handler(SIGUSR1, calls.each())?;
    run_once(&lp)?;
    let (mut parent, mut child) = UnixStream::pair()?;
    let factory = cx.factory();
    let forked = fork(move || {
        let lp = factory.new_loop()?;
        let calls = Counter::new();
        lp.add_signal_handler(SIGUSR1, calls.each())?;
        child.write_all(b"r")?;
        // Our parent's signal is not ours …
        child.read_exact(&mut [0])?;
        run_for(&lp, ms(20))?;
        ensure_eq!(calls.get(), 0, "calls for a signal that was sent to the parent");
        child.write_all(b"r")?;
        // … but this one is.
        child.read_exact(&mut [0])?;
        run_for(&lp, ms(20))?;
        ensure!(calls.get() > 0, "the child's own signal was not handled");
        Ok(lp.close()?)
    })?;
    parent.read_exact(&mut [0])?;
    raise(SIGUSR1)?;
    run_for(&lp, ms(20))?;
    let before = calls.get();
    parent.write_all(b"s")?;
    parent.read_exact(&mut [0])?;
    kill_process(forked.pid, Signal::USR1)?;
    parent.write_all(b"s")?;
    run_for(&lp, ms(40))?;
    forked.join()?;
    run_for(&lp, ms(5))?;
    ensure_eq!((before, calls.get()), (1, 1), "calls for one signal to the parent");
    Ok(())
}

fn the_parents_loop_is_refused_in_a_child(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = socket_pair()?;
    lp.add_reader(&near, || ())?;
    run_once(&lp)?;
    let inner = lp.clone();
    fork(move || {
        let (fresh, _other) = socket_pair()?;
        ensure_is!(inner.run_forever(), Err(Error::Usage(_)));
        ensure_is!(inner.run_until_complete(async {}), Err(Error::Usage(_)));
        ensure_is!(inner.call_soon(|| ()), Err(Error::Usage(_)));
        ensure_is!(inner.call_later(ms(1), || ()), Err(Error::Usage(_)));
        ensure_is!(inner.create_task(async {}), Err(Error::Usage(_)));
        ensure_is!(inner.add_reader(&fresh, || ()), Err(Error::Usage(_)));
        ensure_is!(inner.run_in_executor(None, || ()), Err(Error::Usage(_)));
        ensure_is!(inner.remote().call_soon_threadsafe(|| ()), Err(Error::Usage(_)));
        ensure!(inner.as_fd().is_none(), "the parent's poller is handed out");
        ensure!(!inner.describe().is_empty(), "no description");
        Ok(())
    })?
    .join()?;
    works(&lp)
}

fn a_child_that_returns_into_it_leaves_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (complaint, mut complain) = UnixStream::pair()?;
    let child = Rc::new(Cell::new(None));
    let (theirs, log, inner) = (child.clone(), trace.clone(), lp.clone());
    lp.call_soon(move || {
        match ::fork::fork() {
            Ok(Fork::Parent(pid)) => theirs.set(Pid::from_raw(pid)),
            Ok(Fork::Child) => {}
            Err(error) => log.push(error.to_string()),
        }
        inner.stop();
    })?;
    let ran = lp.run_forever();
    let Some(pid) = child.take() else {
        // The child: whatever was in the batch has run, but the loop goes on in the parent only.
        let again = lp.run_forever();
        let refused = matches!(again, Err(Error::Usage(_)));
        let outcome = if refused { Ok(()) } else { Err(Failure::new(format!("{again:?}"))) };
        end_child(&mut complain, outcome)
    };
    drop(complain);
    let joined = Child { pid, complaint }.join();
    ran?;
    trace.expect([])?;
    joined?;
    works(&lp)
}

fn closing_it_in_a_child_leaves_the_parents_alone(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let seen = Counter::new();
    lp.add_reader(&near, seen.each())?;
    let freed = Counter::new();
    let token = freed.token();
    lp.call_later(FAR, move || token.keep())?;
    run_once(&lp)?;
    let inner = lp.clone();
    let theirs = freed.clone();
    fork(move || {
        inner.close()?;
        ensure!(inner.is_closed(), "close() did not close");
        ensure_eq!(theirs.get(), 1, "callbacks freed by close()");
        Ok(())
    })?
    .join()?;
    // Nor does dropping it there.
    let child = fork(|| Ok(()))?;
    child.join()?;
    ensure_eq!(freed.get(), 0, "callbacks freed in the parent");
    far.write_all(b"x")?;
    run_times(&lp, 3)?;
    ensure!(seen.get() > 0, "a watcher of the parent's no longer works");
    lp.remove_reader(&near)?;
    works(&lp)
}

/// Who embeds the loop asks before each wait, and the child goes on where its parent was.
fn asking_for_its_timeout_in_a_child_takes_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let calls = Counter::new();
    lp.add_reader(&near, calls.each())?;
    run_once(&lp)?;
    far.write_all(b"x")?;
    let inner = lp.clone();
    fork(move || {
        ensure_eq!(inner.next_timeout(), Some(Duration::ZERO), "how long to wait");
        ensure_is!(inner.turn(), Err(Error::Usage(_)));
        Ok(())
    })?
    .join()?;
    run_once(&lp)?;
    ensure_eq!(calls.get(), 1, "calls in the parent");
    lp.remove_reader(&near)?;
    Ok(())
}
