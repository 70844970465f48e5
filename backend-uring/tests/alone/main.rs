//! Tests of the driver that count, limit or fork what the whole process has: one at a time.

#[cfg(target_os = "linux")]
#[macro_use]
#[path = "../common/mod.rs"]
mod common;

#[cfg(target_os = "linux")]
mod denied;
#[cfg(target_os = "linux")]
mod fork;
#[cfg(target_os = "linux")]
mod leaks;
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod room;

fn main() -> std::process::ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads = Some(1);
    #[cfg(target_os = "linux")]
    let trials =
        [denied::trials(), fork::trials(), leaks::trials(), limits::trials(), room::trials()]
            .into_iter()
            .flatten()
            .collect();
    #[cfg(not(target_os = "linux"))]
    let trials = Vec::new();
    libtest_mimic::run(&arguments, trials).exit_code()
}
