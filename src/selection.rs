//! Choosing a backend: explicit value, then policy, then `ANYLOOP_BACKEND`, then the fastest that works.

use std::fmt::{self, Write as _};

use anyloop_api::{BackendDescriptor, Error, LoopConfig, LoopRef, Result, installed_policy};

use crate::backends::{self, Backend};
use crate::config::Config;

/// Which backend was chosen, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Selection {
    /// The backend.
    pub backend: &'static BackendDescriptor,
    /// Who chose it.
    pub reason: Reason,
    /// What its probe found: the features it will use here.
    pub found: String,
    /// Backends that automatic choice passed over, with the reason.
    pub passed_over: Vec<(&'static str, String)>,
}

/// Who chose a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The program, by value.
    Explicit,
    /// The policy that was set.
    Policy(String),
    /// `ANYLOOP_BACKEND`, with this text.
    Environment(String),
    /// Nobody: it is the first one that works here.
    Automatic,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Explicit => f.write_str("asked for by the program"),
            Self::Policy(policy) => write!(f, "chosen by the event loop policy {policy}"),
            Self::Environment(text) => write!(f, "asked for by ANYLOOP_BACKEND={text}"),
            Self::Automatic => f.write_str("the first one that works here"),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.backend.name, self.reason)?;
        for (name, why) in &self.passed_over {
            write!(f, "; not {name}: {why}")?;
        }
        Ok(())
    }
}

impl Selection {
    /// Makes a loop of the chosen backend.
    ///
    /// # Errors
    /// What the backend says: `Os`, `Unavailable`.
    pub fn open(&self, config: &LoopConfig) -> Result<LoopRef> {
        let opened = (self.backend.open)(config);
        #[cfg(feature = "tracing")]
        match &opened {
            Ok(_) => tracing::debug!(target: "anyloop", found = self.found, "backend {self}"),
            Err(error) => tracing::warn!(target: "anyloop", %error, "backend {self}: not opened"),
        }
        opened
    }
}

/// What [`new_event_loop`](crate::new_event_loop) would choose now. Where nobody asked for a certain backend
/// this is the first one that can be opened: a loop is opened to see, and closed again.
///
/// # Errors
/// As [`new_event_loop`](crate::new_event_loop), and `Usage` if the policy that was set does not say
/// which backend it uses.
///
/// # Examples
/// ```
/// let selection = anyloop::selection()?;
/// println!("{selection}");
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn selection() -> Result<Selection> {
    let Some(policy) = installed_policy() else { return from_config(&Config::from_env()?) };
    let Some(backend) = policy.backend()? else {
        return Err(Error::usage(format!(
            "selection: the event loop policy {policy:?} does not say which backend it uses"
        )));
    };
    probed(backend, Reason::Policy(format!("{policy:?}")))
}

/// Chooses the given backend, if it works here.
///
/// # Errors
/// `Unavailable`, listing every backend that is known and why each unavailable one is.
///
/// # Examples
/// ```
/// let chosen = anyloop::select("mio")?;
/// let lp = chosen.open(&anyloop::LoopConfig::default().debug(true))?;
/// assert!(lp.get_debug());
/// lp.close()?;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn select(backend: impl Into<Backend>) -> Result<Selection> {
    match backend.into() {
        Backend::Descriptor(descriptor) => probed(descriptor, Reason::Explicit),
        Backend::Named(name) => named(name.trim(), Reason::Explicit),
    }
}

/// What the default policy chooses.
pub(crate) fn from_config(config: &Config) -> Result<Selection> {
    match Request::parse(config.backend.as_deref())? {
        Request::Only(name, text) => named(&name, Reason::Environment(text)),
        Request::AnyBut(exclude) => {
            let (chosen, lp) = automatic(&exclude, &config.loops)?;
            lp.close()?;
            Ok(chosen)
        }
    }
}

/// Opens what the default policy chooses.
pub(crate) fn open(config: &Config) -> Result<LoopRef> {
    match Request::parse(config.backend.as_deref())? {
        Request::Only(name, text) => named(&name, Reason::Environment(text))?.open(&config.loops),
        Request::AnyBut(exclude) => Ok(automatic(&exclude, &config.loops)?.1),
    }
}

