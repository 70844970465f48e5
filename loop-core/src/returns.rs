//! Returns after a system call, without the price that mitigations put on them.
//!
//! A processor predicts where a `ret` leads from a stack of its own, to which every `call` adds a place.
//! So do the calls inside the kernel, and Linux's defences against attacks on that prediction (return
//! thunks on AMD's Zen, a fill at each switch of threads) leave theirs behind. After a system call the
//! frames that led to it are then predicted to return *into the kernel*, to addresses that user space may
//! not even look up. On Zen 4 (Linux 6.18, a virtual machine) all these returns together cost
//!
//! | after | ns |
//! | --- | ---: |
//! | `getppid` (which takes 125) | 35–70 |
//! | `recv` of nothing (230) | 120 |
//! | `send` and `recv` of 64 bytes by TCP on one thread (5,280) | 850 |
//!
//! A server whose calls are all inlined into one endless loop never returns, and never pays; everybody else
//! does, for each message. [`refill`] puts addresses of our own there, which takes 5 ns, and all of that
//! is gone, provided that it puts at least as many as there are returns. They are still predicted wrongly, but to
//! memory that is at hand.
//!
//! It has to follow the `syscall` instruction with no return in between. rustix's calls are inlined; a
//! call by way of libc has returned, and paid, already. For what rustix does not have there is
//! [`system_call`].
//!
//! Unsafe lives here for the instructions.

#[cfg(target_os = "linux")]
use std::io;

/// How many returns are covered. Between a system call of ours and the frame that runs callbacks there are
/// fewer; the prediction has 32 places on today's processors.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
const FRAMES: usize = 16;

/// Has the returns of the frames we are in predicted to lead somewhere harmless. Call it right after a
/// system call, in the same function. Does nothing on processors other than x86-64.
#[inline(always)]
pub fn refill() {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    // SAFETY: each `call` leads to the instruction behind it and leaves its return address on the stack,
    // below the red zone; then the stack pointer is where it was. Nothing that Rust knows of is read or
    // written, but for one scratch register and the flags. Where the processor keeps a shadow of the
    // stack (`rdsspq` leaves the register alone where it does not) the addresses are taken off that, too.
    unsafe {
        std::arch::asm!(
            "lea rsp, [rsp - {red_zone}]",
            ".rept {frames}",
            "call 2f",
            "int3",
            "2:",
            ".endr",
            "lea rsp, [rsp + {red_zone} + 8 * {frames}]",
            "xor {shadow:e}, {shadow:e}",
            "rdsspq {shadow}",
            "test {shadow}, {shadow}",
            "jz 3f",
            "mov {shadow:e}, {frames}",
            "incsspq {shadow}",
            "3:",
            red_zone = const 128,
            frames = const FRAMES,
            shadow = out(reg) _,
        );
    }
}

/// Makes a system call until no signal interrupts it, and [`refill`]s.
///
/// # Errors
/// Those of the call, except `EINTR`.
#[inline(always)]
pub fn retry_on_intr<T>(call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    let result = rustix::io::retry_on_intr(call);
    refill();
    result
}

/// Makes the system call `number`, and [`refill`]s.
///
/// # Errors
/// What the kernel says.
///
/// # Safety
/// As for the call: what its manual page says of each argument.
#[cfg(target_os = "linux")]
#[inline(always)]
pub unsafe fn system_call(number: libc::c_long, arguments: [usize; 6]) -> io::Result<usize> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        // SAFETY: the caller's.
        let result = unsafe { enter_kernel(number, arguments) };
        refill();
        result
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        // SAFETY: the caller's.
        unsafe { through_libc(number, arguments) }
    }
}

/// Makes the system call in place (`man 2 syscall` has the registers).
///
/// # Safety
/// As for the call.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
#[inline(always)]
unsafe fn enter_kernel(number: libc::c_long, arguments: [usize; 6]) -> io::Result<usize> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel changes the three registers that are named as outputs and what the call is for,
    // which the caller answers for.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // The last 4095 numbers are errors, negated.
    if (-4095..0).contains(&result) {
        return Err(io::Error::from_raw_os_error(-result as i32));
    }
    Ok(result as usize)
}

/// Makes the system call where there is no other way.
///
/// # Safety
/// As for the call.
#[cfg(all(target_os = "linux", any(test, miri, not(target_arch = "x86_64"))))]
unsafe fn through_libc(number: libc::c_long, arguments: [usize; 6]) -> io::Result<usize> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller's.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on the stack, below it and in registers is untouched, at any depth.
    #[test]
    fn nothing_changes() {
        #[inline(never)]
        fn leaf(values: [u64; 9]) -> u64 {
            let sum: u64 = values.iter().sum();
            refill();
            let product =
                values.iter().fold(1_u64, |product, value| product.wrapping_mul(value | 1));
            refill();
            sum ^ product ^ values[8]
        }
        fn nested(depth: u64, expected: bool) -> u64 {
            let values = std::array::from_fn(|i| depth * 31 + i as u64);
            let below = if depth == 0 { 1 } else { nested(depth - 1, expected) };
            let here = if expected {
                let product = values.iter().fold(1_u64, |p, value: &u64| p.wrapping_mul(value | 1));
                values.iter().sum::<u64>() ^ product ^ values[8]
            } else {
                leaf(values)
            };
            refill();
            below.wrapping_mul(3) ^ here
        }
        assert_eq!(nested(100, false), nested(100, true));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn calls_tell_results_and_errors() {
        for call in [system_call, through_libc] {
            // SAFETY: neither call takes a pointer, and no such descriptor is open.
            let (pid, refused) = unsafe {
                let nowhere = [usize::MAX, 0, 0, 0, 0, 0];
                (call(libc::SYS_getpid, [0; 6]), call(libc::SYS_close, nowhere))
            };
            assert_eq!(pid.unwrap(), std::process::id() as usize);
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
    }

    /// All six arguments arrive, each in its place, and errors of calls without a number stay apart from results.
    #[test]
    #[cfg(target_os = "linux")]
    fn arguments_keep_their_places() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let size = 4096_usize;
        for call in [system_call, through_libc] {
            // SAFETY: a new private mapping where the kernel likes, of a file that is longer than that; it
            // is only read here, and unmapped.
            unsafe {
                use std::os::fd::AsRawFd;
                let (read, private) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
                let fd = file.as_raw_fd() as usize;
                let mapped = call(libc::SYS_mmap, [0, size, read, private, fd, size]).unwrap();
                let bytes = std::slice::from_raw_parts(mapped as *const u8, size).to_vec();
                let mut expected = vec![0; size];
                std::os::unix::fs::FileExt::read_exact_at(&file, &mut expected, size as u64)
                    .unwrap();
                assert_eq!(bytes, expected);
                assert_eq!(call(libc::SYS_munmap, [mapped, size, 0, 0, 0, 0]).unwrap(), 0);
            }
        }
    }
}
