//! Protocols of both kinds: what their failures do, and what happens when one takes over from another.

use std::io::Write;
use std::net::Shutdown;

use anyloop_api::AnyProtocol;

use crate::families::prelude::*;
use crate::tools::{
    Record, Script, available, clogged_tcp_pair, collect, pattern, settle, tcp_pair,
};

pub(super) fn a_panic_in_data_received(cx: &Context) -> Outcome {
    let record = Script::new().data(|_, _| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.plain(), 1)
}

pub(super) fn a_panic_in_eof_received(cx: &Context) -> Outcome {
    let record = Script::new().eof(|_| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.plain(), 300_000)?;
    let record = Script::new().eof(|_| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.buffered(), 300_000)
}

pub(super) fn a_panic_in_get_buffer(cx: &Context) -> Outcome {
    let record = Script::new().buffer(|_| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.buffered(), 0)
}

pub(super) fn a_panic_in_buffer_updated(cx: &Context) -> Outcome {
    let record = Script::new().data(|_, _| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.buffered(), 1)
}

/// The peer sends much and half-closes; at least `received` of it arrive.
fn a_panic_aborts(
    cx: &Context,
    record: &Record,
    protocol: AnyProtocol,
    received: usize,
) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = tcp_pair()?;
    let made = lp.connect_accepted_socket(Rc::new(move || protocol.clone()), near.into());
    lp.run_until_complete(made)??;
    let writer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        // The connection may be gone before all of it is written.
        let _ = far.write_all(&pattern(300_000));
        let _ = far.shutdown(Shutdown::Write);
        std::io::copy(&mut &far, &mut std::io::sink()).or(Ok::<u64, std::io::Error>(0))
    });
    record.until_lost(&lp)?;
    join(writer)??;
    let seen = reports.one()?;
    ensure!(seen.is_panic("in the callback"), "the report is {seen:?}");
    ensure!(seen.has("transport") && seen.has("protocol"), "the report is {seen:?}");
    ensure_is!(record.error(), Some(Error::Panicked(_)));
    settle(&lp)?;
    let events = record.events();
    ensure!(events.last().is_some_and(|last| last.starts_with("lost")), "callbacks: {events:?}");
    ensure!(record.received() >= received, "only {} bytes received", record.received());
    ensure!(record.count("data") <= 1, "callbacks: {events:?}");
    reports.none()
}

pub(super) fn what_was_written_is_dropped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let mut pair = clogged_tcp_pair()?;
    let data = |record: &Record, _: &[u8]| {
        let _ = record.transport().write("never sent");
        panic!("in the callback");
    };
    let record = Script::new().data(data).record();
    let transport = record.attach(&lp, pair.near)?;
    pair.far.write_all(b"x")?;
    record.until_lost(&lp)?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered");
    ensure!(reports.one()?.is_panic("in the callback"), "another report");
    let got = join(collect(pair.far))?;
    // The connection may have been reset.
    ensure!(got.map_or(0, |got| got.len()) <= pair.unread, "the peer got what was written");
    Ok(())
}

pub(super) fn a_false_answer_flushes_and_closes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    let sent = pattern(200_000);
    transport.write(&sent)?;
    pair.far.shutdown(Shutdown::Write)?;
    record.until(&lp, |record| record.count("eof") == 1)?;
    ensure!(transport.is_closing(), "not closing after eof_received said false");
    settle(&lp)?;
    ensure!(!record.is_lost(), "lost before everything was sent");
    let reader = collect(pair.far);
    record.until_lost(&lp)?;
    ensure_is!(record.error(), None);
    ensure!(join(reader)??[pair.unread..] == sent, "the peer got other bytes than were written");
    ensure_eq!(record.count("eof"), 1, "calls of eof_received");
    Ok(())
}

pub(super) fn a_true_answer_keeps_the_write_side(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().eof(|_| true).record();
    let transport = record.attach(&lp, near)?;
    far.write_all(b"question")?;
    far.shutdown(Shutdown::Write)?;
    record.until(&lp, |record| record.count("eof") == 1)?;
    settle(&lp)?;
    record.expect(["made", "data", "eof"])?;
    ensure!(!transport.is_closing(), "closing although eof_received said true");
    ensure!(!transport.is_reading(), "reading behind the end of the stream");
    transport.write("answer")?;
    run_times(&lp, 2)?;
    ensure_eq!(available(&mut far)?, (b"answer".to_vec(), false), "what the peer got");
    // Pausing and resuming does not bring the end again.
    transport.pause_reading();
    transport.resume_reading();
    settle(&lp)?;
    transport.close();
    record.until_lost(&lp)?;
    ensure!(available(&mut far)?.1, "the peer sees no end");
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn never_beyond_the_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let sizes = Counter::new();
    // Another size each time.
    let record = Script::new().buffer(move |_| 1 + sizes.add() * 37 % 5000).record();
    record.attach_buffered(&lp, near)?;
    let sent = pattern(500_000);
    let bytes = sent.clone();
    let writer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        far.write_all(&bytes)
    });
    record.until_lost(&lp)?;
    join(writer)??;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    ensure_eq!(record.buffers_out(), 0, "buffers that were not given back");
    Ok(())
}

pub(super) fn never_beyond_a_tiny_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().buffer(|_| 1).record();
    record.attach_buffered(&lp, near)?;
    let sent = pattern(2_000);
    for piece in sent.chunks(100) {
        far.write_all(piece)?;
        run_once(&lp)?;
    }
    record.until_received(&lp, sent.len())?;
    ensure!(record.bytes() == sent, "received something else than was sent");
    ensure_eq!(record.largest(), 1, "the longest piece");
    run_times(&lp, 2)?;
    ensure_eq!(record.buffers_out(), 0, "buffers that were not given back");
    Ok(())
}

pub(super) fn an_empty_buffer_is_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().buffer(|_| 0).record();
    record.attach_buffered(&lp, near)?;
    far.write_all(b"x")?;
    record.until_lost(&lp)?;
    ensure!(record.error().is_some(), "no error");
    let seen = reports.one()?;
    ensure!(seen.has("transport") && seen.has("protocol"), "the report is {seen:?}");
    ensure!(seen.exception.is_some(), "the report is {seen:?}");
    Ok(())
}

/// What is behind the pause was received already, and the end with it.
pub(super) fn pausing_with_each_full_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record =
        Script::new().buffer(|_| 4).updated(|record| record.transport().pause_reading()).record();
    let transport = record.attach_buffered(&lp, near)?;
    far.write_all(b"0123456789")?;
    drop(far);
    for count in [4, 8, 10] {
        settle(&lp)?;
        ensure_eq!(record.bytes(), b"0123456789"[..count], "what was received so far");
        transport.resume_reading();
    }
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn pausing_in_get_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let buffer = |record: &Record| {
        record.transport().pause_reading();
        64
    };
    let record = Script::new().buffer(buffer).record();
    let transport = record.attach_buffered(&lp, near)?;
    far.write_all(b"kept")?;
    settle(&lp)?;
    record.expect(["made"])?;
    ensure_eq!(record.buffers_out(), 0, "buffers that were not given back");
    let calm = Script::new().record();
    transport.set_protocol(calm.plain());
    transport.resume_reading();
    calm.until_received(&lp, 4)?;
    ensure_eq!(calm.bytes(), b"kept", "what was received");
    Ok(())
}
