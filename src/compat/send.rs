//! [`SendIo`]: a stream for libraries that want it to be `Send`.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop_api::{Error, LoopRef, RemoteHandle, Result};
use futures_io::{AsyncRead, AsyncWrite};

/// A stream that is `Send` and `Sync`, whatever `T` is: it stays with the loop, and this names it.
///
/// Libraries that were written for runtimes whose tasks migrate ask for that, also where nothing ever leaves the
/// thread: hyper for `with_upgrades` (WebSockets), hyper-util's client, redis, hickory. It is read and written
/// while its loop runs, on the loop's thread; elsewhere that is an error. It may be carried about and
/// dropped anywhere: the stream is dropped on the loop's thread, at the latest when the loop closes.
///
/// Each call looks the stream up, which costs some nanoseconds; where nobody asks for `Send`, do without.
///
/// # Cancel safety
/// That of `T`.
///
/// # Examples
/// ```
/// use anyloop::TcpStream;
/// use anyloop::compat::SendIo;
/// use futures_io::{AsyncRead, AsyncWrite};
///
/// fn for_a_library(_: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static) {}
///
/// # async fn example() -> anyloop::Result<()> {
/// for_a_library(SendIo::new(TcpStream::connect("127.0.0.1:6379").await?)?);
/// # Ok(())
/// # }
/// ```
pub struct SendIo<T> {
    loop_id: u64,
    remote: RemoteHandle,
    /// The stream is parked in the loop under this number, as a `RefCell<T>`. `None` once it was taken back.
    key: Option<usize>,
    content: PhantomData<fn(T) -> T>,
}

impl<T: 'static> SendIo<T> {
    /// Leaves `inner` with the running loop.
    ///
    /// # Errors
    /// `Usage` if no loop is running on this thread.
    pub fn new(inner: T) -> Result<Self> {
        let lp = LoopRef::current()?;
        let key = lp.state().park(Rc::new(RefCell::new(inner)));
        let (loop_id, remote) = (lp.state().id(), lp.remote());
        Ok(Self { loop_id, remote, key: Some(key), content: PhantomData })
    }

    /// Takes the stream back.
    ///
    /// # Errors
    /// `Usage` if its loop is not the one that runs on this thread; the stream is dropped then.
    pub fn into_inner(mut self) -> Result<T> {
        let lp = here(self.loop_id).ok_or_else(elsewhere)?;
        let parked = self.key.take().and_then(|key| lp.state().unpark(key));
        let cell = parked.and_then(|parked| parked.downcast::<RefCell<T>>().ok());
        // Only a call of the stream's own has another reference, for as long as it lasts.
        let cell = cell.and_then(|cell| Rc::try_unwrap(cell).ok());
        cell.map(RefCell::into_inner).ok_or_else(elsewhere)
    }

    fn poll<R>(&self, poll: impl FnOnce(Pin<&mut T>) -> Poll<io::Result<R>>) -> Poll<io::Result<R>>
    where
        T: Unpin,
    {
        let lp = here(self.loop_id);
        let parked = lp.and_then(|lp| lp.state().parked(self.key?));
        let cell = parked.and_then(|parked| parked.downcast::<RefCell<T>>().ok());
        let Some(cell) = cell else { return Poll::Ready(Err(elsewhere().into())) };
        let Ok(mut inner) = cell.try_borrow_mut() else {
            return Poll::Ready(Err(Error::usage("SendIo: used from inside of itself").into()));
        };
        poll(Pin::new(&mut inner))
    }
}

/// The loop, if it is running on this thread.
fn here(loop_id: u64) -> Option<LoopRef> {
    LoopRef::current().ok().filter(|lp| lp.state().id() == loop_id)
}

#[cold]
fn elsewhere() -> Error {
    Error::usage("SendIo: used elsewhere than in its loop, while that runs")
}

impl<T> Drop for SendIo<T> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        if let Some(lp) = here(self.loop_id) {
            let parked = lp.state().unpark(key);
            drop(parked);
            return;
        }
        // Refused by a closed loop, which has dropped the stream.
        let _ = self.remote.call_soon_threadsafe(move || {
            let parked = LoopRef::current().ok().and_then(|lp| lp.state().unpark(key));
            drop(parked);
        });
    }
}

impl<T> fmt::Debug for SendIo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendIo").field(&self.remote).finish()
    }
}

impl<T: AsyncRead + Unpin + 'static> AsyncRead for SendIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|inner| inner.poll_read(cx, buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|inner| inner.poll_read_vectored(cx, bufs))
    }
}

impl<T: AsyncWrite + Unpin + 'static> AsyncWrite for SendIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|inner| inner.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|inner| inner.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|inner| inner.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|inner| inner.poll_close(cx))
    }
}
