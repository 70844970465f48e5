//! Names one condition: whether this target can have an io_uring.

use std::env;

/// The processors that the io-uring crate knows; the same list is in `Cargo.toml`. 32-bit ARM is not
/// one of them, and must not become one: its io_uring is known not to work.
const PROCESSORS: [&str; 5] = ["x86_64", "aarch64", "riscv64", "loongarch64", "powerpc64"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_io_uring)");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("OS") == "linux" && PROCESSORS.contains(&target("ARCH").as_str()) {
        println!("cargo::rustc-cfg=has_io_uring");
    }
}
