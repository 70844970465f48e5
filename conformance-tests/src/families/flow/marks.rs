//! When writing is paused and resumed.

use super::*;
use crate::tools::{clogged_tcp_pair, collect, pattern, settle, tcp_pair};

pub(super) fn paused_inside_the_write(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let sizes = Sizes::default();
    let pair = clogged_tcp_pair()?;
    let record = sizes.script().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(1000), None)?;
    transport.write([b'x'; 600])?;
    record.expect(["made"])?;
    transport.write([b'x'; 600])?;
    // No iteration has passed.
    ensure_eq!(sizes.get(), [("pause", 1200)], "calls inside the second write");
    Ok(())
}

pub(super) fn paused_inside_a_large_write(cx: &Context) -> Outcome {
    for owned in [false, true] {
        let lp = cx.new_loop()?;
        let sizes = Sizes::default();
        let (near, _far) = tcp_pair()?;
        let record = sizes.script().record();
        let transport = record.attach(&lp, near)?;
        // More than the two kernels' ends can hold: some of it leaves, the rest is too much.
        let data = vec![b'x'; 30_000_000];
        if owned {
            transport.write_vec(data)?;
        } else {
            transport.write(data)?;
        }
        let seen = sizes.get();
        ensure_eq!(seen.len(), 1, "calls inside the write: {seen:?}");
        ensure_eq!(seen[0], ("pause", transport.get_write_buffer_size()), "the call");
    }
    Ok(())
}

pub(super) fn paused_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(1000), None)?;
    for _ in 0..50 {
        transport.write([b'x'; 500])?;
    }
    settle(&lp)?;
    for _ in 0..50 {
        transport.write([b'x'; 500])?;
        run_once(&lp)?;
    }
    record.expect(["made", "pause"])?;
    ensure_eq!(transport.get_write_buffer_size(), 50_000, "bytes buffered");
    Ok(())
}

pub(super) fn resumed_once_when_drained(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(1000), Some(500))?;
    let sent = pattern(200_000);
    transport.write(&sent)?;
    transport.write_eof()?;
    let reader = collect(pair.far.try_clone()?);
    record.until(&lp, |record| record.count("resume") == 1)?;
    while !reader.is_finished() {
        run_for(&lp, ms(1))?;
    }
    ensure!(join(reader)??[pair.unread..] == sent, "the peer got other bytes than were written");
    settle(&lp)?;
    record.expect(["made", "pause", "resume"])?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered");
    Ok(())
}

pub(super) fn resumed_at_the_low_mark_not_before(cx: &Context) -> Outcome {
    const LOW: usize = 20_000;
    let lp = cx.new_loop()?;
    let sizes = Sizes::default();
    let mut pair = clogged_tcp_pair()?;
    let record = sizes.script().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(30_000), Some(LOW))?;
    for piece in pattern(300_000).chunks(10_000) {
        transport.write(piece)?;
        run_once(&lp)?;
    }
    // The peer reads bit by bit.
    let patience = Instant::now() + ms(20_000);
    let mut before = transport.get_write_buffer_size();
    while record.count("resume") == 0 {
        std::io::Read::read(&mut pair.far, &mut [0; 5_000])?;
        run_for(&lp, ms(1))?;
        let now = transport.get_write_buffer_size();
        ensure!(now <= before, "the buffer grew by itself");
        ensure!(now > LOW || record.count("resume") == 1, "{now} bytes buffered, and no resume");
        ensure!(Instant::now() < patience, "the peer reads, but nothing leaves");
        before = now;
    }
    let seen = sizes.get();
    let resumed = seen.last().is_some_and(|(what, size)| *what == "resume" && *size <= LOW);
    ensure!(seen.len() == 2 && resumed, "calls: {seen:?}");
    Ok(())
}

pub(super) fn the_high_mark_itself_does_not_pause(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for high in [1, 1000, 64 * 1024, 100_000] {
        let sizes = Sizes::default();
        let pair = clogged_tcp_pair()?;
        let record = sizes.script().record();
        let transport = record.attach(&lp, pair.near)?;
        transport.set_write_buffer_limits(Some(high), None)?;
        transport.write(vec![b'x'; high])?;
        settle(&lp)?;
        record.expect(["made"])?;
        transport.write("x")?;
        ensure_eq!(sizes.get(), [("pause", high + 1)], "calls with a high mark of {high}");
        transport.abort();
    }
    Ok(())
}

