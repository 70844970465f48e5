//! `open_connection` and `start_server`.

use std::future::Future;
use std::rc::Rc;

use anyloop_api::{
    AnyProtocol, Bind, Connect, Error, EventLoopExt, LoopRef, ProtocolFactory, Report, Result,
    Server, Task, Transport,
};

use super::protocol::{Connected, StreamReaderProtocol};
use super::reader::{DEFAULT_LIMIT, StreamReader};
use super::writer::StreamWriter;

/// Connects and returns a reader and a writer, with the default limit of 64 KiB.
///
/// # Errors
/// Contradictory options: `InvalidArg`; resolving or connecting: `Os`; outside a running loop: `Usage`.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
///
/// # Examples
/// ```no_run
/// # fn main() -> anyloop::Result<()> {
/// anyloop::run(async {
///     let (reader, writer) = anyloop::open_connection("127.0.0.1:8888").await?;
///     writer.write("hello\n");
///     println!("{:?}", reader.read_line().await?);
///     writer.close();
///     writer.wait_closed().await
/// })?
/// # }
/// ```
pub async fn open_connection(to: impl Into<Connect>) -> Result<(StreamReader, StreamWriter)> {
    open_connection_with_limit(to, DEFAULT_LIMIT).await
}

/// [`open_connection`] with a limit, in bytes, for the reader.
///
/// # Errors
/// As [`open_connection`]; `InvalidArg` if the limit is 0.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn open_connection_with_limit(
    to: impl Into<Connect>,
    limit: usize,
) -> Result<(StreamReader, StreamWriter)> {
    let lp = LoopRef::current()?;
    let client = Client::new(limit)?;
    let (transport, _) = lp.create_connection(client.factory(), to.into()).await?;
    Ok(client.streams(transport))
}

/// The streams of an outgoing connection before there is one.
pub(super) struct Client {
    reader: StreamReader,
    protocol: Rc<StreamReaderProtocol>,
}

impl Client {
    pub(super) fn new(limit: usize) -> Result<Self> {
        let reader = StreamReader::new(limit)?;
        Ok(Self { protocol: StreamReaderProtocol::new(reader.clone()), reader })
    }

    pub(super) fn factory(&self) -> ProtocolFactory {
        let made = self.protocol.clone();
        Rc::new(move || AnyProtocol::Plain(made.clone()))
    }

    pub(super) fn streams(self, transport: Transport) -> (StreamReader, StreamWriter) {
        (self.reader, StreamWriter::new(transport, self.protocol))
    }
}

/// Listens, and calls `callback` with a reader and a writer for every connection; with the default
/// limit of 64 KiB.
///
/// An async callback runs as a task of its own; it returns `Result<()>` or `()`. Its error or panic is
/// reported, its cancellation is not, and each closes the connection; when it is done and has dropped
/// the writer, the connection is closed, too. A callback that is not async is called as it is.
///
/// # Errors
/// Contradictory options: `InvalidArg`; resolving or binding: `Os`; outside a running loop: `Usage`.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
///
/// # Examples
/// ```no_run
/// # fn main() -> anyloop::Result<()> {
/// anyloop::run(async {
///     let server = anyloop::start_server("127.0.0.1:8888", |reader, writer| async move {
///         while let Some(line) = reader.next_line().await? {
///             writer.write(&line);
///             writer.drain().await?;
///         }
///         Ok(())
///     })
///     .await?;
///     server.serve_forever().await
/// })?
/// # }
/// ```
pub async fn start_server<C, R, Kind>(at: impl Into<Bind>, callback: C) -> Result<Server>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    start_server_with_limit(at, DEFAULT_LIMIT, callback).await
}

/// [`start_server`] with a limit, in bytes, for the readers.
///
/// # Errors
/// As [`start_server`]; `InvalidArg` if the limit is 0.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn start_server_with_limit<C, R, Kind>(
    at: impl Into<Bind>,
    limit: usize,
    callback: C,
) -> Result<Server>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    let lp = LoopRef::current()?;
    let factory = server_factory(&lp, limit, callback)?;
    lp.create_server(factory, at.into()).await
}

/// Makes the protocols of a server whose connections are handed to `callback`.
pub(super) fn server_factory<C, R, Kind>(
    lp: &LoopRef,
    limit: usize,
    callback: C,
) -> Result<ProtocolFactory>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    // Refuses a bad limit now rather than for every connection.
    drop(StreamReader::new(limit)?);
    let weak = lp.downgrade();
    let connected: Connected = Rc::new(move |reader, writer: StreamWriter| {
        let transport = writer.transport();
        let outcome = callback(reader, writer);
        let Some(lp) = weak.upgrade() else { return };
        match outcome.start(&lp) {
            Ok(None) => {}
            Ok(Some(task)) => watch(&task, transport),
            Err(error) => fail(&lp, transport, error),
        }
    });
    Ok(Rc::new(move || {
        AnyProtocol::Plain(StreamReaderProtocol::build(limit).starting(connected.clone()))
    }))
}

/// STREAM-19: what becomes of the connection when the callback's task is done.
fn watch(task: &Task<()>, transport: Transport) {
    task.add_done_callback(move |task| match (task.take_result(), task.get_loop()) {
        (Err(error), Some(lp)) if !error.is_cancelled() => fail(&lp, transport, error),
        (Err(_), _) => transport.close(),
        (Ok(()), _) => {}
    });
}

fn fail(lp: &LoopRef, transport: Transport, error: Error) {
    lp.call_exception_handler(
        Report::new("the callback of a stream server failed")
            .exception(error)
            .transport(transport.clone()),
    );
    transport.close();
}

/// What the callback of [`start_server`] may return: a future of `Result<()>` or `()`, or nothing.
///
/// `Kind` only keeps the three apart; it is always inferred.
pub trait ConnectionOutcome<Kind>: 'static {
    /// Starts the task, if it is one. It fails with the error of the callback.
    ///
    /// # Errors
    /// As [`EventLoopExt::create_task`].
    fn start(self, lp: &LoopRef) -> Result<Option<Task<()>>>;
}

/// The callback is async and may fail.
#[derive(Debug)]
pub enum Fallible {}

/// The callback is async and returns nothing.
#[derive(Debug)]
pub enum Infallible {}

/// The callback is not async.
#[derive(Debug)]
pub enum Synchronous {}

impl<F: Future<Output = Result<()>> + 'static> ConnectionOutcome<Fallible> for F {
    fn start(self, lp: &LoopRef) -> Result<Option<Task<()>>> {
        lp.task().spawn_settled(self, |result| result).map(Some)
    }
}

impl<F: Future<Output = ()> + 'static> ConnectionOutcome<Infallible> for F {
    fn start(self, lp: &LoopRef) -> Result<Option<Task<()>>> {
        lp.create_task(self).map(Some)
    }
}

impl ConnectionOutcome<Synchronous> for () {
    fn start(self, _: &LoopRef) -> Result<Option<Task<()>>> {
        Ok(None)
    }
}
