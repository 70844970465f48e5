//! Streams that are no connections: pipes, and the output of a child.

use std::fs::File;
use std::io::{ErrorKind, Write};

use anyloop::{Command, Stdio, StreamReader, StreamReaderProtocol, create_subprocess_shell};
use anyloop_api::Transport;

use super::super::prelude::*;
use super::{once, until};
use crate::tools::{Script, pattern, pipe, settle, socket_pair};

cases! {
    STREAM_25 => a_pipe_is_read_as_a_stream, a_pipe_that_is_not_read_fills,
        a_full_one_that_nobody_can_read_is_closed, one_that_nobody_reads_ends_with_its_writer, one_that_somebody_else_feeds_can_be_read_on,
        a_childs_output,
        a_childs_output_slows_it_down;
}

/// The reading end as a stream, the writing end as a file.
fn piped(lp: &LoopRef, limit: usize) -> Result<(StreamReader, Transport, File), Failure> {
    let (read, write) = pipe()?;
    let reader = StreamReader::new(limit)?;
    let protocol = StreamReaderProtocol::new(reader.clone());
    let factory = Rc::new(move || protocol.clone().into());
    let (transport, _) = lp.run_until_complete(lp.connect_read_pipe(factory, read))??;
    Ok((reader, transport, write.into()))
}

fn a_pipe_is_read_as_a_stream(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (reader, transport, mut write) = piped(&lp, 1 << 10)?;
    write.write_all(b"first\nsecond\nsome more;re")?;
    let ours = reader.clone();
    lp.run_until_complete(async move {
        ensure_eq!(ours.read_line().await?, b"first\n", "a line");
        ensure_eq!(ours.next_line().await?, Some(b"second\n".to_vec()), "the next line");
        ensure_eq!(ours.read_exact(4).await?, b"some", "four bytes");
        ensure_eq!(ours.read_until(&[";"]).await?, b" more;", "through a separator");
        ensure!(once(ours.read_exact(4)).await.is_none(), "there are two bytes, not four");
        Ok::<_, Failure>(())
    })??;
    write.write_all(b"st")?;
    drop(write);
    lp.run_until_complete(async move {
        match reader.read_exact(5).await {
            Err(Error::IncompleteRead(read)) if read.expected == Some(5) => {
                ensure_eq!(read.partial, b"rest", "what the error holds");
            }
            other => return Err(Failure::new(format!("at the end: {other:?}"))),
        }
        ensure_eq!(reader.read(1).await?, b"", "after the end");
        ensure!(reader.at_eof(), "that is not the end");
        Ok(())
    })??;
    transport.close();
    Ok(())
}

fn a_pipe_that_is_not_read_fills(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (reader, transport, mut write) = piped(&lp, 100)?;
    write.write_all(&pattern(201))?;
    let theirs = reader.clone();
    until(&lp, move || theirs.buffered() == 201)?;
    ensure!(!transport.is_reading(), "not paused above twice the limit");
    write.write_all(b"more")?;
    settle(&lp)?;
    ensure_eq!(reader.buffered(), 201, "bytes buffered while paused");
    drop(write);
    let all = lp.run_until_complete(async move { reader.read_to_end().await })??;
    ensure!(all == [&pattern(201)[..], b"more"].concat(), "what was read is not what was written");
    Ok(())
}

fn a_full_one_that_nobody_can_read_is_closed(cx: &Context) -> Outcome {
    for keeps_its_protocol in [true, false] {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let (reader, transport, mut write) = piped(&lp, 100)?;
        let protocol = StreamReaderProtocol::new(reader.clone());
        write.write_all(&pattern(201))?;
        let theirs = reader.clone();
        until(&lp, move || theirs.buffered() == 201)?;
        drop((transport, reader));
        settle(&lp)?;
        reports.none()?;
        if keeps_its_protocol {
            // Somebody can still read.
            let reader = protocol.reader();
            drop(write);
            let all = lp.run_until_complete(async move { reader.read_to_end().await })??;
            ensure_eq!(all.len(), 201, "bytes read by another handle");
            continue;
        }
        let again = protocol.reader();
        drop(protocol);
        drop(again);
        settle(&lp)?;
        let seen = reports.one()?;
        ensure!(seen.message.contains("dropped"), "the report is {seen:?}");
        ensure_is!(write.write(b"x"), Err(error) if error.kind() == ErrorKind::BrokenPipe);
    }
    Ok(())
}

