//! Cancelling operations in flight.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyloop::timeout;
use anyloop_api::Task;

use super::*;
use crate::tools::{pair_with_number, pattern, socket_pair};

/// When something happens, relative to the cancellation.
pub(super) const MOMENTS: [Moment; 4] =
    [Moment::LongBefore, Moment::Before, Moment::After, Moment::LongAfter];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Moment {
    /// The loop may have noticed.
    LongBefore,
    /// In the same step.
    Before,
    After,
    /// The loop has worked the cancellation off.
    LongAfter,
}

/// Lets a pending operation be cancelled, with `arrival` at this moment; whether it was completed
/// before that.
pub(super) async fn cancel_around<T: 'static>(
    pending: Task<T>,
    moment: Moment,
    mut arrival: impl FnMut() -> Result<(), Failure>,
) -> Result<Option<T>, Failure> {
    idle().await;
    ensure!(!pending.done(), "the operation ended before anything came");
    if moment == Moment::LongBefore {
        arrival()?;
        yield_now().await;
    }
    if moment == Moment::Before {
        arrival()?;
    }
    pending.cancel();
    if moment == Moment::After {
        arrival()?;
    }
    let outcome = pending.await;
    if moment == Moment::LongAfter {
        idle().await;
        arrival()?;
    }
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Error::Cancelled(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn a_cancelled_receive_loses_no_byte(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        for round in 0..40_u8 {
            for moment in MOMENTS {
                let pending = lp.create_task(lp.sock_recv(&near, 3))?;
                let mut byte = [round, 1, 2, 3, 4];
                let sender = &mut far;
                let early = cancel_around(pending, moment, || {
                    sender.write_all(&byte)?;
                    Ok(())
                })
                .await?;
                let mut received = early.transpose()?.unwrap_or_default();
                received.extend(receive(&lp, &near, 5 - received.len()).await?);
                byte[0] = round;
                ensure_eq!(received, byte, "what came, the bytes being sent {moment:?}");
            }
        }
        Ok(())
    })
}

pub(super) fn also_when_cancelled_again_and_again(cx: &Context) -> Outcome {
    const LENGTH: usize = 100_000;
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let writer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        for piece in pattern(LENGTH).chunks(97) {
            far.write_all(piece)?;
            thread::yield_now();
        }
        Ok::<_, std::io::Error>(())
    });
    let inner = lp.clone();
    let received = run(&lp, async move {
        let lp = inner;
        let mut received = Vec::new();
        let mut cancelled = 0;
        while received.len() < LENGTH {
            let pending = lp.create_task(lp.sock_recv(&near, 1000))?;
            for _ in 0..cancelled % 4 {
                yield_now().await;
            }
            pending.cancel();
            match pending.await {
                Ok(data) => received.extend(data?),
                Err(Error::Cancelled(_)) => {
                    cancelled += 1;
                    // Now and then one that is not cancelled, so that it comes to an end.
                    if cancelled % 3 == 0 {
                        received.extend(lp.sock_recv(&near, 50).await?);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(cancelled > 0, "no receive was cancelled");
        Ok(received)
    })?;
    join(writer)??;
    ensure!(received == pattern(LENGTH), "something else arrived than was sent");
    Ok(())
}

pub(super) fn a_cancelled_accept_loses_no_connection(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let listener = Sock::new(listener)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        for moment in MOMENTS.into_iter().cycle().take(40) {
            let pending = lp.create_task(lp.sock_accept(&listener))?;
            let mut client = None;
            let early = cancel_around(pending, moment, || {
                client = Some(TcpStream::connect(address)?);
                Ok(())
            })
            .await?;
            let accepted = match early {
                Some(accepted) => accepted?,
                None => lp.sock_accept(&listener).await?,
            };
            let client = client.ok_or_else(|| Failure::new("nobody connected"))?;
            let peer = accepted.1.as_socket();
            ensure_eq!(peer, client.local_addr().ok(), "who came, connecting {moment:?}");
        }
        Ok(())
    })
}

pub(super) fn a_returned_buffer_is_left_alone(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        far.write_all(b"one")?;
        let (count, returned) = lp.sock_recv_into(&near, vec![b'.'; 9]).await;
        ensure_eq!((count?, &returned[..]), (3, &b"one......"[..]), "the first receive");
        for moment in MOMENTS {
            let pending = lp.create_task(lp.sock_recv_into(&near, vec![b'.'; 9]))?;
            let sender = &mut far;
            let early = cancel_around(pending, moment, || {
                sender.write_all(b"two")?;
                Ok(())
            })
            .await?;
            let (count, buffer) = match early {
                Some(received) => received,
                None => lp.sock_recv_into(&near, vec![b'.'; 9]).await,
            };
            ensure_eq!((count?, &buffer[..]), (3, &b"two......"[..]), "sent {moment:?}");
            ensure_eq!(&returned[..], b"one......", "a buffer that its owner has back");
        }
        Ok(())
    })
}

pub(super) fn in_the_same_step_after_a_cancellation(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        for _ in 0..20 {
            // Nothing is there: the second one has to wait too.
            let first = lp.create_task(lp.sock_recv(&near, 9))?;
            idle().await;
            first.cancel();
            let mut second = lp.sock_recv(&near, 9);
            ensure!(poll_once(&mut second).await.is_pending(), "it did not wait");
            ensure_is!(first.await, Err(Error::Cancelled(_)));
            far.write_all(b"for the second")?;
            ensure_eq!(second.await?, b"for the s", "what the second got");
            ensure_eq!(lp.sock_recv(&near, 9).await?, b"econd", "the rest");
            // Something is there.
            let first = lp.create_task(lp.sock_recv(&near, 9))?;
            idle().await;
            far.write_all(b"in time")?;
            first.cancel();
            ensure_eq!(lp.sock_recv(&near, 9).await?, b"in time", "what the second got");
            ensure_is!(first.await, Err(Error::Cancelled(_)));
        }
        Ok(())
    })
}

