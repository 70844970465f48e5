//! Both ends of a connection.

use std::pin::Pin;
use std::rc::Weak;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::*;
use anyloop::{Connect, StreamReaderProtocol, create_task, yield_now};
use futures_io::AsyncWrite;

on_every_backend! {
    fn what_all_attempts_share_is_said_once(backend) {
        support::run(backend, async {
            let closed = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            let closed = [closed().expect("an address"), closed().expect("an address")];
            let error = open_connection(Connect::to_any(closed)).await.unwrap_err().to_string();
            assert!(closed.iter().all(|at| error.contains(&at.to_string())), "{error}");
            assert_eq!(error.matches("refused").count(), 1, "{error}");
            Ok(())
        })?
    }

    fn too_long_a_line_names_who_asked_and_the_limit(backend) {
        support::run(backend, async {
            let reader = StreamReader::new(4)?;
            reader.feed_data(b"abcdefg")?;
            let error = reader.read_line().await.unwrap_err().to_string();
            assert_eq!(error, "read_line: no separator within the limit of 4 bytes");
            reader.feed_data(b"abcdefg;")?;
            let error = reader.read_until(&[";"]).await.unwrap_err().to_string();
            assert_eq!(error, "read_until: the separator begins after 7 bytes, the limit is 4");
            Ok(())
        })?
    }

    /// Not every transport knows that it carries a file.
    fn nobody_writes_into_a_file(backend) {
        support::run(backend, async move {
            let path = format!("anyloop-streams-{backend}-{}", std::process::id());
            let path = std::env::temp_dir().join(path);
            // More than there is room for on the way.
            std::fs::File::create(&path).and_then(|file| file.set_len(64 << 20)).expect("a file");
            for (server, client, accepted) in [pair(1024).await?, tls_pair().await?] {
                let (writer, file) = (accepted.1, std::fs::File::open(&path).expect("the file"));
                let sender = writer.clone();
                let sending = create_task(async move { sender.sendfile(file).await })?;
                yield_now().await;
                writer.write("intruder");
                let error = writer.drain().await.unwrap_err();
                assert!(matches!(error, Error::Usage(_)), "{error}");
                assert!(error.to_string().contains("a file is being sent"), "{error}");
                sending.cancel();
                assert!(sending.await.is_err(), "the file was sent");
                writer.write("nothing is in the middle of it");
                assert!(!matches!(once(writer.drain()).await, Some(Err(_))));
                writer.transport().abort();
                client.1.transport().abort();
                server.close();
            }
            std::fs::remove_file(&path).expect("it is there");
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

    /// Nobody would ever wake who waits.
    fn a_stream_of_a_closed_loop_says_so(backend) {
        let kept = support::run(backend, async {
            let (_server, client, accepted) = pair(1024).await?;
            client.1.write(b"left");
            assert_eq!(accepted.0.read_exact(2).await?, b"le");
            Ok::<_, Error>((client, accepted))
        })??;
        let closed = "the stream's event loop is closed";
        support::run(backend, async move {
            let ((reader, writer), (buffered, _)) = &kept;
            assert_eq!(buffered.read(100).await?, b"ft", "it had come before");
            let read = reader.read(1).await.map(drop);
            let line = reader.read_line().await.map(drop);
            let by_hand = poll_fn(|cx| reader.poll_read_into(cx, &mut [0])).await.map(drop);
            let drained = writer.drain().await;
            let ended = writer.wait_closed().await;
            let mut same = writer.clone();
            let finished = support::close(&mut same).await.map_err(Error::from);
            for result in [read, line, by_hand, drained, ended, finished] {
                let error = result.unwrap_err().to_string();
                assert!(error.ends_with(closed), "{error}");
            }
            Ok(())
        })?
    }

    fn a_stream_waits_on_no_other_loop(backend) {
        let [one, two] = [(), ()].map(|()| anyloop::new_event_loop_with(backend).expect("a loop"));
        let (server, client, accepted) = one.run_until_complete(pair(1024))??;
        let read = async move { (client.0.read(1).await, client) };
        let (read, client) = two.run_until_complete(read)?;
        let error = read.unwrap_err().to_string();
        assert_eq!(error, "read: the stream belongs to another event loop");
        one.run_until_complete(async move {
            accepted.1.write(b"x");
            assert_eq!(client.0.read(1).await?, b"x", "nothing was lost");
            drop((server, client, accepted));
            Ok::<_, Error>(())
        })??;
        one.close()?;
        two.close()
    }

    /// Who polls on another executor is no task of the loop, and is not ended with them.
    fn who_waits_elsewhere_is_woken_when_the_loop_closes(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        let (_server, client, _accepted) = lp.run_until_complete(pair(1024))??;
        // Nobody reads it: soon there is no room any more.
        client.1.write(vec![b'x'; 64 << 20]);
        let (reader, writer) = (&client.0, &client.1);
        let mut flushing = writer.clone();
        let waits: [Pin<Box<dyn Future<Output = Result<()>>>>; 4] = [
            Box::pin(async { reader.read(1).await.map(drop) }),
            Box::pin(async { writer.drain().await }),
            Box::pin(async { writer.wait_closed().await }),
            Box::pin(async { Ok(poll_fn(|cx| Pin::new(&mut flushing).poll_flush(cx)).await?) }),
        ];
        let waits = waits.map(|mut wait| {
            let woken = Arc::new(Woken::default());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(wait.as_mut().poll(&mut cx).is_pending(), "it does not wait");
            // It is the last waker that counts.
            let waker = Waker::from(woken.clone());
            let mut cx = Context::from_waker(&waker);
            assert!(wait.as_mut().poll(&mut cx).is_pending(), "it does not wait");
            (wait, woken)
        });
        lp.run_until_complete(yield_now())?;
        assert!(waits.iter().all(|(_, woken)| woken.0.load(Relaxed) == 0), "nothing happened");
        lp.close()?;
        for (mut wait, woken) in waits {
            assert_eq!(woken.0.load(Relaxed), 1, "it was not woken");
            let ended = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(ended, Poll::Ready(Err(Error::Closed(_)))), "{ended:?}");
        }
        Ok(())
    }
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

/// How often.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}
