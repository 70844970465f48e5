//! What the driver may use, and how much of it.

pub use anyloop_core::switches::ConfigError;
use anyloop_core::switches::{self, Word};

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
    pub(crate) silent_send: bool,
    pub(crate) pread: bool,
    pub(crate) multishot_accept: bool,
    pub(crate) multishot_recv: bool,
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
            silent_send: true,
            pread: true,
            multishot_accept: true,
            multishot_recv: true,
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

    /// Sends that succeed at once make no completion (6.1). Off: each send makes one.
    #[must_use]
    pub fn silent_send(mut self, on: bool) -> Self {
        self.silent_send = on;
        self
    }

    /// Whether files whose contents are not in memory are read by the kernel by itself. Off: in the loop's
    /// pool.
    #[must_use]
    pub fn pread(mut self, on: bool) -> Self {
        self.pread = on;
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

    /// The wait takes its timeout as an argument (5.11). Off: each wait with a timeout is two more
    /// requests, a timer and its removal.
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
    pub fn buffer_count(mut self, count: u32) -> Self {
        self.buffer_count = Some(count.clamp(1, 1 << 15) as u16);
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
        switches::apply_env(Self::default(), Self::VARIABLE, WORDS)
    }

    /// The defaults, changed by a list of words separated by commas or spaces:
    ///
    /// * `no-accept`, `no-recv`, `no-send`, `no-silent-send`, `no-pread`, `no-multishot-accept`,
    ///   `no-multishot-recv`, `no-buffer-ring`, `no-incremental`, `no-single-issuer`, `no-defer`,
    ///   `no-ext-arg`, `no-registered-ring`: the switch of that name, off;
    /// * `sqarray`: [`no_sqarray`](Self::no_sqarray), off;
    /// * `poll-before-accept`: that switch, on;
    /// * `sq=N`, `cq=N`, `buffers=N`, `buffer-size=N`: the sizes.
    ///
    /// # Errors
    /// A word that is not known, or a size that is not a number; the error lists the known words.
    pub fn from_env_value(value: &str) -> Result<Self, ConfigError> {
        switches::apply(Self::default(), Self::VARIABLE, value, WORDS)
    }
}

const WORDS: &[(&str, Word<Config>)] = &[
    ("no-accept", Word::Flag(|config| config.accept(false))),
    ("no-recv", Word::Flag(|config| config.recv(false))),
    ("no-send", Word::Flag(|config| config.send(false))),
    ("no-silent-send", Word::Flag(|config| config.silent_send(false))),
    ("no-pread", Word::Flag(|config| config.pread(false))),
    ("no-multishot-accept", Word::Flag(|config| config.multishot_accept(false))),
    ("no-multishot-recv", Word::Flag(|config| config.multishot_recv(false))),
    ("no-buffer-ring", Word::Flag(|config| config.buffer_ring(false))),
    ("no-incremental", Word::Flag(|config| config.incremental_buffers(false))),
    ("no-single-issuer", Word::Flag(|config| config.single_issuer(false))),
    ("no-defer", Word::Flag(|config| config.defer_taskrun(false))),
    ("no-ext-arg", Word::Flag(|config| config.ext_arg(false))),
    ("no-registered-ring", Word::Flag(|config| config.registered_ring_fd(false))),
    ("sqarray", Word::Flag(|config| config.no_sqarray(false))),
    ("poll-before-accept", Word::Flag(|config| config.poll_before_accept(true))),
    ("sq", Word::Number(Config::sq_entries)),
    ("cq", Word::Number(Config::cq_entries)),
    ("buffers", Word::Number(Config::buffer_count)),
    ("buffer-size", Word::Number(Config::buffer_size)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_builder_in_text() {
        let words = " no-recv, sq=2 cq=4,buffers=2,buffer-size=16,";
        let built =
            Config::new().recv(false).sq_entries(2).cq_entries(4).buffer_count(2).buffer_size(16);
        assert_eq!(Config::from_env_value(words), Ok(built));
        assert_eq!(Config::from_env_value(""), Ok(Config::default()));
    }

    #[test]
    fn every_word_changes_something() {
        for (name, word) in WORDS {
            let text =
                if matches!(word, Word::Flag(_)) { (*name).into() } else { format!("{name}=7") };
            assert_ne!(Config::from_env_value(&text), Ok(Config::default()), "{text}");
        }
    }

    #[test]
    fn an_unknown_word_is_named_beside_the_known_ones() {
        let error = Config::from_env_value("no-teleport").unwrap_err().to_string();
        assert!(
            error.starts_with("ANYLOOP_URING: `no-teleport` is not known; known are no-accept, "),
            "{error}"
        );
        assert!(error.ends_with("sq=N, cq=N, buffers=N, buffer-size=N"), "{error}");
    }

    #[test]
    fn sizes_are_kept_within_what_the_kernel_takes() {
        let config = Config::from_env_value("buffers=99999,buffer-size=4294967295,sq=0").unwrap();
        assert_eq!((config.buffer_count, config.buffer_size), (Some(1 << 15), Some(1 << 24)));
        assert_eq!(config.sq_entries, 1);
    }
}
