//! What is said where io_uring is denied. A seccomp filter holds for the thread that installs it, so
//! each test runs in a thread of its own.

use std::io::Read;
use std::thread;
use std::time::Duration;

use anyloop_api::{BackendDescriptor, LoopConfig};
use anyloop_uring::{Config, DESCRIPTOR, UringDriver, probe};

use crate::common::{MOMENT, Rig, key, pair};

/// Runs `test` where a system call is answered with an error.
fn with_denied<T: Send + 'static>(
    call: libc::c_long,
    errno: i32,
    test: impl FnOnce() -> T + Send + 'static,
) -> T {
    let thread = thread::spawn(move || {
        deny(call, errno);
        test()
    });
    thread.join().expect("the test")
}

/// Has the kernel answer `call` with `errno`, for this thread, from now on.
fn deny(call: libc::c_long, errno: i32) {
    deny_if(call, errno, None);
}

/// The same for calls whose argument with this number has this value.
fn deny_if(call: libc::c_long, errno: i32, argument: Option<(u32, u32)>) {
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    // The number of the call at 0, and its arguments, eight bytes each, from 16 on.
    let (load, jump) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ);
    let more = if argument.is_some() { 2 } else { 0 };
    let mut steps = vec![step(load, 0, 0, 0), step(jump | libc::BPF_K, call as u32, 0, 1 + more)];
    if let Some((number, value)) = argument {
        steps.push(step(load, 16 + 8 * number, 0, 0));
        steps.push(step(jump | libc::BPF_K, value, 0, 1));
    }
    steps.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0));
    steps.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: `program` and the steps it points to are on our stack; the kernel copies them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        assert_eq!(libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program), 0);
    }
}

fn the_probe_says_who_denies() {
    for (errno, words) in [
        (libc::EPERM, "seccomp filter"),
        (libc::EACCES, "security module"),
        (libc::ENOSYS, "no io_uring"),
        (libc::EINVAL, "too old: 5.19 is needed"),
        (libc::EMFILE, "no descriptor is left"),
    ] {
        let reason = with_denied(libc::SYS_io_uring_setup, errno, || probe().unwrap_err());
        assert!(reason.contains(words), "{reason}");
        assert!(reason.contains("this is Linux ") && reason.contains("io_uring_setup"), "{reason}");
    }
    probe().expect("only that thread was denied");
}

fn the_probe_tries_every_call_it_will_need() {
    let reason = with_denied(libc::SYS_io_uring_enter, libc::EPERM, || probe().unwrap_err());
    assert!(reason.contains("seccomp filter"), "{reason}");
    let reason = with_denied(libc::SYS_io_uring_register, libc::EPERM, || probe().unwrap_err());
    assert!(reason.contains("seccomp filter"), "{reason}");
}

fn a_driver_and_a_loop_fail_with_the_same_words() {
    let (driver, opened) = with_denied(libc::SYS_io_uring_setup, libc::EPERM, || {
        let driver = UringDriver::new(&Config::new()).unwrap_err();
        let BackendDescriptor { open, .. } = DESCRIPTOR;
        (driver, open(&LoopConfig::default()).unwrap_err().to_string())
    });
    assert_eq!(driver.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(opened.contains(&driver.to_string()), "{opened}");
}

/// Entries with one request are refused, as for want of memory, from the close of a connection on: its
/// number is nobody else's until its last request is submitted.
fn what_could_not_be_submitted_reaches_nobody_else() {
    let thread = thread::spawn(|| {
        let mut rig = Rig::words("");
        rig.poll(Duration::ZERO);
        rig.poll(Duration::ZERO);
        deny_if(libc::SYS_io_uring_enter, libc::EAGAIN, Some((1, 1)));
        let (ours, _peer) = pair();
        rig.send_lazily(&ours, key(1), b"for the first peer".to_vec(), 0);
        rig.close(ours, key(1));
        let (second, mut peer) = pair();
        rig.recv_start(&second, key(2));
        rig.poll(MOMENT);
        peer.set_nonblocking(true).unwrap();
        let read = peer.read(&mut [0; 64]).map_err(|error| error.kind());
        assert_eq!(read, Err(std::io::ErrorKind::WouldBlock));
    });
    thread.join().expect("the test");
}

trials! {
    what_could_not_be_submitted_reaches_nobody_else,
    the_probe_says_who_denies,
    the_probe_tries_every_call_it_will_need,
    a_driver_and_a_loop_fail_with_the_same_words,
}
