//! Signals: flags in atomics, a socket pair that only wakes. Unsafe lives here because restoring a
//! default disposition is a raw `sigaction`; everything else is signal-hook's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyloop_api::{Dump, Error, Result, Snapshot};
use signal_hook::SigId;

use crate::base::{BaseLoop, callback_report};
use crate::driver::{Event, Interest, Key};
use crate::lend::lend;
use crate::sources::Source;

/// The signal handling of one loop. Dropping it restores the default dispositions.
pub(crate) struct Signals {
    channel: Rc<Channel>,
}

struct Channel {
    base: Weak<BaseLoop>,
    key: Key,
    receiver: UnixStream,
    sender: UnixStream,
    handlers: RefCell<BTreeMap<i32, Handler>>,
}

/// A callback, out of its slot while it runs.
type Slot = Rc<RefCell<Option<Box<dyn FnMut()>>>>;

struct Handler {
    callback: Slot,
    context: Snapshot,
    flag: Arc<AtomicBool>,
    ids: [SigId; 2],
}

impl Signals {
    pub(crate) fn add(base: &BaseLoop, signal: i32, callback: Box<dyn FnMut()>) -> Result<()> {
        check(signal, "add_signal_handler")?;
        let channel = Self::channel(base)?;
        let callback = Rc::new(RefCell::new(Some(callback)));
        let context = Snapshot::current();
        let known = channel.handlers.borrow_mut().get_mut(&signal).map(|handler| {
            let old = std::mem::replace(&mut handler.callback, callback.clone());
            (old, std::mem::replace(&mut handler.context, context.clone()))
        });
        if known.is_some() {
            // What was replaced is dropped here, where its destructor may call the loop.
            return Ok(());
        }
        let flag = Arc::new(AtomicBool::new(false));
        let fail = |error: io::Error| match error.raw_os_error() {
            // The platform's library keeps some numbers to itself.
            Some(libc::EINVAL) => Error::invalid_arg(format!(
                "add_signal_handler: {signal} is not the number of a signal that can be handled"
            )),
            _ => Error::os(format!("add_signal_handler: signal {signal}"), error),
        };
        // The flag first: when the pipe wakes us, it is set (SIG-07).
        let sender = channel.sender.try_clone().map_err(fail)?;
        let set = signal_hook::flag::register(signal, flag.clone()).map_err(fail)?;
        let wake = match signal_hook::low_level::pipe::register(signal, sender) {
            Ok(wake) => wake,
            Err(error) => {
                signal_hook::low_level::unregister(set);
                return Err(fail(error));
            }
        };
        let ids = [set, wake];
        if let Err(error) = disposition::install(signal) {
            let _ = ids.map(signal_hook::low_level::unregister);
            return Err(fail(error));
        }
        let handler = Handler { callback, context, flag, ids };
        channel.handlers.borrow_mut().insert(signal, handler);
        Ok(())
    }

    pub(crate) fn remove(base: &BaseLoop, signal: i32) -> Result<bool> {
        check(signal, "remove_signal_handler")?;
        let channel = base.signals.borrow().as_ref().map(|signals| signals.channel.clone());
        let Some(channel) = channel else { return Ok(false) };
        let handler = channel.handlers.borrow_mut().remove(&signal);
        // Restored before the callback is dropped, whose destructor may panic.
        Ok(handler.inspect(|handler| handler.restore(signal)).is_some())
    }

    fn channel(base: &BaseLoop) -> Result<Rc<Channel>> {
        if let Some(signals) = &*base.signals.borrow() {
            return Ok(signals.channel.clone());
        }
        let fail = |error| Error::os("add_signal_handler: the wake-up channel", error);
        let (receiver, sender) = UnixStream::pair().map_err(fail)?;
        receiver.set_nonblocking(true).map_err(fail)?;
        sender.set_nonblocking(true).map_err(fail)?;
        let key = base.sources.reserve();
        let fd = lend(&receiver);
        let channel = Rc::new(Channel {
            base: base.weak(),
            key,
            receiver,
            sender,
            handlers: RefCell::default(),
        });
        base.sources.fill(key, channel.clone());
        if let Err(error) = base.with_driver(|driver| driver.register(fd, key, Interest::READ)) {
            base.sources.remove(key);
            return Err(fail(error));
        }
        *base.signals.borrow_mut() = Some(Self { channel: channel.clone() });
        Ok(channel)
    }
}

/// Writing into a broken pipe must not end the process (PIPE-09). Rust programs ignore `SIGPIPE` from
/// the start, but others can be loaded into them, or change their mind.
pub(crate) fn ignore_sigpipe() {
    // There is nothing to do about a failure, and the only one is a wrong number.
    let _ = disposition::ignore_if_default(libc::SIGPIPE);
}

