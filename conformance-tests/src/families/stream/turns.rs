//! Several tasks that read from one reader, and one that is cancelled.

use std::future::poll_fn;
use std::pin::pin;

use anyloop::{StreamReader, create_task};

use super::super::prelude::*;
use super::{on_a_loop, once};

pub(super) fn what_another_task_takes_keeps_nobody_waiting(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        // Takes `count` bytes without a wait, then lets the others run.
        let take = async |count| {
            reader.read(count).await?;
            yield_now().await;
            Ok::<_, Failure>(())
        };
        let theirs = reader.clone();
        let task = create_task(async move { theirs.read_until(&["\n"]).await })?;
        yield_now().await;
        reader.feed_data(b"12")?;
        yield_now().await;
        take(1).await?;
        let refused = once(reader.read_exact(2)).await;
        ensure!(matches!(refused, Some(Err(Error::Usage(_)))), "it lost its turn: {refused:?}");
        // As much as there was before.
        reader.feed_data(b"\n")?;
        ensure_eq!(task.await??, b"2\n", "a line of which the beginning was taken");

        let theirs = reader.clone();
        let task = create_task(async move { theirs.read_until(&["\n"]).await })?;
        yield_now().await;
        reader.feed_data(b"12345")?;
        yield_now().await;
        // Where it has looked already, there is something else now.
        reader.read(5).await?;
        reader.feed_data(b"6\n7890")?;
        ensure_eq!(task.await??, b"6\n", "a line in front of what was looked at");

        let theirs = reader.clone();
        let task = create_task(async move { theirs.read_exact(5).await })?;
        yield_now().await;
        take(2).await?;
        reader.feed_data(b"ab")?;
        yield_now().await;
        ensure!(!task.done(), "too little was enough");
        reader.feed_data(b"c")?;
        ensure_eq!(task.await??, b"90abc", "as much as was asked for");
        Ok(())
    })
}

pub(super) fn a_second_reader_is_refused(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        let theirs = reader.clone();
        let first = create_task(async move { theirs.read(10).await })?;
        yield_now().await;
        ensure_is!(reader.read(10).await, Err(Error::Usage(_)));
        ensure_is!(reader.read_line().await, Err(Error::Usage(_)));
        ensure_is!(reader.read_exact(1).await, Err(Error::Usage(_)));
        ensure_is!(reader.read_to_end().await, Err(Error::Usage(_)));
        ensure_is!(reader.read_into(&mut [0]).await, Err(Error::Usage(_)));
        let polled = poll_fn(|cx| reader.poll_read_into(cx, &mut [0])).await;
        ensure_is!(polled, Err(Error::Usage(_)));
        reader.feed_data(b"x")?;
        ensure_eq!(first.await??, b"x", "what the first one got");
        reader.feed_data(b"y")?;
        ensure_eq!(reader.read(10).await?, b"y", "a read after it");
        Ok(())
    })
}

pub(super) fn who_was_woken_keeps_its_turn(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        let theirs = reader.clone();
        let first = create_task(async move { theirs.read_exact(2).await })?;
        yield_now().await;
        reader.feed_data(b"12")?;
        ensure_eq!(reader.read(10).await?, b"12", "what is there may be taken");
        // It has not gone on yet, but it was there before us.
        ensure_is!(once(reader.read(10)).await, Some(Err(Error::Usage(_))));
        let mut buffer = [0];
        let polled = once(poll_fn(|cx| reader.poll_read_into(cx, &mut buffer))).await;
        ensure_is!(polled, Some(Err(Error::Usage(_))));
        yield_now().await;
        reader.feed_data(b"34")?;
        ensure_eq!(first.await??, b"34", "what the first one got");
        // One that is cancelled instead of going on has no turn any more.
        let theirs = reader.clone();
        let first = create_task(async move { theirs.read(10).await })?;
        yield_now().await;
        reader.feed_data(b"5")?;
        first.cancel();
        ensure_is!(first.await, Err(Error::Cancelled(_)));
        ensure_eq!(reader.read(10).await?, b"5", "what it left");
        ensure!(once(reader.read(10)).await.is_none(), "a read of nothing did not wait");
        Ok(())
    })
}

pub(super) fn a_read_that_is_done_keeps_nobody_out(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        let mut buffer = [0; 8];
        let mut read = pin!(reader.read(10));
        let mut read_into = pin!(reader.read_into(&mut buffer));
        for _ in 0..2 {
            ensure!(once(reader.read(1)).await.is_none(), "nobody waits any more");
        }
        ensure!(once(read.as_mut()).await.is_none(), "a read of nothing did not wait");
        reader.feed_data(b"a")?;
        ensure_eq!(read.as_mut().await?, b"a", "what came");
        ensure!(once(read_into.as_mut()).await.is_none(), "the first read is done, and in the way");
        reader.feed_data(b"b")?;
        ensure_eq!(read_into.as_mut().await?, 1, "how much came");
        ensure!(
            once(reader.read_line()).await.is_none(),
            "the second read is done, and in the way"
        );
        Ok(())
    })
}

pub(super) fn a_cancelled_read_loses_nothing(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reader = StreamReader::new(64)?;
        let waiting = || {
            let reader = reader.clone();
            create_task(async move { reader.read_exact(8).await })
        };
        for _ in 0..3 {
            let task = waiting()?;
            yield_now().await;
            reader.feed_data(b"ab")?;
            task.cancel();
            ensure_is!(task.await, Err(Error::Cancelled(_)));
        }
        // The cancellation and what completes the read, at the same moment.
        let task = waiting()?;
        yield_now().await;
        reader.feed_data(b"ab")?;
        task.cancel();
        ensure_is!(task.await, Err(Error::Cancelled(_)));
        ensure!(once(reader.read_line()).await.is_none(), "there is no line");
        ensure_eq!(reader.read(100).await?, b"abababab", "all that was fed");
        Ok(())
    })
}
