//! Whether there is an io_uring here, and if not, why, in words.

use std::fs;
use std::io;
use std::time::Duration;

use anyloop_core::driver::Driver;

use crate::config::Config;
use crate::driver::UringDriver;
use crate::setup::Refusal;

/// Makes a driver, polls once, and frees it again. `Ok` says what it found.
///
/// # Errors
/// A sentence that says what refused, names the running kernel, and what could be done.
pub fn probe() -> Result<String, String> {
    let small = Config::new().sq_entries(2).cq_entries(2);
    let mut driver = UringDriver::new(&small).map_err(|error| error.to_string())?;
    driver
        .poll(Some(Duration::ZERO), &mut Vec::new())
        .map_err(|error| explain(&Refusal { call: "io_uring_enter", error }))?;
    Ok(driver.features())
}

/// What a refusal means.
pub(crate) fn explain(refusal: &Refusal) -> String {
    let Refusal { call, error } = refusal;
    let kernel = kernel();
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => format!(
            "Linux {kernel} has no io_uring: the kernel was built without it, or a sandbox or \
             seccomp filter hides it"
        ),
        Some(libc::EPERM) => denied(&kernel),
        Some(libc::EACCES) => format!(
            "a security module (SELinux, AppArmor) of this system denies io_uring; the kernel is \
             Linux {kernel}"
        ),
        Some(libc::EINVAL) => {
            format!("io_uring of Linux {kernel} is too old; 5.19 is needed, 6.1 or newer is better")
        }
        Some(libc::ENOMEM) => format!(
            "no memory for an io_uring; before Linux 5.12 it counts against the memlock limit \
             (`ulimit -l`); the kernel is Linux {kernel}"
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            format!(
                "no descriptor is left for an io_uring (`ulimit -n`); the kernel is Linux {kernel}"
            )
        }
        _ => format!("io_uring does not work on Linux {kernel}"),
    };
    format!("{why} ({call}: {error})")
}

/// `EPERM` has two causes: the system's setting, and a filter.
fn denied(kernel: &str) -> String {
    let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match setting.trim() {
        "2" => format!(
            "io_uring is switched off on this system by the sysctl kernel.io_uring_disabled=2; the \
             kernel is Linux {kernel}"
        ),
        "1" => format!(
            "io_uring is reserved to a group by the sysctls kernel.io_uring_disabled=1 and \
             kernel.io_uring_group; the kernel is Linux {kernel}"
        ),
        _ => format!(
            "a seccomp filter denies io_uring, as the default profiles of containers do; the kernel is \
             Linux {kernel}"
        ),
    }
}

fn kernel() -> String {
    match fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => release.trim().to_owned(),
        Err(_) => uname().unwrap_or_else(|_| "of unknown version".to_owned()),
    }
}

fn uname() -> io::Result<String> {
    // SAFETY: zeroes are a valid `utsname`, which is plain bytes.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is ours to be written to.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = name.release.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8);
    Ok(String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned())
}
