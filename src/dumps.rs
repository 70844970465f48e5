//! Dumps of the running loop: on demand, and on a signal, also while the loop is stuck in a callback.

use std::fmt;
use std::thread;
use std::time::Duration;

use anyloop_api::{Dump, Error, EventLoopExt, LoopRef, Result, WeakLoop};
use signal_hook::consts::FORBIDDEN;
use signal_hook::iterator::{Handle, Signals};

/// How long a loop may take to answer before it counts as stuck.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the running loop has: its unfinished tasks, with where each was created, what it waits for and
/// who waits for it; timers, watchers, operations in flight, transports.
///
/// From another thread, also to find out what blocks a loop:
/// [`RemoteHandle::dump`](anyloop_api::RemoteHandle::dump). On a signal: [`dump_on_signal`].
///
/// # Errors
/// `Usage` if no loop is running on this thread; ask a loop that is not running with
/// [`EventLoopExt::dump`].
///
/// # Examples
/// ```
/// anyloop::run(async {
///     let worker = anyloop::create_task(anyloop::sleep(std::time::Duration::from_millis(1)))?;
///     worker.set_name("worker");
///     println!("{}", anyloop::dump()?);
///     worker.await
/// })??;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn dump() -> Result<Dump> {
    Ok(LoopRef::current()?.dump())
}

/// From now on, whenever the process gets `signal`, `report` is handed a dump of `lp`, or the reason why
/// there is none, in a thread of its own: also while the loop is stuck in a callback.
///
/// Switches the loop's [introspection](anyloop_api::EventLoop::set_introspection) on for as long as the returned value
/// lives. The signal should be one that no loop handles, for example `SIGUSR1` or `SIGQUIT`; once the
/// value has been dropped, it is ignored.
///
/// # Errors
/// `Usage` for a signal that cannot be caught; `InvalidArg` for what is no signal; `Os`.
///
/// # Examples
/// ```
/// use anyloop::{EventLoop, dump_on_signal};
///
/// # const SIGUSR1: i32 = 10;
/// let lp = anyloop::new_event_loop()?;
/// let dumps = dump_on_signal(&lp, SIGUSR1, |dump| match dump {
///     Ok(dump) => eprintln!("{dump}"),
///     Err(error) => eprintln!("{error}"),
/// })?;
/// // … lp.run_forever()? …
/// drop(dumps);
/// lp.close()?;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn dump_on_signal(
    lp: &LoopRef,
    signal: i32,
    mut report: impl FnMut(Result<Dump>) + Send + 'static,
) -> Result<DumpOnSignal> {
    if FORBIDDEN.contains(&signal) {
        let text = format!("dump_on_signal: signal {signal} cannot be caught");
        return Err(Error::usage(text));
    }
    if !(1..=64).contains(&signal) {
        let text = format!("dump_on_signal: {signal} is not a signal number");
        return Err(Error::invalid_arg(text));
    }
    let fail = |error| Error::os(format!("dump_on_signal: signal {signal}"), error);
    let mut signals = Signals::new([signal]).map_err(fail)?;
    let handle = signals.handle();
    let remote = lp.remote();
    let body = move || {
        for _ in signals.forever() {
            report(remote.dump(PATIENCE));
        }
    };
    let thread = thread::Builder::new().name("anyloop-dump".into()).spawn(body).map_err(fail)?;
    lp.state().hold_introspection();
    Ok(DumpOnSignal { lp: lp.downgrade(), handle, thread: Some(thread) })
}

/// Dumps a loop on a signal, until it is dropped; see [`dump_on_signal`].
#[must_use = "dumps are made while this exists"]
pub struct DumpOnSignal {
    lp: WeakLoop,
    handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for DumpOnSignal {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic of `report` was printed where it happened.
            let _ = thread.join();
        }
        if let Some(lp) = self.lp.upgrade() {
            lp.state().release_introspection();
        }
    }
}

impl fmt::Debug for DumpOnSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DumpOnSignal").field("signal", &self.handle).finish_non_exhaustive()
    }
}
