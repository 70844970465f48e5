//! How connections end, and who is told.

use std::io::{ErrorKind, Read, Write};

use anyloop::{StreamWriter, TcpStream, open_connection, start_server};

use super::super::prelude::*;
use super::{attach, once, until};
use crate::tools::{
    CloggedTcp, available, clogged_tcp_pair, collect, pattern, reset, settle, socket_pair, tcp_pair,
};

cases! {
    STREAM_16 => drain_fails_with_the_connections_error, after_a_clean_end_it_is_a_reset,
        who_drains_is_told_of_the_end, a_loop_of_writes_ends, while_closing_it_yields;
    STREAM_17 => it_waits_for_what_is_queued, by_several_and_again, the_error_is_raised_again;
    STREAM_18 => unread_data_does_not_hinder_closing;
    STREAM_21 => half_closed_connections_go_on;
    STREAM_23 => the_last_writer_closes_and_warns, an_owner_of_both_may_drop_them;
}

fn wait_closed(lp: &LoopRef, writer: &StreamWriter) -> Result<anyloop_api::Result<()>, Failure> {
    let writer = writer.clone();
    Ok(lp.run_until_complete(async move { writer.wait_closed().await })?)
}

fn drain(lp: &LoopRef, writer: &StreamWriter) -> Result<anyloop_api::Result<()>, Failure> {
    let writer = writer.clone();
    Ok(lp.run_until_complete(async move { writer.drain().await })?)
}

fn is_reset(error: &Error) -> bool {
    error.io_kind() == ErrorKind::ConnectionReset
}

fn drain_fails_with_the_connections_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    reset(far)?;
    let ending = wait_closed(&lp, &writer)?;
    ensure_is!(&ending, Err(error) if is_reset(error));
    for _ in 0..2 {
        let drained = drain(&lp, &writer)?;
        ensure_eq!(format!("{drained:?}"), format!("{ending:?}"), "the error of drain");
    }
    Ok(())
}

fn after_a_clean_end_it_is_a_reset(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    writer.close();
    wait_closed(&lp, &writer)??;
    for _ in 0..2 {
        ensure_is!(drain(&lp, &writer)?, Err(error) if is_reset(&error));
    }
    Ok(())
}

fn who_drains_is_told_of_the_end(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    writer.write(pattern(1 << 20));
    let mut drains = Vec::new();
    for _ in 0..3 {
        let writer = writer.clone();
        drains.push(lp.create_task(async move { writer.drain().await })?);
    }
    settle(&lp)?;
    ensure!(drains.iter().all(|drain| !drain.done()), "nobody reads, and drain returns");
    writer.transport().abort();
    for drain in drains {
        ensure_is!(lp.run_until_done(&drain)?, Err(error) if is_reset(&error));
    }
    drop(far);
    Ok(())
}

/// It awaits nothing but drain.
fn a_loop_of_writes_ends(cx: &Context) -> Outcome {
    const MANY: usize = 1_000_000;
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    drop(far);
    let outcome = lp.run_until_complete(async move {
        for _ in 0..MANY {
            writer.write("into the void");
            writer.drain().await?;
        }
        Ok(())
    })?;
    ensure_is!(outcome, Err(Error::Os(_)));
    // A stream that is closed by ourselves is no better.
    let (near, _far) = tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    writer.close();
    let outcome = lp.run_until_complete(async move {
        for _ in 0..MANY {
            writer.write("too late");
            writer.drain().await?;
        }
        Ok(())
    })?;
    ensure_is!(outcome, Err(error) if is_reset(&error));
    Ok(())
}

fn while_closing_it_yields(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    writer.write("a little");
    let ours = writer.clone();
    let others = Counter::new();
    let other = others.clone();
    lp.run_until_complete(async move {
        ensure_is!(once(ours.drain()).await, Some(Ok(())));
        ours.close();
        ensure_is!(once(ours.drain()).await, None);
        anyloop::create_task(async move { other.add() })?;
        // Closing, not lost, and not paused: it yields, and that is all.
        ours.drain().await?;
        ensure_eq!(others.get(), 1, "steps of another task meanwhile");
        Ok(())
    })??;
    let there = collect(far);
    wait_closed(&lp, &writer)??;
    ensure!(join(there)??.ends_with(b"a little"), "what was queued did not arrive");
    Ok(())
}

fn it_waits_for_what_is_queued(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    let sent = pattern(1 << 20);
    writer.write(&sent);
    writer.close();
    ensure!(writer.is_closing(), "close does not show");
    let theirs = writer.clone();
    let waiting = lp.create_task(async move { theirs.wait_closed().await })?;
    settle(&lp)?;
    ensure!(!waiting.done(), "closed with everything still queued");
    let there = collect(far);
    lp.run_until_done(&waiting)??;
    ensure_eq!(writer.transport().get_write_buffer_size(), 0, "bytes queued after it");
    ensure!(join(there)??.ends_with(&sent), "what was queued did not arrive");
    Ok(())
}

