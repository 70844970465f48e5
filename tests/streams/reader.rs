//! `StreamReader`, fed by hand.

use super::*;
use anyloop::create_task;
use anyloop::yield_now;

on_every_backend! {
    /// STREAM-01
    fn read_takes_what_is_there(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(64)?;
            reader.feed_data(b"hello")?;
            assert_eq!(reader.read(0).await?, b"");
            assert_eq!(reader.read(2).await?, b"he");
            assert_eq!(reader.read(100).await?, b"llo");
            assert!(once(reader.read(1)).await.is_none());
            reader.feed_eof();
            assert_eq!(reader.read(1).await?, b"");
            Ok(())
        })?
    }

    /// STREAM-02
    fn read_to_end_whatever_the_limit(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(4)?;
            let feeder = reader.clone();
            create_task(async move {
                for _ in 0..100 {
                    feeder.feed_data(b"0123456789")?;
                    yield_now().await;
                }
                feeder.feed_eof();
                Ok::<_, Error>(())
            })?;
            assert_eq!(reader.read_to_end().await?, b"0123456789".repeat(100));
            Ok(())
        })?
    }

    /// STREAM-03
    fn read_exact_or_incomplete(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(4)?;
            reader.feed_data(b"0123456789abc")?;
            assert_eq!(reader.read_exact(0).await?, b"");
            assert_eq!(reader.read_exact(10).await?, b"0123456789");
            reader.feed_eof();
            match failed(reader.read_exact(10).await) {
                Error::IncompleteRead { partial, expected: Some(10) } => assert_eq!(partial, b"abc"),
                other => panic!("{other:?}"),
            }
            assert!(reader.at_eof());
            Ok(())
        })?
    }

    /// STREAM-04
    fn of_several_separators_the_one_that_ends_first(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(64)?;
            // "cde" begins first, "d" ends first.
            reader.feed_data(b"abcdefg")?;
            assert_eq!(reader.read_until(&["cde", "d"]).await?, b"abcd");
            assert_eq!(reader.read_until(&["g"]).await?, b"efg");
            // Across chunks.
            let feeder = reader.clone();
            create_task(async move {
                for byte in b"x\r\r\nrest" {
                    feeder.feed_data(&[*byte])?;
                    yield_now().await;
                }
                Ok::<_, Error>(())
            })?;
            assert_eq!(reader.read_until(&["\r\n"]).await?, b"x\r\r\n");
            for none in [&[][..], &[""], &["a", ""]] {
                let error = failed(reader.read_until(none).await);
                assert!(matches!(error, Error::InvalidArg(_)), "{error}");
            }
            Ok(())
        })?
    }

    /// STREAM-05
    fn the_end_before_a_separator(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(64)?;
            reader.feed_data(b"one;rest")?;
            reader.feed_eof();
            assert_eq!(reader.read_until(&[";"]).await?, b"one;");
            match failed(reader.read_until(&[";"]).await) {
                Error::IncompleteRead { partial, expected: None } => assert_eq!(partial, b"rest"),
                other => panic!("{other:?}"),
            }
            assert!(reader.at_eof());
            Ok(())
        })?
    }

    /// STREAM-06
    fn over_the_limit_the_data_stays(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(4)?;
            reader.feed_data(b"1234;56789;")?;
            // The separator does not count.
            assert_eq!(reader.read_until(&[";"]).await?, b"1234;");
            match failed(reader.read_until(&[";"]).await) {
                Error::LimitOverrun { consumed: 5, .. } => {}
                other => panic!("{other:?}"),
            }
            assert_eq!(reader.buffered(), 6);
            assert_eq!(reader.read_exact(6).await?, b"56789;");
            reader.feed_data(b"123456")?;
            match failed(reader.read_until(&["ab"]).await) {
                Error::LimitOverrun { consumed: 5, .. } => {}
                other => panic!("{other:?}"),
            }
            assert_eq!(reader.buffered(), 6);
            Ok(())
        })?
    }

    /// STREAM-07, STREAM-08
    fn lines_and_overlong_lines(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(4)?;
            reader.feed_data(b"far too long\nab\nunfinished")?;
            let error = failed(reader.read_line().await);
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
            assert_eq!(reader.read_line().await?, b"ab\n");
            let error = failed(reader.next_line().await);
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
            assert_eq!(reader.buffered(), 0);
            reader.feed_data(b"\nend")?;
            reader.feed_eof();
            assert_eq!(reader.next_line().await?.as_deref(), Some(&b"\n"[..]));
            assert_eq!(reader.next_line().await?.as_deref(), Some(&b"end"[..]));
            assert_eq!(reader.next_line().await?, None);
            assert_eq!(reader.read_line().await?, b"");
            Ok(())
        })?
    }

    /// STREAM-10
    fn only_one_may_wait(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(64)?;
            let first = reader.clone();
            let first = create_task(async move { first.read(10).await })?;
            yield_now().await;
            let error = failed(reader.read(10).await);
            assert!(matches!(error, Error::Usage(_)), "{error}");
            let error = failed(poll_fn(|cx| reader.poll_read_into(cx, &mut [0])).await);
            assert!(matches!(error, Error::Usage(_)), "{error}");
            reader.feed_data(b"x")?;
            assert_eq!(first.await??, b"x");
            Ok(())
        })?
    }

    /// STREAM-11
    fn a_cancelled_read_loses_nothing(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(64)?;
            for _ in 0..3 {
                let waiting = reader.clone();
                let task = create_task(async move { waiting.read_exact(6).await })?;
                yield_now().await;
                reader.feed_data(b"ab")?;
                task.cancel();
                assert!(failed(task.await).is_cancelled());
            }
            // Data and cancellation at the same moment.
            let waiting = reader.clone();
            let task = create_task(async move { waiting.read_exact(8).await })?;
            yield_now().await;
            reader.feed_data(b"ab")?;
            task.cancel();
            assert!(failed(task.await).is_cancelled());
            assert!(once(reader.read_line()).await.is_none());
            assert_eq!(reader.read(100).await?, b"abababab");
            Ok(())
        })?
    }

    /// STREAM-12, STREAM-13
    fn an_error_fails_every_read_an_end_does_not(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(64)?;
            reader.feed_data(b"data")?;
            reader.feed_eof();
            assert!(!reader.at_eof());
            assert_eq!(reader.read(2).await?, b"da");
            reader.set_exception(Error::usage("broken"));
            for _ in 0..2 {
                assert_eq!(failed(reader.read(2).await).to_string(), "broken");
                assert_eq!(failed(reader.read_line().await).to_string(), "broken");
                assert_eq!(failed(reader.read_exact(0).await).to_string(), "broken");
                assert_eq!(failed(reader.read_to_end().await).to_string(), "broken");
            }
            assert!(reader.exception().is_some());

            let waiting = StreamReader::new(64)?;
            let other = waiting.clone();
            let task = create_task(async move { other.read(1).await })?;
            yield_now().await;
            waiting.set_exception(Error::usage("broken"));
            assert_eq!(failed(task.await?).to_string(), "broken");
            Ok(())
        })?
    }

    /// STREAM-22
    fn bad_input(backend) {
        support::run(backend, async {
            let error = failed(StreamReader::new(0));
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
            let error = failed(start_server_with_limit("127.0.0.1:0", 0, |_, _| ()).await);
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
            let reader = StreamReader::new(1)?;
            reader.feed_eof();
            let error = failed(reader.feed_data(b"late"));
            assert!(matches!(error, Error::Usage(_)), "{error}");
            Ok(())
        })?
    }

    /// One task step for one message, however it was chopped up.
    fn no_wake_before_there_is_enough(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(64)?;
            let polls = Rc::new(std::cell::Cell::new(0));
            let (counter, waiting) = (polls.clone(), reader.clone());
            let task = create_task(async move {
                let mut reading = pin!(waiting.read_exact(10));
                poll_fn(|cx| {
                    counter.set(counter.get() + 1);
                    reading.as_mut().poll(cx)
                })
                .await
            })?;
            for byte in b"0123456789" {
                yield_now().await;
                reader.feed_data(&[*byte])?;
            }
            assert_eq!(task.await??, b"0123456789");
            assert_eq!(polls.get(), 2);
            Ok(())
        })?
    }
}
