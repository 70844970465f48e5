//! Datagrams without an endpoint.

use std::net::{Ipv4Addr, UdpSocket};

use anyloop_api::Datagrams;

use super::*;

/// A bound socket, and its address.
fn udp() -> Result<(Sock, anyloop_api::SockAddr), Failure> {
    let socket = Sock::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

pub(super) fn datagrams_keep_their_bounds(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let ((here, here_at), (there, there_at)) = (udp()?, udp()?);
        for message in ["first", "second"] {
            lp.sock_sendto(&here, message.into(), &there_at).await.0?;
        }
        let (data, from) = lp.sock_recvfrom(&there, 100).await?;
        ensure_eq!(data, b"first", "the first datagram");
        let from = from.ok_or_else(|| Failure::new("the sender has no address"))?;
        ensure_eq!(from.as_socket(), here_at.as_socket(), "its sender");
        let (received, buffer) = lp.sock_recvfrom_into(&there, vec![0; 100]).await;
        let (count, from) = received?;
        ensure_eq!(&buffer[..count], b"second", "the second datagram");
        let from = from.and_then(|from| from.as_socket());
        ensure_eq!(from, here_at.as_socket(), "its sender");

        let waiting = lp.create_task(lp.sock_recvfrom(&here, 100))?;
        idle().await;
        ensure!(!waiting.done(), "a datagram that nobody sent");
        lp.sock_sendto(&there, b"third".to_vec(), &here_at).await.0?;
        let (data, from) = waiting.await??;
        ensure_eq!(data, b"third", "the third datagram");
        ensure_eq!(from.and_then(|f| f.as_socket()), there_at.as_socket(), "its sender");
        Ok(())
    })
}

pub(super) fn long_ones_are_cut_and_empty_ones_come(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let ((here, here_at), (there, there_at)) = (udp()?, udp()?);
        for message in ["a long one", "", "the last"] {
            let (sent, _) = lp.sock_sendto(&here, message.into(), &there_at).await;
            ensure_eq!(sent?, message.len(), "bytes sent");
        }
        let (data, _) = lp.sock_recvfrom(&there, 6).await?;
        ensure_eq!(data, b"a long", "a datagram that was too long");
        let (data, from) = lp.sock_recvfrom(&there, 6).await?;
        ensure_eq!(data, b"", "an empty datagram");
        ensure_eq!(from.and_then(|f| f.as_socket()), here_at.as_socket(), "its sender");
        let (received, buffer) = lp.sock_recvfrom_into(&there, vec![b'.'; 3]).await;
        ensure_eq!((received?.0, &buffer[..]), (3, &b"the"[..]), "cut into a buffer");

        // Without a name there is no address.
        let (near, far) = Sock::pair(Type::DGRAM)?;
        lp.sock_sendall(&near, b"anonymous".to_vec()).await.0?;
        let (data, from) = lp.sock_recvfrom(&far, 100).await?;
        ensure_eq!(data, b"anonymous", "a local datagram");
        ensure!(from.is_none(), "a sender without a name has an address: {from:?}");
        Ok(())
    })
}

pub(super) fn several_datagrams_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let ((here, here_at), (there, there_at)) = (udp()?, udp()?);
        let sent = ["first", "", "a long one", "x"].repeat(5);
        for message in &sent {
            lp.sock_sendto(&here, (*message).into(), &there_at).await.0?;
        }
        let cut: Vec<_> = sent.iter().map(|text| &text.as_bytes()[..text.len().min(6)]).collect();
        // Used again and again, with what is left in it.
        let mut batch = Datagrams::new(8, 6);
        let mut seen = 0;
        while seen < sent.len() {
            let (count, back) = lp.sock_recvmmsg(&there, batch).await;
            batch = back;
            let count = count?;
            ensure!((1..=8).contains(&count), "{count} datagrams in a batch of eight");
            ensure_eq!(count, batch.len(), "the number of datagrams");
            let found: Vec<_> = batch.iter().map(|(data, _)| data).collect();
            ensure_eq!(found, cut[seen..seen + count], "datagrams from the {seen}th on");
            for (_, from) in batch.iter() {
                let from = from.and_then(|from| from.as_socket());
                ensure_eq!(from, here_at.as_socket(), "the sender");
            }
            seen += count;
        }
        // Nothing waits: it does.
        let waiting = lp.create_task(lp.sock_recvmmsg(&there, batch))?;
        idle().await;
        ensure!(!waiting.done(), "a datagram that nobody sent");
        let second = lp.sock_recvmmsg(&there, Datagrams::new(1, 1)).await;
        ensure_is!(second.0, Err(Error::Usage(_)));
        lp.sock_sendto(&here, b"later".to_vec(), &there_at).await.0?;
        let (count, batch) = waiting.await?;
        ensure_eq!((count?, batch.get(0).map(|(data, _)| data)), (1, Some(&b"later"[..])), "later");

        // Without a name there is no address.
        let (near, far) = Sock::pair(Type::DGRAM)?;
        for _ in 0..3 {
            lp.sock_sendall(&near, b"anonymous".to_vec()).await.0?;
        }
        let (count, batch) = lp.sock_recvmmsg(&far, batch).await;
        ensure!(count? > 0, "no datagram");
        for (data, from) in batch.iter() {
            ensure_eq!((data, from), (&b"anonym"[..], None), "a local datagram");
        }
        Ok(())
    })
}

