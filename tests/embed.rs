//! A bare epoll loop drives a loop of each backend: `examples/embed.rs`.
#![cfg(all(target_os = "linux", feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

#[path = "../examples/embed.rs"]
#[allow(dead_code, unreachable_pub, reason = "the example's own main")]
mod embed;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyloop::{Connect, Error, EventLoopExt, Interrupt, LoopRef, Protocol, Result, Transport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

on_every_backend! {
    fn the_host_keeps_its_own_pace_and_ours(backend) {
        let begin = Instant::now();
        let seen = embed::run(backend)?;
        assert_eq!(seen.answer, "driven by epoll");
        assert_eq!(seen.from_thread, "a thread was here");
        // Sleeps of 80 ms altogether, so as many ticks; nobody turns without need.
        assert!(begin.elapsed() >= Duration::from_millis(80), "{seen:?}");
        assert!(seen.ticks >= 4, "{seen:?}");
        assert!(seen.turns < 150, "turned in vain: {seen:?}");
        Ok(())
    }

    fn the_timeout_says_what_is_due(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        assert_eq!(lp.next_timeout(), None);
        let timer = lp.call_later(Duration::from_secs(60), || ())?;
        let timeout = lp.next_timeout().expect("a timer");
        assert!(timeout <= Duration::from_secs(60) && timeout > Duration::from_secs(50));
        timer.cancel();
        lp.call_soon(|| ())?;
        assert_eq!(lp.next_timeout(), Some(Duration::ZERO));
        lp.turn()?;
        assert_eq!(lp.next_timeout(), None);
        // Asked twice, it does not take its own preparation for a wake-up.
        assert_eq!(lp.next_timeout(), None);
        lp.remote().call_soon_threadsafe(|| ())?;
        assert_eq!(lp.next_timeout(), Some(Duration::ZERO));
        lp.turn()?;
        assert_eq!(lp.next_timeout(), None);
        // After being embedded it still runs by itself.
        let l2 = lp.clone();
        lp.call_later(Duration::from_millis(5), move || l2.stop())?;
        lp.run_forever()?;
        lp.close()?;
        assert_eq!(lp.next_timeout(), None);
        Ok(())
    }

    /// Asking polls: what that brings is not slept over, nor what came from another thread before.
    fn what_is_there_already_is_due(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        let (near, mut far) = pair()?;
        far.write_all(b"x")?;
        let calls = Rc::new(Cell::new(0));
        let theirs = calls.clone();
        lp.add_reader(&near, move || theirs.set(theirs.get() + 1))?;
        assert_eq!(lp.next_timeout(), Some(Duration::ZERO));
        assert_eq!(lp.next_timeout(), Some(Duration::ZERO));
        lp.turn()?;
        assert_eq!(calls.get(), 1);
        lp.remove_reader(&near)?;
        lp.turn()?;
        assert_eq!(lp.next_timeout(), None);
        let called = Arc::new(AtomicBool::new(false));
        for asleep in [true, false] {
            let (theirs, remote) = (called.clone(), lp.remote());
            let post = move || {
                remote.call_soon_threadsafe(move || theirs.store(true, Ordering::Relaxed))
            };
            std::thread::spawn(post).join().expect("it posts and ends")?;
            assert_eq!(lp.next_timeout(), Some(Duration::ZERO), "asleep: {asleep}");
            lp.turn()?;
            assert!(called.swap(false, Ordering::Relaxed), "asleep: {asleep}");
        }
        lp.interrupt(Interrupt::new("outside of a run"));
        assert_eq!(lp.next_timeout(), Some(Duration::ZERO));
        assert!(matches!(lp.turn(), Err(Error::Interrupt(_))));
        assert_eq!(lp.next_timeout(), None);
        lp.close()
    }

    /// What was offered and not taken is delivered all the same, also if the wait is the host's.
    fn an_offer_runs_out(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        let (near, mut far) = pair()?;
        let lazy = Rc::new(Lazy::default());
        let theirs = lazy.clone();
        let connecting = lp.connect(move || Shared(theirs), Connect::socket(near));
        let connection = lp.run_until_complete(connecting)??;
        far.write_all(b"1")?;
        turn_until(&lp, || lazy.received.get() == 1)?;
        far.write_all(b"2")?;
        turn_until(&lp, || lazy.received.get() == 2)?;
        lazy.transport.take();
        drop(connection);
        lp.close()
    }

    /// Asked in the middle of a run, it takes no events away.
    fn the_timeout_inside_a_callback(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        let (first, mut to_first) = pair()?;
        // It stays open: its end would be another event, which makes up for one that is lost.
        let (second, to_second) = pair()?;
        let first = Rc::new(first);
        let (asking, watched, writing) = (lp.clone(), first.clone(), to_second.try_clone()?);
        lp.add_reader(&*first, move || {
            (&writing).write_all(b"x").expect("there is room");
            assert_eq!(asking.next_timeout(), Some(Duration::ZERO));
            asking.remove_reader(&*watched).expect("it was there");
        })?;
        let stopping = lp.clone();
        let seen = Rc::new(Cell::new(false));
        let theirs = seen.clone();
        lp.add_reader(&second, move || {
            theirs.set(true);
            stopping.stop();
        })?;
        to_first.write_all(b"x")?;
        let giving_up = lp.clone();
        let patience = lp.call_later(Duration::from_secs(10), move || giving_up.stop())?;
        lp.run_forever()?;
        assert!(seen.get(), "the second reader's event was taken away");
        patience.cancel();
        lp.remove_reader(&second)?;
        lp.close()
    }
}

/// Wants to read by itself, and never does.
#[derive(Default)]
struct Lazy {
    transport: RefCell<Option<Transport>>,
    received: Cell<usize>,
}

struct Shared(Rc<Lazy>);

impl Protocol for Shared {
    fn connection_made(&self, transport: Transport) {
        *self.0.transport.borrow_mut() = Some(transport);
    }

    fn readable(&self) -> bool {
        true
    }

    fn data_received(&self, data: &[u8]) {
        self.0.received.set(self.0.received.get() + data.len());
        let _ = self.0.transport.borrow().as_ref().map(Transport::await_readable);
    }
}

/// A host that sleeps for as long as it is told, and at most for ten seconds.
fn turn_until(lp: &LoopRef, done: impl Fn() -> bool) -> Result<()> {
    while !done() {
        let timeout = lp.next_timeout().unwrap_or(Duration::from_secs(10));
        let fd = lp.as_fd().expect("a loop that is open has one");
        let spec =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&spec)).expect("it is valid");
        assert!(ready > 0 || timeout < Duration::from_secs(10), "nothing came");
        lp.turn()?;
    }
    Ok(())
}

fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    near.set_nonblocking(true)?;
    Ok((near, listener.accept()?.0))
}