/// The first backend that works. One whose probe succeeds but which cannot be opened (a limit on locked
/// memory, say) is passed over, too; one that was told nonsense (`ANYLOOP_URING=no-recvv`) is not: another
/// one in its place would hide the mistake.
fn automatic(exclude: &[String], config: &LoopConfig) -> Result<(Selection, LoopRef)> {
    let mut passed_over = Vec::new();
    let mut failure = None;
    for backend in backends::backends() {
        if exclude.iter().any(|name| name == backend.name) {
            passed_over.push((backend.name, "excluded, not probed".to_owned()));
            continue;
        }
        let found = match (backend.probe)() {
            Ok(found) => found,
            Err(why) => {
                passed_over.push((backend.name, why));
                continue;
            }
        };
        let mut chosen = Selection { backend, reason: Reason::Automatic, found, passed_over };
        match chosen.open(config) {
            Ok(lp) => return Ok((chosen, lp)),
            Err(error @ (Error::Os(_) | Error::Unavailable(_))) => {
                chosen.passed_over.push((backend.name, error.to_string()));
                passed_over = chosen.passed_over;
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let text = "no event loop backend can be used here:";
    let none = || Error::Unavailable(listed(text.into(), &passed_over).into());
    Err(failure.unwrap_or_else(none))
}

fn named(name: &str, reason: Reason) -> Result<Selection> {
    match backends::find(name) {
        Some(backend) => probed(backend, reason),
        None => Err(unknown(name, &reason)),
    }
}

fn probed(backend: &'static BackendDescriptor, reason: Reason) -> Result<Selection> {
    match (backend.probe)() {
        Ok(found) => Ok(Selection { backend, reason, found, passed_over: Vec::new() }),
        Err(why) => {
            let name = backend.name;
            let text = format!("the event loop backend {name:?} ({reason}) cannot be used here:");
            let mut lines = vec![(name, why)];
            lines.extend(survey().into_iter().filter(|(other, _)| *other != name));
            Err(Error::Unavailable(listed(text, &lines).into()))
        }
    }
}

fn unknown(name: &str, reason: &Reason) -> Error {
    let text = format!("there is no event loop backend {name:?} ({reason}); there are:");
    Error::Unavailable(listed(text, &survey()).into())
}

/// Every backend with its state in words.
fn survey() -> Vec<(&'static str, String)> {
    let state = |backend: &BackendDescriptor| match (backend.probe)() {
        Ok(found) if found.is_empty() => "available".into(),
        Ok(found) => format!("available ({found})"),
        Err(why) => why,
    };
    backends::backends().into_iter().map(|backend| (backend.name, state(backend))).collect()
}

fn listed(mut text: String, lines: &[(&'static str, String)]) -> String {
    for (name, state) in lines {
        let _ = write!(text, "\n  {name}: {state}");
    }
    for name in backends::left_out() {
        let _ = write!(text, "\n  {name}: not built in (feature `{name}` of anyloop)");
    }
    text
}

/// What `ANYLOOP_BACKEND` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// This one and no other; with the whole text.
    Only(String, String),
    /// The first that works, these excepted.
    AnyBut(Vec<String>),
}

impl Request {
    fn parse(text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or_default();
        let wrong = |why: String| Error::invalid_arg(format!("ANYLOOP_BACKEND={text}: {why}"));
        let mut only: Option<&str> = None;
        let mut exclude = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if let Some(name) = item.strip_prefix('-') {
                if backends::find(name).is_none() && backends::left_out().all(|out| out != name) {
                    return Err(unknown(name, &Reason::Environment(text.into())));
                }
                exclude.push(name.to_owned());
            } else if let Some(other) = only.replace(item)
                && other != item
            {
                return Err(wrong(format!("asks for {other} and for {item}; want one")));
            }
        }
        match only {
            None => Ok(Self::AnyBut(exclude)),
            Some(name) if exclude.iter().any(|out| out == name) => {
                Err(wrong(format!("asks for {name} and excludes it")))
            }
            Some(name) => Ok(Self::Only(name.into(), text.into())),
        }
    }
}

#[cfg(all(test, feature = "mio", feature = "uring", feature = "polling"))]
mod tests {
    use super::*;

    #[test]
    fn requests() -> Result<()> {
        let parse = |text| Request::parse(Some(text));
        assert_eq!(Request::parse(None)?, Request::AnyBut(vec![]));
        assert_eq!(parse("mio")?, Request::Only("mio".into(), "mio".into()));
        assert_eq!(parse(" mio , mio")?, Request::Only("mio".into(), " mio , mio".into()));
        assert_eq!(parse("-uring, -mio,")?, Request::AnyBut(vec!["uring".into(), "mio".into()]));
        assert_eq!(
            parse("polling,-uring")?,
            Request::Only("polling".into(), "polling,-uring".into())
        );
        for contradiction in ["mio,uring", "mio,-mio"] {
            let error = parse(contradiction).unwrap_err();
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
        }
        let error = parse("-epoll").unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        Ok(())
    }
}
