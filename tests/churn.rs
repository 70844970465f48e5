//! Thousands of descriptors, endpoints, signals, jobs, lookups and children, one after the other: nothing
//! of them is left, and memory stays flat. `ANYLOOP_CHURN=10000` for the long run.
#![cfg(all(target_os = "linux", feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

mod support;

use std::cell::Cell;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;

use anyloop::{
    Command, DatagramEndpoint, DatagramProtocol, EventLoopExt, Lookup, LoopRef, Result,
    create_subprocess_exec, sleep, to_thread,
};

/// What a process may lose.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    children: usize,
}

fn entries(path: &str) -> usize {
    fs::read_dir(path).map_or(0, Iterator::count)
}

impl Holdings {
    fn now() -> Self {
        let children = |task: &Path| fs::read_to_string(task.join("children")).unwrap_or_default();
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let children: Vec<_> = tasks.map(|task| children(&task.path())).collect();
        Self {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            children: children.iter().map(|line| line.split_whitespace().count()).sum(),
        }
    }
}

/// Resident, in bytes.
fn memory() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .map_or(0, |pages: usize| pages * 4096)
}

/// How often each cycle is made.
fn cycles() -> usize {
    std::env::var("ANYLOOP_CHURN").ok().and_then(|cycles| cycles.parse().ok()).unwrap_or(500)
}

struct Quiet;

impl DatagramProtocol for Quiet {}

async fn watchers(lp: &LoopRef, number: usize) -> Result<()> {
    let (near, far) = UnixStream::pair()?;
    let called = Rc::new(Cell::new(false));
    let flag = called.clone();
    lp.add_reader(&near, move || flag.set(true))?;
    drop(far);
    while !called.get() {
        sleep(std::time::Duration::ZERO).await;
    }
    // Removed, or forgotten by its user.
    if number.is_multiple_of(2) {
        lp.remove_reader(&near)?;
    }
    Ok(())
}

async fn signals(lp: &LoopRef) -> Result<()> {
    const SIGUSR2: i32 = 12;
    lp.add_signal_handler(SIGUSR2, || ())?;
    assert!(lp.remove_signal_handler(SIGUSR2)?);
    Ok(())
}

async fn endpoints(lp: &LoopRef) -> Result<()> {
    let endpoint = DatagramEndpoint::local(("127.0.0.1", 0));
    let (transport, _) = lp.create_datagram_endpoint(Rc::new(|| Rc::new(Quiet)), endpoint).await?;
    transport.close();
    sleep(std::time::Duration::ZERO).await;
    Ok(())
}

async fn lookups(lp: &LoopRef) -> Result<()> {
    let found = lp.getaddrinfo(Lookup::to("127.0.0.1", 80)).await?;
    assert!(!found.is_empty());
    Ok(())
}

async fn children(number: usize) -> Result<()> {
    let child = create_subprocess_exec(Command::new("true")).await?;
    // Waited for, or left to the loop.
    if number.is_multiple_of(2) {
        assert_eq!(child.wait().await?, 0);
    }
    Ok(())
}

/// Makes cycles of everything, and compares after a few and after all.
async fn churn() -> Result<()> {
    let lp = LoopRef::current()?;
    let rounds = cycles();
    for what in ["watchers", "signals", "endpoints", "jobs", "lookups", "children"] {
        let mut early = None;
        for number in 0..rounds {
            if number == rounds / 10 {
                settle(&lp).await?;
                early = Some((Holdings::now(), memory()));
            }
            match what {
                "watchers" => watchers(&lp, number).await?,
                "signals" => signals(&lp).await?,
                "endpoints" => endpoints(&lp).await?,
                "jobs" => assert_eq!(to_thread(move || number).await?, number),
                "lookups" => lookups(&lp).await?,
                _ => children(number).await?,
            }
        }
        settle(&lp).await?;
        let (early, bytes) = early.expect("a tenth of the rounds");
        // The executor may add a worker at any time; they are counted when the loop is closed.
        let now = Holdings { threads: early.threads, ..Holdings::now() };
        assert_eq!(now, early, "{what}: at the end, and early on");
        let grown = memory().saturating_sub(bytes);
        assert!(grown < 2 << 20, "{what}: {grown} bytes more in memory after {rounds} rounds");
    }
    Ok(())
}

/// Lets the loop reap what nobody waited for.
async fn settle(lp: &LoopRef) -> Result<()> {
    while Holdings::now().children > 0 {
        sleep(std::time::Duration::from_millis(1)).await;
    }
    // A watcher whose descriptor was closed is found out with the next one of its number.
    let (near, _far) = UnixStream::pair()?;
    lp.add_reader(&near, || ())?;
    lp.remove_reader(&near)?;
    Ok(())
}

/// One test: the counts are the process's.
#[test]
fn nothing_is_left() -> Result<()> {
    let before = Holdings::now();
    for backend in ["mio", "polling", "uring"] {
        support::mount(backend, |backend| {
            let outcome = anyloop::run_with(backend, churn()).and_then(|outcome| outcome);
            // Threads that were told to end need a moment.
            while Holdings::now().threads > before.threads {
                std::thread::yield_now();
            }
            assert_eq!(Holdings::now(), before, "{backend}: when the loop is closed");
            Some(outcome)
        })
        .unwrap_or(Ok(()))?;
    }
    Ok(())
}
