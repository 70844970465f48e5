//! Readiness watchers.

mod directions;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use anyloop_api::{AnyProtocol, Bind, Connect, DatagramEndpoint, Protocol, Transport};

use self::directions::*;
use super::prelude::*;
use crate::tools::{Clogged, Post, Script, clogged_pair, pipe, socket_pair};

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

/// Records that its connection was lost.
struct Quiet(Counter);

impl Protocol for Quiet {
    fn connection_lost(&self, _: Option<Error>) {
        self.0.add();
    }
}

/// A transport over one end of a pair, the number of its descriptor, the other end, and a counter of
/// its end.
fn transport(lp: &LoopRef) -> Result<(Transport, RawFd, UnixStream, Counter), Failure> {
    let (near, far) = socket_pair()?;
    let lost = Counter::new();
    let theirs = lost.clone();
    let factory = Rc::new(move || AnyProtocol::plain(Quiet(theirs.clone())));
    let connecting = lp.create_connection(factory, Connect::socket(near));
    let (transport, _) = lp.run_until_complete(connecting)??;
    let fd = transport.get_extra_info("socket").and_then(|info| info.socket()?.fileno());
    let fd = fd.ok_or_else(|| Failure::new("the transport has no descriptor"))?;
    Ok((transport, fd, far, lost))
}

fn a_transports_descriptor_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, fd, mut far, lost) = transport(&lp)?;
    ensure_is!(lp.add_reader(&fd, || ()), Err(Error::Usage(_)));
    ensure_is!(lp.add_writer(&fd, || ()), Err(Error::Usage(_)));
    ensure_is!(lp.remove_reader(&fd), Err(Error::Usage(_)));
    ensure_is!(lp.remove_writer(&fd), Err(Error::Usage(_)));
    // It was not disturbed.
    transport.write(b"x")?;
    run_times(&lp, 2)?;
    let mut byte = [0];
    far.read_exact(&mut byte)?;
    transport.close();
    run_times(&lp, 3)?;
    ensure_eq!(lost.get(), 1, "connection_lost");
    Ok(())
}

fn so_are_those_of_pipes_endpoints_and_servers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (read, into) = pipe()?;
    let reading = lp.run_until_complete(lp.connect_read_pipe(record.factory(), read))?;
    let reading = reading.map_err(Error::from)?.0;
    let (_from, write) = pipe()?;
    let writing = lp.run_until_complete(lp.connect_write_pipe(record.factory(), write))?;
    let writing = writing.map_err(Error::from)?.0;
    let endpoint = Post::new().open(&lp, DatagramEndpoint::local("127.0.0.1:0"))?;
    let serving = lp.create_server(record.factory(), Bind::to("127.0.0.1", 0));
    let server = lp.run_until_complete(serving)??;
    let of_pipe = |transport: &Transport| {
        transport.get_extra_info("pipe").and_then(|info| info.pipe()?.fileno())
    };
    let of_endpoint = endpoint.get_extra_info("socket").and_then(|info| info.socket()?.fileno());
    let of_server = server.sockets().first().and_then(|view| view.fileno());
    let all = [
        ("read pipe", of_pipe(&reading)),
        ("write pipe", of_pipe(&writing)),
        ("endpoint", of_endpoint),
        ("server", of_server),
    ];
    for (what, fd) in all {
        let fd = fd.ok_or_else(|| Failure::new(format!("the {what} has no descriptor")))?;
        let refused = [
            lp.add_reader(&fd, || ()),
            lp.add_writer(&fd, || ()),
            lp.remove_reader(&fd).map(drop),
            lp.remove_writer(&fd).map(drop),
        ];
        let refused = refused.iter().all(|result| matches!(result, Err(Error::Usage(_))));
        ensure!(refused, "watchers of the {what} are not refused");
    }
    File::from(into).write_all(b"x")?;
    record.until_received(&lp, 1)?;
    server.close();
    Ok(())
}

fn a_transport_takes_over_what_is_watched(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let (read, write) = pipe()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let (calls, dropped) = (Counter::new(), Counter::new());
    let watch = |fd: &dyn AsRawFd| {
        let (counter, token) = (calls.clone(), dropped.token());
        lp.add_reader(&fd.as_raw_fd(), move || {
            token.keep();
            counter.add();
        })
    };
    [&near as &dyn AsRawFd, &read, &listener].into_iter().try_for_each(watch)?;
    run_times(&lp, 2)?;
    far.write_all(b"hello")?;
    let stream = Script::new().record();
    let transport = stream.attach(&lp, near)?;
    stream.until_received(&lp, 5)?;
    File::from(write).write_all(b"hello")?;
    let piped = Script::new().record();
    lp.run_until_complete(lp.connect_read_pipe(piped.factory(), read))?.map_err(|r| r.error)?;
    piped.until_lost(&lp)?;
    ensure_eq!(piped.bytes(), b"hello", "what came through the pipe");
    let address = listener.local_addr()?;
    let served = Script::new().record();
    let serving = lp.create_server(served.factory(), Bind::socket(listener));
    let server = lp.run_until_complete(serving)??;
    drop(std::net::TcpStream::connect(address)?);
    served.until_lost(&lp)?;
    ensure_eq!((calls.get(), dropped.get()), (0, 3), "calls of watchers, and how many are freed");
    transport.close();
    server.close();
    stream.until_lost(&lp)?;
    stream.expect(["made", "data", "lost"])
}