/// The reader has gone before there was too much for it.
fn one_that_nobody_reads_ends_with_its_writer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (reader, transport, mut write) = piped(&lp, 100)?;
    let stream = Rc::downgrade(&StreamReaderProtocol::new(reader.clone()));
    drop((transport, reader));
    write.write_all(&pattern(1000))?;
    settle(&lp)?;
    write.write_all(&pattern(1000))?;
    drop(write);
    until(&lp, move || stream.strong_count() == 0)?;
    reports.none()
}

/// Only the transport's own protocol would keep it.
fn one_that_somebody_else_feeds_can_be_read_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = socket_pair()?;
    let transport = Script::new().record().attach(&lp, near)?;
    let reader = StreamReader::new(10)?;
    reader.set_transport(Some(transport.clone()));
    reader.feed_data(&pattern(21))?;
    ensure!(!transport.is_reading(), "not paused above twice the limit");
    let kept = [(); 2].map(|()| StreamReaderProtocol::new(reader.clone()));
    drop(reader);
    let reader = kept[0].reader();
    lp.run_until_complete(async move { reader.read(21).await })??;
    ensure!(transport.is_reading(), "not resumed below the limit");
    Ok(())
}

fn a_childs_output(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.run_until_complete(async {
        let script = "echo one; echo two >&2; printf three; read word; echo $word";
        let command =
            Command::shell(script).stdin(Stdio::Pipe).stdout(Stdio::Pipe).stderr(Stdio::Pipe);
        let child = create_subprocess_shell(command).await?;
        let streams = (child.stdin(), child.stdout(), child.stderr());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(Failure::new("a piped stream is missing"));
        };
        ensure_eq!(stdout.read_line().await?, b"one\n", "a line");
        ensure_eq!(stderr.read_line().await?, b"two\n", "a line of errors");
        ensure_eq!(stdout.read_exact(5).await?, b"three", "five bytes");
        ensure!(once(stdout.read(1)).await.is_none(), "it waits for us, and is at its end");
        stdin.write("four\n");
        stdin.drain().await?;
        ensure_eq!(stdout.read_to_end().await?, b"four\n", "the rest");
        ensure_eq!(stderr.read_to_end().await?, b"", "the rest of the errors");
        ensure!(stdout.at_eof() && stderr.at_eof(), "that is not the end");
        ensure_eq!(child.wait().await?, 0, "the return code");
        Ok(())
    })?
}

fn a_childs_output_slows_it_down(cx: &Context) -> Outcome {
    const SIZE: usize = 1 << 20;
    let lp = cx.new_loop()?;
    lp.run_until_complete(async {
        let command = Command::shell(format!("head -c {SIZE} /dev/zero")).stdout(Stdio::Pipe);
        let child = anyloop::create_subprocess_shell_with_limit(command, 1000).await?;
        let stdout = child.stdout().ok_or_else(|| Failure::new("no output"))?;
        while stdout.buffered() <= 2000 {
            anyloop::sleep(ms(1)).await;
        }
        // It is paused: what comes now stays in the pipe, and the child waits.
        let buffered = stdout.buffered();
        for _ in 0..100 {
            yield_now().await;
        }
        ensure_eq!(stdout.buffered(), buffered, "bytes buffered while paused");
        ensure!(buffered < SIZE, "everything is buffered");
        ensure_is!(child.returncode(), None);
        let all = stdout.read_to_end().await?;
        ensure!(all == vec![0; SIZE], "{} bytes were read", all.len());
        ensure_eq!(child.wait().await?, 0, "the return code");
        Ok(())
    })?
}
