//! Reads that go straight into the caller's buffer.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::UnixStream;

use super::*;
use anyloop::{Protocol, Transport, UnixConnect, create_task, open_unix_connection, yield_now};

const LEN: usize = 300_000;

/// Bytes that tell where they belong.
fn pattern() -> Vec<u8> {
    (0..LEN as u32).flat_map(|index| [(index % 251) as u8]).collect()
}

/// Lets whatever is ready happen.
async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// Waits until so many bytes are in the reader's buffer.
async fn until_buffered(reader: &StreamReader, count: usize) {
    for _ in 0..1_000 {
        if reader.buffered() == count {
            break;
        }
        settle().await;
    }
    assert_eq!(reader.buffered(), count);
}

on_every_backend! {
    /// Whatever the size of the buffers, and however reads of several kinds alternate.
    fn order_is_kept_between_reads_of_all_kinds(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            let sender = client.1.clone();
            create_task(async move {
                for (round, part) in pattern().chunks(7_001).enumerate() {
                    sender.write(part);
                    sender.drain().await?;
                    for _ in 0..round % 4 {
                        yield_now().await;
                    }
                }
                sender.write_eof()
            })?;
            let reader = &accepted.0;
            let mut received = Vec::new();
            let mut large = vec![0; 32 * 1024];
            for round in 0.. {
                let count = match round % 5 {
                    0 | 3 => reader.read_into(&mut large).await?,
                    1 => reader.read_into(&mut large[..4096]).await?,
                    2 => reader.read_into(&mut large[..100]).await?,
                    _ => {
                        let bytes = reader.read(5_000).await?;
                        large[..bytes.len()].copy_from_slice(&bytes);
                        bytes.len()
                    }
                };
                received.extend_from_slice(&large[..count]);
                if count == 0 {
                    break;
                }
            }
            assert!(received == pattern());
            assert!(reader.at_eof());
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }

    /// However messages of all sizes follow each other: they arrive whole, and nobody is handed twice the
    /// memory that the bytes need.
    fn owned_reads_adapt_to_what_arrives(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            let sizes = [1, 64, 3_000, 200_000, 70_000, 9, 16_384, 16_384, 16_384, 131_072, 1, 1, 300_000];
            let echo = create_task(async move {
                for most in [100, 5_000, 64 << 10, usize::MAX].into_iter().cycle() {
                    let bytes = accepted.0.read(most).await?;
                    assert!(bytes.len() <= most);
                    if bytes.is_empty() {
                        break;
                    }
                    assert!(bytes.capacity() <= 2 * bytes.len(), "{}", bytes.capacity());
                    accepted.1.write_vec(bytes);
                    accepted.1.drain().await?;
                }
                accepted.1.close();
                Ok::<_, Error>(accepted.0.at_eof())
            })?;
            for size in sizes {
                let message = &pattern()[..size];
                client.1.write(message);
                assert!(client.0.read_exact(size).await? == message, "{size}");
            }
            client.1.write_eof()?;
            assert!(echo.await??);
            client.1.close();
            Ok(())
        })?
    }

    /// Also where it has been found that reading directly pays.
    fn what_a_dropped_owned_read_leaves_is_buffered(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            client.1.write(pattern());
            let mut received = 0;
            while received < LEN {
                received += accepted.0.read(64 << 10).await?.len();
            }
            {
                let mut reading = pin!(accepted.0.read(64 << 10));
                assert!(once(reading.as_mut()).await.is_none());
                client.1.write("left");
                // Woken, but not polled again.
                settle().await;
            }
            until_buffered(&accepted.0, 4).await;
            client.1.close();
            assert_eq!(accepted.0.read(64 << 10).await?, b"left");
            assert_eq!(accepted.0.read(64 << 10).await?, b"");
            accepted.1.close();
            Ok(())
        })?
    }

    /// What was announced to a read that was given up is read all the same: the reader's buffer fills,
    /// and the end of the connection is seen, although nobody reads (STREAM-09, STREAM-11).
    fn what_a_dropped_read_leaves_is_buffered(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            let mut buffer = vec![0; 8192];
            {
                let mut reading = pin!(accepted.0.read_into(&mut buffer));
                assert!(once(reading.as_mut()).await.is_none());
                client.1.write("left");
                // Woken, but not polled again.
                settle().await;
            }
            until_buffered(&accepted.0, 4).await;
            client.1.close();
            assert_eq!(accepted.0.read(10).await?, b"left");
            assert_eq!(accepted.0.read_into(&mut buffer).await?, 0);
            accepted.1.close();
            accepted.1.wait_closed().await?;
            Ok(())
        })?
    }

    /// An offer to one protocol is not lost on the next (TR-34).
    fn another_protocol_gets_what_was_announced(backend) {
        #[derive(Default)]
        struct Collect(RefCell<Vec<u8>>);
        impl Protocol for Collect {
            fn data_received(&self, data: &[u8]) {
                self.0.borrow_mut().extend_from_slice(data);
            }
        }
        /// Hands the connection on when bytes are announced, and takes none.
        #[derive(Default)]
        struct Switch(RefCell<Option<Transport>>, Rc<Collect>);
        impl Protocol for Switch {
            fn connection_made(&self, transport: Transport) {
                let _ = transport.await_readable();
                *self.0.borrow_mut() = Some(transport);
            }
            fn readable(&self) -> bool {
                if let Some(transport) = self.0.borrow_mut().take() {
                    transport.set_protocol(self.1.clone());
                }
                true
            }
            fn data_received(&self, data: &[u8]) {
                // Where nothing is announced.
                if let Some(transport) = self.0.borrow_mut().take() {
                    transport.set_protocol(self.1.clone());
                }
                self.1.data_received(data);
            }
        }
        support::run(backend, async {
            let lp = LoopRef::current()?;
            let collected = Rc::new(Collect::default());
            let to = collected.clone();
            let factory = move || Switch(RefCell::default(), to.clone());
            let server = lp.serve(factory, "127.0.0.1:0").await?;
            let address = address(&server);
            let (reader, writer) = open_connection(address).await?;
            writer.write("one");
            for round in 0.. {
                settle().await;
                if collected.0.borrow().len() == 3 {
                    break;
                }
                assert!(round < 10_000, "the bytes were never delivered");
            }
            writer.write("two");
            writer.write_eof()?;
            assert_eq!(reader.read_to_end().await?, b"");
            assert_eq!(*collected.0.borrow(), b"onetwo");
            writer.close();
            Ok(())
        })?
    }

    /// Nothing is handed out while the transport is paused (TR-32).
    fn a_paused_transport_offers_nothing(backend) {
        support::run(backend, async {
            let (_server, client, accepted) = pair(64 * 1024).await?;
            accepted.1.transport().pause_reading();
            client.1.write("held");
            let mut buffer = vec![0; 8192];
            let mut reading = pin!(accepted.0.read_into(&mut buffer));
            for _ in 0..10 {
                assert!(once(reading.as_mut()).await.is_none());
                settle().await;
            }
            accepted.1.transport().resume_reading();
            assert_eq!(reading.await?, 4);
            client.1.close();
            accepted.1.close();
            Ok(())
        })?
    }

    /// The peer has more whenever something was read, and others have their turn all the same.
    fn a_loud_peer_starves_nobody(backend) {
        support::run(backend, async {
            let lp = LoopRef::current()?;
            for size in [4 * 1024, 16 * 1024, 64 * 1024] {
                let (ours, mut peer) = UnixStream::pair()?;
                peer.set_nonblocking(true)?;
                let (reader, writer) = open_unix_connection(UnixConnect::socket(ours)).await?;
                let turn = Rc::new(Cell::new(false));
                let mut buffer = vec![0; size];
                let (mut total, mut asked) = (0, false);
                while !turn.get() {
                    while peer.write(&[7; 16 * 1024]).is_ok() {}
                    total += reader.read_into(&mut buffer).await?;
                    assert!(total < 64 << 20, "nobody had a turn while so much was read");
                    // By now every backend reads it directly.
                    if total > 2 << 20 && !asked {
                        asked = true;
                        let theirs = turn.clone();
                        lp.call_soon(move || theirs.set(true))?;
                    }
                }
                writer.close();
                writer.wait_closed().await?;
            }
            Ok(())
        })?
    }
}
