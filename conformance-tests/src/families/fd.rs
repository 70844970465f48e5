//! Readiness watchers.

mod directions;
mod numbers;
mod transports;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use anyloop_api::{AnyProtocol, Connect, Protocol};

use self::directions::*;
use self::numbers::*;
use self::transports::*;
use super::prelude::*;
use crate::tools::{Clogged, clogged_pair, socket_pair};

cases! {
    FD_01 => a_reader_is_called_until_all_is_read, a_writer_is_called_until_it_is_removed;
    FD_02 => a_second_reader_replaces_the_first, a_second_writer_replaces_the_first,
        also_when_the_first_is_already_queued, also_a_writer_that_is_already_queued;
    FD_03 => removing_one_direction_keeps_the_other;
    FD_04 => removing_tells_whether_there_was_one;
    FD_05 => removed_in_the_same_batch_it_is_not_called, a_reader_removes_the_writer,
        a_callback_removes_itself;
    FD_06 => a_closed_loop_takes_no_watchers;
    FD_07 => a_transports_descriptor_is_refused, so_are_those_of_pipes_endpoints_and_servers,
        a_closing_transports_is_not,
        watchers_of_a_closing_transport_end_with_it, a_transport_takes_over_what_is_watched;
    FD_08 => numbers_and_objects_are_the_same, what_has_no_descriptor_is_refused;
    FD_09 => a_hang_up_wakes_both, or_the_one_there_is, an_error_wakes_both;
    FD_10 => the_reader_comes_first;
    FD_11 => removed_and_closed_at_once;
    FD_12 => a_number_used_again_in_the_same_batch, a_number_used_again_while_watched;
    FD_13 => closing_a_watched_descriptor_is_survived;
    FD_14 => a_regular_file_is_refused;
    FD_15 => somebody_else_reads_first;
    FD_16 => what_is_left_shows_again, a_half_close_does_not_wake_the_writer;
}

/// Reads everything that is there.
fn drain(mut end: &UnixStream) -> usize {
    let mut total = 0;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = end.read(&mut buffer) {
        total += count;
    }
    total
}

fn a_reader_is_called_until_all_is_read(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let calls = Counter::new();
    let mine = near.try_clone()?;
    lp.add_reader(&near, {
        let calls = calls.clone();
        move || {
            if calls.add() == 4 {
                drain(&mine);
            }
        }
    })?;
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), 0, "calls while there is nothing to read");
    far.write_all(b"some bytes")?;
    for expected in 1..=4 {
        run_once(&lp)?;
        ensure_eq!(calls.get(), expected, "calls, one per iteration");
    }
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), 4, "calls after everything was read");
    far.write_all(b"more")?;
    run_once(&lp)?;
    ensure_eq!(calls.get(), 5, "calls when something came again");
    Ok(())
}

fn a_writer_is_called_until_it_is_removed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let Clogged { full, drain: far, .. } = clogged_pair()?;
    let calls = Counter::new();
    let counter = calls.clone();
    lp.add_writer(&full, move || {
        counter.add();
    })?;
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), 0, "calls while there is no room");
    drain(&far);
    for expected in 1..=4 {
        run_once(&lp)?;
        ensure_eq!(calls.get(), expected, "calls, one per iteration");
    }
    ensure!(lp.remove_writer(&full)?, "there was no writer");
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), 4, "calls after the removal");
    Ok(())
}

fn a_second_reader_replaces_the_first(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let (trace, dropped) = (cx.trace(), Counter::new());
    far.write_all(b"x")?;
    let token = dropped.token();
    let first = trace.clone();
    lp.add_reader(&near, move || {
        token.keep();
        first.push("first");
    })?;
    run_once(&lp)?;
    let second = trace.clone();
    lp.add_reader(&near, move || second.push("second"))?;
    ensure_eq!(dropped.get(), 1, "how often the first callback was freed");
    run_times(&lp, 2)?;
    trace.expect(["first", "second", "second"])?;
    ensure!(lp.remove_reader(&near)?, "there was no reader");
    ensure!(!lp.remove_reader(&near)?, "there was a second reader");
    Ok(())
}

/// Two descriptors that are ready in the same poll, each with a callback that is told its trace, its
/// loop and the other descriptor. Whichever comes first.
fn two_ready(
    cx: &Context,
    callback: impl Fn(&LoopRef, RawFd) + Clone + 'static,
) -> Result<(LoopRef, [(UnixStream, UnixStream); 2]), Failure> {
    let lp = cx.new_loop()?;
    let pairs = [socket_pair()?, socket_pair()?];
    for ((near, far), (other, _)) in [(&pairs[0], &pairs[1]), (&pairs[1], &pairs[0])] {
        let (trace, callback, other) = (cx.trace(), callback.clone(), other.as_raw_fd());
        let weak = lp.downgrade();
        lp.add_reader(near, move || {
            trace.push("called");
            if let Some(lp) = weak.upgrade() {
                callback(&lp, other);
            }
        })?;
        let mut far = far;
        far.write_all(b"x")?;
    }
    Ok((lp, pairs))
}

