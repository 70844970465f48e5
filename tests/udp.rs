//! `UdpSocket`, on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use anyloop::{Datagrams, Error, Result, UdpSocket, create_task, sleep};

async fn pair() -> Result<(UdpSocket, UdpSocket)> {
    let server = UdpSocket::bind("127.0.0.1:0").await?;
    let client = UdpSocket::connect(server.local_addr()?).await?;
    Ok((server, client))
}

on_every_backend! {
    fn datagrams_there_and_back(backend) {
        support::run(backend, async {
            let (server, client) = pair().await?;
            let waiting = server.clone();
            let receiving = create_task(async move { waiting.recv_from(100).await })?;
            sleep(Duration::from_millis(5)).await;
            client.send("one").await?;
            let (data, from) = receiving.await??;
            assert_eq!((data, from), (b"one".to_vec(), client.local_addr()?));
            server.send_to("two", from).await?;
            client.send("").await?;
            client.send(vec![7; 5000]).await?;
            assert_eq!(client.recv(100).await?, b"two");
            assert_eq!(server.recv(100).await?, b"");
            let (received, buffer) = server.recv_from_into(vec![0; 4000]).await;
            assert_eq!(received?, (4000, client.local_addr()?));
            assert!(buffer.iter().all(|byte| *byte == 7));
            assert_eq!(client.peer_addr()?, server.local_addr()?);
            Ok(())
        })?
    }

    fn without_a_host_at_every_interface(backend) {
        support::run(backend, async {
            let mut found = Vec::new();
            // A service may be running here, or have no name here.
            for at in [":0", "*:0", ":openvpn", "*:radius", ":sip", ":rtp"] {
                match UdpSocket::bind(at).await {
                    Ok(socket) => found.push(socket.local_addr()?),
                    Err(error) => assert!(!at.ends_with('0'), "{error}"),
                }
            }
            assert!(found.iter().all(|at| at.ip().is_unspecified()), "{found:?}");
            Ok(())
        })?
    }

    fn several_at_once(backend) {
        support::run(backend, async {
            let (server, client) = pair().await?;
            let waiting = server.clone();
            let batch = Datagrams::new(16, 100);
            let receiving = create_task(async move { waiting.recv_batch(batch).await })?;
            anyloop::yield_now().await;
            let mut expected = Vec::new();
            for number in 0..10_u8 {
                let data = vec![number; usize::from(number)];
                client.send(data.clone()).await?;
                expected.push(data);
            }
            let mut found = Vec::new();
            let (mut received, mut batch) = receiving.await?;
            loop {
                assert_eq!(received?, batch.len());
                for (data, from) in batch.iter() {
                    let from = from.and_then(|from| from.as_socket());
                    assert_eq!(from, Some(client.local_addr()?));
                    found.push(data.to_vec());
                }
                if found.len() == expected.len() {
                    break;
                }
                (received, batch) = server.recv_batch(batch).await;
            }
            assert_eq!(found, expected);
            Ok(())
        })?
    }

    fn a_cancelled_receive_loses_nothing(backend) {
        support::run(backend, async {
            let (server, client) = pair().await?;
            for round in 0..50_u8 {
                let waiting = server.clone();
                let receiving = create_task(async move { waiting.recv(100).await })?;
                anyloop::yield_now().await;
                client.send([round]).await?;
                receiving.cancel();
                let data = match receiving.await {
                    Ok(data) => data?,
                    Err(_) => server.recv(100).await?,
                };
                assert_eq!(data, [round]);
            }
            Ok(())
        })?
    }

    fn one_receive_at_a_time(backend) {
        support::run(backend, async {
            let (server, client) = pair().await?;
            let waiting = server.clone();
            let first = create_task(async move { waiting.recv(100).await })?;
            anyloop::yield_now().await;
            assert!(matches!(server.recv(100).await, Err(Error::Usage(_))));
            client.send("x").await?;
            assert_eq!(first.await??, b"x");
            Ok(())
        })?
    }

    fn a_refusal_is_an_error_and_no_more(backend) {
        support::run(backend, async {
            let gone: SocketAddr = UdpSocket::bind("127.0.0.1:0").await?.local_addr()?;
            let client = UdpSocket::connect(gone).await?;
            client.send("anybody?").await?;
            let refused = client.recv(100).await.unwrap_err();
            assert_eq!(refused.io_kind(), std::io::ErrorKind::ConnectionRefused);
            let server = UdpSocket::bind(gone).await?;
            client.send("you").await?;
            assert_eq!(server.recv(100).await?, b"you");
            Ok(())
        })?
    }

    fn what_makes_no_sense_is_refused(backend) {
        support::run(backend, async {
            for bad in ["nonsense", "127.0.0.1", "127.0.0.1:70000", "localhost:70000", "*:70000"] {
                assert!(matches!(UdpSocket::bind(bad).await, Err(Error::InvalidArg(_))), "{bad}");
            }
            let name = UdpSocket::bind("no-such-host.invalid:1").await.unwrap_err();
            assert!(matches!(name, Error::Os(_)), "{name}");
            let taken = UdpSocket::bind(("localhost", 0)).await?;
            assert!(UdpSocket::bind(taken.local_addr()?).await.is_err());
            let stream = std::os::unix::net::UnixStream::pair().unwrap().0;
            assert!(matches!(UdpSocket::from_fd(stream), Err(Error::InvalidArg(_))));
            Ok(())
        })?
    }
}
