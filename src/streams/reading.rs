//! The awaits of a [`StreamReader`](super::StreamReader).

use std::cmp::Reverse;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop_api::{Error, IncompleteRead, LimitOverrun, Result, clear_waiter, set_waiter};

use super::buffer::find;
use super::incoming::Incoming;
use super::protocol::StreamReaderProtocol;

/// One awaiting method's turn to wait.
struct Turn<'a> {
    stream: &'a Rc<StreamReaderProtocol>,
    /// Zero until it has waited.
    id: u32,
}

impl<'a> Turn<'a> {
    fn new(stream: &'a Rc<StreamReaderProtocol>) -> Self {
        Self { stream, id: 0 }
    }

    fn incoming(&self) -> &'a Incoming {
        &self.stream.incoming
    }

    /// Pending, unless somebody else is waiting, or nothing can come.
    fn wait<R>(
        &mut self,
        operation: &'static str,
        need: usize,
        by_itself: bool,
        cx: &Context<'_>,
    ) -> Poll<Result<R>> {
        if self.id == 0 {
            self.id = self.incoming().new_id();
        }
        self.stream.check_loop(operation)?;
        self.incoming().wait(operation, need, by_itself, self.id, cx)?;
        set_waiter(|| self.stream.clone());
        Poll::Pending
    }

    /// Somebody else may wait.
    fn end(&mut self) {
        if self.id != 0 {
            clear_waiter(self.stream);
            self.incoming().forget(self.id);
            self.id = 0;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// [`StreamReader::read`](super::StreamReader::read). Written by hand: an async function keeps its
/// arguments twice, and every connection has one of these.
pub(super) struct Read<'a> {
    turn: Turn<'a>,
    at_most: usize,
}

impl<'a> Read<'a> {
    pub(super) fn new(stream: &'a Rc<StreamReaderProtocol>, at_most: usize) -> Self {
        Self { turn: Turn::new(stream), at_most }
    }
}

impl Future for Read<'_> {
    type Output = Result<Vec<u8>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { turn, at_most } = &mut *self;
        let incoming = turn.incoming();
        incoming.check_unless_woken(turn.id)?;
        if *at_most == 0 {
            return Poll::Ready(Ok(Vec::new()));
        }
        if let Some(bytes) = incoming.take_some(*at_most) {
            turn.end();
            return Poll::Ready(Ok(bytes));
        }
        turn.wait("read", 1, incoming.reads_directly(*at_most), cx)
    }
}

/// [`StreamReader::read_into`](super::StreamReader::read_into).
pub(super) struct ReadInto<'a, 'b> {
    turn: Turn<'a>,
    buffer: &'b mut [u8],
}

impl<'a, 'b> ReadInto<'a, 'b> {
    pub(super) fn new(stream: &'a Rc<StreamReaderProtocol>, buffer: &'b mut [u8]) -> Self {
        Self { turn: Turn::new(stream), buffer }
    }
}

impl Future for ReadInto<'_, '_> {
    type Output = Result<usize>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { turn, buffer } = &mut *self;
        let incoming = turn.incoming();
        incoming.check_unless_woken(turn.id)?;
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Some(count) = incoming.fill(buffer) {
            turn.end();
            return Poll::Ready(Ok(count));
        }
        turn.wait("read_into", 1, Incoming::fills_directly(buffer.len()), cx)
    }
}

/// Until so much is buffered, or the stream ends.
struct Wait<'a> {
    turn: Turn<'a>,
    operation: &'static str,
    need: usize,
    /// Or until bytes are taken once more.
    takes: Option<u32>,
}

impl Future for Wait<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { turn, operation, need, takes } = &mut *self;
        let incoming = turn.incoming();
        incoming.check_unless_woken(turn.id)?;
        let taken = takes.is_some_and(|takes| takes != incoming.takes());
        if taken || incoming.len() >= *need || incoming.ended() {
            return Poll::Ready(Ok(()));
        }
        turn.wait(operation, *need, false, cx)
    }
}

/// Waits until `need` bytes are buffered, or the stream ends.
pub(super) async fn wait(
    stream: &Rc<StreamReaderProtocol>,
    operation: &'static str,
    need: usize,
) -> Result<()> {
    Wait { turn: Turn::new(stream), operation, need, takes: None }.await
}

/// How many bytes there are through the first separator.
pub(super) async fn find_separator<S: AsRef<[u8]>>(
    stream: &Rc<StreamReaderProtocol>,
    separators: &[S],
    operation: &'static str,
) -> Result<usize> {
    let lengths = separators.iter().map(|separator| separator.as_ref().len());
    let (Some(shortest), Some(longest)) = (lengths.clone().min(), lengths.max()) else {
        return Err(Error::invalid_arg(format!("{operation}: want at least one separator")));
    };
    if shortest == 0 {
        return Err(Error::invalid_arg(format!("{operation}: a separator must not be empty")));
    }
    let incoming = &stream.incoming;
    incoming.check()?;
    // Before this no separator begins, unless another task takes bytes away.
    let mut searched = 0;
    let mut takes = incoming.takes();
    loop {
        let (found, len) = incoming.with_buffered(|data| {
            let ends = separators.iter().filter_map(|separator| {
                let separator = separator.as_ref();
                let start = find(data, separator, searched)?;
                Some((start + separator.len(), start))
            });
            // Of two that end together the shorter counts: more may stand before it.
            (ends.min_by_key(|&(end, start)| (end, Reverse(start))), data.len())
        });
        if let Some((end, start)) = found {
            let limit = incoming.limit();
            if start > limit {
                let what =
                    format!("the separator begins after {start} bytes, the limit is {limit}");
                return Err(overrun(operation, &what, start));
            }
            return Ok(end);
        }
        searched = searched.max((len + 1).saturating_sub(longest));
        if searched > incoming.limit() {
            let what = format!("no separator within the limit of {} bytes", incoming.limit());
            return Err(overrun(operation, &what, searched));
        }
        if incoming.ended() {
            let partial = incoming.take(len);
            return Err(IncompleteRead::new(operation, partial, None).into());
        }
        let (turn, need) = (Turn::new(stream), len + 1);
        Wait { turn, operation, need, takes: Some(takes) }.await?;
        if takes != incoming.takes() {
            takes = incoming.takes();
            searched = 0;
        }
    }
}

#[cold]
fn overrun(operation: &str, what: &str, consumed: usize) -> Error {
    LimitOverrun::new(format!("{operation}: {what}"), consumed).into()
}
