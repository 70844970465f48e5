//! The two directions of one descriptor.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use crate::families::prelude::*;
use crate::tools::{Clogged, Trace, clog, clogged_pair, pipe, socket_pair};

pub(super) fn a_second_writer_replaces_the_first(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = socket_pair()?;
    let (trace, dropped) = (cx.trace(), Counter::new());
    let (token, first) = (dropped.token(), trace.clone());
    lp.add_writer(&near, move || {
        token.keep();
        first.push("first");
    })?;
    run_once(&lp)?;
    let second = trace.clone();
    lp.add_writer(&near, move || second.push("second"))?;
    ensure_eq!(dropped.get(), 1, "how often the first callback was freed");
    run_times(&lp, 2)?;
    trace.expect(["first", "second", "second"])?;
    ensure!(lp.remove_writer(&near)?, "there was no writer");
    ensure!(!lp.remove_writer(&near)?, "there was a second writer");
    Ok(())
}

/// Both directions are ready in one poll, and the reader comes first: what it does to the writer counts.
fn reader_before_writer(
    cx: &Context,
    act: impl Fn(&LoopRef, RawFd, &Trace) + 'static,
) -> Result<(LoopRef, UnixStream, UnixStream), Failure> {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    far.write_all(b"x")?;
    let (weak, log, fd) = (lp.downgrade(), cx.trace(), near.as_raw_fd());
    lp.add_reader(&near, move || {
        log.push("reader");
        if let Some(lp) = weak.upgrade() {
            let _ = lp.remove_reader(&fd);
            act(&lp, fd, &log);
        }
    })?;
    let log = cx.trace();
    lp.add_writer(&near, move || log.push("writer"))?;
    Ok((lp, near, far))
}

pub(super) fn also_a_writer_that_is_already_queued(cx: &Context) -> Outcome {
    let trace = cx.trace();
    let (lp, near, _far) = reader_before_writer(cx, |lp, fd, log| {
        let log = log.clone();
        let _ = lp.add_writer(&fd, move || log.push("second writer"));
    })?;
    run_once(&lp)?;
    trace.expect(["reader"])?;
    run_once(&lp)?;
    trace.expect(["second writer"])?;
    ensure!(lp.remove_writer(&near)?, "there was no writer");
    Ok(())
}

pub(super) fn a_reader_removes_the_writer(cx: &Context) -> Outcome {
    let trace = cx.trace();
    let (lp, near, _far) = reader_before_writer(cx, |lp, fd, log| {
        log.push(if matches!(lp.remove_writer(&fd), Ok(true)) { "removed" } else { "none" });
    })?;
    run_times(&lp, 3)?;
    trace.expect(["reader", "removed"])?;
    ensure!(!lp.remove_writer(&near)?, "the writer is still there");
    Ok(())
}

pub(super) fn removing_one_direction_keeps_the_other(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let trace = cx.trace();
    far.write_all(b"x")?;
    let pusher = |event: &'static str| {
        let trace = trace.clone();
        move || trace.push(event)
    };
    lp.add_reader(&near, pusher("read"))?;
    lp.add_writer(&near, pusher("write"))?;
    run_once(&lp)?;
    trace.expect(["read", "write"])?;
    ensure!(lp.remove_writer(&near)?, "there was no writer");
    run_once(&lp)?;
    trace.expect(["read"])?;
    lp.add_writer(&near, pusher("write"))?;
    ensure!(lp.remove_reader(&near)?, "there was no reader");
    run_once(&lp)?;
    trace.expect(["write"])?;
    ensure!(lp.remove_writer(&near)?, "the writer went with the reader");
    run_times(&lp, 2)?;
    trace.expect([])
}

pub(super) fn a_hang_up_wakes_both(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // Nothing to read, no room to write: only the hang-up can wake them.
    let Clogged { full, drain: far, .. } = clogged_pair()?;
    let trace = cx.trace();
    let (reader, writer) = (trace.clone(), trace.clone());
    lp.add_reader(&full, move || reader.push("reader"))?;
    lp.add_writer(&full, move || writer.push("writer"))?;
    run_times(&lp, 2)?;
    trace.expect([])?;
    drop(far);
    run_once(&lp)?;
    trace.expect(["reader", "writer"])
}

pub(super) fn or_the_one_there_is(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for reading in [true, false] {
        let Clogged { full, drain: far, .. } = clogged_pair()?;
        let calls = Counter::new();
        if reading {
            lp.add_reader(&full, calls.each())?;
        } else {
            lp.add_writer(&full, calls.each())?;
        }
        run_times(&lp, 2)?;
        ensure_eq!(calls.get(), 0, "calls before the hang-up, reading: {reading}");
        drop(far);
        for expected in 1..=2 {
            run_once(&lp)?;
            ensure_eq!(calls.get(), expected, "calls, one per iteration, reading: {reading}");
        }
        let removed = if reading { lp.remove_reader(&full)? } else { lp.remove_writer(&full)? };
        ensure!(removed, "there was no watcher, reading: {reading}");
    }
    Ok(())
}

/// The write end of a pipe has an error, and no hang-up, when its reader goes.
pub(super) fn an_error_wakes_both(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    clog(&write)?;
    let trace = cx.trace();
    let (reader, writer) = (trace.clone(), trace.clone());
    lp.add_reader(&write, move || reader.push("reader"))?;
    lp.add_writer(&write, move || writer.push("writer"))?;
    run_times(&lp, 2)?;
    trace.expect([])?;
    drop(read);
    run_once(&lp)?;
    trace.expect(["reader", "writer"])?;
    // Each by itself.
    ensure!(lp.remove_writer(&write)?, "there was no writer");
    run_once(&lp)?;
    trace.expect(["reader"])?;
    ensure!(lp.remove_reader(&write)?, "there was no reader");
    Ok(())
}

pub(super) fn the_reader_comes_first(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    far.write_all(b"x")?;
    let trace = cx.trace();
    let (reader, writer) = (trace.clone(), trace.clone());
    lp.add_writer(&near, move || writer.push("writer"))?;
    lp.add_reader(&near, move || reader.push("reader"))?;
    run_times(&lp, 2)?;
    trace.expect(["reader", "writer", "reader", "writer"])
}

pub(super) fn a_half_close_does_not_wake_the_writer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let Clogged { full, drain: far, .. } = clogged_pair()?;
    let (reads, writes) = (Counter::new(), Counter::new());
    let (reader, writer) = (reads.clone(), writes.clone());
    lp.add_reader(&full, move || {
        reader.add();
    })?;
    lp.add_writer(&full, move || {
        writer.add();
    })?;
    // The end of the stream can be read; there is no room to write all the same.
    far.shutdown(std::net::Shutdown::Write)?;
    run_times(&lp, 3)?;
    ensure_eq!((reads.get(), writes.get()), (3, 0), "calls of the reader and of the writer");
    let _keep: OwnedFd = far.into();
    Ok(())
}
