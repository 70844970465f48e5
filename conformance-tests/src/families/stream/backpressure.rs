//! Whoever is slow slows the other side down: the reader its peer, the peer the writer.

use std::io::Write;

use anyloop::create_task;

use super::super::prelude::*;
use super::{attach, once, until};
use crate::tools::{CloggedTcp, clogged_tcp_pair, collect, pattern, settle, socket_pair};

cases! {
    STREAM_09 => paused_above_twice_the_limit, resumed_at_the_limit, waiting_for_more_resumes,
        a_slow_reader_bounds_what_is_buffered;
    STREAM_14 => a_write_never_waits, drain_waits_only_while_paused;
    STREAM_15 => all_who_drain_are_released, giving_up_a_drain_releases_nobody_else;
}

/// What one call of `data_received` may bring at most.
const CALL_MAX: usize = 256 * 1024;

/// A piece of `n` bytes is there at once: none of the reads below waits.
fn read(lp: &LoopRef, reader: &anyloop::StreamReader, n: usize) -> Result<Vec<u8>, Failure> {
    let reader = reader.clone();
    Ok(lp.run_until_complete(async move { reader.read(n).await })??)
}

fn paused_above_twice_the_limit(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let (reader, writer) = attach(&lp, near, 1000)?;
    far.write_all(&pattern(2000))?;
    let theirs = reader.clone();
    until(&lp, move || theirs.buffered() == 2000)?;
    ensure!(writer.transport().is_reading(), "paused at twice the limit");
    far.write_all(b"x")?;
    settle(&lp)?;
    ensure_eq!(reader.buffered(), 2001, "bytes buffered");
    ensure!(!writer.transport().is_reading(), "not paused above twice the limit");
    far.write_all(b"more")?;
    settle(&lp)?;
    ensure_eq!(reader.buffered(), 2001, "bytes buffered while paused");
    writer.close();
    Ok(())
}

fn resumed_at_the_limit(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let (reader, writer) = attach(&lp, near, 1000)?;
    let sent = pattern(2011);
    far.write_all(&sent[..2001])?;
    let transport = writer.transport().clone();
    until(&lp, move || !transport.is_reading())?;
    far.write_all(&sent[2001..])?;
    let mut received = read(&lp, &reader, 1000)?;
    settle(&lp)?;
    ensure_eq!(reader.buffered(), 1001, "bytes buffered above the limit, still paused");
    ensure!(!writer.transport().is_reading(), "resumed above the limit");
    received.extend(read(&lp, &reader, 1)?);
    ensure!(writer.transport().is_reading(), "not resumed at the limit");
    let theirs = reader.clone();
    until(&lp, move || theirs.buffered() == 1010)?;
    received.extend(read(&lp, &reader, 5000)?);
    ensure!(received == sent, "what was read is not what was sent");
    writer.close();
    Ok(())
}

fn waiting_for_more_resumes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let (reader, writer) = attach(&lp, near, 10)?;
    far.write_all(&pattern(50_000))?;
    let transport = writer.transport().clone();
    until(&lp, move || !transport.is_reading())?;
    // More than is buffered, and much more than may be: it would wait for ever.
    let theirs = reader.clone();
    let task = lp.create_task(async move { theirs.read_exact(60_000).await })?;
    run_once(&lp)?;
    ensure!(writer.transport().is_reading(), "a read waits, and reading is paused");
    far.write_all(&pattern(10_000))?;
    let mut sent = pattern(50_000);
    sent.extend(pattern(10_000));
    ensure!(lp.run_until_done(&task)?? == sent, "what was read is not what was sent");
    writer.close();
    Ok(())
}

