//! What a forked child does with its parent's loop: nothing. Unsafe lives here because hooking into
//! `fork` is a call into the C library.
//!
//! The child inherits descriptors that name the *parent's* epoll instance or ring: whatever it did to
//! them, closing them aside, would happen to the parent. So its copy of the driver is replaced by a
//! dead one and never touched, not even to be dropped.

use std::sync::Once;

use anyloop_api::{EventLoop, note_fork};

use crate::base::BaseLoop;

/// From now on forks are noticed.
pub(crate) fn watch() {
    static HOOKED: Once = Once::new();

    extern "C" fn in_child() {
        note_fork();
    }

    HOOKED.call_once(|| {
        // SAFETY: the hook changes one atomic number, which is all that a child of a process with
        // threads may do here. It fails for want of memory only; forks then go unnoticed.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

impl BaseLoop {
    /// In a child that was forked: lets go of the driver. To be called before it is used.
    #[inline]
    pub(crate) fn check_home(&self) {
        if self.state().is_inherited() {
            self.leave_driver();
        }
    }

    #[cold]
    fn leave_driver(&self) {
        std::mem::forget(self.replace_driver());
    }
}
