//! Files and directories on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

#[path = "fs/calls.rs"]
mod calls;
#[path = "fs/kinds.rs"]
mod kinds;
#[path = "fs/pool.rs"]
mod pool;
#[path = "fs/reading.rs"]
mod reading;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{ErrorKind, SeekFrom};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyloop::fs::{self, File, OpenOptions};
use anyloop::{Error, EventLoopExt, LoopConfig, LoopRef, Result, select, timeout, yield_now};
use anyloop_core::BaseLoop;
use anyloop_uring::UringDriver;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a loop reads files.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// As it likes best.
    Best,
    /// What is in memory at once, and the rest in the pool.
    NoEngine,
    /// Everything in the pool.
    Fallback,
}

fn new_loop(backend: &str, way: Way) -> Result<LoopRef> {
    let config = LoopConfig::default().files_fallback(way == Way::Fallback);
    if backend == "uring" && way == Way::NoEngine {
        let driver = UringDriver::new(&anyloop_uring::Config::new().pread(false));
        return BaseLoop::open(driver.map_err(|error| Error::os("a ring", error))?, &config);
    }
    select(backend)?.open(&config)
}

thread_local! {
    /// How the running loop does it.
    static WAY: Cell<Way> = const { Cell::new(Way::Best) };
}

/// Runs `main` on loops of the backend that read files in each of the ways.
fn everywhere(backend: &str, main: impl AsyncFn() -> Result<()> + 'static) -> Result<()> {
    let main = Rc::new(main);
    for way in [Way::Best, Way::NoEngine, Way::Fallback] {
        eprintln!("{backend}, {way:?}");
        WAY.set(way);
        let lp = new_loop(backend, way)?;
        let main = main.clone();
        let done = lp.run_until_complete(async move { timeout(PATIENCE, main()).await? });
        lp.close()?;
        done??;
    }
    Ok(())
}

/// Bytes that tell where they are.
fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|index| ((index * 31 + index / 251) % 255) as u8 + u8::from(index % 31 == 0))
        .collect()
}

/// A file that is on the disk and not in memory, as far as the system can be asked to do that.
fn forgotten(path: &Path, bytes: &[u8]) -> std::fs::File {
    let options = &mut std::fs::OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(true).open(path).expect("a file");
    file.write_all_at(bytes, 0).expect("written");
    forget(&file);
    file
}

fn forget(file: &std::fs::File) {
    file.sync_all().expect("synced");
    rustix::fs::fadvise(file.as_fd(), 0, None, rustix::fs::Advice::DontNeed).expect("advised");
}

/// What is open under this path in this process.
fn open_descriptors(path: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("it is there");
    let names = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names.filter(|name| name == path).count()
}

/// A directory that is gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("anyloop-fs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the directory is there");
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    match result {
        Err(error @ Error::Os(_)) => Some(error.io_kind()),
        _ => None,
    }
}