/// The transport of [`transport`], closing, with more to send than fits.
fn closing(lp: &LoopRef) -> Result<(Transport, RawFd, UnixStream, Counter), Failure> {
    let made = transport(lp)?;
    made.0.write(vec![0; 4 << 20])?;
    made.0.close();
    run_times(lp, 2)?;
    ensure_eq!(made.3.get(), 0, "connection_lost of a transport that cannot send");
    Ok(made)
}

fn a_closing_transports_is_not(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (_transport, fd, mut far, lost) = closing(&lp)?;
    let calls = Counter::new();
    let counter = calls.clone();
    lp.add_reader(&fd, move || {
        counter.add();
    })?;
    run_times(&lp, 2)?;
    ensure_eq!(calls.get(), 0, "calls while there is nothing to read");
    far.write_all(b"x")?;
    run_once(&lp)?;
    ensure_eq!(calls.get(), 1, "calls when there is");
    ensure!(lp.remove_reader(&fd)?, "the reader was not found");
    // It goes on sending all the same, and ends.
    let mut received = 0;
    while lost.get() == 0 {
        received += drain(&far);
        run_once(&lp)?;
    }
    received += drain(&far);
    ensure_eq!(received, 4 << 20, "bytes received");
    ensure_eq!(calls.get(), 1, "calls after the removal");
    Ok(())
}

fn watchers_of_a_closing_transport_end_with_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, fd, mut far, lost) = closing(&lp)?;
    let (calls, dropped) = (Counter::new(), Counter::new());
    let (counter, token) = (calls.clone(), dropped.token());
    lp.add_reader(&fd, move || {
        token.keep();
        counter.add();
    })?;
    transport.abort();
    run_times(&lp, 3)?;
    ensure_eq!(lost.get(), 1, "connection_lost");
    ensure_eq!(dropped.get(), 1, "how often the callback was freed");
    let called = calls.get();
    drain(&far);
    ensure_is!(far.read(&mut [0]), Ok(0));
    ensure!(!lp.remove_reader(&fd)?, "the watcher outlived the transport");
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), called, "calls after the end");
    Ok(())
}

fn numbers_and_objects_are_the_same(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let trace = cx.trace();
    far.write_all(b"x")?;
    let (by_object, by_number) = (trace.clone(), trace.clone());
    lp.add_reader(&near, move || by_object.push("object"))?;
    lp.add_reader(&near.as_raw_fd(), move || by_number.push("number"))?;
    run_once(&lp)?;
    trace.expect(["number"])?;
    ensure!(lp.remove_reader(&near)?, "what was added by number is not found by object");
    ensure!(!lp.remove_reader(&near.as_raw_fd())?, "there are two registrations");
    Ok(())
}

fn what_has_no_descriptor_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    ensure_is!(lp.add_reader(&-1, || ()), Err(Error::InvalidArg(_)));
    ensure_is!(lp.add_writer(&-7, || ()), Err(Error::InvalidArg(_)));
    // A number that nobody has.
    let (near, _far) = socket_pair()?;
    let gone = near.as_raw_fd();
    drop(near);
    ensure_is!(lp.add_reader(&gone, || ()), Err(Error::Os(_)));
    ensure!(!lp.remove_reader(&gone)?, "a refused reader is there");
    Ok(())
}

fn removed_and_closed_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let calls = Counter::new();
    for round in 0..100 {
        let (near, mut far) = socket_pair()?;
        let counter = calls.clone();
        lp.add_reader(&near, move || {
            counter.add();
        })?;
        let counter = calls.clone();
        if round % 2 == 0 {
            lp.add_writer(&near, move || {
                counter.add();
            })?;
            ensure!(lp.remove_writer(&near)?, "there was no writer");
        }
        far.write_all(b"x")?;
        ensure!(lp.remove_reader(&near)?, "there was no reader");
        drop(near);
        // Nobody holds the file any more.
        ensure_is!(far.write(b"x"), Err(error) if error.kind() == ErrorKind::BrokenPipe);
        if round % 10 == 0 {
            run_once(&lp)?;
        }
    }
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), 0, "calls after the removal");
    Ok(())
}

