//! Several operations, several owners.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyloop_api::Connect;

use super::*;
use crate::tools::{Script, both, pattern, socket_pair};

pub(super) fn one_receive_and_one_send_may_be_pending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = pair()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let receiving = lp.create_task(lp.sock_recv(&near, 9))?;
        let sending = lp.create_task(lp.sock_sendall(&near, pattern(2 << 20)))?;
        idle().await;
        ensure!(!receiving.done() && !sending.done(), "one did not wait");
        ensure!(receive(&lp, &far, 2 << 20).await? == pattern(2 << 20), "wrong bytes");
        sending.await?.0?;
        ensure!(!receiving.done(), "the receive ended with the send");
        lp.sock_sendall(&far, b"x".to_vec()).await.0?;
        ensure_eq!(receiving.await??, b"x", "what was received");
        Ok(())
    })
}

pub(super) fn a_second_one_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = pair()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let receiving = lp.create_task(lp.sock_recv(&near, 9))?;
        let sending = lp.create_task(lp.sock_sendall(&near, pattern(2 << 20)))?;
        idle().await;
        ensure_is!(lp.sock_recv(&near, 9).await, Err(Error::Usage(_)));
        ensure_is!(lp.sock_recv_into(&near, vec![0]).await.0, Err(Error::Usage(_)));
        ensure_is!(lp.sock_recvfrom(&near, 9).await, Err(Error::Usage(_)));
        ensure_is!(lp.sock_sendall(&near, vec![0]).await, (Err(Error::Usage(_)), data) if data == [0]);
        // Also when the first could go on by now: order is kept.
        lp.sock_sendall(&far, b"first".to_vec()).await.0?;
        ensure_is!(lp.sock_recv(&near, 9).await, Err(Error::Usage(_)));
        ensure_eq!(receiving.await??, b"first", "what the first one got");
        ensure!(receive(&lp, &far, 2 << 20).await? == pattern(2 << 20), "wrong bytes");
        sending.await?.0?;
        // Afterwards there is room.
        lp.sock_sendall(&far, b"second".to_vec()).await.0?;
        ensure_eq!(lp.sock_recv(&near, 9).await?, b"second", "what came next");
        Ok(())
    })
}

pub(super) fn a_transport_gets_a_socket_that_nobody_uses(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    let socket = run(&lp, async move {
        let lp = inner;
        let receiving = lp.create_task(lp.sock_recv(&near, 9))?;
        idle().await;
        let Err(near) = near.into_fd() else {
            return Err(Failure::new("a socket in use was given away"));
        };
        receiving.cancel();
        ensure_is!(receiving.await, Err(Error::Cancelled(_)));
        near.into_fd().map_err(|sock| Failure::new(format!("{sock:?} is still in use")))
    })?;
    // The loop has let go of it: a transport can take it over.
    let record = Script::new().record();
    let connecting = lp.create_connection(record.factory(), Connect::socket(socket));
    let (transport, _) = lp.run_until_complete(connecting)??;
    far.write_all(b"in")?;
    record.until_received(&lp, 2)?;
    transport.write(b"out")?;
    run_times(&lp, 2)?;
    let mut answer = [0; 3];
    far.read_exact(&mut answer)?;
    ensure_eq!(&answer, b"out", "what the transport sent");
    transport.close();
    record.until_lost(&lp)?;
    record.expect(["made", "data", "lost"])
}

pub(super) fn dropped_in_flight(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let receiving = lp.create_task(lp.sock_recv(&near, 9))?;
    run_times(&lp, 3)?;
    // The operation is the last to have the socket.
    drop(near);
    let before = cpu_time();
    run_for(&lp, ms(100))?;
    let used = cpu_time() - before;
    ensure!(used < ms(50), "the loop spins: {used:?} of processor time in 100 ms");
    far.write_all(b"still there")?;
    ensure_eq!(lp.run_until_done(&receiving)??, b"still the", "what the operation got");
    // With it the socket is closed.
    ensure_is!(far.write(b"x"), Err(_));

    let (near, mut far) = socket_pair()?;
    let receiving = lp.create_task(lp.sock_recv(&Sock::new(near)?, 9))?;
    run_times(&lp, 3)?;
    receiving.cancel();
    run_times(&lp, 3)?;
    ensure!(receiving.done(), "the operation was not cancelled");
    ensure_is!(far.read(&mut [0]), Ok(0));
    Ok(())
}

pub(super) fn megabytes_both_ways_at_once(cx: &Context) -> Outcome {
    const LENGTH: usize = 4 << 20;
    let lp = cx.new_loop()?;
    let (near, far) = pair()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let work = |mine: Sock| {
            let lp = lp.clone();
            async move {
                let (sent, received) = both(
                    Box::pin(lp.sock_sendall(&mine, pattern(LENGTH))),
                    Box::pin(receive(&lp, &mine, LENGTH)),
                )
                .await;
                sent.0?;
                ensure!(received? == pattern(LENGTH), "something else arrived than was sent");
                Ok::<_, Failure>(())
            }
        };
        let (one, two) = (lp.create_task(work(near))?, lp.create_task(work(far))?);
        one.await??;
        two.await??;
        Ok(())
    })
}

pub(super) fn a_hundred_connections_echo(cx: &Context) -> Outcome {
    const CLIENTS: usize = 100;
    const LENGTH: usize = 100_000;
    let lp = cx.new_loop()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let listener = Sock::new(listener)?;
    let clients = thread::spawn(move || {
        let mut streams = Vec::new();
        for _ in 0..CLIENTS {
            streams.push(TcpStream::connect(address)?);
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&vec![number as u8; LENGTH])?;
            stream.shutdown(std::net::Shutdown::Write)?;
        }
        let mut right = 0;
        for (number, stream) in streams.iter_mut().enumerate() {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            right += usize::from(answer == vec![number as u8; LENGTH]);
        }
        Ok::<_, std::io::Error>(right)
    });
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let mut serving = Vec::new();
        for _ in 0..CLIENTS {
            let (sock, _) = lp.sock_accept(&listener).await?;
            let inner = lp.clone();
            serving.push(lp.create_task(async move {
                let mut buffer = vec![0; 4096];
                loop {
                    let (count, filled) = inner.sock_recv_into(&sock, buffer).await;
                    let count = count?;
                    if count == 0 {
                        return Ok::<_, Error>(());
                    }
                    inner.sock_sendall(&sock, filled[..count].to_vec()).await.0?;
                    buffer = filled;
                }
            })?);
        }
        for task in serving {
            task.await??;
        }
        Ok(())
    })?;
    ensure_eq!(join(clients)??, CLIENTS, "clients that got back what they sent");
    Ok(())
}