fn also_when_the_first_is_already_queued(cx: &Context) -> Outcome {
    let trace = cx.trace();
    let (replaced, log) = (Rc::new(Cell::new(false)), trace.clone());
    let (lp, _pairs) = two_ready(cx, move |lp, other| {
        if !replaced.replace(true) {
            let log = log.clone();
            let _ = lp.add_reader(&other, move || log.push("new"));
        }
    })?;
    run_once(&lp)?;
    trace.expect(["called"])?;
    // A poll may bring one event at a time.
    run_times(&lp, 2)?;
    ensure!(trace.take().iter().any(|event| event == "new"), "the new reader was not called");
    Ok(())
}

fn removing_tells_whether_there_was_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = socket_pair()?;
    ensure!(!lp.remove_reader(&near)?, "a reader was removed before one was added");
    lp.add_reader(&near, || ())?;
    ensure!(!lp.remove_writer(&near)?, "a reader counts as a writer");
    ensure!(lp.remove_reader(&near)?, "the reader was not found");
    ensure!(!lp.remove_reader(&near)?, "the reader was removed twice");
    lp.add_writer(&near, || ())?;
    ensure!(!lp.remove_reader(&near)?, "a writer counts as a reader");
    ensure!(lp.remove_writer(&near)?, "the writer was not found");
    lp.add_reader(&near, || ())?;
    lp.close()?;
    ensure!(!lp.remove_reader(&near)?, "a reader was removed from a closed loop");
    ensure!(!lp.remove_writer(&near)?, "a writer was removed from a closed loop");
    Ok(())
}

fn removed_in_the_same_batch_it_is_not_called(cx: &Context) -> Outcome {
    let trace = cx.trace();
    let (lp, _pairs) = two_ready(cx, |lp, other| {
        let _ = lp.remove_reader(&other);
    })?;
    run_once(&lp)?;
    trace.expect(["called"])
}

fn a_callback_removes_itself(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let (calls, dropped) = (Counter::new(), Counter::new());
    far.write_all(b"x")?;
    let (counter, token) = (calls.clone(), dropped.token());
    let (weak, fd) = (lp.downgrade(), near.as_raw_fd());
    lp.add_reader(&near, move || {
        token.keep();
        counter.add();
        if let Some(lp) = weak.upgrade() {
            let _ = lp.remove_reader(&fd);
        }
    })?;
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), 1, "calls");
    ensure_eq!(dropped.get(), 1, "how often the callback was freed");
    Ok(())
}

fn a_closed_loop_takes_no_watchers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = socket_pair()?;
    let dropped = Counter::new();
    let token = dropped.token();
    lp.add_reader(&near, move || token.keep())?;
    lp.close()?;
    ensure_eq!(dropped.get(), 1, "how often the callback of a closed loop was freed");
    ensure_is!(lp.add_reader(&near, || ()), Err(Error::Closed(_)));
    ensure_is!(lp.add_writer(&near, || ()), Err(Error::Closed(_)));
    Ok(())
}

/// Counts the bytes that it receives.
#[derive(Clone, Default)]
struct Receiver {
    bytes: Rc<Cell<usize>>,
    lost: Rc<Cell<bool>>,
}

impl Protocol for Receiver {
    fn data_received(&self, data: &[u8]) {
        self.bytes.set(self.bytes.get() + data.len());
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.lost.set(true);
    }
}

fn somebody_else_reads_first(cx: &Context) -> Outcome {
    const ROUNDS: usize = 200;
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = socket_pair()?;
    let thief = near.try_clone()?;
    let receiver = Receiver::default();
    let theirs = receiver.clone();
    let factory = Rc::new(move || AnyProtocol::plain(theirs.clone()));
    let connecting = lp.create_connection(factory, Connect::socket(near));
    let (transport, _) = lp.run_until_complete(connecting)??;
    // Told of the same data: one of the two is told in vain.
    let stolen = Rc::new(Cell::new(0));
    let loot = stolen.clone();
    let hand = thief.try_clone()?;
    lp.add_reader(&thief, move || loot.set(loot.get() + drain(&hand)))?;
    for _ in 0..ROUNDS {
        far.write_all(b"x")?;
        run_once(&lp)?;
    }
    run_times(&lp, 3)?;
    ensure!(!receiver.lost.get(), "the connection was lost over a read in vain");
    ensure_eq!(receiver.bytes.get() + stolen.get(), ROUNDS, "bytes that arrived somewhere");
    ensure!(lp.remove_reader(&thief)?, "there was no reader");
    let before = receiver.bytes.get();
    far.write_all(b"for the transport")?;
    run_times(&lp, 2)?;
    ensure_eq!(receiver.bytes.get() - before, 17, "bytes that the transport got afterwards");
    transport.abort();
    run_times(&lp, 2)?;
    reports.none()
}

fn what_is_left_shows_again(cx: &Context) -> Outcome {
    const BYTES: usize = 300;
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    far.write_all(&[b'x'; BYTES])?;
    let calls = Counter::new();
    let (counter, weak) = (calls.clone(), lp.downgrade());
    let mut hand = near.try_clone()?;
    lp.add_reader(&near, move || {
        counter.add();
        if matches!(hand.read(&mut [0]), Ok(1)) && counter.get() == BYTES {
            let Some(lp) = weak.upgrade() else { return };
            lp.stop();
        }
    })?;
    // In one run, without any other reason to wake up.
    lp.run_forever()?;
    ensure_eq!(calls.get(), BYTES, "calls, one per byte");
    run_times(&lp, 2)?;
    ensure_eq!(calls.get(), BYTES, "calls after the last byte");
    Ok(())
}
