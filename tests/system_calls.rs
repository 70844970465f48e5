//! What wake-ups and iterations cost the kernel, counted where the core meets the driver.
#![cfg(all(target_os = "linux", feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use anyloop::{
    DatagramEndpoint, DatagramProtocol, Datagrams, EventLoopExt, LoopConfig, LoopRef, Result, Sock,
    SockAddr, UnixConnect, create_task, open_unix_connection, sleep, yield_now,
};
use anyloop_core::BaseLoop;
use anyloop_core::driver::Driver;
use anyloop_core::testing::{Counted, Counts};

const BURST: usize = 1000;

/// A loop of a backend whose driver counts.
fn counted_loop(backend: &str, config: &LoopConfig) -> Result<(LoopRef, Arc<Counts>)> {
    fn open<D: Driver>(
        driver: std::io::Result<D>,
        waits: fn(&D) -> u64,
        config: &LoopConfig,
    ) -> Result<(LoopRef, Arc<Counts>)> {
        let driver = driver.map_err(|error| anyloop::Error::os("making a driver", error))?;
        let driver = Counted::new(driver, waits);
        let counts = driver.counts();
        Ok((BaseLoop::open(driver, config)?, counts))
    }
    match backend {
        "mio" => open(
            anyloop_mio::MioDriver::new(&anyloop_mio::Config::default()),
            anyloop_mio::MioDriver::waits,
            config,
        ),
        "polling" => open(
            anyloop_polling::PollingDriver::new(&anyloop_polling::Config::default()),
            anyloop_polling::PollingDriver::waits,
            config,
        ),
        _ => {
            open(anyloop_uring::UringDriver::new(&anyloop_uring::Config::default()), enters, config)
        }
    }
}

/// It is in the report for humans.
fn enters(driver: &anyloop_uring::UringDriver) -> u64 {
    let report = driver.describe();
    let (before, _) = report.split_once(" enters").expect("it is reported");
    let number = before.rsplit(' ').next().expect("a number");
    number.parse().expect("a number")
}

/// Datagrams received so far, and by how many system calls. It is in the report for humans.
fn receives(lp: &LoopRef) -> (u64, u64) {
    let report = lp.describe();
    let line = report.lines().find_map(|line| line.strip_prefix("datagrams: "));
    let mut words = line.expect("it is reported").split(' ');
    let mut number = || words.find_map(|word| word.parse().ok()).expect("a number");
    (number(), number())
}

/// Collects the first bytes of datagrams.
struct Collect(Rc<RefCell<Vec<u8>>>);

impl DatagramProtocol for Collect {
    fn datagram_received(&self, data: &[u8], _: Option<&SockAddr>) {
        self.0.borrow_mut().push(data[0]);
    }
}

/// Waits, off the loop's thread, until the loop is about to sleep once more.
fn await_sleep(counts: &Counts, before: u64) {
    while counts.sleeps() == before {
        thread::yield_now();
    }
}

