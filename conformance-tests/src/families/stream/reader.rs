//! The reader alone, fed by hand: what it returns, and when.

use anyloop::{StreamReader, create_task};

use super::super::prelude::*;
use super::turns::*;
use super::{on_a_loop, once};

cases! {
    STREAM_01 => a_read_takes_what_is_there, a_waiting_read_ends_with_the_first_byte;
    STREAM_02 => reading_to_the_end_ignores_the_limit;
    STREAM_03 => exactly_n_or_incomplete;
    STREAM_04 => the_separator_that_ends_first_wins, separators_span_chunks;
    STREAM_05 => the_rest_comes_with_the_error;
    STREAM_06 => over_the_limit_the_data_stays, of_two_that_end_together_the_shorter_counts;
    STREAM_07 => an_overlong_line_is_dropped, the_last_line_needs_no_newline;
    STREAM_08 => lines_until_the_end;
    STREAM_10 => a_second_reader_is_refused, what_another_task_takes_keeps_nobody_waiting,
        who_was_woken_keeps_its_turn, a_read_that_is_done_keeps_nobody_out;
    STREAM_11 => a_cancelled_read_loses_nothing;
    STREAM_12 => an_error_beats_the_buffer, an_error_ends_a_waiting_read, a_clean_end_does_not,
        bytes_that_came_before_the_error_are_read;
    STREAM_13 => at_eof_only_when_all_is_read;
    STREAM_22 => a_limit_of_zero_is_refused, feeding_after_the_end_fails;
}

fn a_read_takes_what_is_there(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        reader.feed_data(b"hello")?;
        ensure_eq!(reader.read(0).await?, b"", "read(0)");
        ensure_eq!(reader.read(2).await?, b"he", "read(2)");
        ensure_eq!(reader.read(100).await?, b"llo", "read(100)");
        ensure!(once(reader.read(1)).await.is_none(), "a read of nothing did not wait");
        reader.feed_eof();
        ensure_eq!(reader.read(1).await?, b"", "a read at the end");
        ensure_eq!(reader.read(1).await?, b"", "another one");
        Ok(())
    })
}

fn a_waiting_read_ends_with_the_first_byte(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reader = StreamReader::new(64)?;
    let theirs = reader.clone();
    let task = lp.create_task(async move { theirs.read(10).await })?;
    run_times(&lp, 3)?;
    ensure!(!task.done(), "a read of nothing did not wait");
    reader.feed_data(b"")?;
    run_times(&lp, 3)?;
    ensure!(!task.done(), "no bytes ended the wait");
    reader.feed_data(b"x")?;
    run_once(&lp)?;
    ensure!(task.done(), "one byte did not end the wait");
    ensure_eq!(task.take_result()??, b"x", "what was read");
    Ok(())
}

fn reading_to_the_end_ignores_the_limit(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(4)?;
        let theirs = reader.clone();
        let task = create_task(async move { theirs.read_to_end().await })?;
        for _ in 0..100 {
            reader.feed_data(b"0123456789")?;
            yield_now().await;
            ensure!(!task.done(), "it returned before the end");
        }
        reader.feed_eof();
        ensure_eq!(task.await??, b"0123456789".repeat(100), "all that was fed");
        Ok(())
    })
}

fn exactly_n_or_incomplete(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(4)?;
        ensure_eq!(reader.read_exact(0).await?, b"", "nothing, from nothing");
        reader.feed_data(b"01234")?;
        ensure!(once(reader.read_exact(10)).await.is_none(), "half of it was enough");
        reader.feed_data(b"56789abc")?;
        ensure_eq!(reader.read_exact(10).await?, b"0123456789", "more than the limit");
        reader.feed_eof();
        match reader.read_exact(10).await {
            Err(Error::IncompleteRead(read)) if read.expected == Some(10) => {
                ensure_eq!(read.partial, b"abc", "what the error holds");
            }
            other => return Err(Failure::new(format!("at the end: {other:?}"))),
        }
        ensure!(reader.at_eof(), "the rest is still there");
        Ok(())
    })
}

fn the_separator_that_ends_first_wins(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        // "cde" begins first, "d" ends first.
        reader.feed_data(b"abcdefg")?;
        ensure_eq!(reader.read_until(&["cde", "d"]).await?, b"abcd", "two that overlap");
        ensure_eq!(reader.read_until(&["x", "g"]).await?, b"efg", "one that is not there");
        // Both end at the same byte.
        reader.feed_data(b"1\r\n2\n")?;
        ensure_eq!(reader.read_until(&["\n", "\r\n"]).await?, b"1\r\n", "one within the other");
        ensure_eq!(reader.read_until(&["\r\n", "\n"]).await?, b"2\n", "the shorter one");
        for none in [&[][..], &[""], &["a", ""]] {
            ensure_is!(reader.read_until(none).await, Err(Error::InvalidArg(_)));
        }
        Ok(())
    })
}

