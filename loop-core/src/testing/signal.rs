//! Signals sent to one thread, which the standard library cannot do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Runs `work` on this thread while another one interrupts it with `count` signals, each sent when the one
/// before has been caught. Then `last` runs on the other thread.
pub(super) fn interrupted<R>(
    count: usize,
    last: impl FnOnce() + Send,
    work: impl FnOnce() -> R,
) -> R {
    let caught = Arc::new(AtomicBool::new(false));
    let signal = signal_hook::consts::SIGUSR1;
    let handler =
        signal_hook::flag::register(signal, Arc::clone(&caught)).expect("a signal handler");
    // As a number, for where it is a pointer (musl) the other thread would not get it.
    // SAFETY: no conditions.
    let this = unsafe { libc::pthread_self() } as usize;
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..count {
                // SAFETY: the thread must not have ended: it cannot leave the scope before we end. The
                // signal has a handler.
                let sent = unsafe { libc::pthread_kill(this as libc::pthread_t, signal) };
                assert_eq!(sent, 0);
                while !caught.swap(false, Ordering::SeqCst) {
                    thread::yield_now();
                }
            }
            last();
        });
        work()
    });
    signal_hook::low_level::unregister(handler);
    result
}
