//! Sending and receiving on streams.

use std::io::Write;
use std::net::TcpStream;

use anyloop_api::Datagrams;

use super::*;
use crate::tools::{collect, pattern, reset, rest, socket_pair, tcp_pair};

/// A socket is of no loop: each watches it for itself.
pub(super) fn from_loop_to_loop(cx: &Context) -> Outcome {
    let loops = [cx.new_loop()?, cx.new_loop()?];
    let (near, far) = pair()?;
    for (round, lp) in loops.iter().cycle().take(5).enumerate() {
        let (theirs, near) = (lp.clone(), near.clone());
        let task = lp.create_task(async move { theirs.sock_recv(&near, 10).await })?;
        run_times(lp, 3)?;
        ensure!(!task.done(), "round {round}: it did not wait");
        rustix::io::write(far.socket(), b"x")?;
        run_for(lp, ms(1))?;
        ensure_eq!(lp.run_until_done(&task)??, b"x", "what came in round {round}");
    }
    Ok(())
}

pub(super) fn a_receive_gives_what_there_is(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        far.write_all(b"twelve bytes")?;
        ensure_eq!(lp.sock_recv(&near, 100).await?, b"twelve bytes", "all there is");
        far.write_all(b"twelve bytes")?;
        ensure_eq!(lp.sock_recv(&near, 6).await?, b"twelve", "no more than asked for");
        ensure_eq!(lp.sock_recv(&near, 6).await?, b" bytes", "the rest");
        // Waits for one byte, not for all.
        let waiting = lp.create_task(lp.sock_recv(&near, 1 << 20))?;
        idle().await;
        ensure!(!waiting.done(), "a receive of nothing");
        far.write_all(b"!")?;
        ensure_eq!(waiting.await??, b"!", "what came at last");
        // More than any buffer of the loop's own.
        let sent = pattern(3000);
        far.write_all(&sent)?;
        ensure_eq!(lp.sock_recv(&near, usize::MAX).await?, sent, "with room for everything");
        Ok(())
    })
}

pub(super) fn the_end_of_the_stream_is_empty(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        far.write_all(b"end")?;
        let waiting = async { (lp.sock_recv(&near, 10).await, lp.sock_recv(&near, 10).await) };
        let close = async {
            yield_now().await;
            drop(far);
        };
        let ((first, second), ()) = crate::tools::both(waiting, close).await;
        ensure_eq!((first?, second?), (b"end".to_vec(), Vec::new()), "before and at the end");
        ensure_eq!(lp.sock_recv(&near, 10).await?, b"", "at the end, once more");
        ensure_is!(lp.sock_recv_into(&near, vec![1; 4]).await, (Ok(0), buffer) if buffer == [1; 4]);
        Ok(())
    })
}

pub(super) fn into_a_buffer_of_the_callers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let buffer = vec![b'.'; 8];
        let address = buffer.as_ptr();
        far.write_all(b"short")?;
        let (count, buffer) = lp.sock_recv_into(&near, buffer).await;
        ensure_eq!((count?, &buffer[..]), (5, &b"short..."[..]), "after a short message");
        far.write_all(b"rather long")?;
        let (count, buffer) = lp.sock_recv_into(&near, buffer).await;
        ensure_eq!((count?, &buffer[..]), (8, &b"rather l"[..]), "after a long one");
        ensure!(buffer.as_ptr() == address, "another buffer came back");
        ensure_eq!(lp.sock_recv(&near, 10).await?, b"ong", "what did not fit");
        Ok(())
    })
}

pub(super) fn nothing_is_received_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        ensure_eq!(lp.sock_recv(&near, 0).await?, b"", "a receive of zero bytes");
        ensure_is!(lp.sock_recv_into(&near, Vec::new()).await, (Ok(0), _));
        far.write_all(b"x")?;
        ensure_eq!(lp.sock_recv(&near, 0).await?, b"", "a receive of zero bytes");
        ensure_eq!(lp.sock_recv(&near, 9).await?, b"x", "what is still there");
        Ok(())
    })
}

