//! What the driver may use, and how much of it.

use anyloop_core::switches::{self, Switch};

/// Settings of the io_uring backend.
///
/// Every feature has a switch that forces its fallback, the way an older kernel would. A switch that
/// is on means "if the kernel has it". The defaults are for production.
///
/// ```
/// use anyloop_uring::Config;
///
/// let config = Config::new().multishot_recv(false).cq_entries(1024);
/// assert_eq!(config, Config::parse("no-multishot-recv,cq=1024").unwrap());
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
    /// The variable that [`Config::from_env`] reads.
    pub const VARIABLE: &str = "ANYLOOP_URING";

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

    /// The defaults, changed by the words in `ANYLOOP_URING`, if it is set.
    ///
    /// # Errors
    /// Names a word that is not known and lists those that are.
    pub fn from_env() -> Result<Self, String> {
        switches::from_env(Self::VARIABLE, Self::parse)
    }

    /// The defaults, changed by comma-separated words: `no-recv,sq=2`.
    ///
    /// Switched off are `no-accept`, `no-recv`, `no-send`, `no-multishot-accept`,
    /// `no-multishot-recv`, `no-multishot-poll`, `no-buffer-ring`, `no-incremental`,
    /// `no-single-issuer`, `no-defer`, `no-ext-arg`, `no-registered-ring` and, by `sqarray`,
    /// [`no_sqarray`](Self::no_sqarray). Switched on is `poll-before-accept`. Sizes are `sq=N`, `cq=N`,
    /// `buffers=N` and `buffer-size=N`.
    ///
    /// # Errors
    /// Names a word that is not known and lists those that are.
    pub fn parse(words: &str) -> Result<Self, String> {
        let mut config = Self::default();
        let (mut sq, mut cq) = (config.sq_entries as usize, config.cq_entries as usize);
        let (mut buffers, mut buffer_size) = (0, 0);
        switches::apply(
            words,
            &mut [
                ("no-accept", Switch::Off(&mut config.accept)),
                ("no-recv", Switch::Off(&mut config.recv)),
                ("no-send", Switch::Off(&mut config.send)),
                ("no-multishot-accept", Switch::Off(&mut config.multishot_accept)),
                ("no-multishot-recv", Switch::Off(&mut config.multishot_recv)),
                ("no-multishot-poll", Switch::Off(&mut config.multishot_poll)),
                ("no-buffer-ring", Switch::Off(&mut config.buffer_ring)),
                ("no-incremental", Switch::Off(&mut config.incremental_buffers)),
                ("no-single-issuer", Switch::Off(&mut config.single_issuer)),
                ("no-defer", Switch::Off(&mut config.defer_taskrun)),
                ("no-ext-arg", Switch::Off(&mut config.ext_arg)),
                ("no-registered-ring", Switch::Off(&mut config.registered_ring_fd)),
                ("sqarray", Switch::Off(&mut config.no_sqarray)),
                ("poll-before-accept", Switch::On(&mut config.poll_before_accept)),
                ("sq", Switch::Count(&mut sq)),
                ("cq", Switch::Count(&mut cq)),
                ("buffers", Switch::Count(&mut buffers)),
                ("buffer-size", Switch::Count(&mut buffer_size)),
            ],
        )?;
        let saturate = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        config = config.sq_entries(saturate(sq)).cq_entries(saturate(cq));
        if buffers > 0 {
            config = config.buffer_count(u16::try_from(buffers).unwrap_or(u16::MAX));
        }
        if buffer_size > 0 {
            config = config.buffer_size(saturate(buffer_size));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_builder_in_text() {
        let config = Config::parse(" no-recv, sq=2, cq=4,buffers=2,buffer-size=16,").unwrap();
        let built =
            Config::new().recv(false).sq_entries(2).cq_entries(4).buffer_count(2).buffer_size(16);
        assert_eq!(config, built);
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let error = Config::parse("no-teleport").unwrap_err();
        assert!(error.contains("\"no-teleport\"; known are: no-accept, no-recv"), "{error}");
        for (word, setter) in [
            ("no-multishot-recv", Config::multishot_recv as fn(Config, bool) -> Config),
            ("sqarray", Config::no_sqarray),
            ("no-defer", Config::defer_taskrun),
        ] {
            assert!(error.contains(word), "{error}");
            assert_eq!(Config::parse(word), Ok(setter(Config::new(), false)));
        }
    }

    #[test]
    fn sizes_are_kept_within_what_the_kernel_takes() {
        let config = Config::parse("buffers=99999,buffer-size=999999999999").unwrap();
        assert_eq!((config.buffer_count, config.buffer_size), (Some(1 << 15), Some(1 << 24)));
    }
}
