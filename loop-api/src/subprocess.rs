//! Child processes: what an application does with one, and the loop's side of it.
//!
//! ```text
//! connection_made ─▶ (pipe_data_received* ─▶ pipe_connection_lost) per pipe ─┐
//!                └─▶ process_exited ──────────────────────────────────────────┴▶ connection_lost
//! ```

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::transport::Transport;

/// Makes the protocol of a child process.
pub type SubprocessFactory = Box<dyn FnOnce() -> Rc<dyn SubprocessProtocol>>;

/// Is told what a child process does. Methods take `&self`, as those of
/// [`Protocol`](crate::Protocol). Pipes have the numbers that they have in the child: 0, 1, 2.
///
/// ```
/// use std::cell::RefCell;
/// use anyloop_api::{Command, EventLoopExt, LoopRef, Result, Stdio, SubprocessProtocol};
///
/// /// Keeps what the child says.
/// #[derive(Default)]
/// struct Collect(RefCell<Vec<u8>>);
///
/// impl SubprocessProtocol for Collect {
///     fn pipe_data_received(&self, fd: i32, data: &[u8]) {
///         if fd == 1 {
///             self.0.borrow_mut().extend_from_slice(data);
///         }
///     }
/// }
///
/// async fn date(lp: &LoopRef) -> Result<()> {
///     let command = Command::new("date").stdout(Stdio::Pipe);
///     let (child, said) = lp.subprocess_exec(Collect::default, command).await?;
///     println!("process {}, so far {} bytes", child.get_pid(), said.0.borrow().len());
///     Ok(())
/// }
/// ```
pub trait SubprocessProtocol: Any {
    /// The child runs; called once, first.
    fn connection_made(&self, transport: SubprocessTransport) {
        let _ = transport;
    }

    /// The child wrote to its pipe `fd`: never empty.
    fn pipe_data_received(&self, fd: i32, data: &[u8]) {
        let _ = (fd, data);
    }

    /// The pipe `fd` ended: nobody has the other end any more, or it failed.
    fn pipe_connection_lost(&self, fd: i32, error: Option<Error>) {
        let _ = (fd, error);
    }

    /// The child ended; ask [`SubprocessTransport::get_returncode`] how. Its pipes may still bring data.
    fn process_exited(&self) {}

    /// The child ended and so did its pipes. Called once, last.
    fn connection_lost(&self, error: Option<Error>) {
        let _ = error;
    }

    /// The write buffer of the child's standard input rose above the high-water mark.
    fn pause_writing(&self) {}

    /// It fell to the low-water mark.
    fn resume_writing(&self) {}
}

/// What an implementation provides; users hold a [`SubprocessTransport`].
pub trait RawSubprocess: fmt::Debug {
    /// See [`SubprocessTransport::get_pid`].
    fn get_pid(&self) -> u32;
    /// See [`SubprocessTransport::get_returncode`].
    fn get_returncode(&self) -> Option<i32>;
    /// See [`SubprocessTransport::get_pipe_transport`].
    fn get_pipe_transport(&self, fd: i32) -> Option<Transport>;
    /// See [`SubprocessTransport::send_signal`].
    ///
    /// # Errors
    /// `ProcessGone`; `InvalidArg`; `Os`.
    fn send_signal(&self, signal: i32) -> Result<()>;
    /// See [`SubprocessTransport::close`].
    fn close(&self);
    /// See [`SubprocessTransport::is_closing`].
    fn is_closing(&self) -> bool;
    /// For downcasts by the loop that made it.
    fn as_any(&self) -> &dyn Any;
}

/// A child process as its user sees it; a cheap handle, clones name the same child. The loop owns the
/// child: dropping every handle leaves it running, and it is reaped when it ends.
#[derive(Clone)]
pub struct SubprocessTransport(Rc<dyn RawSubprocess>);

impl SubprocessTransport {
    const SIGKILL: i32 = 9;
    const SIGTERM: i32 = 15;

    /// Wraps an implementation; called by loops.
    #[must_use]
    pub fn new(raw: Rc<dyn RawSubprocess>) -> Self {
        Self(raw)
    }

    /// The implementation.
    #[must_use]
    pub fn raw(&self) -> &Rc<dyn RawSubprocess> {
        &self.0
    }

    /// The child's number; its own until [`SubprocessProtocol::process_exited`].
    #[must_use]
    pub fn get_pid(&self) -> u32 {
        self.0.get_pid()
    }

    /// `None` while it runs; then its exit status, or minus the number of the signal that killed it.
    /// 255 if somebody else took the status away.
    #[must_use]
    pub fn get_returncode(&self) -> Option<i32> {
        self.0.get_returncode()
    }

    /// The pipe to the child's descriptor 0, 1 or 2, if it has one.
    #[must_use]
    pub fn get_pipe_transport(&self, fd: i32) -> Option<Transport> {
        self.0.get_pipe_transport(fd)
    }

    /// Sends a signal; 0 sends none, and only asks whether one may be sent. A child that has just ended is no error:
    /// the signal comes too late, and never reaches another process.
    ///
    /// # Errors
    /// `ProcessGone` after `connection_lost`; `InvalidArg` for a number that is no signal; `Os` if the
    /// child belongs to somebody else by now.
    pub fn send_signal(&self, signal: i32) -> Result<()> {
        self.0.send_signal(signal)
    }

    /// Asks it to end (`SIGTERM`).
    ///
    /// # Errors
    /// As [`SubprocessTransport::send_signal`].
    pub fn terminate(&self) -> Result<()> {
        self.send_signal(Self::SIGTERM)
    }

    /// Ends it (`SIGKILL`).
    ///
    /// # Errors
    /// As [`SubprocessTransport::send_signal`].
    pub fn kill(&self) -> Result<()> {
        self.send_signal(Self::SIGKILL)
    }

    /// Closes the pipes, and kills the child if it still runs. Idempotent.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether `close` was called or everything is over.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.is_closing()
    }
}

impl fmt::Debug for SubprocessTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
