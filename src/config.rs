//! `Config`: everything that the environment may say, read in one place.

use anyloop_api::{Error, LoopConfig, Result};

/// What the environment says about loops; [`Config::from_env`] is the only place that reads it.
///
/// | variable | means |
/// | --- | --- |
/// | `ANYLOOP_BACKEND` | `mio`, `uring`, `polling` or the name of a registered backend; `-NAME` excludes one from automatic choice; commas between |
/// | `ANYLOOP_DEBUG` | `1` switches debug mode on for new loops, `0` off |
/// | `ANYLOOP_BLOCKING_THREADS` | threads of each loop's own pool, at least 1 |
/// | `ANYLOOP_CHILD_THREADS` | `1`: a thread waits for each child process, also where the kernel can tell the loop |
/// | `ANYLOOP_POLL_EVERY_ITERATION` | `1`: never skip a poll of the operating system while work is ready |
/// | `ANYLOOP_RECVMMSG_FALLBACK` | `1`: receive datagrams one by one, also where the kernel could give many at once |
/// | `ANYLOOP_SENDFILE_FALLBACK` | `1`: send files by reading and writing, also where the kernel could send them by itself |
/// | `ANYLOOP_FILES_FALLBACK` | `1`: read files in the loop's pool, also where that would not be needed |
///
/// An empty variable counts as not set. A backend's own switches are variables of that backend.
///
/// ```
/// use anyloop::Config;
/// let config = Config::from_lookup(|name| (name == "ANYLOOP_DEBUG").then(|| "1".into()))?;
/// assert_eq!(config.loops.debug, Some(true));
/// # Ok::<(), anyloop::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The text of `ANYLOOP_BACKEND`; looked at only when nothing else names a backend.
    pub backend: Option<String>,
    /// Settings for every new loop.
    pub loops: LoopConfig,
}

impl Config {
    /// From this process's environment, as it is now.
    ///
    /// # Errors
    /// `InvalidArg` naming the variable and its text.
    pub fn from_env() -> Result<Self> {
        let mut not_text = None;
        let config = Self::from_lookup(|name| match std::env::var_os(name)?.into_string() {
            Ok(text) => Some(text),
            Err(raw) => {
                not_text = Some(Error::invalid_arg(format!("{name}={raw:?} is not text")));
                None
            }
        });
        not_text.map_or(config, Err)
    }

    /// The same with another source of variables.
    ///
    /// # Errors
    /// `InvalidArg` naming the variable and its text.
    pub fn from_lookup(mut lookup: impl FnMut(&str) -> Option<String>) -> Result<Self> {
        let mut get = |name: &'static str| {
            let text = lookup(name)?.trim().to_owned();
            (!text.is_empty()).then_some(Variable { name, text })
        };
        let mut config = Self {
            backend: get("ANYLOOP_BACKEND").map(|variable| variable.text),
            loops: LoopConfig::default(),
        };
        if let Some(variable) = get("ANYLOOP_DEBUG") {
            config.loops.debug = Some(variable.switch()?);
        }
        if let Some(variable) = get("ANYLOOP_BLOCKING_THREADS") {
            config.loops.executor_threads = Some(variable.count()?);
        }
        if let Some(variable) = get("ANYLOOP_CHILD_THREADS") {
            config.loops.child_threads = variable.switch()?;
        }
        if let Some(variable) = get("ANYLOOP_POLL_EVERY_ITERATION") {
            config.loops.poll_every_iteration = variable.switch()?;
        }
        if let Some(variable) = get("ANYLOOP_RECVMMSG_FALLBACK") {
            config.loops.recvmmsg_fallback = variable.switch()?;
        }
        if let Some(variable) = get("ANYLOOP_SENDFILE_FALLBACK") {
            config.loops.sendfile_fallback = variable.switch()?;
        }
        if let Some(variable) = get("ANYLOOP_FILES_FALLBACK") {
            config.loops.files_fallback = variable.switch()?;
        }
        Ok(config)
    }
}

struct Variable {
    name: &'static str,
    text: String,
}

impl Variable {
    fn switch(&self) -> Result<bool> {
        match self.text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(self.wrong("want 1 or 0")),
        }
    }

    fn count(&self) -> Result<usize> {
        match self.text.parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(self.wrong("want a number, at least 1")),
        }
    }

    fn wrong(&self, want: &str) -> Error {
        Error::invalid_arg(format!("{}={:?}: {want}", self.name, self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &'static str, text: &'static str) -> Result<Config> {
        Config::from_lookup(|asked| (asked == name).then(|| text.to_owned()))
    }

    #[test]
    fn nothing_set() -> Result<()> {
        assert_eq!(Config::from_lookup(|_| None)?, Config::default());
        assert_eq!(Config::from_lookup(|_| Some(" ".into()))?, Config::default());
        Ok(())
    }

    #[test]
    fn switches() -> Result<()> {
        assert_eq!(config("ANYLOOP_DEBUG", "1")?.loops.debug, Some(true));
        assert_eq!(config("ANYLOOP_DEBUG", "off")?.loops.debug, Some(false));
        assert!(config("ANYLOOP_CHILD_THREADS", "1")?.loops.child_threads);
        assert!(config("ANYLOOP_POLL_EVERY_ITERATION", "yes")?.loops.poll_every_iteration);
        assert!(config("ANYLOOP_RECVMMSG_FALLBACK", "on")?.loops.recvmmsg_fallback);
        assert!(config("ANYLOOP_SENDFILE_FALLBACK", "1")?.loops.sendfile_fallback);
        assert!(config("ANYLOOP_FILES_FALLBACK", "1")?.loops.files_fallback);
        let error = config("ANYLOOP_DEBUG", "maybe").unwrap_err().to_string();
        assert_eq!(error, r#"ANYLOOP_DEBUG="maybe": want 1 or 0"#);
        Ok(())
    }

    #[test]
    fn counts() -> Result<()> {
        assert_eq!(config("ANYLOOP_BLOCKING_THREADS", "3")?.loops.executor_threads, Some(3));
        for bad in ["0", "-1", "many"] {
            let error = config("ANYLOOP_BLOCKING_THREADS", bad).unwrap_err();
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
        }
        Ok(())
    }
}
