//! What wake-ups and iterations cost the kernel, counted where the core meets the driver.
#![cfg(all(target_os = "linux", feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use anyloop::{EventLoopExt, LoopConfig, LoopRef, Result, sleep, yield_now};
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
}
