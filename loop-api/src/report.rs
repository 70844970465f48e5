//! Reports: what the exception handler is told (EXC-01).

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write as _};
use std::panic::Location;
use std::rc::Rc;

use crate::any_task::AnyTask;
use crate::error::{Error, Panic};
use crate::handle::Handle;
use crate::loop_ref::LoopRef;
use crate::protocol::AnyProtocol;
use crate::state::LoopState;
use crate::transport::Transport;

/// Receives the reports of a loop.
///
/// ```
/// use std::rc::Rc;
/// use anyloop_api::{EventLoop, LoopRef, Report, Severity};
///
/// fn count_failures(lp: &LoopRef, failures: Rc<std::cell::Cell<u32>>) {
///     lp.set_exception_handler(Some(Rc::new(move |lp: &LoopRef, report: &Report| {
///         if report.severity == Severity::Error {
///             failures.set(failures.get() + 1);
///         }
///         lp.default_exception_handler(report);
///     })));
/// }
/// ```
pub type ExceptionHandler = Rc<dyn Fn(&LoopRef, &Report)>;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Something failed.
    #[default]
    Error,
    /// Something was left open, took too long, or went to nobody.
    Warning,
}

/// Something went wrong where nobody could be told by a return value.
///
/// Handlers must expect that fields are added.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// What happened; always there.
    pub message: Cow<'static, str>,
    /// The error or panic.
    pub exception: Option<Error>,
    /// The callback that failed.
    pub handle: Option<Handle>,
    /// The future concerned, described.
    pub future: Option<String>,
    /// The task concerned.
    pub task: Option<AnyTask>,
    /// The protocol whose method failed.
    pub protocol: Option<AnyProtocol>,
    /// The transport concerned.
    pub transport: Option<Transport>,
    /// The listening socket concerned, described.
    pub socket: Option<String>,
    /// Where the object concerned was created.
    pub source: Option<&'static Location<'static>>,
    /// The report that a failing handler was working on (EXC-04).
    pub original: Option<Rc<Self>>,
}

impl Report {
    /// With a message and nothing else.
    #[must_use]
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// A warning with this message.
    #[must_use]
    pub fn warning(message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Warning, ..Self::new(message) }
    }

    /// Adds the error.
    #[must_use]
    pub fn exception(mut self, error: impl Into<Error>) -> Self {
        self.exception = Some(error.into());
        self
    }

    /// Adds the callback.
    #[must_use]
    pub fn handle(mut self, handle: Handle) -> Self {
        self.source = Some(handle.created());
        self.handle = Some(handle);
        self
    }

    /// Adds the future, described.
    #[must_use]
    pub fn future(mut self, future: String) -> Self {
        self.future = Some(future);
        self
    }

    /// Adds the task.
    #[must_use]
    pub fn task(mut self, task: Option<AnyTask>) -> Self {
        self.task = task;
        self
    }

    /// Adds the protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: AnyProtocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Adds the transport.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Adds the socket, described.
    #[must_use]
    pub fn socket(mut self, socket: String) -> Self {
        self.socket = Some(socket);
        self
    }

    /// Adds where the object was created.
    #[must_use]
    pub fn source(mut self, source: &'static Location<'static>) -> Self {
        self.source = Some(source);
        self
    }
}

/// As an event of the tracing crate, in the context of the report.
#[cfg(feature = "tracing")]
impl Report {
    pub(crate) fn trace(&self, lp: &LoopRef) {
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "anyloop",
                    tracing::Level::$level,
                    loop_id = lp.state().id(),
                    backend = lp.state().backend(),
                    exception = self.exception.as_ref().map(display),
                    future = self.future,
                    handle = self.handle.as_ref().map(debug),
                    protocol = self.protocol.as_ref().map(debug),
                    socket = self.socket,
                    source = self.source.map(display),
                    task = self.task.as_ref().map(debug),
                    transport = self.transport.as_ref().map(debug),
                    "{}",
                    self.message
                )
            };
        }
        match self.severity {
            Severity::Error => event!(ERROR),
            Severity::Warning => event!(WARN),
        }
    }
}

/// The text of the default handler: message, error, then the other fields in alphabetical order
/// (EXC-02).
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(error) = &self.exception {
            write!(f, "\n  exception: {error}")?;
        }
        if let Some(future) = &self.future {
            write!(f, "\n  future: {future}")?;
        }
        if let Some(handle) = &self.handle {
            write!(f, "\n  handle: {handle:?}")?;
        }
        if let Some(original) = &self.original {
            write!(f, "\n  original report: {}", original.to_string().replace('\n', "\n  "))?;
        }
        if let Some(protocol) = &self.protocol {
            write!(f, "\n  protocol: {protocol:?}")?;
        }
        if let Some(socket) = &self.socket {
            write!(f, "\n  socket: {socket}")?;
        }
        if let Some(source) = &self.source {
            write!(f, "\n  source: created at {source}")?;
        }
        if let Some(task) = &self.task {
            write!(f, "\n  task: {task:?}")?;
        }
        if let Some(transport) = &self.transport {
            write!(f, "\n  transport: {transport:?}")?;
        }
        Ok(())
    }
}

impl LoopState {
    /// EXC-04: a failing handler is itself reported, and nothing stops the loop.
    pub(crate) fn report(&self, lp: &LoopRef, report: Report) {
        let context = match (&report.task, &report.handle) {
            (Some(task), _) => Some(task.cell().core.snapshot()),
            (None, Some(handle)) => Some(handle.get_context().snapshot()),
            _ => None,
        };
        let call = || {
            #[cfg(feature = "tracing")]
            let _ = Panic::catch(|| report.trace(lp));
            self.report_here(lp, report);
        };
        match context {
            Some(context) => context.run(call),
            None => call(),
        }
    }

    fn report_here(&self, lp: &LoopRef, report: Report) {
        let Some(handler) = self.exception_handler() else {
            Self::default_report(lp, &report);
            return;
        };
        if let Err(panic) = Panic::catch(|| handler(lp, &report)) {
            let mut failure = Report::new("the exception handler itself panicked");
            failure.exception = Some(panic.into());
            failure.original = Some(Rc::new(report));
            Self::default_report(lp, &failure);
        }
    }

    fn default_report(lp: &LoopRef, report: &Report) {
        if Panic::catch(|| lp.default_exception_handler(report)).is_err() {
            let _ = writeln!(io::stderr(), "anyloop: the default exception handler panicked");
        }
    }
}
