//! Tests of the driver. They are trials rather than `#[test]`s so that where io_uring is denied they are shown as
//! ignored, with the reason.

#[cfg(target_os = "linux")]
#[macro_use]
#[path = "../common/mod.rs"]
mod common;

#[cfg(target_os = "linux")]
mod accept;
#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
mod lifecycle;
#[cfg(target_os = "linux")]
mod overflow;
#[cfg(target_os = "linux")]
mod policy;
#[cfg(target_os = "linux")]
mod pread;
#[cfg(target_os = "linux")]
mod random;
#[cfg(target_os = "linux")]
mod readiness;
#[cfg(target_os = "linux")]
mod silent;
#[cfg(target_os = "linux")]
mod starving;
#[cfg(target_os = "linux")]
mod stream;
#[cfg(target_os = "linux")]
mod waking;

fn main() -> std::process::ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    #[cfg(target_os = "linux")]
    let trials = [
        accept::trials(),
        driver::trials(),
        lifecycle::trials(),
        overflow::trials(),
        policy::trials(),
        pread::trials(),
        random::trials(),
        readiness::trials(),
        silent::trials(),
        starving::trials(),
        stream::trials(),
        waking::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    #[cfg(not(target_os = "linux"))]
    let trials = Vec::new();
    libtest_mimic::run(&arguments, trials).exit_code()
}