pub(super) fn what_is_there_needs_no_suspension(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        far.write_all(b"x")?;
        let mut receiving = lp.sock_recv(&near, 9);
        ensure_is!(poll_once(&mut receiving).await, Poll::Ready(Ok(data)) if data == b"x");
        let mut sending = lp.sock_sendall(&near, b"y".to_vec());
        ensure_is!(poll_once(&mut sending).await, Poll::Ready((Ok(()), data)) if data == b"y");
        Ok(())
    })
}

pub(super) fn a_blocking_socket_is_made_nonblocking(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    near.set_nonblocking(false)?;
    let twin = near.try_clone()?;
    let near = Sock::new(near)?;
    ensure!(crate::tools::is_nonblocking(&twin)?, "the socket blocks");
    let inner = lp.clone();
    run(&lp, async move {
        let mut receiving = inner.sock_recv(&near, 1);
        ensure!(poll_once(&mut receiving).await.is_pending(), "a receive of nothing");
        drop(far);
        Ok(())
    })
}

pub(super) fn or_refused_in_debug_mode(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    let (near, _far) = pair()?;
    near.socket().set_nonblocking(false)?;
    let address = near.local_addr()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        ensure_is!(lp.sock_recv(&near, 1).await, Err(Error::InvalidArg(_)));
        ensure_is!(lp.sock_recv_into(&near, vec![0]).await.0, Err(Error::InvalidArg(_)));
        ensure_is!(lp.sock_recvfrom(&near, 1).await, Err(Error::InvalidArg(_)));
        ensure_is!(lp.sock_recvfrom_into(&near, vec![0]).await.0, Err(Error::InvalidArg(_)));
        ensure_is!(lp.sock_sendall(&near, vec![0]).await.0, Err(Error::InvalidArg(_)));
        ensure_is!(lp.sock_sendto(&near, vec![0], &address).await.0, Err(Error::InvalidArg(_)));
        ensure_is!(lp.sock_connect(&near, address.into()).await, Err(Error::InvalidArg(_)));
        ensure_is!(lp.sock_accept(&near).await, Err(Error::InvalidArg(_)));
        let batch = lp.sock_recvmmsg(&near, Datagrams::new(1, 1)).await;
        ensure_is!(batch.0, Err(Error::InvalidArg(_)));
        let (sent, _) = lp.sock_send_fds(&near, vec![0], Vec::new()).await;
        ensure_is!(sent, Err(Error::InvalidArg(_)));
        ensure_is!(lp.sock_recv_fds(&near, 1, 1).await, Err(Error::InvalidArg(_)));
        let file = std::fs::File::open(std::env::current_exe()?)?;
        ensure_is!(lp.sock_sendfile(&near, file.into()).await, Err(Error::InvalidArg(_)));
        Ok(())
    })
}

pub(super) fn everything_is_sent_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let near = Sock::new(near)?;
    let reader = collect(far);
    let data = pattern(8 << 20);
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let (sent, data) = lp.sock_sendall(&near, data).await;
        sent?;
        ensure!(data == pattern(8 << 20), "the buffer came back changed");
        lp.sock_sendall(&near, b"and the end".to_vec()).await.0?;
        Ok(())
    })?;
    let received = join(reader)??;
    ensure_eq!(received.len(), (8 << 20) + 11, "bytes received");
    ensure!(received[..8 << 20] == pattern(8 << 20), "something else arrived than was sent");
    ensure!(received.ends_with(b"and the end"), "the second message is not at the end");
    Ok(())
}

pub(super) fn or_it_fails(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = pair()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let sending = lp.create_task(lp.sock_sendall(&near, vec![7; 4 << 20]))?;
        idle().await;
        ensure!(!sending.done(), "4 MiB were sent to nobody");
        drop(far);
        let (sent, data) = sending.await?;
        ensure_is!(sent, Err(Error::Os(_)));
        ensure_eq!(data.len(), 4 << 20, "length of the buffer that came back");
        ensure_is!(lp.sock_sendall(&near, vec![7]).await.0, Err(Error::Os(_)));
        Ok(())
    })
}

