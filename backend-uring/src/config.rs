//! What the driver may use, and how much of it.

use std::fmt;

/// Settings of the io_uring backend.
///
/// Every feature has a switch that forces its fallback, the way an older kernel would. A switch that
/// is on means "if the kernel has it". The defaults are for production.
///
/// ```
/// use anyloop_uring::Config;
///
/// let config = Config::new().multishot_recv(false).cq_entries(1024);
/// assert_eq!(config, Config::from_env_value("no-multishot-recv,cq=1024").unwrap());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) accept: bool,
    pub(crate) recv: bool,
    pub(crate) send: bool,
    pub(crate) multishot_accept: bool,
    pub(crate) multishot_recv: bool,
    pub(crate) multishot_poll: bool,
    pub(crate) buffer_ring: bool,
    pub(crate) incremental_buffers: bool,
    pub(crate) single_issuer: bool,
    pub(crate) defer_taskrun: bool,
    pub(crate) no_sqarray: bool,
    pub(crate) ext_arg: bool,
    pub(crate) registered_ring_fd: bool,
    pub(crate) poll_before_accept: bool,
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) buffer_count: Option<u16>,
    pub(crate) buffer_size: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accept: true,
            recv: true,
            send: true,
            multishot_accept: true,
            multishot_recv: true,
            multishot_poll: true,
            buffer_ring: true,
            incremental_buffers: true,
            single_issuer: true,
            defer_taskrun: true,
            no_sqarray: true,
            ext_arg: true,
            registered_ring_fd: true,
            poll_before_accept: false,
            sq_entries: 256,
            cq_entries: 4096,
            buffer_count: None,
            buffer_size: None,
        }
    }
}

impl Config {
    /// Where [`Config::from_env`] looks.
    pub const VARIABLE: &'static str = "ANYLOOP_URING";

    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the kernel accepts connections by itself. Off: the loop waits for readiness and calls
    /// `accept`.
    #[must_use]
    pub fn accept(mut self, on: bool) -> Self {
        self.accept = on;
        self
    }

    /// Whether the kernel receives by itself. Off: the loop waits for readiness and calls `recv`.
    #[must_use]
    pub fn recv(mut self, on: bool) -> Self {
        self.recv = on;
        self
    }

    /// Whether the kernel sends by itself. Off: the loop calls `send` and waits for readiness.
    #[must_use]
    pub fn send(mut self, on: bool) -> Self {
        self.send = on;
        self
    }

    /// One accept request for all connections (5.19). Off: one request per connection.
    #[must_use]
    pub fn multishot_accept(mut self, on: bool) -> Self {
        self.multishot_accept = on;
        self
    }

    /// One receive request per stream (6.0). Off: one request per message, and no incremental
    /// buffers.
    #[must_use]
    pub fn multishot_recv(mut self, on: bool) -> Self {
        self.multishot_recv = on;
        self
    }

    /// One poll request per descriptor, edge-triggered (5.13). Off: one request per event,
    /// level-triggered.
    #[must_use]
    pub fn multishot_poll(mut self, on: bool) -> Self {
        self.multishot_poll = on;
        self
    }

    /// A ring of buffers shared by all streams (5.19). Off: as [`recv(false)`](Self::recv), for
    /// without it the kernel cannot choose buffers cheaply.
    #[must_use]
    pub fn buffer_ring(mut self, on: bool) -> Self {
        self.buffer_ring = on;
        self
    }

    /// Messages share buffers (6.12). Off: each message takes a whole one.
    #[must_use]
    pub fn incremental_buffers(mut self, on: bool) -> Self {
        self.incremental_buffers = on;
        self
    }

    /// The kernel may rely on one thread using the ring (6.0). Off: as on 5.19, which also turns off
    /// [`defer_taskrun`](Self::defer_taskrun).
    #[must_use]
    pub fn single_issuer(mut self, on: bool) -> Self {
        self.single_issuer = on;
        self
    }

    /// Completions are worked off only when the loop asks for them (6.1). Off: at every return from
    /// the kernel.
    #[must_use]
    pub fn defer_taskrun(mut self, on: bool) -> Self {
        self.defer_taskrun = on;
        self
    }

    /// The submission queue has no table of indices (6.6).
    #[must_use]
    pub fn no_sqarray(mut self, on: bool) -> Self {
        self.no_sqarray = on;
        self
    }

    /// The wait takes its timeout as an argument (5.11). Off: by `ppoll` on the ring.
    #[must_use]
    pub fn ext_arg(mut self, on: bool) -> Self {
        self.ext_arg = on;
        self
    }

    /// The ring is entered by a number of the thread's own, which saves a look-up (5.18).
    #[must_use]
    pub fn registered_ring_fd(mut self, on: bool) -> Self {
        self.registered_ring_fd = on;
        self
    }

    /// Wait for readiness before each accept request, as kernels before 6.0 need it for non-blocking
    /// listeners. They are recognised by their answer; this forces it.
    #[must_use]
    pub fn poll_before_accept(mut self, on: bool) -> Self {
        self.poll_before_accept = on;
        self
    }

    /// Size of the submission queue: requests between two entries to the kernel. What does not fit
    /// waits in memory. Rounded up to a power of two.
    #[must_use]
    pub fn sq_entries(mut self, entries: u32) -> Self {
        self.sq_entries = entries.max(1);
        self
    }