pub(super) fn one_datagram_per_sendto(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let ((here, _), (there, there_at)) = (udp()?, udp()?);
        let (sent, data) = lp.sock_sendto(&here, b"only one".to_vec(), &there_at).await;
        ensure_eq!((sent?, data), (8, b"only one".to_vec()), "bytes sent, and the buffer");
        ensure_eq!(lp.sock_recvfrom(&there, 100).await?.0, b"only one", "what came");
        let mut more = lp.sock_recvfrom(&there, 100);
        ensure!(poll_once(&mut more).await.is_pending(), "there is a second datagram");
        drop(more);
        // Too long for any datagram.
        let (sent, data) = lp.sock_sendto(&here, vec![0; 70_000], &there_at).await;
        ensure_is!(sent, Err(Error::Os(_)));
        ensure_eq!(data.len(), 70_000, "length of the buffer that came back");
        lp.sock_sendto(&here, b"afterwards".to_vec(), &there_at).await.0?;
        ensure_eq!(lp.sock_recvfrom(&there, 100).await?.0, b"afterwards", "what came next");
        Ok(())
    })
}

pub(super) fn a_closed_port_wedges_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let ((here, here_at), (there, _)) = (udp()?, udp()?);
        let nobody = udp()?.1;
        let waiting = lp.create_task(lp.sock_recvfrom(&here, 100))?;
        idle().await;
        for _ in 0..3 {
            // The refusal may be told by this call, by a later one, or by none.
            let _ = lp.sock_sendto(&here, b"anybody?".to_vec(), &nobody).await;
        }
        idle().await;
        lp.sock_sendto(&there, b"me".to_vec(), &here_at).await.0?;
        let mut received = waiting.await?;
        while received.is_err() {
            received = lp.sock_recvfrom(&here, 100).await;
        }
        ensure_eq!(received?.0, b"me", "what came after the refusals");
        Ok(())
    })
}

/// Two UDP sockets, of which the second sends to the first.
fn udp_pair() -> Result<(UdpSocket, UdpSocket), Failure> {
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    far.connect(near.local_addr()?)?;
    Ok((near, far))
}

pub(super) fn a_cancelled_recvfrom_loses_no_datagram(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = udp_pair()?;
    let sender = far.local_addr()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        for round in 0..20_u8 {
            for moment in MOMENTS {
                let send = || {
                    far.send(&[round; 5])?;
                    Ok(())
                };
                let pending = lp.create_task(lp.sock_recvfrom(&near, 100))?;
                let early = cancel_around(pending, moment, send).await?;
                let (data, from) = match early {
                    Some(received) => received?,
                    None => lp.sock_recvfrom(&near, 100).await?,
                };
                ensure_eq!(data, [round; 5], "what came, sent {moment:?}");
                ensure_eq!(from.and_then(|f| f.as_socket()), Some(sender), "its sender");

                let pending = lp.create_task(lp.sock_recvfrom_into(&near, vec![0; 9]))?;
                let early = cancel_around(pending, moment, send).await?;
                let (received, buffer) = match early {
                    Some(received) => received,
                    None => lp.sock_recvfrom_into(&near, vec![0; 9]).await,
                };
                let (count, from) = received?;
                ensure_eq!(buffer[..count], [round; 5], "what came, sent {moment:?}");
                ensure_eq!(from.and_then(|f| f.as_socket()), Some(sender), "its sender");
            }
        }
        Ok(())
    })
}

pub(super) fn a_cancelled_recvmmsg_loses_none(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = udp_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        for round in 0..20_u8 {
            for moment in MOMENTS {
                let send = || {
                    for number in 0..5 {
                        far.send(&[round, number])?;
                    }
                    Ok(())
                };
                let pending = lp.create_task(lp.sock_recvmmsg(&near, Datagrams::new(8, 9)))?;
                let mut found = Vec::new();
                let mut received = cancel_around(pending, moment, send).await?;
                while found.len() < 5 {
                    let (count, batch) = match received.take() {
                        Some(received) => received,
                        None => lp.sock_recvmmsg(&near, Datagrams::new(8, 9)).await,
                    };
                    ensure_eq!(count?, batch.len(), "the number of datagrams");
                    found.extend(batch.iter().map(|(data, _)| data.to_vec()));
                }
                let sent: Vec<_> = (0..5).map(|number| [round, number]).collect();
                ensure_eq!(found, sent, "what came, sent {moment:?}");
            }
        }
        Ok(())
    })
}
