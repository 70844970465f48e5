//! What is written and what is read: all of it, in order.

use std::io::{Read, Write};

use super::*;
use crate::tools::{Script, pattern, settle};

/// A client with a blocking server that reads to the end.
fn with_reader(lp: &LoopRef, record: &Record) -> Result<(Transport, Peer<Vec<u8>>), Failure> {
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let dialling = dial(lp, record.plain(), near, authority.client()?)?;
    let server = authority.blocking_server()?;
    let peer = thread::spawn(move || {
        let mut bytes = Vec::new();
        server.accept(far)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    Ok((made(lp, &dialling)?, peer))
}

pub(super) fn writes_after_close_vanish(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let record = Script::new().record();
    let (transport, peer) = with_reader(&lp, &record)?;
    transport.write("before")?;
    transport.close();
    transport.write("after")?;
    transport.writelines(&[b"after", b"all"])?;
    record.until_lost(&lp)?;
    ensure_eq!(join(peer)??, b"before", "what the peer got");
    for _ in 0..4 {
        transport.write("into the void")?;
    }
    reports.none()?;
    transport.write("once too often")?;
    let seen = reports.one()?;
    ensure!(seen.has("transport") && seen.exception.is_none(), "another warning: {seen:?}");
    Ok(())
}

pub(super) fn large_and_small_writes_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (transport, peer) = with_reader(&lp, &record)?;
    let bytes = pattern(8_000_000);
    let mut rest = &bytes[..];
    let sizes = [1, 100_000, 0, 3, 70_000, 16_384, 16_385, 1, 1_000_000, 5_000];
    for (at, size) in sizes.iter().cycle().enumerate() {
        let (piece, more) = rest.split_at(rest.len().min(*size));
        rest = more;
        match at % 3 {
            0 => transport.write(piece)?,
            1 => transport.write_vec(piece.to_vec())?,
            _ => transport.writelines(&[&piece[..piece.len() / 3], &piece[piece.len() / 3..]])?,
        }
        if at % 7 == 0 {
            run_once(&lp)?;
        }
        if rest.is_empty() {
            break;
        }
    }
    let (small, all) = (pattern(5_000), bytes.len() + 5_000);
    for byte in &small {
        transport.write([*byte])?;
    }
    transport.close();
    record.until_lost(&lp)?;
    let got = join(peer)??;
    ensure_eq!(got.len(), all, "bytes at the peer");
    ensure!(got == [bytes, small].concat(), "other bytes, or in another order");
    Ok(())
}

/// A client with a buffered protocol, and a blocking server that sends this.
fn fed(lp: &LoopRef, record: &Record, bytes: Vec<u8>) -> Result<(Task<Made>, Peer<()>), Failure> {
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let dialling = dial(lp, record.buffered(), near, authority.client()?)?;
    let server = authority.blocking_server()?;
    let peer = thread::spawn(move || {
        let mut stream = server.accept(far)?;
        stream.write_all(&bytes)?;
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock)?;
        stream.read(&mut [0]).map(drop)
    });
    Ok((dialling, peer))
}

pub(super) fn every_byte_into_buffers(cx: &Context) -> Outcome {
    for (size, length) in [(1, 20_000), (100, 200_000), (16_384, 1_000_000), (1 << 20, 1_000_000)] {
        let lp = cx.new_loop()?;
        let record = Script::new().buffer(move |_| size).record();
        let sent = pattern(length);
        let (dialling, peer) = fed(&lp, &record, sent.clone())?;
        made(&lp, &dialling)?;
        record.until_lost(&lp)?;
        join(peer)??;
        ensure!(record.bytes() == sent, "other bytes came into buffers of {size}");
        ensure!(record.largest() <= size, "{} bytes in a buffer of {size}", record.largest());
        ensure_eq!(record.buffers_out(), 0, "buffers not returned");
        record.expect(["made", "data", "eof", "lost"])?;
    }
    Ok(())
}

pub(super) fn pausing_between_buffers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new()
        .buffer(|_| 3_000)
        .updated(|record| record.transport().pause_reading())
        .record();
    let sent = pattern(100_000);
    let (dialling, peer) = fed(&lp, &record, sent.clone())?;
    let transport = made(&lp, &dialling)?;
    while record.received() < sent.len() {
        let before = record.received();
        transport.resume_reading();
        record.until(&lp, move |record| record.received() > before)?;
        ensure!(record.received() - before <= 3_000, "two buffers although paused");
        run_times(&lp, 3)?;
        ensure!(record.received() - before <= 3_000, "two buffers although paused");
    }
    settle(&lp)?;
    ensure_eq!(record.count("eof"), 0, "eof_received although paused");
    transport.resume_reading();
    record.until_lost(&lp)?;
    join(peer)??;
    ensure!(record.bytes() == sent, "other bytes came");
    ensure_eq!(record.buffers_out(), 0, "buffers not returned");
    Ok(())
}

pub(super) fn an_empty_buffer_is_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let record = Script::new().buffer(|_| 0).record();
    let (dialling, peer) = fed(&lp, &record, vec![1])?;
    made(&lp, &dialling)?;
    record.until_lost(&lp)?;
    drop(until_finished(&lp, peer)?);
    ensure_is!(record.error(), Some(Error::Panicked(_)));
    ensure!(reports.one()?.has("transport"), "no transport in the report");
    Ok(())
}
