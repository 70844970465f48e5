//! In the steady state protocols, timers and wake-ups allocate nothing but what the user asked for.
#![cfg(all(target_os = "linux", feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use anyloop::{
    Connect, DatagramEndpoint, DatagramProtocol, DatagramTransport, EventLoopExt, LoopFuture,
    LoopRef, Protocol, Result, SockAddr, Transport, sleep, yield_now,
};
use anyloop_core::testing::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// How often each thing is done before it counts, and then.
const ROUNDS: u32 = 1000;

/// What this thread allocates inside `f`.
async fn allocations(f: impl AsyncFnOnce()) -> u64 {
    let before = CountingAllocator::count();
    f().await;
    CountingAllocator::count() - before
}

/// Sends back what it gets.
#[derive(Default)]
struct Echo(RefCell<Option<Transport>>);

impl Protocol for Echo {
    fn connection_made(&self, transport: Transport) {
        self.0.replace(Some(transport));
    }

    fn data_received(&self, data: &[u8]) {
        if let Some(transport) = &*self.0.borrow() {
            transport.write(data).expect("it is open");
        }
    }
}

/// Sends the next message when it has all of the one before.
struct Client {
    transport: RefCell<Option<Transport>>,
    message: Vec<u8>,
    received: Cell<usize>,
    left: Cell<u32>,
    measured: Cell<u64>,
    done: LoopFuture<u64>,
}

impl Client {
    fn new(lp: &LoopRef, size: usize) -> Self {
        Self {
            transport: RefCell::default(),
            message: vec![7; size],
            received: Cell::new(0),
            left: Cell::new(2 * ROUNDS),
            measured: Cell::new(0),
            done: lp.create_future(),
        }
    }

    fn send(&self) {
        if let Some(transport) = &*self.transport.borrow() {
            transport.write(&self.message).expect("it is open");
        }
    }
}

impl Protocol for Client {
    fn connection_made(&self, transport: Transport) {
        self.transport.replace(Some(transport));
        self.send();
    }

    fn data_received(&self, data: &[u8]) {
        self.received.set(self.received.get() + data.len());
        if self.received.get() < self.message.len() {
            return;
        }
        self.received.set(0);
        self.left.set(self.left.get() - 1);
        match self.left.get() {
            0 => {
                let all = CountingAllocator::count() - self.measured.get();
                let _ = self.done.set_result(all);
                return;
            }
            ROUNDS => self.measured.set(CountingAllocator::count()),
            _ => {}
        }
        self.send();
    }
}

/// Echoes, client and server on one loop: what a thousand of them allocate.
async fn echoes(size: usize) -> Result<u64> {
    let lp = LoopRef::current()?;
    let server = lp.serve(Echo::default, "127.0.0.1:0").await?;
    let to = server.sockets()[0].local_addr()?.as_socket().expect("an address of TCP");
    let l2 = lp.clone();
    let (transport, client) = lp.connect(move || Client::new(&l2, size), Connect::from(to)).await?;
    let allocated = client.done.clone().await?;
    transport.close();
    server.close();
    server.wait_closed().await?;
    Ok(allocated)
}

/// Sends back each datagram, and counts.
struct DatagramEcho {
    transport: RefCell<Option<DatagramTransport>>,
    received: Cell<u32>,
    measured: Cell<u64>,
    done: LoopFuture<u64>,
}

impl DatagramProtocol for DatagramEcho {
    fn connection_made(&self, transport: DatagramTransport) {
        self.transport.replace(Some(transport));
    }

    fn datagram_received(&self, data: &[u8], from: Option<&SockAddr>) {
        let received = self.received.get() + 1;
        self.received.set(received);
        if received == ROUNDS {
            self.measured.set(CountingAllocator::count());
        }
        if received == 2 * ROUNDS {
            let _ = self.done.set_result(CountingAllocator::count() - self.measured.get());
            return;
        }
        if let Some(transport) = &*self.transport.borrow() {
            transport.sendto(data, from).expect("it is open");
        }
    }
}