fn check(signal: i32, operation: &str) -> Result<()> {
    if !(1..=64).contains(&signal) {
        return Err(Error::invalid_arg(format!("{operation}: {signal} is not a signal number")));
    }
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        return Err(Error::usage(format!("{operation}: signal {signal} cannot be caught")));
    }
    Ok(())
}

impl Handler {
    fn restore(&self, signal: i32) {
        for id in self.ids {
            signal_hook::low_level::unregister(id);
        }
        disposition::release(signal);
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let handlers = std::mem::take(&mut *self.channel.handlers.borrow_mut());
        for (signal, handler) in &handlers {
            handler.restore(*signal);
        }
        if let Some(base) = self.channel.base.upgrade() {
            let fd = lend(&self.channel.receiver);
            let _ = base.with_driver(|driver| driver.deregister(fd, self.channel.key));
            base.sources.remove(self.channel.key);
        }
    }
}

impl Source for Channel {
    fn on_event(self: Rc<Self>, event: Event) {
        let (Some(base), Event::Ready { .. }) = (self.base.upgrade(), event) else { return };
        let mut bytes = [0; 256];
        while matches!(io::Read::read(&mut &self.receiver, &mut bytes), Ok(1..)) {}
        let raised: Vec<_> = self
            .handlers
            .borrow()
            .iter()
            .filter(|(_, handler)| handler.flag.swap(false, Ordering::AcqRel))
            .map(|(signal, handler)| (*signal, handler.callback.clone(), handler.context.clone()))
            .collect();
        for (signal, callback, context) in raised {
            let weak = base.weak();
            base.soon(move || {
                let Some(base) = weak.upgrade() else { return };
                let Some(mut function) = callback.borrow_mut().take() else { return };
                let _ = base.guard(
                    || context.clone().run(&mut *function),
                    |panic| {
                        let what = format!("the handler of signal {signal} panicked");
                        callback_report(what, panic, &context)
                    },
                );
                *callback.borrow_mut() = Some(function);
            });
        }
    }

    fn abandon(&self) {}

    fn describe(&self) -> String {
        let signals: Vec<_> = self.handlers.borrow().keys().copied().collect();
        format!("signals {signals:?} through descriptor {}", self.receiver.as_raw_fd())
    }

    fn list(&self, dump: &mut Dump) {
        dump.watchers.push(self.describe());
    }
}

/// The dispositions that loops of this process have installed. signal-hook installs its handler for a
/// signal once and for all; asyncio gives the default back with the last handler, so we switch
/// between the two.
mod disposition {
    use super::*;

    struct Installed {
        users: usize,
        handler: libc::sigaction,
    }

    static INSTALLED: Mutex<BTreeMap<i32, Installed>> = Mutex::new(BTreeMap::new());

    /// signal-hook's handler for `signal` is in force from here on.
    pub(super) fn install(signal: i32) -> io::Result<()> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        match installed.get_mut(&signal) {
            Some(known) => {
                if known.users == 0 {
                    set(signal, &known.handler)?;
                }
                known.users += 1;
            }
            None => {
                let handler = get(signal)?;
                installed.insert(signal, Installed { users: 1, handler });
            }
        }
        Ok(())
    }

    /// One loop less; the last one restores the default.
    pub(super) fn release(signal: i32) {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = installed.get_mut(&signal) else { return };
        known.users -= 1;
        if known.users == 0 {
            // SAFETY: an all-zero sigaction is valid: SIG_DFL, empty mask, no flags.
            let default: libc::sigaction = unsafe { std::mem::zeroed() };
            let _ = set(signal, &default);
        }
    }

    /// `SIG_IGN` where it was `SIG_DFL`.
    pub(super) fn ignore_if_default(signal: i32) -> io::Result<()> {
        let _installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut action = get(signal)?;
        if action.sa_sigaction == libc::SIG_DFL {
            action.sa_sigaction = libc::SIG_IGN;
            set(signal, &action)?;
        }
        Ok(())
    }

    fn get(signal: i32) -> io::Result<libc::sigaction> {
        let mut current = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: a null new action only asks; `current` is valid for writing.
        let asked = unsafe { libc::sigaction(signal, std::ptr::null(), current.as_mut_ptr()) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: sigaction succeeded, so it filled `current`.
        Ok(unsafe { current.assume_init() })
    }

    fn set(signal: i32, action: &libc::sigaction) -> io::Result<()> {
        // SAFETY: `action` is what the kernel reported for signal-hook's own handler, SIG_DFL or
        // SIG_IGN; none of them can run code that is not async-signal-safe.
        let result = unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
