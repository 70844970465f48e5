//! System calls that fail, by a seccomp filter.

use std::thread;

/// A system call that is to fail: its number, and the value that one of its arguments has, if that matters.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    number: libc::c_long,
    argument: Option<(u32, u32)>,
}

impl Call {
    /// Every call with this number (`libc::SYS_…`).
    #[must_use]
    pub const fn any(number: libc::c_long) -> Self {
        Self { number, argument: None }
    }

    /// Those whose argument number `index`, from 0 on, is `value`.
    #[must_use]
    pub const fn with(number: libc::c_long, index: u32, value: u32) -> Self {
        Self { number, argument: Some((index, value)) }
    }
}

/// Runs `test` in a thread of its own, where the kernel answers `call` with `errno`.
///
/// # Panics
/// If `test` does, or if the kernel knows no filters.
pub fn with_denied<T: Send + 'static>(
    call: Call,
    errno: i32,
    test: impl FnOnce() -> T + Send + 'static,
) -> T {
    let thread = thread::spawn(move || {
        deny(call, errno);
        test()
    });
    thread.join().expect("the test")
}

/// Has the kernel answer `call` with `errno`, for this thread and those that it starts, from now on. What was
/// denied before stays so.
///
/// # Panics
/// If the kernel knows no filters.
pub fn deny(call: Call, errno: i32) {
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    // The number of the call at 0, and its arguments, eight bytes each, from 16 on.
    let (load, jump) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ);
    let more = if call.argument.is_some() { 2 } else { 0 };
    let number = call.number as u32;
    let mut steps = vec![step(load, 0, 0, 0), step(jump | libc::BPF_K, number, 0, 1 + more)];
    if let Some((index, value)) = call.argument {
        steps.push(step(load, 16 + 8 * index, 0, 0));
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