    /// Size of the completion queue: completions between two entries. What does not fit is kept by
    /// the kernel, slowly. Rounded up to a power of two, and to the size of the submission queue.
    #[must_use]
    pub fn cq_entries(mut self, entries: u32) -> Self {
        self.cq_entries = entries.max(1);
        self
    }

    /// Number of receive buffers, shared by all streams; rounded up to a power of two, at most
    /// 32,768. Default: 4 if incremental, else 64.
    #[must_use]
    pub fn buffer_count(mut self, count: u16) -> Self {
        self.buffer_count = Some(count.clamp(1, 1 << 15));
        self
    }

    /// Size of each receive buffer, at most 16 MiB. Default: 256 KiB if incremental, else 16 KiB.
    #[must_use]
    pub fn buffer_size(mut self, bytes: u32) -> Self {
        self.buffer_size = Some(bytes.clamp(1, 1 << 24));
        self
    }

    /// The settings in the environment variable `ANYLOOP_URING`, if it is set.
    ///
    /// # Errors
    /// As [`Config::from_env_value`].
    pub fn from_env() -> Result<Self, ConfigError> {
        match std::env::var_os(Self::VARIABLE) {
            Some(value) => Self::from_env_value(&value.to_string_lossy()),
            None => Ok(Self::default()),
        }
    }

    /// The defaults, changed by a list of words separated by commas or spaces:
    ///
    /// * `no-accept`, `no-recv`, `no-send`, `no-multishot-accept`, `no-multishot-recv`,
    ///   `no-multishot-poll`, `no-buffer-ring`, `no-incremental`, `no-single-issuer`, `no-defer`,
    ///   `no-sqarray-elision`, `no-ext-arg`, `no-registered-ring`: the switch of that name, off;
    /// * `poll-before-accept`: that switch, on;
    /// * `sq=N`, `cq=N`, `buffers=N`, `buffer-size=N`: the sizes.
    ///
    /// # Errors
    /// A word that is not known, or a size that is not a number; the error lists the known words.
    pub fn from_env_value(value: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let words = value.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
        for word in words {
            config = config.with_word(word).ok_or_else(|| ConfigError(word.to_owned()))?;
        }
        Ok(config)
    }

    fn with_word(self, word: &str) -> Option<Self> {
        if let Some((name, number)) = word.split_once('=') {
            return Some(match name {
                "sq" => self.sq_entries(number.parse().ok()?),
                "cq" => self.cq_entries(number.parse().ok()?),
                "buffers" => self.buffer_count(number.parse().ok()?),
                "buffer-size" => self.buffer_size(number.parse().ok()?),
                _ => return None,
            });
        }
        let (_, set) = SWITCHES.iter().find(|(name, _)| *name == word)?;
        Some(set(self))
    }
}

type Setter = fn(Config) -> Config;

const SWITCHES: &[(&str, Setter)] = &[
    ("no-accept", |config| config.accept(false)),
    ("no-recv", |config| config.recv(false)),
    ("no-send", |config| config.send(false)),
    ("no-multishot-accept", |config| config.multishot_accept(false)),
    ("no-multishot-recv", |config| config.multishot_recv(false)),
    ("no-multishot-poll", |config| config.multishot_poll(false)),
    ("no-buffer-ring", |config| config.buffer_ring(false)),
    ("no-incremental", |config| config.incremental_buffers(false)),
    ("no-single-issuer", |config| config.single_issuer(false)),
    ("no-defer", |config| config.defer_taskrun(false)),
    ("no-sqarray-elision", |config| config.no_sqarray(false)),
    ("no-ext-arg", |config| config.ext_arg(false)),
    ("no-registered-ring", |config| config.registered_ring_fd(false)),
    ("poll-before-accept", |config| config.poll_before_accept(true)),
];

/// A word in `ANYLOOP_URING` that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` is not known; known are ", Config::VARIABLE, self.0)?;
        for (name, _) in SWITCHES {
            write!(f, "{name}, ")?;
        }
        write!(f, "sq=N, cq=N, buffers=N, buffer-size=N")
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_builder_in_text() {
        let config =
            Config::from_env_value(" no-recv, sq=2 cq=4,buffers=2,buffer-size=16,").unwrap();
        let built =
            Config::new().recv(false).sq_entries(2).cq_entries(4).buffer_count(2).buffer_size(16);
        assert_eq!(config, built);
        assert_eq!(Config::from_env_value("").unwrap(), Config::default());
    }

    #[test]
    fn every_switch_changes_something() {
        for (name, _) in SWITCHES {
            assert_ne!(Config::from_env_value(name).unwrap(), Config::default(), "{name}");
        }
    }

    #[test]
    fn an_unknown_word_is_named_beside_the_known_ones() {
        for bad in ["no-teleport", "sq=many", "sq", "cq=-1", "bufers=2"] {
            let text = Config::from_env_value(bad).unwrap_err().to_string();
            assert!(text.contains(&format!("`{bad}`")), "{text}");
            assert!(text.contains("no-multishot-recv") && text.contains("buffer-size=N"), "{text}");
        }
    }
}
