//! A read whose bytes are not in memory: the loop brings them, and the call is made again.

use std::io;
use std::sync::{Arc, Mutex};

use anyloop_api::{EventLoopExt, LoopFuture, LoopRef, Result};

use super::content::{Content, Missing, Way};
use super::lock;
use super::serial::Turn;

/// A read in progress. Nothing of it counts until its future has the value, so a cancelled one has read
/// nothing; but the calls after it wait until the loop has let go of the file.
pub(super) struct Reading<T: 'static, S> {
    content: Arc<Mutex<Option<Content>>>,
    read: S,
    future: LoopFuture<Option<io::Result<T>>>,
    _turn: Turn,
}

impl<T, S> Reading<T, S>
where
    T: 'static,
    S: FnMut(&mut Content, &mut Way<'_>) -> io::Result<T> + 'static,
{
    /// Makes the call again, once what it lacked is there. Nothing if the file is closed.
    pub(super) async fn run(
        lp: LoopRef,
        content: Arc<Mutex<Option<Content>>>,
        read: S,
        turn: Turn,
        missing: Missing,
    ) -> Result<Option<io::Result<T>>> {
        let future = lp.create_future();
        // Also if this is dropped, nobody wants it any more.
        let _wanted = Wanted(future.clone());
        let reading = Self { content, read, future: future.clone(), _turn: turn };
        reading.bring(&lp, missing);
        drop(lp);
        future.await
    }

    fn bring(self, lp: &LoopRef, missing: Missing) {
        let file = {
            let content = lock(&self.content);
            content.as_ref().map(|content| content.file.clone())
        };
        let Some(file) = file else { return self.end(Ok(None)) };
        match lp.pread(file, missing.size, missing.offset) {
            Ok(bytes) => {
                bytes.add_done_callback(|bytes| self.go_on(bytes.take_result()));
            }
            Err(error) => self.end(Err(error)),
        }
    }

    fn end(self, outcome: Result<Option<io::Result<T>>>) {
        self.future.set_unless_done(outcome);
    }

    fn go_on(mut self, bytes: Result<io::Result<Vec<u8>>>) {
        if self.future.done() {
            return;
        }
        let mut arrived = match bytes {
            Ok(bytes) => Some(bytes),
            Err(error) => return self.end(Err(error)),
        };
        let read = {
            let mut content = lock(&self.content);
            content.as_mut().map(|content| {
                let read = (self.read)(content, &mut Way::AtOnce(&mut arrived));
                (read, content.missing())
            })
        };
        match (read, LoopRef::current()) {
            (None, _) => self.end(Ok(None)),
            (Some((_, Some(missing))), Ok(lp)) => self.bring(&lp, missing),
            (Some((_, Some(_))), Err(error)) => self.end(Err(error)),
            (Some((read, None)), _) => self.end(Ok(Some(read))),
        }
    }
}

/// Cancels the future when it goes, unless it is done.
struct Wanted<T: 'static>(LoopFuture<T>);

impl<T> Drop for Wanted<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