pub(super) fn the_low_mark_itself_resumes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let sizes = Sizes::default();
    let pair = clogged_tcp_pair()?;
    let record = sizes.script().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(100), Some(0))?;
    transport.write([b'x'; 101])?;
    let reader = collect(pair.far);
    record.until(&lp, |record| record.count("resume") == 1)?;
    ensure_eq!(sizes.get(), [("pause", 101), ("resume", 0)], "calls");
    transport.close();
    record.until_lost(&lp)?;
    join(reader)??;
    Ok(())
}

pub(super) fn zero_pauses_for_a_byte(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let sizes = Sizes::default();
    let pair = clogged_tcp_pair()?;
    let record = sizes.script().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(0), None)?;
    ensure_eq!(transport.get_write_buffer_limits(), (0, 0), "the marks");
    transport.write("x")?;
    ensure_eq!(sizes.get(), [("pause", 1)], "calls inside the write of a byte");
    Ok(())
}

pub(super) fn zero_resumes_when_all_is_sent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let sizes = Sizes::default();
    let pair = clogged_tcp_pair()?;
    let record = sizes.script().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(50_000), Some(0))?;
    for piece in pattern(400_000).chunks(10_000) {
        transport.write(piece)?;
        run_once(&lp)?;
    }
    let reader = collect(pair.far);
    record.until(&lp, |record| record.count("resume") == 1)?;
    ensure_eq!(sizes.get(), [("pause", 60_000), ("resume", 0)], "calls");
    transport.close();
    record.until_lost(&lp)?;
    join(reader)??;
    Ok(())
}

pub(super) fn default_marks(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = tcp_pair()?;
    let transport = Script::new().record().attach(&lp, near)?;
    const KIB: usize = 1024;
    ensure_eq!(transport.get_write_buffer_limits(), (16 * KIB, 64 * KIB), "the marks at first");
    let table = [
        ((Some(1000), None), (250, 1000)),
        ((None, Some(1000)), (1000, 4000)),
        ((Some(1000), Some(10)), (10, 1000)),
        ((Some(0), None), (0, 0)),
        ((None, Some(0)), (0, 0)),
        ((None, None), (16 * KIB, 64 * KIB)),
    ];
    for ((high, low), marks) in table {
        transport.set_write_buffer_limits(high, low)?;
        let found = transport.get_write_buffer_limits();
        ensure_eq!(found, marks, "(low, high) after high={high:?}, low={low:?}");
    }
    Ok(())
}

pub(super) fn reversed_marks_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = tcp_pair()?;
    let transport = Script::new().record().attach(&lp, near)?;
    transport.set_write_buffer_limits(Some(100), Some(50))?;
    ensure_is!(transport.set_write_buffer_limits(Some(10), Some(11)), Err(Error::InvalidArg(_)));
    ensure_is!(transport.set_write_buffer_limits(Some(0), Some(1)), Err(Error::InvalidArg(_)));
    ensure_eq!(transport.get_write_buffer_limits(), (50, 100), "the marks after a refusal");
    transport.set_write_buffer_limits(Some(11), Some(11))?;
    Ok(())
}

pub(super) fn lowering_the_marks_pauses_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let sizes = Sizes::default();
    let pair = clogged_tcp_pair()?;
    let record = sizes.script().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.write([b'x'; 1000])?;
    transport.set_write_buffer_limits(Some(1000), None)?;
    ensure_eq!(sizes.get(), [], "calls with the mark at the size");
    transport.set_write_buffer_limits(Some(999), None)?;
    ensure_eq!(sizes.get(), [("pause", 1000)], "calls inside set_write_buffer_limits");
    transport.set_write_buffer_limits(Some(10), None)?;
    record.expect(["made", "pause"])
}

pub(super) fn raising_the_marks_resumes_once_at_most(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(100), None)?;
    transport.write([b'x'; 1000])?;
    transport.set_write_buffer_limits(Some(1_000_000), Some(500_000))?;
    let at_once = record.count("resume");
    ensure!(at_once <= 1, "{at_once} calls of resume_writing");
    let reader = collect(pair.far.try_clone()?);
    transport.write_eof()?;
    record.until(&lp, |record| record.count("resume") == 1)?;
    while !reader.is_finished() {
        run_for(&lp, ms(1))?;
    }
    join(reader)??;
    record.expect(["made", "pause", "resume"])
}
