//! Loops over a driver that fails.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test")]

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyloop::{
    Bind, EventLoopExt, LoopConfig, LoopInstant, LoopRef, Protocol, Result, Runner, create_task,
    sleep, uncancellable, yield_now,
};
use anyloop_core::driver::{Caps, Driver, Event, Fd, Interest, Key, Readiness, Trigger, Waker};
use anyloop_core::testing::{Call, deny, with_denied};
use anyloop_core::{BaseLoop, Clock};

/// A driver for one listener, at which it says that somebody waits. Time passes when the loop sleeps.
#[derive(Clone, Debug, Default)]
struct Failing(Rc<State>);

#[derive(Debug, Default)]
struct State {
    broken: Cell<bool>,
    now: Cell<u64>,
    watched: Cell<Option<Key>>,
    /// How often it was asked to watch the listener again.
    asked: Cell<u32>,
}

#[derive(Debug)]
struct Nobody;

impl Waker for Nobody {
    fn wake(&self) {}
}

impl Clock for Failing {
    fn now(&self) -> LoopInstant {
        LoopInstant::from_nanos(self.0.now.get())
    }
}

impl Driver for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }
    fn caps(&self) -> Caps {
        Caps::readiness(Trigger::Level)
    }
    fn waker(&self) -> Arc<dyn Waker> {
        Arc::new(Nobody)
    }
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        if self.0.broken.get() {
            return Err(io::Error::other("it is broken"));
        }
        if self.0.asked.get() == 3 {
            return Err(io::Error::other("asked often enough"));
        }
        if let Some(key) = self.0.watched.get() {
            let readiness = Readiness::default().readable(true);
            events.push(Event::Ready { key, readiness });
            return Ok(());
        }
        let timeout = timeout.ok_or_else(|| io::Error::other("nothing would ever happen"))?;
        self.0.now.set(self.0.now.get() + timeout.as_nanos() as u64);
        Ok(())
    }
    fn register(&mut self, _: Fd, key: Key, _: Interest) -> io::Result<()> {
        self.0.watched.set(Some(key));
        Ok(())
    }
    /// Refuses to watch again, twice.
    fn modify(&mut self, _: Fd, key: Key, interest: Interest) -> io::Result<()> {
        if interest == Interest::NONE {
            self.0.watched.set(None);
            return Ok(());
        }
        self.0.asked.set(self.0.asked.get() + 1);
        if self.0.asked.get() <= 2 {
            // The client has given up meanwhile.
            deny(Call::any(libc::SYS_accept4), libc::EAGAIN);
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.0.watched.set(Some(key));
        Ok(())
    }
    fn deregister(&mut self, _: Fd, _: Key) -> io::Result<()> {
        self.0.watched.set(None);
        Ok(())
    }
    fn close(&mut self, _: OwnedFd, _: Key) {
        self.0.watched.set(None);
    }
}

impl Failing {
    fn open(&self) -> Result<LoopRef> {
        BaseLoop::open_with_clock(self.clone(), self.clone(), &LoopConfig::default())
    }
}

struct Quiet;

impl Protocol for Quiet {}

/// Descriptors have run out, and then watches have, too.
#[test]
fn a_listener_that_cannot_be_watched_again_rests_on() -> Result<()> {
    with_denied(Call::any(libc::SYS_accept4), libc::EMFILE, || {
        let driver = Failing::default();
        let lp = driver.open()?;
        let reports = Rc::new(Cell::new(0));
        let seen = reports.clone();
        lp.set_exception_handler(Some(Rc::new(move |_, _| seen.set(seen.get() + 1))));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let serving = lp.serve(|| Quiet, Bind::socket(listener));
        let server = lp.run_until_complete(serving)??;
        let ended = lp.run_forever().expect_err("the driver ends it").to_string();
        assert!(ended.ends_with("asked often enough"), "{ended}");
        assert!(driver.now() >= LoopInstant::from_nanos(3_000_000_000), "it rests for a second");
        assert_eq!(reports.get(), 1, "reports");
        server.close();
        lp.close()
    })
}

/// The program's last words cannot be written either.
#[test]
fn a_runner_that_cannot_be_closed_panics_nowhere() {
    const INNER: &str = "ANYLOOP_TEST_BROKEN_RUNNER";
    if std::env::var_os(INNER).is_some() {
        let driver = Failing::default();
        let lp = driver.clone();
        let mut runner = Runner::new().loop_factory(move || lp.open());
        let left = async {
            let hour = Duration::from_secs(3600);
            create_task(async move { uncancellable(sleep(hour)).await })?;
            yield_now().await;
            Ok::<_, anyloop::Error>(())
        };
        runner.run(left).expect("it works so far").expect("it is open");
        driver.0.broken.set(true);
        return drop(runner);
    }
    let full = File::options().write(true).open("/dev/full").expect("the device");
    let myself = std::env::current_exe().expect("a program");
    let inner = process::Command::new(myself)
        .args(["a_runner_that_cannot_be_closed_panics_nowhere", "--exact", "--nocapture"])
        .env(INNER, "1")
        .stdout(process::Stdio::null())
        .stderr(full)
        .status();
    assert!(inner.expect("it starts").success());
}
