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
    driver.poll(Some(Duration::ZERO), &mut Vec::new()).map_err(|error| {
        match error.raw_os_error() {
            Some(_) => explain(&Refusal { call: "io_uring_enter", error }),
            None => error.to_string(),
        }
    })?;
    Ok(driver.features())
}

/// What a refusal means.
pub(crate) fn explain(refusal: &Refusal) -> String {
    let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let Refusal { call, error } = refusal;
    let why = reason(error.raw_os_error(), setting.trim());
    format!("{why}; this is Linux {} ({call}: {error})", kernel())
}

impl Refusal {
    /// The error to be returned, in words.
    pub(crate) fn into_error(self) -> io::Error {
        io::Error::new(self.error.kind(), explain(&self))
    }

    /// Turns the error of `call` into one in words.
    pub(crate) fn of(call: &'static str) -> impl Fn(io::Error) -> io::Error {
        move |error| Self { call, error }.into_error()
    }
}

/// `disabled` is the value of the sysctl `kernel.io_uring_disabled`.
fn reason(errno: Option<i32>, disabled: &str) -> &'static str {
    match (errno, disabled) {
        (Some(libc::EPERM), "2") => {
            "io_uring is switched off on this system by the sysctl kernel.io_uring_disabled=2"
        }
        (Some(libc::EPERM), "1") => {
            "io_uring is reserved to the members of a group and to administrators by the sysctls \
             kernel.io_uring_disabled=1 and kernel.io_uring_group"
        }
        (Some(libc::EPERM), _) => {
            "a seccomp filter denies io_uring, as the default profiles of containers do"
        }
        (Some(libc::EACCES), _) => {
            "io_uring is denied by a security module of this system (SELinux, AppArmor) or by a filter"
        }
        (Some(libc::ENOSYS), _) => {
            "there is no io_uring: the kernel was built without it, or a sandbox hides it"
        }
        (Some(libc::EINVAL), _) => {
            "the kernel's io_uring is too old: 5.19 is needed, 6.1 or newer is better"
        }
        (Some(libc::ENOMEM), _) => {
            "no memory for an io_uring; before Linux 5.12 it counts against `ulimit -l`"
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            "no descriptor is left for an io_uring (`ulimit -n`)"
        }
        _ => "io_uring does not work",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_its_own_reason() {
        let errnos = [
            libc::EPERM,
            libc::EACCES,
            libc::ENOSYS,
            libc::EINVAL,
            libc::ENOMEM,
            libc::EMFILE,
            libc::EIO,
        ];
        let mut reasons: Vec<_> = errnos.iter().map(|errno| reason(Some(*errno), "0")).collect();
        reasons.extend(["1", "2"].map(|disabled| reason(Some(libc::EPERM), disabled)));
        let count = reasons.len();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), count);
    }

    #[test]
    fn the_running_kernel_is_named() {
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        let text = explain(&Refusal { call: "io_uring_setup", error });
        assert!(text.contains(&format!("Linux {}", kernel())), "{text}");
        assert!(kernel().starts_with(|first: char| first.is_ascii_digit()), "{}", kernel());
        assert_eq!(uname().unwrap(), kernel());
    }
}