/// A sendall that was cancelled after some of it was received.
async fn cancelled_sendall(lp: &LoopRef, near: &Sock, far: &Sock) -> Result<Vec<u8>, Failure> {
    let sending = lp.create_task(lp.sock_sendall(near, pattern(4 << 20)))?;
    let received = receive(lp, far, 300_000).await?;
    idle().await;
    ensure!(!sending.done(), "4 MiB were sent to nobody");
    sending.cancel();
    ensure_is!(sending.await, Err(Error::Cancelled(_)));
    Ok(received)
}

pub(super) fn a_cancelled_sendall_sends_no_more(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = pair()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let mut received = cancelled_sendall(&lp, &near, &far).await?;
        // What was in the kernel; then nothing more, however long we wait.
        let mut quiet = 0;
        while quiet < 20 {
            let mut receiving = lp.sock_recv(&far, 1 << 20);
            match poll_once(&mut receiving).await {
                Poll::Ready(data) => received.extend(data?),
                Poll::Pending => quiet += 1,
            }
            drop(receiving);
            yield_now().await;
        }
        ensure!(received.len() < 4 << 20, "everything was sent");
        ensure!(pattern(4 << 20).starts_with(&received), "what was sent is no prefix");
        lp.sock_sendall(&near, b"something else".to_vec()).await.0?;
        ensure_eq!(receive(&lp, &far, 14).await?, b"something else", "what came next");
        Ok(())
    })
}

pub(super) fn a_freed_buffer_is_not_sent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = pair()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let mut received = cancelled_sendall(&lp, &near, &far).await?;
        // In all likelihood the same memory, and certainly not the data.
        let trap = vec![0xff_u8; 4 << 20];
        drop(near);
        received.extend(receive_all(&lp, &far).await?);
        ensure!(trap.iter().all(|byte| *byte == 0xff), "somebody wrote into foreign memory");
        ensure!(pattern(4 << 20).starts_with(&received), "freed memory was sent");
        Ok(())
    })
}

pub(super) fn closed_and_used_again_after_a_cancellation(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        for round in 0..50 {
            let (near, mut far) = socket_pair()?;
            let near = Sock::new(near)?;
            let number = near.as_raw_fd();
            let receiving = lp.create_task(lp.sock_recv(&near, 9))?;
            let sending = lp.create_task(lp.sock_sendall(&near, vec![b'.'; 4 << 20]))?;
            idle().await;
            receiving.cancel();
            sending.cancel();
            ensure_is!(receiving.await, Err(Error::Cancelled(_)));
            ensure_is!(sending.await, Err(Error::Cancelled(_)));
            drop(near);
            // Really closed, now.
            let mut buffer = vec![0; 1 << 20];
            while far.read(&mut buffer)? > 0 {}

            let (near, peer) = pair_with_number(number, pair)?;
            let receiving = lp.create_task(lp.sock_recv(&near, 9))?;
            let _ = far.write(b"for the old one");
            idle().await;
            ensure!(!receiving.done(), "round {round}: woken by the old file");
            lp.sock_sendall(&peer, b"new".to_vec()).await.0?;
            ensure_eq!(receiving.await??, b"new", "what the new file got");
            lp.sock_sendall(&near, b"back".to_vec()).await.0?;
            ensure_eq!(lp.sock_recv(&peer, 9).await?, b"back", "what it sent");
        }
        Ok(())
    })
}

pub(super) fn what_timed_out_and_was_kept_goes_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let near = Sock::new(near)?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let mut receiving = lp.sock_recv(&near, 100);
        for _ in 0..3 {
            ensure_is!(timeout(ms(2), &mut receiving).await, Err(Error::TimedOut(_)));
        }
        far.write_all(b"late")?;
        ensure_eq!(receiving.await?, b"late", "what came");
        // Somebody else has the direction now …
        let mut kept = lp.sock_recv(&near, 100);
        ensure_is!(timeout(ms(2), &mut kept).await, Err(Error::TimedOut(_)));
        let other = lp.create_task(lp.sock_recv(&near, 100))?;
        let mut waiting = lp.sock_recv(&near, 100);
        idle().await;
        far.write_all(b"other")?;
        ensure_is!(kept.await, Err(Error::Usage(_)));
        ensure_is!((&mut waiting).await, Err(Error::Usage(_)));
        ensure_eq!(other.await??, b"other", "what the other one got");
        // … or had it.
        let mut kept = lp.sock_recv(&near, 100);
        ensure_is!(timeout(ms(2), &mut kept).await, Err(Error::TimedOut(_)));
        far.write_all(b"one")?;
        ensure_eq!(lp.sock_recv(&near, 100).await?, b"one", "what came meanwhile");
        let kept = lp.create_task(kept)?;
        idle().await;
        ensure_is!(lp.sock_recv(&near, 100).await, Err(Error::Usage(_)));
        far.write_all(b"two")?;
        ensure_eq!(kept.await??, b"two", "what came at last");
        Ok(())
    })
}
