//! A server in a process of its own, and what the kernel knows about that process.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{self, Stdio};
use std::time::Duration;

use crate::machine;

/// A child process that serves, killed on drop.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Child {
    /// Starts this program again as the server `name` and waits until it listens.
    pub(crate) fn start(name: &str, buffer: usize) -> io::Result<Self> {
        let mut process = machine::this_program()?
            .args(["serve", name, &buffer.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().expect("stdout is a pipe");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let port = read.and_then(|_| {
            line.trim()
                .parse()
                .map_err(|_| io::Error::other(format!("server {name} did not start")))
        });
        match port {
            Ok(port) => Ok(Self { process, address: (Ipv4Addr::LOCALHOST, port).into() }),
            Err(error) => {
                process.kill()?;
                process.wait()?;
                Err(error)
            }
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The clock of the CPU time of all its threads, in user space and in the kernel.
    pub(crate) fn clock(&self) -> CpuClock {
        // The kernel's encoding of "scheduler clock of process PID"; what
        // `clock_getcpuclockid` computes.
        CpuClock((!(self.id() as libc::clockid_t) << 3) | 2)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
            .ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
    }

    /// Context switches so far, voluntary or not, of all its threads.
    pub(crate) fn context_switches(&self) -> io::Result<u64> {
        let mut total = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            total += status
                .lines()
                .filter(|line| line.contains("ctxt_switches:"))
                .filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok())
                .sum::<u64>();
        }
        Ok(total)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing to be done about a failure: the process is gone or about to be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The CPU clock of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// What the process has used so far; nothing once it is gone.
    pub(crate) fn now(self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for a timespec; the clock id is only a number, and an
        // unknown one is an error.
        let result = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        if result == 0 {
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        } else {
            Duration::ZERO
        }
    }
}
