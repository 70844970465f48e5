//! What the callbacks may do, and what counts as buffered.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;

use super::*;
use crate::tools::{
    Clogged, available, clogged_pair, clogged_tcp_pair, collect, pattern, reset, settle,
    socket_view, tcp_pair,
};

pub(super) fn panics_are_reported_and_harmless(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let pair = clogged_tcp_pair()?;
    let script = Script::new().pause(|_| panic!("in pause")).resume(|_| panic!("in resume"));
    let record = script.record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(100), None)?;
    let sent = pattern(50_000);
    transport.write(&sent)?;
    let seen = reports.one()?;
    ensure!(seen.is_panic("in pause"), "the report is {seen:?}");
    ensure!(seen.has("transport") && seen.has("protocol"), "the report is {seen:?}");
    ensure!(!transport.is_closing(), "closing after a panic in pause_writing");
    let mut far = pair.far.try_clone()?;
    let reader = collect(pair.far);
    record.until(&lp, |record| record.count("resume") == 1)?;
    let seen = reports.one()?;
    ensure!(seen.is_panic("in resume"), "the report is {seen:?}");
    far.write_all(b"alive")?;
    record.until_received(&lp, 5)?;
    transport.close();
    record.until_lost(&lp)?;
    ensure_is!(record.error(), None);
    ensure!(join(reader)??[pair.unread..] == sent, "the peer got other bytes than were written");
    reports.none()
}

pub(super) fn resuming_may_write_again(cx: &Context) -> Outcome {
    const ROUNDS: usize = 20;
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let round = Cell::new(1);
    let resume = move |record: &Record| {
        if round.get() == ROUNDS {
            record.transport().close();
        } else {
            let _ = record.transport().write(vec![round.get() as u8; 100_000]);
            round.set(round.get() + 1);
        }
    };
    let record = Script::new().resume(resume).record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(1000), None)?;
    transport.write(vec![0; 100_000])?;
    let reader = collect(pair.far);
    record.until_lost(&lp)?;
    let expected: Vec<u8> = (0..ROUNDS).flat_map(|round| vec![round as u8; 100_000]).collect();
    ensure!(
        join(reader)??[pair.unread..] == expected,
        "the peer got other bytes than were written"
    );
    // A write that leaves at once does not pause; but pauses and resumes alternate.
    let events = record.events();
    let alternate = events[1..events.len() - 1]
        .iter()
        .enumerate()
        .all(|(at, event)| event == ["pause", "resume"][at % 2]);
    ensure!(alternate, "callbacks: {events:?}");
    Ok(())
}

pub(super) fn resuming_may_write_elsewhere(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let other = Script::new().record();
    let second = other.attach(&lp, near)?;
    let pair = clogged_tcp_pair()?;
    let theirs = second.clone();
    let resume = move |_: &Record| {
        let _ = theirs.write("resumed");
        theirs.close();
    };
    let record = Script::new().resume(resume).record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(0), None)?;
    transport.write("x")?;
    let readers = (collect(pair.far), collect(far));
    other.until_lost(&lp)?;
    ensure_eq!(join(readers.1)??, b"resumed", "what the other peer got");
    transport.close();
    record.until_lost(&lp)?;
    join(readers.0)??;
    Ok(())
}

/// Room is found at the end of one run, and told of at the start of the next; nothing else happens there
/// that would make the loop look at the transport again.
pub(super) fn resuming_at_the_start_of_a_run_may_write(cx: &Context) -> Outcome {
    const MORE: usize = 1_000_000;
    let lp = cx.new_loop()?;
    let Clogged { full, mut drain, unread } = clogged_pair()?;
    let (resumed, news) = mpsc::channel();
    let resume = move |record: &Record| {
        if record.count("resume") == 1 {
            let _ = record.transport().write(vec![b'2'; MORE]);
            let _ = resumed.send(());
        }
    };
    let record = Script::new().resume(resume).record();
    let transport = record.attach(&lp, full)?;
    transport.set_write_buffer_limits(Some(0), None)?;
    run_once(&lp)?;

    let mut far = drain.try_clone()?;
    drain.set_nonblocking(false)?;
    lp.call_soon(move || {
        let _ = transport.write(b"1");
        let _ = drain.read_exact(&mut vec![0; unread]);
    })?;
    run_once(&lp)?;

    let remote = lp.remote();
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; 1 + MORE];
        let _ = news.recv_timeout(ms(10_000));
        let read = far.set_read_timeout(Some(ms(10_000))).and_then(|()| far.read_exact(&mut bytes));
        remote.stop();
        read.map(|()| bytes)
    });
    lp.run_forever()?;
    ensure!(join(reader)?? == [&b"1"[..], &[b'2'; MORE]].concat(), "the peer got other bytes");
    Ok(())
}

