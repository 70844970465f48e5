//! Streams: reading by hand-fed readers, both ends of a connection, the callback of a server, pipes.

mod backpressure;
mod ending;
mod pipes;
mod reader;
mod scripts;
mod server;
mod tls;
mod turns;

pub(super) use self::backpressure::CASES as BACKPRESSURE;
pub(super) use self::ending::CASES as ENDING;
pub(super) use self::pipes::CASES as PIPES;
pub(super) use self::reader::CASES as READER;
pub(super) use self::scripts::CASES as SCRIPTS;
pub(super) use self::server::CASES as SERVER;
pub(super) use self::tls::CASES as TLS;

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::Poll;

use anyloop::{StreamReader, StreamReaderProtocol, StreamWriter};

use super::prelude::*;

/// Runs a case that is a task on a loop of its own.
fn on_a_loop(cx: &Context, main: impl Future<Output = Outcome> + 'static) -> Outcome {
    cx.new_loop()?.run_until_complete(main)?
}

/// Polls a future once; `None` if it is pending. It is dropped, which cancels it.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Streams over a connected socket; its other end stays with the case.
fn attach(
    lp: &LoopRef,
    socket: impl Into<OwnedFd>,
    limit: usize,
) -> Result<(StreamReader, StreamWriter), Failure> {
    let reader = StreamReader::new(limit)?;
    let protocol = StreamReaderProtocol::new(reader.clone());
    let same = protocol.clone();
    let factory = Rc::new(move || same.clone().into());
    let attaching = lp.connect_accepted_socket(factory, socket.into());
    let (transport, _) = lp.run_until_complete(attaching)??;
    // On the loop, where a writer learns to whom it reports.
    let writer = lp.run_until_complete(async move { StreamWriter::new(transport, protocol) })?;
    Ok((reader, writer))
}

/// Runs `lp` until the condition holds. It is looked at now and then, for changes that wake nobody.
fn until(lp: &LoopRef, condition: impl Fn() -> bool + 'static) -> Outcome {
    lp.run_until_complete(until_here(condition))?;
    Ok(())
}

/// The same, inside a task.
async fn until_here(condition: impl Fn() -> bool) {
    while !condition() {
        anyloop::sleep(ms(1)).await;
    }
}