fn separators_span_chunks(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        let theirs = reader.clone();
        let task = create_task(async move { theirs.read_until(&["\r\n.\r\n", "###"]).await })?;
        yield_now().await;
        for byte in b"x\r\r\n.\r#\r\n.\r\nrest" {
            reader.feed_data(&[*byte])?;
            yield_now().await;
        }
        ensure_eq!(task.await??, b"x\r\r\n.\r#\r\n.\r\n", "through the separator");
        ensure_eq!(reader.read(100).await?, b"rest", "what comes after it");
        Ok(())
    })
}

fn the_rest_comes_with_the_error(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        reader.feed_data(b"one;rest")?;
        reader.feed_eof();
        ensure_eq!(reader.read_until(&[";"]).await?, b"one;", "complete, although it is the end");
        match reader.read_until(&[";"]).await {
            Err(Error::IncompleteRead(read)) if read.expected.is_none() => {
                ensure_eq!(read.partial, b"rest", "what the error holds");
            }
            other => return Err(Failure::new(format!("at the end: {other:?}"))),
        }
        ensure_eq!(reader.buffered(), 0, "bytes left in the buffer");
        Ok(())
    })
}

fn over_the_limit_the_data_stays(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(4)?;
        reader.feed_data(b"1234;56789;")?;
        ensure_eq!(reader.read_until(&[";"]).await?, b"1234;", "the separator does not count");
        let found = reader.read_until(&[";"]).await;
        ensure_is!(found, Err(Error::LimitOverrun(overrun)) if overrun.consumed == 5);
        ensure_eq!(reader.buffered(), 6, "bytes that stay");
        ensure_eq!(reader.read_exact(6).await?, b"56789;", "the bytes that stay");
        reader.feed_data(b"123456")?;
        // The last byte may be the first of the separator.
        let found = reader.read_until(&["ab"]).await;
        ensure_is!(found, Err(Error::LimitOverrun(overrun)) if overrun.consumed == 5);
        ensure_eq!(reader.buffered(), 6, "bytes that stay without a separator");
        Ok(())
    })
}

fn of_two_that_end_together_the_shorter_counts(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        for separators in [["\n", "\r\n"], ["\r\n", "\n"]] {
            let reader = StreamReader::new(4)?;
            reader.feed_data(b"123\r\n1234\r\n")?;
            ensure_eq!(reader.read_until(&separators).await?, b"123\r\n", "within the limit");
            // Only the longer one begins within the limit.
            let found = reader.read_until(&separators).await;
            ensure_is!(found, Err(Error::LimitOverrun(overrun)) if overrun.consumed == 5);
        }
        Ok(())
    })
}

fn an_overlong_line_is_dropped(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(4)?;
        reader.feed_data(b"far too long\nab\nunfinished")?;
        ensure_is!(reader.read_line().await, Err(Error::InvalidArg(_)));
        ensure_eq!(reader.read_line().await?, b"ab\n", "the line after it");
        ensure_is!(reader.read_line().await, Err(Error::InvalidArg(_)));
        ensure_eq!(reader.buffered(), 0, "bytes left of a line without an end");
        reader.feed_data(b"\nend\n")?;
        ensure_eq!(reader.read_line().await?, b"\n", "the end of it");
        ensure_eq!(reader.read_line().await?, b"end\n", "the line after that");
        Ok(())
    })
}

fn the_last_line_needs_no_newline(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        reader.feed_data(b"one\npart")?;
        ensure_eq!(reader.read_line().await?, b"one\n", "a whole line");
        ensure!(once(reader.read_line()).await.is_none(), "a part of a line was enough");
        reader.feed_eof();
        ensure_eq!(reader.read_line().await?, b"part", "a part, at the end");
        ensure_eq!(reader.read_line().await?, b"", "a line after the end");
        Ok(())
    })
}

fn lines_until_the_end(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        let theirs = reader.clone();
        let task = create_task(async move {
            let mut lines = Vec::new();
            while let Some(line) = theirs.next_line().await? {
                lines.push(line);
            }
            Ok::<_, Error>(lines)
        })?;
        for piece in [&b"a\nb"[..], b"c\n", b"\n", b"last"] {
            reader.feed_data(piece)?;
            yield_now().await;
        }
        reader.feed_eof();
        ensure_eq!(task.await??, [&b"a\n"[..], b"bc\n", b"\n", b"last"], "the lines");
        Ok(())
    })
}

