//! What Ctrl-C does to a run: the first cancels `main`, the second leaves the loop at once.
//!
//! The hook is installed only where it disturbs nobody: on the main thread, over the default
//! disposition (RUN-12). Both are looked up in `/proc`; where there is none, Ctrl-C ends the process,
//! as it always did.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;

use anyloop_api::{AnyTask, EventLoopExt, Interrupt, LoopRef};

const SIGINT: i32 = 2;

/// The hook, while `main` runs. Dropping it removes it, also when a panic leaves the run.
pub(crate) struct CtrlC {
    lp: LoopRef,
    count: Rc<Cell<u32>>,
}

impl CtrlC {
    /// Installs the hook, if it may be.
    pub(crate) fn install(lp: &LoopRef, main: AnyTask) -> Option<Self> {
        if !may_install(&fs::read_to_string("/proc/thread-self/status").ok()?) {
            return None;
        }
        let count = Rc::new(Cell::new(0));
        let (seen, weak) = (count.clone(), lp.downgrade());
        let on_signal = move || {
            seen.set(seen.get() + 1);
            if seen.get() == 1 && main.cancel() {
                return;
            }
            if let Some(lp) = weak.upgrade() {
                lp.interrupt(Interrupt::new("Ctrl-C"));
            }
        };
        lp.add_signal_handler(SIGINT, on_signal).ok()?;
        Some(Self { lp: lp.clone(), count })
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn used(&self) -> bool {
        self.count.get() > 0
    }
}

impl Drop for CtrlC {
    fn drop(&mut self) {
        // The handler holds the other count, unless the program has replaced it by its own.
        if Rc::strong_count(&self.count) > 1 {
            // Fails only for numbers that are no signals.
            let _ = self.lp.remove_signal_handler(SIGINT);
        }
    }
}

/// Whether this text of `/proc/thread-self/status` is that of a main thread which neither catches nor
/// ignores SIGINT.
fn may_install(status: &str) -> bool {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let default = |name: &str| {
        field(name)
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .is_some_and(|mask| mask & (1 << (SIGINT - 1)) == 0)
    };
    let main_thread = field("Tgid").is_some_and(|tgid| field("Pid") == Some(tgid));
    main_thread && default("SigIgn") && default("SigCgt")
}

#[cfg(test)]
mod tests {
    use super::may_install;

    #[test]
    fn only_where_it_disturbs_nobody() {
        let status = |tgid, pid, ignored, caught| {
            format!("Name:\tx\nTgid:\t{tgid}\nPid:\t{pid}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n")
        };
        assert!(may_install(&status(7, 7, "0000000000001000", "0000000000000440")));
        assert!(!may_install(&status(7, 8, "0000000000000000", "0000000000000000")));
        assert!(!may_install(&status(7, 7, "0000000000000002", "0000000000000000")));
        assert!(!may_install(&status(7, 7, "0000000000000000", "0000000000000002")));
        assert!(!may_install(""));
    }
}