pub(super) fn what_the_kernel_holds_counts(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    let mut written = 0;
    for size in [1, 100, 10_000, 50_000] {
        transport.write(vec![b'x'; size])?;
        written += size;
        // Whatever the loop does with them, none of the bytes has left.
        settle(&lp)?;
        ensure_eq!(transport.get_write_buffer_size(), written, "bytes buffered");
    }
    let reader = collect(pair.far);
    transport.close();
    ensure_eq!(transport.get_write_buffer_size(), written, "bytes buffered after close()");
    record.until_lost(&lp)?;
    ensure_eq!(join(reader)??.len(), pair.unread + written, "how much the peer got");
    Ok(())
}

pub(super) fn what_leaves_at_once_never_pauses(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.set_write_buffer_limits(Some(0), None)?;
    for round in 0..20 {
        transport.write([b'x'; 500])?;
        transport.writelines(&[&[b'y'; 100], &[b'z'; 100]])?;
        ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered in round {round}");
        run_once(&lp)?;
        ensure_eq!(available(&mut far)?.0.len(), 700, "bytes that arrived in round {round}");
    }
    record.expect(["made"])
}

pub(super) fn a_large_write_behind_a_small_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    socket_view(&transport)?.set_send_buffer_size(400_000)?;
    // The kernel has room for both, so a head and a body do not pause, whatever the loop does with the
    // head.
    for round in 0..10 {
        transport.write([b'h'; 100])?;
        transport.write([b'b'; 66_000])?;
        ensure_eq!(record.events(), ["made"], "callbacks in round {round}");
        let mut got = 0;
        let patience = Instant::now() + ms(10_000);
        while got < 66_100 {
            run_once(&lp)?;
            got += available(&mut far)?.0.len();
            ensure!(Instant::now() < patience, "{got} bytes in ten seconds");
        }
    }
    Ok(())
}

pub(super) fn abort_empties_the_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.write(vec![b'x'; 100_000])?;
    settle(&lp)?;
    transport.abort();
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered after abort()");
    record.until_lost(&lp)?;
    settle(&lp)?;
    record.expect(["made", "pause", "lost"])
}

pub(super) fn an_error_empties_the_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.write(vec![b'x'; 100_000])?;
    settle(&lp)?;
    reset(pair.far)?;
    record.until_lost(&lp)?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered after an error");
    ensure!(record.error().is_some(), "no error");
    ensure_eq!(record.count("resume"), 0, "calls of resume_writing");
    Ok(())
}

pub(super) fn drainers_are_released(cx: &Context) -> Outcome {
    for gently in [true, false] {
        let lp = cx.new_loop()?;
        let pair = clogged_tcp_pair()?;
        let near = pair.near;
        let draining = lp.create_task(async move {
            let (_reader, writer) =
                anyloop::open_connection(anyloop::Connect::socket(near)).await?;
            writer.write(vec![b'x'; 200_000]);
            let waiting = writer.drain().await;
            ensure!(waiting.is_err(), "drained, though nothing could leave");
            Ok::<_, Failure>(())
        })?;
        settle(&lp)?;
        ensure!(!draining.done(), "drained, though nothing could leave");
        if gently {
            pair.far.shutdown(Shutdown::Both)?;
            drop(pair.far);
        } else {
            reset(pair.far)?;
        }
        lp.run_until_done(&draining)??;
    }
    Ok(())
}