on_every_backend! {
    fn a_burst_to_a_running_loop_wakes_nobody(backend) {
        let (lp, counts) = counted_loop(backend, &LoopConfig::default())?;
        let ran = Rc::new(Cell::new(0));
        // Tasks that wait to be woken, each once.
        let (leave, left) = mpsc::channel::<Waker>();
        let woken: Vec<_> = (0..BURST)
            .map(|_| {
                let (leave, ran) = (leave.clone(), ran.clone());
                let mut first = true;
                lp.create_task(poll_fn(move |cx| {
                    if first {
                        first = false;
                        leave.send(cx.waker().clone()).expect("the test reads it");
                        return Poll::Pending;
                    }
                    ran.set(ran.get() + 1);
                    Poll::Ready(())
                }))
            })
            .collect::<Result<_>>()?;
        let (l2, r2) = (lp.clone(), lp.remote());
        let (posted, count) = mpsc::channel();
        let c2 = counts.clone();
        lp.run_until_complete(async move {
            yield_now().await;
            let wakers: Vec<Waker> = left.try_iter().collect();
            assert_eq!(wakers.len(), BURST, "every task waits");
            let before = c2.wakes();
            // The loop runs this task meanwhile.
            let burst = thread::spawn(move || {
                wakers.into_iter().for_each(Waker::wake);
                for number in 0..BURST {
                    let posted = posted.clone();
                    r2.call_soon_threadsafe(move || posted.send(number).expect("read below"))?;
                }
                Ok::<_, anyloop::Error>(())
            });
            burst.join().expect("it ends")?;
            assert_eq!(c2.wakes() - before, 0, "a running loop needs no waking");
            drop(l2);
            for task in woken {
                task.await?;
            }
            Ok::<_, anyloop::Error>(())
        })??;
        assert_eq!(ran.get(), BURST, "every task was woken");
        // Posted last, and all in order.
        lp.run_until_complete(yield_now())?;
        assert!(count.try_iter().eq(0..BURST), "every call was made");
        lp.close()
    }

    fn a_sleeping_loop_is_woken_once(backend) {
        let (lp, counts) = counted_loop(backend, &LoopConfig::default())?;
        let remote = lp.remote();
        let (go_on, gone) = mpsc::channel();
        let (l2, c2) = (lp.clone(), counts.clone());
        let thread = thread::spawn(move || {
            await_sleep(&c2, 0);
            let before = c2.wakes();
            // Holds the loop until everything is posted.
            remote.call_soon_threadsafe(move || gone.recv().expect("it is sent below"))?;
            for _ in 0..BURST {
                remote.call_soon_threadsafe(|| ())?;
            }
            let wakes = c2.wakes() - before;
            remote.stop();
            go_on.send(()).expect("the loop waits");
            Ok::<_, anyloop::Error>(wakes)
        });
        lp.run_forever()?;
        assert_eq!(thread.join().expect("it ends")?, 1, "wakes for a burst");
        drop(l2);
        lp.close()
    }

    fn an_iteration_waits_once(backend) {
        let config = LoopConfig::default().poll_every_iteration(true);
        let (lp, counts) = counted_loop(backend, &config)?;
        let (near, mut far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("a socket");
        let remote = lp.remote();
        let (before, c2) = (Rc::new(Cell::new((0, 0))), counts.clone());
        let b2 = before.clone();
        lp.run_until_complete(async move {
            let lp = LoopRef::current()?;
            let bytes = Rc::new(Cell::new(0));
            let (b3, mut reader) = (bytes.clone(), near.try_clone().expect("a duplicate"));
            lp.add_reader(&near, move || {
                let mut buffer = [0; 64];
                while let Ok(n @ 1..) = reader.read(&mut buffer) {
                    b3.set(b3.get() + n);
                }
            })?;
            yield_now().await;
            b2.set((c2.polls(), c2.waits()));
            for round in 0..100 {
                yield_now().await;
                far.write_all(&[1]).expect("room for a byte");
                if round % 10 == 0 {
                    sleep(Duration::from_micros(100)).await;
                }
                let remote = remote.clone();
                thread::spawn(move || remote.call_soon_threadsafe(|| ())).join().expect("ends")?;
            }
            while bytes.get() < 100 {
                yield_now().await;
            }
            lp.remove_reader(&near)?;
            Ok::<_, anyloop::Error>(())
        })??;
        let polls = counts.polls() - before.get().0;
        let waits = counts.waits() - before.get().1;
        assert!(polls >= 100, "{polls} polls");
        if backend == "uring" {
            // Not even one where there is nothing to submit, and nothing to wait for.
            assert!(waits <= polls, "{waits} system calls in {polls} polls");
        } else {
            assert_eq!(waits, polls, "system calls and polls");
        }
        lp.close()
    }

    fn a_spinning_loop_is_not_woken(backend) {
        let config = LoopConfig::default().spin(Duration::MAX);
        let (lp, counts) = counted_loop(backend, &config)?;
        let (near, mut far) = UnixStream::pair().expect("a pair");
        lp.run_until_complete(async move {
            let lp = LoopRef::current()?;
            // From another thread, from a timer, and from a descriptor.
            for _ in 0..10 {
                lp.run_in_executor(None, || ())?.await?;
                sleep(Duration::from_micros(200)).await;
            }
            let readable = lp.create_future();
            let r2 = readable.clone();
            lp.add_reader(&near, move || _ = r2.set_unless_done(Ok(())))?;
            let writer = thread::spawn(move || far.write_all(&[1]));
            readable.await?;
            lp.remove_reader(&near)?;
            writer.join().expect("it ends").expect("room for a byte");
            Ok::<_, anyloop::Error>(())
        })??;
        assert_eq!((counts.sleeps(), counts.wakes()), (0, 0), "sleeps and wake-ups");
        lp.close()
    }

    fn a_loop_that_has_spun_sleeps(backend) {
        let config = LoopConfig::default().spin(Duration::from_micros(50));
        let (lp, counts) = counted_loop(backend, &config)?;
        let (remote, c2) = (lp.remote(), counts.clone());
        let early = lp.run_until_complete(async move {
            let lp = LoopRef::current()?;
            let due = lp.time() + Duration::from_millis(5);
            anyloop::sleep_until(due).await;
            let early = due.saturating_duration_since(lp.time());
            // Woken from a sleep that has no end of its own.
            let done = lp.create_future::<()>();
            let (d2, before) = (done.clone(), c2.sleeps());
            let key = lp.state().park(Rc::new(d2));
            let thread = thread::spawn(move || {
                await_sleep(&c2, before);
                remote.call_soon_threadsafe(move || {
                    let parked = LoopRef::current().ok().and_then(|lp| lp.state().unpark(key));
                    let done = parked.and_then(|it| it.downcast::<anyloop::LoopFuture<()>>().ok());
                    let _ = done.expect("it is parked").set_result(());
                })
            });
            done.await?;
            thread.join().expect("it ends")?;
            Ok::<_, anyloop::Error>(early)
        })??;
        assert_eq!(early, Duration::ZERO, "a timer is never early");
        assert!(counts.sleeps() >= 2, "{} sleeps", counts.sleeps());
        lp.close()
    }

    fn short_batches_share_a_poll(backend) {
        let (lp, counts) = counted_loop(backend, &LoopConfig::default())?;
        let c2 = counts.clone();
        let waits = lp.run_until_complete(async move {
            let before = c2.waits();
            for _ in 0..BURST {
                yield_now().await;
            }
            c2.waits() - before
        })?;
        // At most 64 callbacks without a poll, fewer if they take long: that is up to the machine.
        assert!(waits < BURST as u64 / 2, "{waits} waits for {BURST} steps");
        lp.close()
    }

    fn datagrams_that_wait_share_a_call(backend) {
        const WAITING: u64 = 160;
        for (one_by_one, most) in [(false, WAITING / 10), (true, 2 * WAITING)] {
            let config = LoopConfig::default().recvmmsg_fallback(one_by_one);
            let (lp, _) = counted_loop(backend, &config)?;
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let address = socket.local_addr().expect("it is bound");
            let far = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            for number in 0..WAITING {
                far.send_to(&[number as u8], address).expect("there is room");
            }
            let seen = Rc::new(RefCell::new(Vec::new()));
            let protocol = Rc::new(Collect(seen.clone()));
            let factory = move || -> Rc<dyn DatagramProtocol> { protocol.clone() };
            let opening = lp
                .create_datagram_endpoint(Rc::new(factory), DatagramEndpoint::socket(socket));
            let (s2, l2) = (seen.clone(), lp.clone());
            lp.run_until_complete(async move {
                let (transport, _) = opening.await?;
                while (s2.borrow().len() as u64) < WAITING {
                    yield_now().await;
                }
                let (received, calls) = receives(&l2);
                assert_eq!(received, WAITING);
                assert!(calls <= most, "{calls} calls");
                assert!(!one_by_one || calls >= WAITING, "{calls} calls, one by one");
                // And single ones: one that brings it and one that finds no other.
                for number in 0..20 {
                    far.send_to(&[number], address).expect("there is room");
                    while s2.borrow().len() as u64 <= WAITING + u64::from(number) {
                        yield_now().await;
                    }
                }
                let single = receives(&l2).1 - calls;
                assert!(single <= 2 * 20 + 2, "{single} calls for 20 single datagrams");
                transport.abort();

                // The same without a protocol.
                let (near, far) = Sock::pair(anyloop::Type::DGRAM)?;
                for _ in 0..5 {
                    l2.sock_sendall(&near, vec![1]).await.0?;
                }
                let before = receives(&l2).1;
                let (mut left, mut batch) = (5, Datagrams::new(32, 64));
                while left > 0 {
                    let (received, back) = l2.sock_recvmmsg(&far, batch).await;
                    (left, batch) = (left - received?, back);
                }
                assert_eq!(receives(&l2).1 - before, if one_by_one { 5 } else { 1 });
                Ok::<_, anyloop::Error>(())
            })??;
            let expected: Vec<u8> = (0..WAITING as u8).chain(0..20).collect();
            assert_eq!(*seen.borrow(), expected);
            lp.close()?;
        }
        Ok(())
    }

    /// Libraries like buffers of 8 KiB, and ask again when one was filled.
    fn a_small_buffer_takes_what_waits_without_a_poll(backend) {
        const PIECE: usize = 8 * 1024;
        let (lp, counts) = counted_loop(backend, &LoopConfig::default())?;
        lp.run_until_complete(async move {
            let (ours, mut peer) = UnixStream::pair()?;
            let (reader, writer) = open_unix_connection(UnixConnect::socket(ours)).await?;
            let mut buffer = vec![0; PIECE];
            // Later messages are not pushed on any backend.
            for round in 0..3 {
                // It waits for the first piece.
                let r2 = reader.clone();
                let first = create_task(async move { r2.read_into(&mut [0; PIECE]).await })?;
                yield_now().await;
                peer.write_all(&[7; 8 * PIECE])?;
                let before = counts.polls();
                let mut total = first.await??;
                while total < 8 * PIECE {
                    total += reader.read_into(&mut buffer).await?;
                }
                let polls = counts.polls() - before;
                assert!(polls <= 3, "round {round}: {polls} polls for what was there");
            }
            writer.close();
            writer.wait_closed().await
        })?
    }
}
