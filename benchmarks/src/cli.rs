//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::load::Engine;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: anyloop-benchmarks SUITE [options]

suites:
  echo       TCP echo servers under load: CPU per request, requests per second, latency
  micro      tasks, timers, queues and threads inside one process, ns per operation
  growth     the same beside 1,000 and 1,000,000 timers, 100,000 tasks, 19,000 connections
  memory     resident memory per idle connection
  syscalls   system calls and context switches per request
  cores      one loop per core against one loop alone
  files      CPU per read and write of a file, in memory or not
  tls        echo and handshakes over TLS
  http       hyper's HTTP/1.1 on our loops and on tokio
  all        every suite

options:
  --only NAMES     comma-separated servers, runtimes or scenarios; `tok*` is a prefix
  --rounds N       slices of load per server and scenario (default 20); a quarter as many processes
                   per runtime in `micro` and `growth`
  --against NAME   the server that ratios refer to (default uring, else epoll)
  --load ENGINE    what moves the load generator's bytes: uring or epoll (default the first
                   that works)
  --json FILE      where the raw results go (default <target>/benchmarks/results.json)
  --docs FOLDER    also put the results into FOLDER/performance.md and FOLDER/charts
  --smoke          a quick check that everything works; the figures mean nothing";

/// A suite, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Echo servers under load.
    Echo,
    /// The pieces of a runtime in one process.
    Micro,
    /// The same operation beside more and more others.
    Growth,
    /// Idle connections.
    Memory,
    /// System calls per request.
    Syscalls,
    /// One loop per core.
    Cores,
    /// Reads and writes of files.
    Files,
    /// Echo and handshakes over TLS.
    Tls,
    /// HTTP by hyper.
    Http,
    /// Every suite.
    All,
}

impl Command {
    /// Whether running `self` runs `suite`.
    pub(crate) fn includes(self, suite: Self) -> bool {
        self == suite || self == Self::All
    }
}

/// How the suites run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Names to keep; everything if empty.
    pub(crate) only: Vec<String>,
    /// Slices per server and scenario.
    pub(crate) rounds: u32,
    /// The server that ratios refer to.
    pub(crate) against: Option<String>,
    /// What moves the load generator's bytes.
    pub(crate) engine: Engine,
    /// Where the JSON goes.
    pub(crate) json: Option<PathBuf>,
    /// The folder of checked-in results to bring up to date.
    pub(crate) docs: Option<PathBuf>,
    /// A quick check instead of a measurement.
    pub(crate) smoke: bool,
}

impl Options {
    /// Keeps the items that `--only` names, or all of them if it names none of this kind.
    pub(crate) fn select<T>(&self, items: Vec<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
        let wanted = |item: &T| self.only.iter().any(|pattern| matches(pattern, name(item)));
        if items.iter().any(&wanted) { items.into_iter().filter(wanted).collect() } else { items }
    }

    /// The measured part of a slice.
    pub(crate) fn slice(&self) -> Duration {
        Duration::from_millis(if self.smoke { 15 } else { 60 })
    }

    /// How long a slice runs before it is measured.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_millis(if self.smoke { 2 } else { 5 })
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Print the usage.
    Help,
    /// Be the server of this name, with this buffer (how the program starts its children).
    Serve(String, usize),
    /// Measure the runtime of this name in this process, in a smoke run or not; in the end, whether
    /// to measure how it grows.
    MicroChild(String, bool, bool),
    /// Run suites.
    Measure(Command, Options),
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Invocation, String> {
    let command = match words.next().as_deref() {
        Some("echo") => Command::Echo,
        Some("micro") => Command::Micro,
        Some("growth") => Command::Growth,
        Some("memory") => Command::Memory,
        Some("syscalls") => Command::Syscalls,
        Some("cores") => Command::Cores,
        Some("files") => Command::Files,
        Some("tls") => Command::Tls,
        Some("http") => Command::Http,
        Some("all") => Command::All,
        Some("serve") => {
            let name = words.next().ok_or("serve what?")?;
            let buffer = words.next().and_then(|word| word.parse().ok());
            return Ok(Invocation::Serve(name, buffer.ok_or("with how large a buffer?")?));
        }
        Some(role @ ("micro-child" | "growth-child")) => {
            let growing = role == "growth-child";
            let name = words.next().ok_or("measure what?")?;
            let smoke = words.next().as_deref() == Some("--smoke");
            return Ok(Invocation::MicroChild(name, smoke, growing));
        }
        Some("-h" | "--help" | "help") => return Ok(Invocation::Help),
        Some(other) => return Err(format!("no suite is called `{other}`")),
        None => return Err("which suite?".into()),
    };
    let mut options = Options {
        only: Vec::new(),
        rounds: 0,
        against: None,
        engine: Engine::best(),
        json: None,
        docs: None,
        smoke: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
            "--rounds" => {
                options.rounds = value()?.parse().map_err(|_| "--rounds needs a number")?;
            }
            "--against" => options.against = Some(value()?),
            "--load" => {
                options.engine = match value()?.as_str() {
                    "uring" => Engine::Uring,
                    "epoll" => Engine::Epoll,
                    other => return Err(format!("no load generator runs on `{other}`")),
                };
            }
            "--json" => options.json = Some(value()?.into()),
            "--docs" => options.docs = Some(value()?.into()),
            "--smoke" => options.smoke = true,
            "-h" | "--help" => return Ok(Invocation::Help),
            _ => return Err(format!("unknown option {word}")),
        }
    }
    if options.rounds == 0 {
        options.rounds = if options.smoke { 2 } else { 20 };
    }
    Ok(Invocation::Measure(command, options))
}

/// Whether `name` is what `pattern` says; a trailing `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let Ok(Invocation::Measure(command, options)) =
            parsed("echo --only tokio,64x50 --rounds 3 --smoke")
        else {
            panic!("a measurement");
        };
        assert_eq!(command, Command::Echo);
        assert_eq!(options.only, ["tokio", "64x50"]);
        assert_eq!(options.rounds, 3);
        assert!(options.smoke);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parsed("").is_err());
        assert!(parsed("dance").is_err());
        assert!(parsed("echo --rounds many").is_err());
        assert!(parsed("echo --only").is_err());
    }

    #[test]
    fn selection_by_name_prefix_or_nothing() {
        let Ok(Invocation::Measure(_, options)) = parsed("all --only tok*,mio") else {
            panic!("a measurement");
        };
        assert_eq!(options.select(vec!["tokio", "smol", "mio"], |name| name), ["tokio", "mio"]);
        assert_eq!(options.select(vec!["64x1", "64x50"], |name| name), ["64x1", "64x50"]);
    }
}
