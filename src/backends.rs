//! The table of backends: ours, by feature, and those that third parties registered.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use anyloop_api::{BackendDescriptor, Error, Result};

/// Ours that are compiled in, in the order in which automatic choice tries them.
static BUILT_IN: &[&BackendDescriptor] = &[
    #[cfg(feature = "uring")]
    &anyloop_uring::DESCRIPTOR,
    #[cfg(feature = "mio")]
    &anyloop_mio::DESCRIPTOR,
    #[cfg(feature = "polling")]
    &anyloop_polling::DESCRIPTOR,
];

/// Every backend of ours, compiled in or not.
const OURS: [&str; 3] = ["uring", "mio", "polling"];

static REGISTERED: RwLock<Vec<&'static BackendDescriptor>> = RwLock::new(Vec::new());

/// Makes a backend known by its name, for `ANYLOOP_BACKEND` and
/// [`new_event_loop_with`](crate::new_event_loop_with). Automatic choice tries it after ours.
///
/// Registering the same descriptor again does nothing. There is no way back.
///
/// # Errors
/// `InvalidArg` if the name is taken by another backend, or cannot stand in `ANYLOOP_BACKEND`.
///
/// # Examples
/// ```
/// use anyloop::{BackendDescriptor, Error};
///
/// static NOWHERE: BackendDescriptor = BackendDescriptor::new(
///     "nowhere",
///     "works on no machine",
///     || Err("no such machine".into()),
///     |_| Err(Error::usage("nowhere: cannot be opened")),
/// );
///
/// anyloop::register(&NOWHERE)?;
/// let error = anyloop::new_event_loop_with("nowhere").unwrap_err().to_string();
/// assert!(error.contains("nowhere: no such machine"), "{error}");
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn register(descriptor: &'static BackendDescriptor) -> Result<()> {
    let name = descriptor.name;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) {
        return Err(Error::invalid_arg(format!(
            "register: {name:?} is no name for a backend: want lower-case letters, digits, - and _"
        )));
    }
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    if registered.iter().any(|other| std::ptr::eq(*other, descriptor)) {
        return Ok(());
    }
    if OURS.contains(&name) || registered.iter().any(|other| other.name == name) {
        return Err(Error::invalid_arg(format!("register: there is a backend {name:?} already")));
    }
    registered.push(descriptor);
    Ok(())
}

/// Every backend of this program, in the order in which automatic choice tries them.
///
/// ```
/// for backend in anyloop::backends() {
///     println!("{}: {:?}", backend.name, (backend.probe)());
/// }
/// ```
#[must_use]
pub fn backends() -> Vec<&'static BackendDescriptor> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    BUILT_IN.iter().chain(registered.iter()).copied().collect()
}

/// The backend of this name.
pub(crate) fn find(name: &str) -> Option<&'static BackendDescriptor> {
    backends().into_iter().find(|backend| backend.name == name)
}

/// Names of ours that this program was built without.
pub(crate) fn left_out() -> impl Iterator<Item = &'static str> {
    OURS.into_iter().filter(|name| BUILT_IN.iter().all(|backend| backend.name != *name))
}

/// A backend given by value: by name, or by its descriptor.
#[derive(Clone)]
pub enum Backend {
    /// By its name, ours or registered.
    Named(String),
    /// By its descriptor, registered or not.
    Descriptor(&'static BackendDescriptor),
}

impl From<&str> for Backend {
    fn from(name: &str) -> Self {
        Self::Named(name.into())
    }
}

impl From<&String> for Backend {
    fn from(name: &String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<String> for Backend {
    fn from(name: String) -> Self {
        Self::Named(name)
    }
}

impl From<&'static BackendDescriptor> for Backend {
    fn from(descriptor: &'static BackendDescriptor) -> Self {
        Self::Descriptor(descriptor)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "Backend({name})"),
            Self::Descriptor(descriptor) => write!(f, "Backend({})", descriptor.name),
        }
    }
}
