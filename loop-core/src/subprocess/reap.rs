//! Noticing that a child ended, and taking its status.
//!
//! Where the kernel has pidfds the loop watches one; elsewhere, or on request, a thread waits *without*
//! taking the status. Either way the status is taken on the loop's thread: until then the child's number
//! is its own, so a signal can never reach another process (SUB-11).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyloop_api::{LoopRef, RemoteHandle};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};

/// What is reported for a child whose status somebody else took (SUB-09).
pub(super) const STOLEN: i32 = 255;

/// What became of a child.
pub(super) enum Fate {
    Running,
    /// Its return code.
    Ended(i32),
    /// It ended, and somebody else knows how.
    Stolen,
}

/// Looks, and takes the status if there is one. Never waits.
pub(super) fn look(pid: Pid) -> Fate {
    wait(pid, WaitOptions::NOHANG)
}

fn wait(pid: Pid, options: WaitOptions) -> Fate {
    match retry_on_intr(|| waitpid(Some(pid), options)) {
        Err(_) => Fate::Stolen,
        Ok(None) => Fate::Running,
        Ok(Some((_, status))) => {
            let killed = status.terminating_signal().map(|signal| -signal);
            Fate::Ended(status.exit_status().or(killed).unwrap_or(STOLEN))
        }
    }
}

/// Takes the status of a child that was killed, whenever it comes.
pub(super) fn bury(pid: Pid) {
    if matches!(look(pid), Fate::Running) {
        // Without a thread it stays a zombie until this process ends.
        let _ = small_thread("anyloop-reaper", move || {
            wait(pid, WaitOptions::empty());
        });
    }
}

fn small_thread(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let builder = std::thread::Builder::new().name(name.into()).stack_size(64 * 1024);
    builder.spawn(body).map(drop)
}

/// Kills by number. The caller knows that the number is still the child's.
pub(super) fn kill(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

/// A thread that waits for one child.
pub(super) struct Sentry(Arc<Mutex<Watch>>);

/// Who takes the status: the loop, once the thread has told it; the thread, once the loop has gone.
#[derive(Default)]
struct Watch {
    told: bool,
    gone: bool,
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sentry {
    /// Calls what is parked under `key` on the loop's thread when the child has ended.
    pub(super) fn post(pid: Pid, remote: RemoteHandle, key: usize) -> std::io::Result<Self> {
        let watch = Arc::new(Mutex::new(Watch::default()));
        let theirs = watch.clone();
        small_thread("anyloop-child", move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), options));
            {
                let mut watch = lock(&theirs);
                watch.told = true;
                if watch.gone {
                    wait(pid, WaitOptions::empty());
                    return;
                }
            }
            // A loop that is closing takes the status itself.
            let _ = remote.call_soon_threadsafe(move || {
                let parked = LoopRef::current().ok().and_then(|lp| lp.state().unpark(key));
                if let Some(ended) = parked.and_then(|ended| ended.downcast::<Ended>().ok()) {
                    (ended.0)();
                }
            });
        })?;
        Ok(Self(watch))
    }

    /// The loop closes. True if the status is the loop's to take.
    pub(super) fn dismiss(&self) -> bool {
        let mut watch = lock(&self.0);
        watch.gone = true;
        watch.told
    }
}

/// What a sentry calls.
pub(super) struct Ended(pub(super) Box<dyn Fn()>);
