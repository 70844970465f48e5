//! What the machine and the software are called.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Kernel, processor, date and versions, as pairs for the head of the report.
pub(crate) fn collect() -> Vec<(&'static str, String)> {
    let kernel = rustix::system::uname();
    vec![
        ("date", today()),
        (
            "kernel",
            format!(
                "{} {}",
                kernel.sysname().to_string_lossy(),
                kernel.release().to_string_lossy()
            ),
        ),
        ("processor", processor()),
        ("versions", versions()),
    ]
}

/// The version of a package this program was built with.
fn package_version(package: &str) -> Option<&'static str> {
    let head = format!("name = \"{package}\"\nversion = \"");
    // Some packages are there in several versions; ours is the newest.
    LOCK_FILE.split(&head).skip(1).last()?.split('"').next()
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    format!("{count} × {model}")
}

fn versions() -> String {
    let known =
        PACKAGES.iter().filter_map(|name| Some(format!("{name} {}", package_version(name)?)));
    known.collect::<Vec<_>>().join(", ")
}

/// The date in UTC, as `2026-03-14`.
fn today() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(now.as_secs() / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// The civil date of a day counted from 1970-01-01.
fn civil(day: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is the last one.
    let day = day + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// Written by cargo before it builds anything.
const LOCK_FILE: &str = include_str!("../../../Cargo.lock");

const PACKAGES: [&str; 7] = ["anyloop", "tokio", "smol", "monoio", "compio", "glommio", "mio"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(package_version("tokio").is_some_and(|version| version.starts_with("1.")));
        assert_eq!(package_version("no-such-package"), None);
    }
}