fn a_slow_reader_bounds_what_is_buffered(cx: &Context) -> Outcome {
    const LIMIT: usize = 1024;
    const TOTAL: usize = 2 << 20;
    let lp = cx.new_loop()?;
    let (near, far) = socket_pair()?;
    let (reader, near) = attach(&lp, near, LIMIT)?;
    let (_, far) = attach(&lp, far, LIMIT)?;
    let writer = far.clone();
    let sending = lp.create_task(async move {
        for piece in pattern(TOTAL).chunks(64 * 1024) {
            writer.write(piece);
            writer.drain().await?;
        }
        writer.write_eof()
    })?;
    // As far as it goes without being read.
    let (transport, theirs) = (far.transport().clone(), reader.clone());
    until(&lp, move || transport.get_write_buffer_size() > 0 && theirs.buffered() > 2 * LIMIT)?;
    settle(&lp)?;
    ensure!(!sending.done(), "2 MB fit into nothing");
    let buffered = reader.buffered();
    ensure!(buffered <= 2 * LIMIT + CALL_MAX, "{buffered} bytes are buffered");
    let received = lp.run_until_complete(async move {
        let mut received = Vec::new();
        let mut piece = vec![0; 100_000];
        loop {
            let count = reader.read_into(&mut piece).await?;
            if count == 0 {
                return Ok::<_, Error>(received);
            }
            received.extend_from_slice(&piece[..count]);
        }
    })??;
    ensure!(received == pattern(TOTAL), "what was read is not what was sent");
    lp.run_until_done(&sending)??;
    near.close();
    far.close();
    Ok(())
}

fn a_write_never_waits(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, unread } = clogged_tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    let sent = pattern(1 << 20);
    // Nothing to await: it returns nothing.
    let () = writer.write(&sent);
    let () = writer.writelines(&[b"one ", b"", b"two "]);
    let () = writer.write_vec(b"three".to_vec());
    let queued = writer.transport().get_write_buffer_size();
    ensure_eq!(queued, sent.len() + 13, "bytes queued behind a peer that does not read");
    writer.close();
    let there = collect(far);
    lp.run_until_complete(async move { writer.wait_closed().await })??;
    let received = join(there)??;
    ensure!(received[unread..sent.len() + unread] == sent, "the first piece was damaged");
    ensure_eq!(&received[unread + sent.len()..], b"one two three", "the other pieces");
    Ok(())
}

fn drain_waits_only_while_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    writer.transport().set_write_buffer_limits(Some(100), Some(50))?;
    let drain = || {
        let writer = writer.clone();
        lp.run_until_complete(async move { once(writer.drain()).await })
    };
    ensure_is!(drain()?, Some(Ok(())));
    writer.write([1; 100]);
    ensure_eq!(writer.transport().get_write_buffer_size(), 100, "bytes queued");
    ensure_is!(drain()?, Some(Ok(())));
    writer.write([1]);
    ensure_is!(drain()?, None);
    let there = collect(far);
    let theirs = writer.clone();
    lp.run_until_complete(async move { theirs.drain().await })??;
    let left = writer.transport().get_write_buffer_size();
    ensure!(left <= 50, "released with {left} bytes queued");
    ensure_is!(drain()?, Some(Ok(())));
    writer.close();
    lp.run_until_complete(async move { writer.wait_closed().await })??;
    join(there)??;
    Ok(())
}

fn all_who_drain_are_released(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    writer.write(pattern(1 << 20));
    let released = Counter::new();
    let mut drains = Vec::new();
    for _ in 0..5 {
        let (writer, released) = (writer.clone(), released.clone());
        drains.push(lp.create_task(async move {
            writer.drain().await?;
            released.add();
            Ok::<_, Error>(())
        })?);
    }
    settle(&lp)?;
    ensure_eq!(released.get(), 0, "released while nobody reads");
    let there = collect(far);
    for drain in drains {
        lp.run_until_done(&drain)??;
    }
    ensure_eq!(released.get(), 5, "released");
    writer.close();
    lp.run_until_complete(async move { writer.wait_closed().await })??;
    join(there)??;
    Ok(())
}

fn giving_up_a_drain_releases_nobody_else(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    let sent = pattern(1 << 20);
    writer.write(&sent);
    let ours = writer.clone();
    let (given_up, waiting) = lp.run_until_complete(async move {
        let drain = |writer: anyloop::StreamWriter| async move { writer.drain().await };
        let given_up = create_task(drain(ours.clone()))?;
        let waiting = create_task(drain(ours))?;
        yield_now().await;
        given_up.cancel();
        Ok::<_, Error>((given_up, waiting))
    })??;
    settle(&lp)?;
    ensure_is!(given_up.take_result(), Err(Error::Cancelled(_)));
    ensure!(!waiting.done(), "the other one was released");
    let there = collect(far);
    lp.run_until_done(&waiting)??;
    writer.close();
    lp.run_until_complete(async move { writer.wait_closed().await })??;
    ensure!(join(there)??.ends_with(&sent), "what was queued is not what arrived");
    Ok(())
}