pub(super) fn sending_nothing_succeeds(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = pair()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        lp.sock_sendall(&near, Vec::new()).await.0?;
        lp.sock_sendall(&near, b"x".to_vec()).await.0?;
        ensure_eq!(lp.sock_recv(&far, 9).await?, b"x", "what arrived");
        Ok(())
    })
}

pub(super) fn a_reset_reaches_the_receiver(cx: &Context) -> Outcome {
    const ECONNRESET: i32 = 104;
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let receiving = lp.create_task(lp.sock_recv(&near, 9))?;
        idle().await;
        reset(far)?;
        let error = receiving.await?;
        ensure_is!(error, Err(error) if error.raw_os_error() == Some(ECONNRESET));
        // The error was delivered; from now on it is the end of the stream.
        ensure_eq!(lp.sock_recv(&near, 9).await?, b"", "after the reset");
        Ok(())
    })
}

pub(super) fn one_that_nobody_waits_for_costs_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let near = Sock::new(near)?;
    // The loop has watched the socket, and may go on doing so for the next operation.
    let receiving = lp.create_task(lp.sock_recv(&near, 9))?;
    lp.run_until_complete(idle())?;
    far.write_all(b"x")?;
    ensure_eq!(lp.run_until_done(&receiving)??, b"x", "what came");
    reset(far)?;
    lp.run_until_complete(idle())?;
    rest(&lp)?;
    ensure_is!(lp.run_until_complete(lp.sock_recv(&near, 9))?, Err(Error::Os(_)));
    Ok(())
}

pub(super) fn what_the_system_refuses_is_told(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let unconnected = Sock::open(anyloop_api::Domain::IPV4, Type::STREAM)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        ensure_is!(lp.sock_recv(&unconnected, 1).await, Err(Error::Os(_)));
        ensure_is!(lp.sock_sendall(&unconnected, vec![1]).await.0, Err(Error::Os(_)));
        ensure_is!(lp.sock_accept(&unconnected).await, Err(Error::Os(_)));
        Ok(())
    })?;
    // Not begun before the loop is closed.
    let (near, _far) = pair()?;
    let late = lp.sock_recv(&near, 1);
    lp.close()?;
    let other = cx.new_loop()?;
    ensure_is!(other.run_until_complete(late)?, Err(Error::Closed(_)));
    Ok(())
}

pub(super) fn signals_interrupt_nothing(cx: &Context) -> Outcome {
    use crate::tools::{SIGUSR1, raise};
    let lp = cx.new_loop()?;
    let handled = Counter::new();
    let counter = handled.clone();
    lp.add_signal_handler(SIGUSR1, move || {
        counter.add();
    })?;
    let (near, far): (TcpStream, TcpStream) = tcp_pair()?;
    let (near, far) = (Sock::new(near)?, Sock::new(far)?);
    let done = Counter::new();
    let stop = done.clone();
    let flood = thread::spawn(move || {
        while stop.get() == 0 {
            raise(SIGUSR1)?;
            thread::sleep(Duration::from_micros(50));
        }
        Ok::<_, std::io::Error>(())
    });
    let inner = lp.clone();
    let result = run(&lp, async move {
        let lp = inner;
        let sender = lp.clone();
        let sending =
            lp.create_task(async move { sender.sock_sendall(&near, pattern(16 << 20)).await.0 })?;
        let received = receive(&lp, &far, 16 << 20).await?;
        sending.await??;
        ensure!(received == pattern(16 << 20), "something else arrived than was sent");
        Ok(())
    });
    done.add();
    join(flood)??;
    ensure!(handled.get() > 0, "no signal came in between");
    result
}