/// A pair whose first end has this number.
fn pair_with_number(number: RawFd) -> Result<(UnixStream, UnixStream), Failure> {
    let mut others = Vec::new();
    loop {
        let (near, far) = socket_pair()?;
        if near.as_raw_fd() == number {
            return Ok((near, far));
        }
        if far.as_raw_fd() == number {
            return Ok((far, near));
        }
        ensure!(others.len() < 100, "descriptor {number} is not used again");
        others.push((near, far));
    }
}

fn a_number_used_again_in_the_same_batch(cx: &Context) -> Outcome {
    type Ends = Rc<RefCell<Vec<Option<UnixStream>>>>;
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (near_0, far_0) = socket_pair()?;
    let (near_1, far_1) = socket_pair()?;
    let ends: Ends = Rc::new(RefCell::new(vec![Some(near_0), Some(near_1)]));
    let renewed: Rc<RefCell<Option<(UnixStream, UnixStream)>>> = Rc::default();
    for index in 0..2 {
        let (trace, ends, renewed) = (trace.clone(), ends.clone(), renewed.clone());
        let fd = ends.borrow()[index].as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let weak = lp.downgrade();
        let old = move || {
            trace.push("old");
            let (Some(lp), Some(victim)) = (weak.upgrade(), ends.borrow_mut()[1 - index].take())
            else {
                return;
            };
            let number = victim.as_raw_fd();
            let _ = lp.remove_reader(&victim);
            drop(victim);
            let Ok(pair) = pair_with_number(number) else {
                trace.push("the number is not used again");
                return;
            };
            let trace = trace.clone();
            let _ = lp.add_reader(&pair.0, move || trace.push("new"));
            *renewed.borrow_mut() = Some(pair);
        };
        lp.add_reader(&fd, old)?;
    }
    for mut far in [&far_0, &far_1] {
        far.write_all(b"x")?;
    }
    run_once(&lp)?;
    // One was called, and took the other one's number away before its turn.
    trace.expect(["old"])?;
    for fd in ends.borrow().iter().flatten() {
        ensure!(lp.remove_reader(fd)?, "the first reader is gone");
    }
    run_times(&lp, 3)?;
    trace.expect([])?;
    let renewed = renewed.take().ok_or_else(|| Failure::new("no new pair"))?;
    (&renewed.1).write_all(b"x")?;
    run_once(&lp)?;
    trace.expect(["new"])
}

fn a_number_used_again_while_watched(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (near, mut old_far) = socket_pair()?;
    let number = near.as_raw_fd();
    let old = trace.clone();
    lp.add_reader(&near, move || old.push("old reader"))?;
    run_once(&lp)?;
    // Against the rules: closed without being removed.
    drop(near);
    let (near, mut far) = pair_with_number(number)?;
    let new = trace.clone();
    lp.add_writer(&near, move || new.push("writer"))?;
    far.write_all(b"for the new file")?;
    let _ = old_far.write(b"for the old one");
    run_times(&lp, 2)?;
    // The old reader is not part of the new registration.
    trace.expect(["writer", "writer"])?;
    ensure!(!lp.remove_reader(&near)?, "the old reader is registered for the new file");
    ensure!(lp.remove_writer(&near)?, "there was no writer");
    Ok(())
}

fn closing_a_watched_descriptor_is_survived(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let calls = Counter::new();
    let mut fars = Vec::new();
    let mut number = 0;
    for hang_up in [false, true, false, true] {
        let (near, far) = socket_pair()?;
        let counter = calls.clone();
        lp.add_reader(&near, move || {
            counter.add();
        })?;
        run_once(&lp)?;
        number = near.as_raw_fd();
        drop(near);
        // With and without a hang-up that the kernel could tell.
        if !hang_up {
            fars.push(far);
        }
    }
    let before = cpu_time();
    run_for(&lp, ms(200))?;
    let used = cpu_time() - before;
    ensure!(used < ms(100), "the loop spins: {used:?} of processor time in 200 ms");
    ensure!(calls.get() < 10, "{} calls for descriptors that are closed", calls.get());

    let (near, mut far) = pair_with_number(number)?;
    let trace = cx.trace();
    let new = trace.clone();
    lp.add_reader(&near, move || new.push("new"))?;
    far.write_all(b"x")?;
    run_once(&lp)?;
    trace.expect(["new"])
}

fn a_regular_file_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let file = File::open(std::env::current_exe()?)?;
    let eperm = |error: &Error| error.raw_os_error() == Some(1);
    ensure_is!(lp.add_reader(&file, || ()), Err(error) if eperm(&error));
    ensure_is!(lp.add_writer(&file, || ()), Err(error) if eperm(&error));
    ensure!(!lp.remove_reader(&file)?, "a refused reader is there");
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
