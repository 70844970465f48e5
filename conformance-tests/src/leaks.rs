//! What a process holds: descriptors and threads, before and after a case.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

/// The descriptors and threads of this process at one moment.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// What each descriptor refers to, where the system tells.
    descriptors: BTreeMap<i32, String>,
    /// The names of the threads, where the system tells.
    threads: BTreeMap<String, String>,
}

/// How long what is being torn down may take: a worker that was told to end needs a moment.
const PATIENCE: Duration = Duration::from_secs(2);

impl Holdings {
    /// Of now.
    pub(crate) fn now() -> Self {
        Self { descriptors: descriptors(), threads: threads() }
    }

    /// What exists now and did not exist then; waits a moment for it to go away.
    pub(crate) fn leaked_since(&self) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leaked = self.difference(&Self::now());
            if leaked.is_none() || Instant::now() > deadline {
                return leaked;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn difference(&self, now: &Self) -> Option<String> {
        let mut text = String::new();
        for (fd, target) in &now.descriptors {
            if self.descriptors.get(fd) != Some(target) {
                let _ = write!(text, ", descriptor {fd} ({target})");
            }
        }
        for (id, name) in &now.threads {
            if !self.threads.contains_key(id) {
                let _ = write!(text, ", thread {name:?}");
            }
        }
        text.strip_prefix(", ").map(|list| format!("left behind: {list}"))
    }
}

/// How many descriptors are open, where the system tells.
pub(crate) fn open_descriptors() -> Option<usize> {
    let all = descriptors();
    (!all.is_empty()).then_some(all.len())
}

/// How many threads there are, where the system tells.
pub(crate) fn thread_count() -> usize {
    threads().len()
}

/// Open descriptors, without the one that lists them.
fn descriptors() -> BTreeMap<i32, String> {
    let table = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = fs::read_dir(table) else { return BTreeMap::new() };
    let all = entries.flatten().filter_map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        let target = fs::read_link(entry.path())
            .map_or_else(|_| "?".to_owned(), |path| path.display().to_string());
        Some((fd, target))
    });
    all.filter(|(_, target)| !(target.starts_with("/proc/") && target.ends_with("/fd"))).collect()
}

fn threads() -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
    let name = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    entries
        .flatten()
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), name(entry.path().join("comm")))
        })
        .collect()
}

/// What each thread of this process is doing, as far as the kernel tells.
pub(crate) fn describe_threads() -> String {
    let mut text = String::new();
    let Ok(entries) = fs::read_dir("/proc/self/task") else { return text };
    for entry in entries.flatten() {
        let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("?");
        let _ = writeln!(
            text,
            "thread {} {:?}: {}, in {}, system call {}",
            entry.file_name().to_string_lossy(),
            read("comm").trim(),
            state.trim(),
            read("wchan").trim(),
            read("syscall").split_whitespace().next().unwrap_or("?"),
        );
    }
    text
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_new_descriptor_is_a_difference() -> std::io::Result<()> {
        let then = Holdings { descriptors: descriptors(), threads: BTreeMap::new() };
        let file = fs::File::open("/proc/self/status")?;
        let now = Holdings { descriptors: descriptors(), threads: BTreeMap::new() };
        drop(file);
        let leaked = then.difference(&now).expect("a file is open");
        assert!(leaked.contains("descriptor") && leaked.contains("status"), "{leaked}");
        assert_eq!(now.difference(&then).as_deref(), None);
        Ok(())
    }
}
