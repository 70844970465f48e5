//! `Process`: a child process with streams.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use anyloop_api::{Error, Result, SubprocessTransport};

use super::protocol::ProcessProtocol;
use crate::streams::{StreamReader, StreamWriter};

/// How much is written or read at a time by [`Process::communicate`].
const PIECE: usize = 64 * 1024;

/// A child process; a cheap handle, clones name the same child.
///
/// The loop owns the child: dropping every handle leaves it running, and it is reaped when it ends. A
/// piped standard input is closed with the last handle, which ends a child that reads to the end. What it
/// writes is thrown away when nobody has a handle of it, or of the [`StreamReader`], any more; once it has
/// ended, too, those pipes are closed.
/// When the loop is closed, a child that still runs is killed.
///
/// Signals reach the child, and not what it has started itself. Give it a group of its own, and signal that: its
/// number is [`Process::pid`]. There is no method for it, as there is none in asyncio: when the child has ended,
/// nobody can tell whether the number still is that of the group.
///
/// ```
/// use anyloop::{Command, create_subprocess_shell};
/// use rustix::process::{Pid, Signal, kill_process_group};
/// # fn main() -> anyloop::Result<()> {
/// anyloop::run(async {
///     let pipeline = Command::shell("sleep 1000 | sleep 1000").process_group(0);
///     let child = create_subprocess_shell(pipeline).await?;
///     let group = Pid::from_raw(child.pid() as i32).expect("a child has a number");
///     kill_process_group(group, Signal::TERM).map_err(std::io::Error::from)?;
///     assert_eq!(child.wait().await?, -15);
///     Ok(())
/// })?
/// # }
/// ```
///
/// A child that writes more than a pipe holds waits for somebody to read: use
/// [`Process::communicate`], or read before [`Process::wait`].
#[derive(Clone)]
pub struct Process(Rc<Inner>);

struct Inner {
    transport: SubprocessTransport,
    protocol: Rc<ProcessProtocol>,
    stdin: Option<StreamWriter>,
    stdout: Option<StreamReader>,
    stderr: Option<StreamReader>,
    communicating: Cell<bool>,
    collected: RefCell<[Vec<u8>; 2]>,
}

impl Process {
    pub(super) fn new(transport: SubprocessTransport, protocol: Rc<ProcessProtocol>) -> Self {
        let stdin = transport.get_pipe_transport(0).zip(protocol.pipe(0));
        let reader = |fd| protocol.pipe(fd).map(|stream| stream.reader());
        let process = Self(Rc::new(Inner {
            stdin: stdin.map(|(transport, stream)| StreamWriter::new(transport, stream)),
            stdout: reader(1),
            stderr: reader(2),
            transport,
            protocol,
            communicating: Cell::new(false),
            collected: RefCell::default(),
        }));
        process.0.protocol.hand_out();
        process
    }

    /// To the child's standard input, if that is a pipe.
    #[must_use]
    pub fn stdin(&self) -> Option<&StreamWriter> {
        self.0.stdin.as_ref()
    }

    /// From the child's standard output, if that is a pipe.
    #[must_use]
    pub fn stdout(&self) -> Option<&StreamReader> {
        self.0.stdout.as_ref()
    }

    /// From the child's standard error, if that is a pipe of its own.
    #[must_use]
    pub fn stderr(&self) -> Option<&StreamReader> {
        self.0.stderr.as_ref()
    }

