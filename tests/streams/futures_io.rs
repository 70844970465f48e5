//! `AsyncRead` and `AsyncWrite` of our streams, with nothing but the traits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_io::AsyncWrite;

use super::support::{close as finish, read, write_all};
use super::*;
use anyloop::{TcpStream, create_task, start_server};

/// More than the kernel takes.
const MUCH: usize = 8 * 1024 * 1024;

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn echo(reader: StreamReader, writer: StreamWriter) -> Result<()> {
    let mut stream = TcpStream::from_split(reader, writer);
    let mut data = vec![0; 10_000];
    loop {
        let count = read(&mut stream, &mut data).await?;
        if count == 0 {
            finish(&mut stream).await?;
            return Ok(());
        }
        write_all(&mut stream, &data[..count]).await?;
    }
}

on_every_backend! {
    fn a_megabyte_there_and_back(backend) {
        support::run(backend, async {
            let server = start_server("127.0.0.1:0", echo).await?;
            let stream = TcpStream::connect(address(&server)).await?;
            assert_eq!(stream.peer_addr(), server.local_addr());
            let (mut reader, mut writer) = stream.into_split();
            let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 7) as u8).collect();
            let sending = sent.clone();
            let sender = create_task(async move {
                write_all(&mut writer, &sending).await?;
                finish(&mut writer).await?;
                assert_eq!(writer.transport().get_write_buffer_size(), 0, "close sends everything");
                Ok::<_, Error>(writer)
            })?;
            let mut received = Vec::new();
            let mut data = vec![0; 50_000];
            loop {
                let count = read(&mut reader, &mut data).await?;
                if count == 0 {
                    break;
                }
                received.extend_from_slice(&data[..count]);
            }
            assert!(received == sent, "{} bytes came back", received.len());
            sender.await??.close();
            server.close();
            server.wait_closed().await
        })?
    }

    fn vectored(backend) {
        support::run(backend, async {
            let (_server, mut client, accepted) = pair(1024).await?;
            let parts = [io::IoSlice::new(b"one"), io::IoSlice::new(b""), io::IoSlice::new(b"two")];
            let count = poll_fn(|cx| Pin::new(&mut client.1).poll_write_vectored(cx, &parts)).await?;
            assert_eq!(count, 6);
            assert_eq!(accepted.0.read_exact(6).await?, b"onetwo");
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }

    fn a_dropped_poll_loses_nothing(backend) {
        support::run(backend, async {
            let (_server, mut client, accepted) = pair(1024).await?;
            let mut buf = [0; 8];
            assert!(once(read(&mut client.0, &mut buf)).await.is_none());
            accepted.1.write("later");
            assert_eq!(read(&mut client.0, &mut buf).await?, 5);
            assert_eq!(&buf[..5], b"later");
            assert!(once(read(&mut client.0, &mut buf)).await.is_none());
            accepted.1.write("again");
            // An awaiting method takes over from a poll that was given up.
            assert_eq!(client.0.read(10).await?, b"again");
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }

    fn dropping_it_closes_quietly(backend) {
        support::run(backend, async {
            let reports = reports()?;
            let server = start_server("127.0.0.1:0", echo).await?;
            let mut stream = TcpStream::connect(address(&server)).await?;
            write_all(&mut stream, b"x").await?;
            let mut buf = [0; 8];
            assert_eq!(read(&mut stream, &mut buf).await?, 1);
            drop(stream);
            server.close();
            server.wait_closed().await?;
            assert!(reports.borrow().is_empty(), "{reports:?}");
            Ok(())
        })?
    }

    fn over_tls_it_is_closed_as_a_whole(backend) {
        support::run(backend, async {
            let (server, client, accepted) = tls_pair().await?;
            let mut stream = TcpStream::from_split(client.0, client.1);
            write_all(&mut stream, b"all of it").await?;
            finish(&mut stream).await?;
            assert!(stream.writer().is_closing());
            assert_eq!(accepted.0.read_to_end().await?, b"all of it");
            stream.writer().wait_closed().await?;
            server.close();
            server.wait_closed().await
        })?
    }

    fn a_close_that_is_given_up_leaves_the_marks_alone(backend) {
        support::run(backend, async {
            let (_server, mut client, accepted) = pair(1024).await?;
            let transport = client.1.transport();
            transport.set_write_buffer_limits(Some(3000), Some(200))?;
            client.1.write(vec![0; MUCH]);
            assert!(once(finish(&mut client.1)).await.is_none(), "nobody has read anything");
            assert_eq!(accepted.0.read_exact(MUCH).await?.len(), MUCH);
            client.1.drain().await?;
            assert_eq!(transport.get_write_buffer_limits(), (200, 3000));
            finish(&mut client.1).await?;
            assert_eq!(accepted.0.read_to_end().await?, b"");
            accepted.1.close();
            client.1.close();
            Ok(())
        })?
    }

    fn marks_that_the_user_sets_during_a_close_stay(backend) {
        support::run(backend, async {
            let (_server, mut client, accepted) = pair(1024).await?;
            let transport = client.1.transport();
            client.1.write(vec![0; MUCH]);
            assert!(once(finish(&mut client.1)).await.is_none(), "nobody has read anything");
            transport.set_write_buffer_limits(Some(3000), Some(200))?;
            assert_eq!(accepted.0.read_exact(MUCH).await?.len(), MUCH);
            client.1.drain().await?;
            assert_eq!(transport.get_write_buffer_limits(), (200, 3000));
            accepted.1.close();
            client.1.close();
            Ok(())
        })?
    }

    fn the_last_waker_of_each_handle_is_kept(backend) {
        support::run(backend, async {
            let (_server, mut client, accepted) = pair(1024).await?;
            client.1.write(vec![0; MUCH]);
            let flush = |writer: &mut StreamWriter| {
                let woken = Arc::new(Woken(AtomicBool::new(false)));
                let waker = Waker::from(woken.clone());
                let polled = Pin::new(writer).poll_flush(&mut Context::from_waker(&waker));
                assert!(polled.is_pending(), "nobody has read anything");
                woken
            };
            let mut other = client.1.clone();
            let wakers: Vec<_> =
                (0..100).flat_map(|_| [flush(&mut client.1), flush(&mut other)]).collect();
            let kept: Vec<_> = wakers.iter().filter(|woken| Arc::strong_count(woken) > 1).collect();
            assert_eq!(kept.len(), 2, "wakers of two handles");
            accepted.0.read_exact(MUCH).await?;
            client.1.drain().await?;
            let woken = wakers.iter().filter(|woken| woken.0.load(Ordering::Relaxed)).count();
            assert_eq!(woken, 2, "of two handles");
            accepted.1.close();
            client.1.close();
            Ok(())
        })?
    }

    fn a_closed_stream_refuses_writes(backend) {
        support::run(backend, async {
            let (_server, mut client, accepted) = pair(1024).await?;
            client.1.close();
            let error = write_all(&mut client.1, b"x").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
            client.1.wait_closed().await?;
            let error = write_all(&mut client.1, b"x").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
            finish(&mut client.1).await?;
            assert_eq!(read(&mut client.0, &mut [0; 8]).await?, 0);
            accepted.1.close();
            Ok(())
        })?
    }

    fn a_half_closed_stream_refuses_writes_and_is_read(backend) {
        support::run(backend, async {
            let (_server, mut client, accepted) = pair(1024).await?;
            finish(&mut client.1).await?;
            let error = write_all(&mut client.1, b"x").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
            finish(&mut client.1).await?;
            assert_eq!(accepted.0.read_to_end().await?, b"");
            accepted.1.write("after all");
            assert_eq!(client.0.read_exact(9).await?, b"after all");
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }
}
