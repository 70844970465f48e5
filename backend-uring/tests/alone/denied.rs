//! What is said where io_uring is denied. A seccomp filter holds for the thread that installs it, so
//! each test runs in a thread of its own.

use std::thread;

use anyloop_api::{BackendDescriptor, LoopConfig};
use anyloop_uring::{Config, DESCRIPTOR, UringDriver, probe};

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
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
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

trials! {
    the_probe_says_who_denies,
    the_probe_tries_every_call_it_will_need,
    a_driver_and_a_loop_fail_with_the_same_words,
}
