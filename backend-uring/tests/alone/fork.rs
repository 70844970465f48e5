//! A forked child neither crashes nor touches the parent's ring.

use crate::common::{Rig, borrow, key, pair, say};
use anyloop_core::driver::{Driver, Interest};
use anyloop_uring::{Config, UringDriver};

/// Runs `child` in a forked child; its answer becomes the exit status.
fn in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child allocates, which glibc and musl allow after a fork, and ends without running
    // anything of the parent's.
    match unsafe { libc::fork() } {
        0 => {
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the process.
            unsafe { libc::_exit(if fine.unwrap_or(false) { 0 } else { 1 }) }
        }
        child => {
            assert!(child > 0);
            let mut status = 0;
            // SAFETY: `child` is ours, `status` a local.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

fn a_forked_child_is_told_and_the_parent_goes_on() {
    let mut rig = Rig::words("");
    let (ours, mut peer) = pair();
    let (watched, mut other) = pair();
    rig.recv_start(&ours, key(1));
    rig.register(&watched, key(2), Interest::READ).unwrap();
    rig.poll(std::time::Duration::ZERO);
    let refused = in_child(|| {
        let mut events = Vec::new();
        let error = rig.driver.poll(None, &mut events).unwrap_err();
        let told = error.to_string().contains("belongs to the parent process");
        let (mine, _theirs) = pair();
        let again = rig.driver.attach().is_err()
            && rig.driver.register(borrow(&mine), key(3), Interest::READ).is_err()
            && rig.driver.recv_start(borrow(&mine), key(3)).is_err()
            && rig.driver.send(borrow(&mine), key(3), vec![1], 0).is_err()
            && rig.driver.as_fd().is_none();
        rig.driver.recv_stop(borrow(&ours), key(1));
        rig.driver.deregister(borrow(&watched), key(2)).unwrap();
        rig.driver.close(mine.into(), key(3));
        let described = rig.driver.describe().contains("uring");
        rig.driver.shutdown();
        // A driver of the child's own works.
        let own = UringDriver::new(&Config::new()).unwrap();
        let mut own = Rig::over(own);
        let (mine, mut theirs) = pair();
        own.recv_start(&mine, key(1));
        say(&mut theirs, b"child");
        let works = own.bytes(key(1), 5) == b"child";
        told && again && described && works
    });
    assert!(refused);
    say(&mut peer, b"parent");
    assert_eq!(rig.bytes(key(1), 6), b"parent");
    say(&mut other, b"x");
    assert!(rig.ready(key(2)).readable);
    rig.close(ours, key(1));
    rig.close(watched, key(2));
}

trials! {
    a_forked_child_is_told_and_the_parent_goes_on,
}