    /// The child's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.transport.get_pid()
    }

    /// `None` while it runs; then its exit status, or minus the number of the signal that killed it. It stays `None`
    /// if the loop was closed before.
    #[must_use]
    pub fn returncode(&self) -> Option<i32> {
        self.0.transport.get_returncode()
    }

    /// Waits until the child has ended, and returns [`Process::returncode`]. Does not wait for the ends
    /// of its pipes, which its own children may hold. Any number of tasks may wait.
    ///
    /// # Errors
    /// `Closed` if the child's loop was closed before; `Usage` in a task of another loop.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn wait(&self) -> Result<i32> {
        if self.returncode().is_none() {
            self.0.protocol.exit().await?;
        }
        self.returncode().ok_or_else(|| Error::usage("wait: the child still runs"))
    }

    /// Writes `input` to the child's standard input and closes it, reads standard output and error to
    /// their ends, waits for the child, and returns what was read; `None` for a stream that is not a
    /// pipe. A child that does not want its input is no error.
    ///
    /// # Errors
    /// `InvalidArg` for input to a standard input that is no pipe, or for a second input; what
    /// reading fails with; as [`Process::wait`].
    ///
    /// # Cancel safety
    /// What was read is kept for the next call; input that was not written yet is lost, so the next
    /// call has none.
    pub async fn communicate(
        &self,
        input: impl AsRef<[u8]>,
    ) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        let input = input.as_ref();
        if !input.is_empty() {
            if self.0.communicating.get() {
                return Err(Error::invalid_arg("communicate: the child has had its input already"));
            }
            if self.0.stdin.is_none() {
                return Err(Error::invalid_arg("communicate: standard input is not a pipe"));
            }
        }
        self.0.communicating.set(true);
        all([part(self.feed(input)), part(self.collect(0)), part(self.collect(1))]).await?;
        self.wait().await?;
        let [out, err] = self.0.collected.take();
        Ok((self.0.stdout.as_ref().map(|_| out), self.0.stderr.as_ref().map(|_| err)))
    }

    async fn feed(&self, input: &[u8]) -> Result<()> {
        let Some(stdin) = &self.0.stdin else { return Ok(()) };
        for piece in input.chunks(PIECE) {
            stdin.write(piece);
            match stdin.drain().await {
                Ok(()) => {}
                // The child does not want it (SUB-17).
                Err(error)
                    if matches!(
                        error.io_kind(),
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        stdin.close();
        Ok(())
    }

    async fn collect(&self, which: usize) -> Result<()> {
        let reader = if which == 0 { &self.0.stdout } else { &self.0.stderr };
        let Some(reader) = reader else { return Ok(()) };
        loop {
            let piece = reader.read(PIECE).await?;
            if piece.is_empty() {
                return Ok(());
            }
            // At once, so that a cancellation loses nothing (SUB-18).
            self.0.collected.borrow_mut()[which].extend(piece);
        }
    }

    /// Sends a signal; 0 sends none, and only asks whether one may be sent. A child that has just ended is no error.
    ///
    /// # Errors
    /// `ProcessGone` once the child and its pipes have ended; `InvalidArg` for a number that is no
    /// signal; `Os`.
    pub fn send_signal(&self, signal: i32) -> Result<()> {
        self.0.transport.send_signal(signal)
    }

    /// Asks it to end (`SIGTERM`).
    ///
    /// # Errors
    /// As [`Process::send_signal`].
    pub fn terminate(&self) -> Result<()> {
        self.0.transport.terminate()
    }

    /// Ends it (`SIGKILL`).
    ///
    /// # Errors
    /// As [`Process::send_signal`].
    pub fn kill(&self) -> Result<()> {
        self.0.transport.kill()
    }

    /// The transport underneath.
    #[must_use]
    pub fn transport(&self) -> &SubprocessTransport {
        &self.0.transport
    }
}

type Part<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

fn part<'a>(future: impl Future<Output = Result<()>> + 'a) -> Part<'a> {
    Box::pin(future)
}

/// Waits for all of them, or for the first that fails.
async fn all<const N: usize>(parts: [Part<'_>; N]) -> Result<()> {
    let mut parts = parts.map(Some);
    poll_fn(move |cx| {
        for part in &mut parts {
            if let Some(future) = part
                && let Poll::Ready(outcome) = future.as_mut().poll(cx)
            {
                *part = None;
                outcome?;
            }
        }
        if parts.iter().all(Option::is_none) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Process {:?}>", self.0.transport)
    }
}