/// Two endpoints that send each other single datagrams, then bursts: what a thousand allocate.
async fn datagram_echoes() -> Result<u64> {
    let lp = LoopRef::current()?;
    let mut allocated = 0;
    for in_flight in [1, 40] {
        let open = |endpoint: DatagramEndpoint| {
            let l2 = lp.clone();
            let made = move || -> Rc<dyn DatagramProtocol> {
                Rc::new(DatagramEcho {
                    transport: RefCell::default(),
                    received: Cell::new(0),
                    measured: Cell::new(0),
                    done: l2.create_future(),
                })
            };
            lp.create_datagram_endpoint(Rc::new(made), endpoint)
        };
        let (near, protocol) = open(DatagramEndpoint::local("127.0.0.1:0")).await?;
        let address = near.local_addr().expect("it is bound");
        let (far, _) = open(DatagramEndpoint::remote(address)).await?;
        for _ in 0..in_flight {
            far.sendto([7; 100], None)?;
        }
        let protocol: Rc<dyn std::any::Any> = protocol;
        let echo = protocol.downcast::<DatagramEcho>().expect("it was made above");
        allocated += echo.done.clone().await?;
        near.abort();
        far.abort();
    }
    Ok(allocated)
}

on_every_backend! {
    fn small_echoes_allocate_nothing(backend) {
        assert_eq!(support::run(backend, echoes(64))??, 0);
        Ok(())
    }

    fn large_echoes_allocate_nothing(backend) {
        assert_eq!(support::run(backend, echoes(16 * 1024))??, 0);
        Ok(())
    }

    fn datagrams_allocate_nothing(backend) {
        assert_eq!(support::run(backend, datagram_echoes())??, 0);
        Ok(())
    }

    fn timers_allocate_their_callbacks_only(backend) {
        support::run(backend, async {
            let lp = LoopRef::current().expect("it runs");
            let start = |millis| {
                lp.call_later(Duration::from_millis(millis), || ()).expect("it is open")
            };
            let live: Vec<_> = (0..10_000_u64).map(|number| start(60_000 + number)).collect();
            let start_and_cancel = async || {
                for number in 0..20 * u64::from(ROUNDS) {
                    start(60_000 + number % 997).cancel();
                }
            };
            start_and_cancel().await;
            assert_eq!(allocations(start_and_cancel).await, 20 * u64::from(ROUNDS), "one each");

            let fired = Rc::new(Cell::new(0));
            let fire = async || {
                for _ in 0..ROUNDS {
                    let fired = fired.clone();
                    let count = move || fired.set(fired.get() + 1);
                    lp.call_later(Duration::from_micros(50), count).expect("it is open");
                }
                sleep(Duration::from_millis(1)).await;
            };
            fire().await;
            // The sleep has one of its own.
            assert_eq!(allocations(fire).await, u64::from(ROUNDS) + 1, "one each");
            assert_eq!(fired.get(), 2 * ROUNDS);
            drop(live);
        })
    }

    fn sleeps_allocate_their_timer_only(backend) {
        support::run(backend, async {
            let naps = async || {
                for _ in 0..50 {
                    sleep(Duration::from_micros(20)).await;
                }
            };
            naps().await;
            assert_eq!(allocations(naps).await, 50);
        })
    }

    fn steps_and_wake_ups_allocate_nothing(backend) {
        support::run(backend, async {
            let yields = async || {
                for _ in 0..ROUNDS {
                    yield_now().await;
                }
            };
            yields().await;
            assert_eq!(allocations(yields).await, 0, "yields");

            // Two tasks that wake each other.
            let lp = LoopRef::current().expect("it runs");
            let turns = Rc::new((Cell::new(0_u32), RefCell::new(None::<Waker>)));
            let player = |mine: u32| {
                let turns = turns.clone();
                poll_fn(move |cx| {
                    let (turn, other) = &*turns;
                    if turn.get() % 2 == mine {
                        turn.set(turn.get() + 1);
                    }
                    if turn.get() > 4 * ROUNDS {
                        other.take().iter().for_each(Waker::wake_by_ref);
                        return Poll::Ready(());
                    }
                    if let Some(waker) = other.replace(Some(cx.waker().clone())) {
                        waker.wake();
                    }
                    Poll::Pending
                })
            };
            let second = lp.create_task(player(1)).expect("it is open");
            let first = player(0);
            let played = allocations(async || first.await).await;
            second.await.expect("it ends");
            // The other one's queue of waiters and the like is there from the start.
            assert_eq!(played, 0, "wake-ups");
        })
    }

    fn calls_from_other_threads_allocate_themselves_only(backend) {
        support::run(backend, async {
            let lp = LoopRef::current().expect("it runs");
            let remote = lp.remote();
            let (ask, asked) = mpsc::channel::<Waker>();
            let (tell, told) = mpsc::channel();
            let thread = thread::spawn(move || {
                for waker in asked {
                    let before = CountingAllocator::count();
                    for _ in 0..ROUNDS {
                        remote.call_soon_threadsafe(|| ()).expect("the loop is open");
                    }
                    tell.send(CountingAllocator::count() - before).expect("somebody asked");
                    waker.wake();
                }
            });
            // How far the queue of calls fills, and so whether it still grows, is the scheduler's affair:
            // the steady state is the best of several rounds.
            let mut least = (u64::MAX, u64::MAX);
            for _ in 0..10 {
                let before = CountingAllocator::count();
                let mut sent = false;
                let posted = poll_fn(|cx| {
                    if !sent {
                        sent = true;
                        ask.send(cx.waker().clone()).expect("the thread listens");
                    }
                    told.try_recv().map_or(Poll::Pending, Poll::Ready)
                });
                let posted = posted.await;
                // Behind everything that was posted.
                yield_now().await;
                let run = CountingAllocator::count() - before;
                least = (least.0.min(posted), least.1.min(run));
            }
            assert_eq!(least.0, u64::from(ROUNDS), "one for each call, where it is made");
            // The channel to the thread has blocks of many messages.
            assert!(least.1 <= 1, "{} where it runs", least.1);
            drop(ask);
            thread.join().expect("it ends");
        })
    }

    fn calls_from_other_threads_are_freed_by_who_posts_or_before_the_loop_sleeps(backend) {
        const CALLS: u64 = 100;
        support::run(backend, async {
            let lp = LoopRef::current().expect("it runs");
            let remote = lp.remote();
            let (ask, asked) = mpsc::channel::<()>();
            let (tell, told) = mpsc::channel();
            let made: &'static AtomicU64 = Box::leak(Box::default());
            let thread = thread::spawn(move || {
                for () in asked {
                    let before = CountingAllocator::freed();
                    for _ in 0..CALLS {
                        let call = || {
                            made.fetch_add(1, Relaxed);
                        };
                        remote.call_soon_threadsafe(call).expect("the loop is open");
                    }
                    tell.send(CountingAllocator::freed() - before).expect("somebody asked");
                }
            });
            // Posts while the loop is held up, so that all come together, and lets them run.
            let burst = async || {
                ask.send(()).expect("the thread listens");
                let freed = told.recv().expect("an answer");
                let all = made.load(Relaxed) + CALLS;
                while made.load(Relaxed) < all {
                    yield_now().await;
                }
                freed
            };
            // The first are given back with the second, and freed with the third.
            let freed = [burst().await, burst().await, burst().await];
            assert!(freed[0] < CALLS && freed[1] < CALLS, "{freed:?}");
            assert!(freed[2] >= CALLS, "{freed:?}");
            let before = CountingAllocator::freed();
            sleep(Duration::from_millis(1)).await;
            assert!(CountingAllocator::freed() - before >= 2 * CALLS, "what is left of two bursts");
            drop(ask);
            thread.join().expect("it ends");
        })
    }
}
