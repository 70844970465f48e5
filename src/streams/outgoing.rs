//! What all handles of one [`StreamWriter`](super::StreamWriter) share, and who waits until it may go on.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::io;
use std::task::{Context, Poll};

use anyloop_api::{Error, Report, Result, Transport, WeakLoop};

use super::closing::Closing;
use super::copy_of;
use super::waiters::Waiters;

/// The state of the writing side.
#[derive(Default)]
pub(super) struct Outgoing {
    /// While there is a handle; another one after `start_tls`.
    transport: Cell<Option<Transport>>,
    rare: OnceCell<Box<Rare>>,
    /// How the connection ended, if not well.
    error: Cell<Option<Box<Error>>>,
    resumed: Waiters,
    pub(super) closed: Waiters,
    handles: Cell<u32>,
    pub(super) warns: Cell<Warns>,
    paused: Cell<bool>,
    stage: Cell<Stage>,
    /// There is no half-close.
    pub(super) over_tls: Cell<bool>,
}

/// What few connections ever have.
#[derive(Default)]
struct Rare {
    /// The first call that was not legal, for `drain` to tell.
    misuse: Cell<Option<Error>>,
    /// `(low, high)`, which the transport has again when everything is sent: somebody waits for that.
    marks: Cell<Option<(usize, usize)>>,
    /// Somebody waits, or has waited, on another executor.
    closing: OnceCell<Closing>,
}

/// Whether dropping it unclosed is worth a warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Warns {
    #[default]
    Always,
    InDebugMode,
    Never,
}

/// How far the writing side is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// We said that nothing more would come.
    Finished,
    /// The connection is lost.
    Lost,
}

impl Outgoing {
    // --- handles ---

    /// A new writer: its first handle.
    pub(super) fn open(&self, transport: Transport, warns: Warns) {
        self.replace_transport(transport);
        self.warns.set(warns);
        self.add_handle();
    }

    pub(super) fn add_handle(&self) {
        self.handles.set(self.handles.get() + 1);
    }

    /// The handle that polls as `id` is gone; with the last one the connection is closed.
    pub(super) fn drop_handle(&self, id: u64, home: Option<&WeakLoop>) {
        self.resumed.forget(id);
        self.closed.forget(id);
        self.handles.set(self.handles.get() - 1);
        if self.handles.get() > 0 {
            return;
        }
        let Some(transport) = self.transport.take() else { return };
        if transport.is_closing() {
            return;
        }
        transport.close();
        let Some(lp) = home.and_then(WeakLoop::upgrade) else { return };
        let warns = self.warns.get();
        if warns == Warns::Always || (warns == Warns::InDebugMode && lp.get_debug()) {
            lp.call_exception_handler(
                Report::warning("a stream was dropped without being closed").transport(transport),
            );
        }
    }

    /// `None` after the last handle.
    #[inline]
    pub(super) fn transport(&self) -> Option<Transport> {
        copy_of(&self.transport)
    }

    pub(super) fn replace_transport(&self, transport: Transport) {
        let old = self.transport.replace(Some(transport));
        drop(old);
    }

    /// Keeps the first misuse.
    #[inline]
    pub(super) fn remember(&self, written: Result<()>) {
        if let Err(error) = written {
            self.keep_first(error);
        }
    }

    #[cold]
    fn keep_first(&self, error: Error) {
        let misuse = &self.rare().misuse;
        misuse.set(misuse.take().or(Some(error)));
    }

    pub(super) fn take_misuse(&self) -> Option<Error> {
        self.rare.get()?.misuse.take()
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// We have half-closed.
    pub(super) fn finish(&self) {
        if self.stage.get() == Stage::Open {
            self.stage.set(Stage::Finished);
        }
    }

    pub(super) fn finished(&self) -> bool {
        self.stage.get() == Stage::Finished
    }

    // --- from the protocol ---

    pub(super) fn pause(&self) {
        self.paused.set(true);
    }

    pub(super) fn resume(&self) {
        if let Some((low, high)) = self.rare.get().and_then(|rare| rare.marks.take())
            && let Some(transport) = self.transport()
            && transport.get_write_buffer_limits() == (0, 0)
        {
            let _ = transport.set_write_buffer_limits(Some(high), Some(low));
        }
        self.paused.set(false);
        self.resumed.release();
    }

    pub(super) fn lose(&self, error: Option<Error>) {
        let old = self.error.replace(error.map(Box::new));
        drop(old);
        self.stage.set(Stage::Lost);
        self.paused.set(false);
        self.wake_all();
    }

    // --- waiting ---

    /// Whether a `drain` has nothing to wait for, and nothing to tell.
    #[inline]
    pub(super) fn flows(&self) -> bool {
        !self.paused.get() && self.stage.get() != Stage::Lost
    }

    /// Waits while the transport asks not to write.
    pub(super) async fn drained(&self) -> Result<()> {
        self.check_connected()?;
        if self.paused.get() {
            self.resumed.wait().await;
            self.check_connected()?;
        }
        Ok(())
    }

    /// The same for the poll functions of a handle.
    pub(super) fn poll_drained(&self, id: u64, cx: &Context<'_>) -> Poll<Result<()>> {
        self.check_connected()?;
        if self.paused.get() {
            self.resumed.register(id, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Pauses writing until everything is sent.
    pub(super) fn pause_until_sent(&self, transport: &Transport) -> Result<()> {
        let marks = &self.rare().marks;
        marks.set(marks.get().or_else(|| Some(transport.get_write_buffer_limits())));
        transport.set_write_buffer_limits(Some(0), Some(0))
    }

    /// Has everybody who waits look again.
    pub(super) fn wake_all(&self) {
        self.closed.release();
        self.resumed.release();
    }

    /// Keeps one, which is made if there is none.
    pub(super) fn closing(&self, make: impl FnOnce() -> Option<Closing>) {
        let closing = &self.rare().closing;
        if closing.get().is_none()
            && let Some(made) = make()
        {
            let _ = closing.set(made);
        }
    }

    /// How the connection ended, if it did.
    pub(super) fn ending(&self) -> Option<Result<()>> {
        (self.stage.get() == Stage::Lost)
            .then(|| copy_of(&self.error).map_or(Ok(()), |error| Err(*error)))
    }

    fn check_connected(&self) -> Result<()> {
        match self.ending() {
            None => Ok(()),
            Some(Ok(())) => {
                let reset = io::ErrorKind::ConnectionReset.into();
                Err(Error::os("drain: the connection is lost", reset))
            }
            Some(error) => error,
        }
    }
}

/// ` writing paused`, ` closed`, ` lost: …`
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.paused.get() {
            f.write_str(" writing paused")?;
        }
        match self.ending() {
            None => Ok(()),
            Some(Ok(())) => f.write_str(" closed"),
            Some(Err(error)) => write!(f, " lost: {error}"),
        }
    }
}
