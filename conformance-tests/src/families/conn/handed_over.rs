//! Whose socket it is when the call does not come to its end.

use std::fs::File;

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{Script, collect, settle, stalled_listener, tcp_pair};

pub(super) fn cancelled_while_connecting(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    run_once(&lp)?;
    let stalled = stalled_listener()?;
    let before = open_descriptors();
    for addresses in [vec![stalled.address], vec![stalled.address; 3]] {
        let record = Script::new().record();
        let to = Connect::to_any(addresses).happy_eyeballs_delay(ms(5));
        let task = lp.create_task(lp.create_connection(record.factory(), to))?;
        run_for(&lp, ms(50))?;
        ensure!(!task.done(), "connected to somebody who does not answer");
        ensure!(open_descriptors() > before, "no attempt is under way");
        task.cancel();
        ensure_is!(lp.run_until_done(&task).map(drop), Err(Error::Cancelled(_)));
        ensure_eq!(open_descriptors(), before, "descriptors when the call has ended");
        // The numbers are somebody else's at once, and nothing happens to him.
        let files: Vec<_> = (0..4).map(|_| File::open("/dev/null")).collect::<Result<_, _>>()?;
        settle(&lp)?;
        files.iter().try_for_each(|file| file.metadata().map(drop))?;
        record.expect([])?;
    }
    reports.none()
}

pub(super) fn cancelled_at_any_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    run_once(&lp)?;
    let (listener, at) = listener()?;
    listener.set_nonblocking(true)?;
    let before = open_descriptors();
    let mut ended = 0;
    for steps in 0..60 {
        let record = Script::new().record();
        let task = lp.create_task(lp.create_connection(record.factory(), at.into()))?;
        run_times(&lp, steps / 2)?;
        let cancelled = task.cancel();
        match lp.run_until_done(&task) {
            Ok(Ok((transport, _))) => {
                ensure!(!cancelled, "cancelled, and connected all the same");
                ended += 1;
                transport.abort();
            }
            Err(Error::Cancelled(_)) => ensure!(cancelled, "not cancelled, but it says so"),
            other => return Err(Failure::new(format!("after {steps} steps: {other:?}"))),
        }
        run_times(&lp, 3)?;
        // What was begun was ended, too.
        ensure_eq!(record.count("made"), record.count("lost"), "callbacks {:?}", record.events());
        // Nobody comes if it was cancelled before it began.
        if let Ok((accepted, _)) = listener.accept() {
            drop(join(collect(accepted))?);
        }
    }
    ensure!(ended > 0, "no connection was ready after 30 iterations");
    ensure_eq!(open_descriptors(), before, "descriptors afterwards");
    reports.none()
}

pub(super) fn the_loop_is_closed_meanwhile(cx: &Context) -> Outcome {
    let stalled = stalled_listener()?;
    let before = open_descriptors();
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let to = Connect::to_any([stalled.address; 3]).happy_eyeballs_delay(ms(1));
    let task = lp.create_task(lp.create_connection(record.factory(), to))?;
    run_for(&lp, ms(20))?;
    ensure!(!task.done(), "connected to somebody who does not answer");
    lp.close()?;
    drop(task);
    drop(lp);
    ensure_eq!(open_descriptors(), before, "descriptors after the loop was closed");
    record.expect([])
}

pub(super) fn a_given_socket_is_closed_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    run_once(&lp)?;
    let before = open_descriptors();
    let mut ended = 0;
    for steps in 0..20 {
        let (near, far) = tcp_pair()?;
        let record = Script::new().record();
        let connecting = lp.create_connection(record.factory(), Connect::socket(near));
        let task = lp.create_task(connecting)?;
        run_times(&lp, steps / 2)?;
        task.cancel();
        if let Ok(Ok((transport, _))) = lp.run_until_done(&task) {
            ended += 1;
            transport.close();
        }
        run_times(&lp, 3)?;
        ensure_eq!(record.count("made"), record.count("lost"), "callbacks {:?}", record.events());
        // The number is somebody else's; a second close would hit him.
        let files: Vec<_> = (0..4).map(|_| File::open("/dev/null")).collect::<Result<_, _>>()?;
        settle(&lp)?;
        files.iter().try_for_each(|file| file.metadata().map(drop))?;
        drop(join(collect(far))?);
    }
    ensure!(ended > 0, "no connection was ready after 10 iterations");
    // A factory that fails.
    let (near, far) = tcp_pair()?;
    let connecting =
        lp.create_connection(Rc::new(|| panic!("in the factory")), Connect::socket(near));
    ensure_is!(lp.run_until_complete(connecting)?.map(drop), Err(Error::Panicked(_)));
    drop(join(collect(far))?);
    ensure_eq!(open_descriptors(), before, "descriptors afterwards");
    reports.none()
}

pub(super) fn a_given_socket_is_closed_if_nobody_begins(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let before = open_descriptors();
    // A call that is never awaited …
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    drop(lp.create_connection(record.factory(), Connect::socket(near)));
    drop(join(collect(far))?);
    // … one whose task is cancelled before its first step …
    let (near, far) = tcp_pair()?;
    let task = lp.create_task(lp.create_connection(record.factory(), Connect::socket(near)))?;
    task.cancel();
    ensure_is!(lp.run_until_done(&task).map(drop), Err(Error::Cancelled(_)));
    drop(join(collect(far))?);
    // … and one on a closed loop.
    let (near, far) = tcp_pair()?;
    let closed = cx.new_loop()?;
    closed.close()?;
    let connecting = closed.create_connection(record.factory(), Connect::socket(near));
    ensure_is!(lp.run_until_complete(connecting)?.map(drop), Err(Error::Closed(_)));
    drop(join(collect(far))?);
    drop(closed);
    ensure_eq!(open_descriptors(), before, "descriptors afterwards");
    record.expect([])
}