fn an_error_beats_the_buffer(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        reader.feed_data(b"data\n")?;
        reader.set_exception(Error::usage("broken"));
        for _ in 0..2 {
            ensure_is!(reader.read(2).await, Err(error) if error.to_string() == "broken");
            ensure_is!(reader.read_line().await, Err(error) if error.to_string() == "broken");
            ensure_is!(reader.read_exact(0).await, Err(error) if error.to_string() == "broken");
            ensure_is!(reader.read_to_end().await, Err(error) if error.to_string() == "broken");
        }
        ensure!(reader.exception().is_some(), "the error is not stored");
        Ok(())
    })
}

fn an_error_ends_a_waiting_read(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        let theirs = reader.clone();
        let task = create_task(async move { theirs.read(1).await })?;
        yield_now().await;
        reader.set_exception(Error::usage("broken"));
        ensure_is!(task.await?, Err(error) if error.to_string() == "broken");
        Ok(())
    })
}

fn bytes_that_came_before_the_error_are_read(cx: &Context) -> Outcome {
    async fn read(reader: StreamReader, how: u8) -> anyloop::Result<Vec<u8>> {
        match how {
            0 => reader.read(10).await,
            1 => {
                let mut buffer = [0; 10];
                let count = reader.read_into(&mut buffer).await?;
                Ok(buffer[..count].to_vec())
            }
            2 => reader.read_exact(3).await,
            _ => reader.read_line().await,
        }
    }
    on_a_loop(cx, async {
        for how in 0..4 {
            let reader = StreamReader::new(64)?;
            let task = create_task(read(reader.clone(), how))?;
            yield_now().await;
            reader.feed_data(b"ab\n")?;
            reader.set_exception(Error::usage("broken"));
            ensure_eq!(task.await??, b"ab\n", "what had come when it was woken");
            ensure_is!(reader.read(1).await, Err(error) if error.to_string() == "broken");

            let reader = StreamReader::new(64)?;
            let task = create_task(read(reader.clone(), how))?;
            yield_now().await;
            reader.set_exception(Error::usage("broken"));
            reader.feed_data(b"ab\n")?;
            ensure_is!(task.await?, Err(error) if error.to_string() == "broken");
        }
        // What has come is not all that was asked for.
        let reader = StreamReader::new(64)?;
        let theirs = reader.clone();
        let task = create_task(async move { theirs.read_until(&[";"]).await })?;
        yield_now().await;
        reader.feed_data(b"ab")?;
        reader.set_exception(Error::usage("broken"));
        ensure_is!(task.await?, Err(error) if error.to_string() == "broken");
        // What has come is somebody else's by now.
        let reader = StreamReader::new(64)?;
        let theirs = reader.clone();
        let task = create_task(async move { theirs.read_exact(2).await })?;
        yield_now().await;
        reader.feed_data(b"ab")?;
        ensure_eq!(reader.read(2).await?, b"ab", "what is there may be taken");
        reader.set_exception(Error::usage("broken"));
        ensure_is!(task.await?, Err(error) if error.to_string() == "broken");
        Ok(())
    })
}

fn a_clean_end_does_not(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        reader.feed_data(b"data\nrest")?;
        reader.feed_eof();
        ensure_eq!(reader.read(2).await?, b"da", "bytes after the end was seen");
        ensure_eq!(reader.read_line().await?, b"ta\n", "a line after the end was seen");
        ensure_eq!(reader.read_to_end().await?, b"rest", "the rest");
        Ok(())
    })
}

fn at_eof_only_when_all_is_read(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        ensure!(!reader.at_eof(), "at the beginning");
        reader.feed_data(b"xy")?;
        reader.feed_eof();
        ensure!(!reader.at_eof(), "with two bytes unread");
        reader.read(1).await?;
        ensure!(!reader.at_eof(), "with one byte unread");
        reader.read(1).await?;
        ensure!(reader.at_eof(), "with everything read it is not at the end");
        let empty = StreamReader::new(64)?;
        empty.feed_data(b"x")?;
        empty.read(1).await?;
        ensure!(!empty.at_eof(), "with nothing buffered, before the end");
        Ok(())
    })
}

fn a_limit_of_zero_is_refused(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        ensure_is!(StreamReader::new(0), Err(Error::InvalidArg(_)));
        let server = anyloop::start_server_with_limit("127.0.0.1:0", 0, |_, _| ()).await;
        ensure_is!(server.map(drop), Err(Error::InvalidArg(_)));
        let opened = anyloop::open_connection_with_limit("127.0.0.1:1", 0).await;
        ensure_is!(opened.map(drop), Err(Error::InvalidArg(_)));
        Ok(())
    })
}

fn feeding_after_the_end_fails(_: &Context) -> Outcome {
    let reader = StreamReader::new(1)?;
    reader.feed_eof();
    ensure_is!(reader.feed_data(b"late"), Err(Error::Usage(_)));
    ensure_eq!(reader.buffered(), 0, "bytes taken all the same");
    Ok(())
}
