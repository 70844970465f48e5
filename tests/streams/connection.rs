//! Both ends of a connection.

use std::io;
use std::rc::Weak;
use std::time::Duration;

use super::*;
use anyloop::{Connect, StreamReaderProtocol, create_task, sleep, yield_now};

const MEGABYTE: usize = 1024 * 1024;

on_every_backend! {
    /// STREAM-09: what is buffered stays bounded, and nothing is lost.
    fn a_slow_reader_slows_the_writer_down(backend) {
        support::run(backend, async {
            let (server, client, accepted) = narrow_pair(1024).await?;
            let sender = client.1.clone();
            let sending = create_task(async move {
                let piece = vec![7; 64 * 1024];
                for _ in 0..2 * 16 {
                    sender.write(&piece);
                    sender.drain().await?;
                }
                sender.write_eof()
            })?;
            sleep(Duration::from_millis(50)).await;
            assert!(!sending.done(), "2 MB fit into nothing");
            // One read callback may bring 256 KiB.
            assert!(accepted.0.buffered() <= 2048 + 256 * 1024, "{:?}", accepted.0);
            let mut received = 0;
            let mut data = vec![0; 100_000];
            loop {
                let count = accepted.0.read_into(&mut data).await?;
                if count == 0 {
                    break;
                }
                assert!(data[..count].iter().all(|byte| *byte == 7));
                received += count;
            }
            assert_eq!(received, 2 * MEGABYTE);
            sending.await??;
            client.1.close();
            accepted.1.close();
            server.close();
            server.wait_closed().await
        })?
    }

    /// STREAM-03, STREAM-09: waiting for more than is allowed to be buffered.
    fn read_exact_beyond_the_limit(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(16).await?;
            let sender = client.1.clone();
            create_task(async move {
                sender.write(vec![1; MEGABYTE]);
                sender.write("tail\n");
                sender.drain().await
            })?;
            assert_eq!(accepted.0.read_exact(MEGABYTE).await?.len(), MEGABYTE);
            assert_eq!(accepted.0.read_line().await?, b"tail\n");
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }

    /// STREAM-14, STREAM-15
    fn drain_waits_only_while_paused(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = narrow_pair(64 * 1024).await?;
            client.1.write("small");
            assert!(once(client.1.drain()).await.is_some(), "nothing is queued");
            client.1.write(vec![0; MEGABYTE]);
            assert!(once(client.1.drain()).await.is_none(), "1 MB was sent at once");
            let drains: Vec<_> = (0..5)
                .map(|_| {
                    let writer = client.1.clone();
                    create_task(async move { writer.drain().await })
                })
                .collect::<Result<_>>()?;
            yield_now().await;
            assert!(drains.iter().all(|drain| !drain.done()));
            assert_eq!(accepted.0.read_exact(5 + MEGABYTE).await?.len(), 5 + MEGABYTE);
            for drain in drains {
                drain.await??;
            }
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }

    /// STREAM-16
    fn writing_to_a_vanished_peer_ends_with_an_error(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            accepted.1.transport().abort();
            let mut rounds = 0;
            let error = loop {
                client.1.write("into the void");
                match client.1.drain().await {
                    Ok(()) => yield_now().await,
                    Err(error) => break error,
                }
                rounds += 1;
                assert!(rounds < 100_000, "spins for ever");
            };
            assert!(matches!(error, Error::Os { .. }), "{error}");
            // Our own close: after it, connection reset.
            let (_server, client, accepted) = pair(64 * 1024).await?;
            client.1.close();
            client.1.wait_closed().await?;
            let error = failed(client.1.drain().await);
            assert_eq!(error.io_kind(), io::ErrorKind::ConnectionReset, "{error}");
            accepted.1.close();
            Ok(())
        })?
    }

    /// FLOW-13: those who wait in drain are released when the connection is lost.
    fn drain_ends_with_the_connection(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = narrow_pair(1024).await?;
            client.1.write(vec![0; MEGABYTE]);
            let writer = client.1.clone();
            let draining = create_task(async move { writer.drain().await })?;
            sleep(Duration::from_millis(10)).await;
            assert!(!draining.done());
            client.1.transport().abort();
            let error = failed(draining.await?);
            assert_eq!(error.io_kind(), io::ErrorKind::ConnectionReset, "{error}");
            accepted.1.close();
            Ok(())
        })?
    }

    /// STREAM-17
    fn wait_closed_by_several_and_again(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            let waiting: Vec<_> = (0..3)
                .map(|_| {
                    let writer = client.1.clone();
                    create_task(async move { writer.wait_closed().await })
                })
                .collect::<Result<_>>()?;
            yield_now().await;
            client.1.close();
            assert!(client.1.is_closing());
            for wait in waiting {
                wait.await??;
            }
            client.1.wait_closed().await?;
            client.1.wait_closed().await?;
            accepted.1.close();
            Ok(())
        })?
    }

    /// STREAM-17: with the error that ended the connection.
    fn wait_closed_tells_the_error(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            reset(&accepted.1)?;
            let error = failed(client.1.wait_closed().await);
            assert_eq!(error.io_kind(), io::ErrorKind::ConnectionReset, "{error}");
            let again = failed(client.1.wait_closed().await);
            assert_eq!(again.to_string(), error.to_string());
            // STREAM-12
            let read = failed(client.0.read(1).await);
            assert_eq!(read.to_string(), error.to_string());
            let drained = failed(client.1.drain().await);
            assert_eq!(drained.to_string(), error.to_string());
            Ok(())
        })?
    }

    /// STREAM-18
    fn closing_with_unread_data(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            accepted.1.write("unread");
            let reader = client.0.clone();
            until(move || reader.buffered() == 6).await;
            client.1.close();
            client.1.wait_closed().await?;
            assert_eq!(client.0.read_to_end().await?, b"unread");
            assert_eq!(client.0.read(1).await?, b"");
            assert!(client.0.at_eof());
            accepted.1.close();
            Ok(())
        })?
    }

    /// STREAM-21
    fn half_close_in_both_directions(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            assert!(client.1.can_write_eof());
            client.1.write("question");
            client.1.write_eof()?;
            client.1.write_eof()?;
            assert_eq!(accepted.0.read_to_end().await?, b"question");
            // The other direction is still open.
            accepted.1.write(vec![b'a'; MEGABYTE]);
            accepted.1.drain().await?;
            accepted.1.write_eof()?;
            assert_eq!(client.0.read_to_end().await?.len(), MEGABYTE);
            assert!(!client.1.is_closing() && !accepted.1.is_closing());
            client.1.close();
            accepted.1.close();
            client.1.wait_closed().await?;
            accepted.1.wait_closed().await
        })?
    }

    /// Writing after write_eof is the next drain's error, once.
    fn misuse_surfaces_in_drain(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            client.1.write_eof()?;
            client.1.write("too late");
            let error = failed(client.1.drain().await);
            assert!(matches!(error, Error::Usage(_)), "{error}");
            client.1.drain().await?;
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }

    /// writelines, extra info.
    fn the_rest_of_the_writer(backend) {
        support::run(backend, async {
            let (server, client, accepted) = pair(64 * 1024).await?;
            client.1.writelines(&[b"one\n", b"", b"two\n"]);
            client.1.write_vec(b"three\n".to_vec());
            assert_eq!(accepted.0.read_exact(14).await?, b"one\ntwo\nthree\n");
            assert_eq!(client.1.peer_addr(), server.local_addr());
            assert_eq!(client.1.local_addr(), accepted.1.peer_addr());
            assert!(client.1.get_extra_info("no such thing").is_none());
            client.1.close();
            client.1.wait_closed().await?;
            assert_eq!(client.1.peer_addr(), server.local_addr());
            accepted.1.close();
            Ok(())
        })?
    }

    /// STREAM-23
    fn the_last_writer_closes_and_warns(backend) {
        support::run(backend, async {
            let reports = reports()?;
            let (_server, client, accepted) = pair(64 * 1024).await?;
            let (reader, writer) = client;
            let clone = writer.clone();
            drop(writer);
            clone.write("still open");
            assert_eq!(accepted.0.read_exact(10).await?, b"still open");
            assert!(reports.borrow().is_empty());
            drop(clone);
            assert_eq!(accepted.0.read(1).await?, b"", "the connection is closed");
            assert_eq!(reader.read(1).await?, b"");
            assert_eq!(reports.borrow().len(), 1, "{reports:?}");
            assert!(reports.borrow()[0].contains("dropped without being closed"), "{reports:?}");
            accepted.1.close();
            Ok(())
        })?
    }

    /// Reader, writer, protocol and transport hold each other while the connection stands, not longer.
    fn nothing_is_left_of_a_closed_connection(backend) {
        support::run(backend, async {
            let (server, client, accepted) = pair(1024).await?;
            let (protocol, writer) = by_hand(&server).await?;
            writer.write("x");
            writer.close();
            writer.wait_closed().await?;
            drop(writer);
            yield_now().await;
            assert!(protocol.upgrade().is_none());
            // Dropping without closing is enough, too.
            let (protocol, writer) = by_hand(&server).await?;
            drop(writer);
            let (lp, deadline) = (LoopRef::current()?, Duration::from_secs(5));
            let started = lp.time();
            while protocol.upgrade().is_some() && lp.time() - started < deadline {
                yield_now().await;
            }
            assert!(protocol.upgrade().is_none());
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }

    /// The loop is closed while connections are open.
    fn nothing_is_left_of_a_closed_loop(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        let (protocol, writer) = lp.run_until_complete(async {
            let server = start_server_with_limit("127.0.0.1:0", 1024, |_, _| ()).await?;
            by_hand(&server).await
        })??;
        lp.close()?;
        assert!(writer.is_closing());
        drop(writer);
        assert!(protocol.upgrade().is_none());
        Ok(())
    }

    /// CANCEL-20, STREAM-11 over a socket: every byte arrives although each read is given up once.
    fn impatient_reads_lose_nothing(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            let sender = client.1.clone();
            create_task(async move {
                for round in 0..200_u32 {
                    sender.write(round.to_be_bytes());
                    sender.drain().await?;
                    yield_now().await;
                }
                sender.write_eof()
            })?;
            let mut received = Vec::new();
            loop {
                let reader = accepted.0.clone();
                let task = create_task(async move { reader.read(3).await })?;
                yield_now().await;
                task.cancel();
                match task.await {
                    Ok(data) if data.as_ref().is_ok_and(Vec::is_empty) => break,
                    Ok(data) => received.extend(data?),
                    Err(error) => assert!(error.is_cancelled(), "{error}"),
                }
            }
            let sent: Vec<u8> = (0..200_u32).flat_map(u32::to_be_bytes).collect();
            assert_eq!(received, sent);
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }
}

/// Ends a connection with a reset.
fn reset(writer: &StreamWriter) -> Result<()> {
    let info = writer.get_extra_info("socket");
    let socket = info.as_ref().and_then(|info| info.socket()).expect("a TCP transport has one");
    let socket = socket.dup()?;
    socket.set_linger(Some(Duration::ZERO)).map_err(|error| Error::os("SO_LINGER", error))?;
    writer.transport().abort();
    Ok(())
}

/// A connection whose protocol we keep an eye on.
async fn by_hand(server: &Server) -> Result<(Weak<StreamReaderProtocol>, StreamWriter)> {
    let reader = StreamReader::new(1024)?;
    let protocol = StreamReaderProtocol::new(reader);
    let (weak, same) = (Rc::downgrade(&protocol), protocol.clone());
    let factory = Rc::new(move || same.clone().into());
    let lp = LoopRef::current()?;
    let (transport, _) = lp.create_connection(factory, Connect::from(address(server))).await?;
    Ok((weak, StreamWriter::new(transport, protocol)))
}