fn by_several_and_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let writer = writer.clone();
        waiting.push(lp.create_task(async move { writer.wait_closed().await })?);
    }
    settle(&lp)?;
    ensure!(waiting.iter().all(|wait| !wait.done()), "it is open");
    let given_up = waiting.remove(0);
    given_up.cancel();
    writer.close();
    for wait in waiting {
        lp.run_until_done(&wait)??;
    }
    ensure_is!(given_up.take_result(), Err(Error::Cancelled(_)));
    for _ in 0..2 {
        wait_closed(&lp, &writer)??;
    }
    Ok(())
}

fn the_error_is_raised_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let (reader, writer) = attach(&lp, near, 64)?;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let writer = writer.clone();
        waiting.push(lp.create_task(async move { writer.wait_closed().await })?);
    }
    settle(&lp)?;
    reset(far)?;
    for wait in waiting {
        ensure_is!(lp.run_until_done(&wait)?, Err(error) if is_reset(&error));
    }
    ensure_is!(wait_closed(&lp, &writer)?, Err(error) if is_reset(&error));
    let read = lp.run_until_complete(async move { reader.read(1).await })?;
    ensure_is!(read, Err(error) if is_reset(&error));
    Ok(())
}

fn unread_data_does_not_hinder_closing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // Not only a little: so much that reading is paused.
    for size in [6, 30_000] {
        let (near, mut far) = socket_pair()?;
        let (reader, writer) = attach(&lp, near, 1000)?;
        far.write_all(&pattern(size))?;
        let theirs = reader.clone();
        until(&lp, move || theirs.buffered() >= size.min(2001))?;
        let buffered = reader.buffered();
        writer.close();
        wait_closed(&lp, &writer)??;
        lp.run_until_complete(async move {
            ensure!(
                reader.read_to_end().await? == pattern(size)[..buffered],
                "what was buffered is not what is read"
            );
            ensure_eq!(reader.read(1).await?, b"", "a read after it");
            ensure_eq!(reader.read_line().await?, b"", "a line after it");
            ensure!(reader.at_eof(), "that is not the end");
            Ok(())
        })??;
    }
    Ok(())
}

fn half_closed_connections_go_on(cx: &Context) -> Outcome {
    const SIZE: usize = 1 << 20;
    let lp = cx.new_loop()?;
    lp.run_until_complete(async {
        let served = LoopRef::current()?.create_future::<()>();
        let told = served.clone();
        let server = start_server("127.0.0.1:0", move |reader, writer| {
            let told = told.clone();
            async move {
                ensure_eq_in_task(&reader.read_to_end().await?, b"question")?;
                // The peer has ended; we have not.
                if writer.is_closing() || !reader.at_eof() {
                    return Err(Error::usage("the end of the peer has closed the connection"));
                }
                for piece in pattern(SIZE).chunks(10_000) {
                    writer.write(piece);
                    writer.drain().await?;
                }
                writer.write_eof()?;
                // The callback's end would close it.
                told.await
            }
        })
        .await?;
        let address = server.local_addr().ok_or_else(|| Failure::new("no address"))?;
        let (reader, writer) = open_connection(address).await?;
        ensure!(writer.can_write_eof(), "a TCP stream cannot half-close");
        writer.write("question");
        writer.write_eof()?;
        writer.write_eof()?;
        ensure!(reader.read_to_end().await? == pattern(SIZE), "the answer is damaged");
        ensure!(!writer.is_closing(), "both have ended, nobody has closed");
        served.set_result(())?;
        writer.close();
        writer.wait_closed().await?;
        server.close();
        server.wait_closed().await?;
        Ok(())
    })?
}

/// A callback's error becomes a report; here it also ends the connection early.
fn ensure_eq_in_task(found: &[u8], expected: &[u8]) -> anyloop_api::Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::usage(format!("expected {expected:?}, found {found:?}")))
}

fn the_last_writer_closes_and_warns(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = tcp_pair()?;
    let (reader, writer) = attach(&lp, near, 64)?;
    let clone = writer.clone();
    drop(writer);
    clone.write("still open");
    settle(&lp)?;
    ensure_eq!(available(&mut far)?, (b"still open".to_vec(), false), "with a writer left");
    reports.none()?;
    lp.run_until_complete(async move { drop(clone) })?;
    let seen = reports.one()?;
    ensure!(seen.has("transport"), "the stream is not in {seen:?}");
    let end = lp.run_until_complete(async move { reader.read(1).await })??;
    ensure_eq!(end, b"", "what the reader sees");
    far.set_nonblocking(false)?;
    ensure_eq!(far.read(&mut [0])?, 0, "bytes after the end");
    // One that was closed before is dropped without a word.
    let (near, _far) = tcp_pair()?;
    let (_, writer) = attach(&lp, near, 64)?;
    writer.close();
    drop(writer);
    settle(&lp)?;
    reports.none()
}

fn an_owner_of_both_may_drop_them(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    // Which tells of what is in order elsewhere, too.
    lp.set_debug(true);
    let (near, far) = tcp_pair()?;
    let (reader, writer) = attach(&lp, near, 64)?;
    let stream = TcpStream::from_split(reader, writer);
    stream.writer().write("all of it");
    lp.run_until_complete(async move { drop(stream) })?;
    settle(&lp)?;
    ensure_eq!(join(collect(far))??, b"all of it", "what the peer gets");
    reports.none()
}
