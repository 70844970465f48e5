//! Ours: the same echo by protocol, by buffered protocol, by streams and by the futures traits, on
//! each backend.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop::{
    AnyProtocol, Bind, BufferedProtocol, Error, EventLoopExt, LoopRef, Protocol, Server, Sock,
    StreamReader, StreamWriter, TcpStream, Transport,
};
use futures_io::{AsyncRead, AsyncWrite};

/// Opens a loop of the backend and serves until killed.
pub(crate) fn run<F>(backend: &'static str, serve: impl FnOnce(LoopRef) -> F) -> io::Result<()>
where
    F: Future<Output = anyloop::Result<Server>> + 'static,
{
    let lp = anyloop::new_event_loop_with(backend)?;
    let server = serve(lp.clone());
    lp.run_until_complete(async move { server.await?.serve_forever().await })??;
    Ok(())
}

/// Serves by a [`Protocol`].
pub(crate) fn protocol(backend: &'static str, listener: TcpListener) -> io::Result<()> {
    run(backend, |lp| lp.serve(Echo::default, Bind::socket(listener)))
}

/// Answers from inside `data_received`.
#[derive(Default)]
pub(crate) struct Echo(RefCell<Option<Transport>>);

impl Protocol for Echo {
    fn connection_made(&self, transport: Transport) {
        *self.0.borrow_mut() = Some(transport);
    }

    fn data_received(&self, data: &[u8]) {
        if let Some(transport) = &*self.0.borrow() {
            let _ = transport.write(data);
        }
    }

    fn pause_writing(&self) {
        if let Some(transport) = &*self.0.borrow() {
            transport.pause_reading();
        }
    }

    fn resume_writing(&self) {
        if let Some(transport) = &*self.0.borrow() {
            transport.resume_reading();
        }
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.0.borrow_mut().take();
    }
}

/// Serves by a [`BufferedProtocol`].
pub(crate) fn buffered(backend: &'static str, listener: TcpListener) -> io::Result<()> {
    run(backend, |lp| {
        let memory = Rc::new(Cell::new(Vec::new()));
        let factory = move || {
            AnyProtocol::buffered(Buffered {
                transport: RefCell::default(),
                memory: memory.clone(),
            })
        };
        lp.create_server(Rc::new(factory), Bind::socket(listener))
    })
}

/// One buffer serves all connections: it is only used inside one callback at a time.
struct Buffered {
    transport: RefCell<Option<Transport>>,
    memory: Rc<Cell<Vec<u8>>>,
}

impl BufferedProtocol for Buffered {
    fn connection_made(&self, transport: Transport) {
        *self.transport.borrow_mut() = Some(transport);
    }

    fn get_buffer(&self, _: usize) -> Vec<u8> {
        let memory = self.memory.take();
        if memory.is_empty() { vec![0; 256 << 10] } else { memory }
    }

    fn buffer_updated(&self, buffer: Vec<u8>, nbytes: usize) {
        if let Some(transport) = &*self.transport.borrow() {
            let _ = transport.write(&buffer[..nbytes]);
        }
        self.memory.set(buffer);
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.transport.borrow_mut().take();
    }
}

/// Serves by a [`StreamReader`] and a [`StreamWriter`] in a task per connection: asyncio's echo.
pub(crate) fn streams(backend: &'static str, listener: TcpListener) -> io::Result<()> {
    run(backend, |_| anyloop::start_server(Bind::socket(listener), echo))
}

pub(crate) async fn echo(reader: StreamReader, writer: StreamWriter) -> anyloop::Result<()> {
    loop {
        let received = reader.read(256 << 10).await?;
        if received.is_empty() {
            writer.close();
            return Ok(());
        }
        writer.write_vec(received);
        writer.drain().await?;
    }
}

/// Serves by `sock_accept`, `sock_recv` and `sock_sendall`, in a task per connection.
pub(crate) fn sock(backend: &'static str, listener: TcpListener, buffer: usize) -> io::Result<()> {
    let lp = anyloop::new_event_loop_with(backend)?;
    let serving = lp.clone();
    let accepting = async move {
        let listener = Sock::new(listener)?;
        loop {
            let (sock, _) = serving.sock_accept(&listener).await?;
            // A peer that is gone already is met by the first receive.
            let _ = sock.socket().set_tcp_nodelay(true);
            anyloop::create_task(echo_sock(serving.clone(), sock, buffer))?;
        }
    };
    let result: anyloop::Result<()> = lp.run_until_complete(accepting)?;
    Ok(result?)
}

async fn echo_sock(lp: LoopRef, sock: Sock, buffer: usize) -> anyloop::Result<()> {
    loop {
        let data = lp.sock_recv(&sock, buffer).await?;
        if data.is_empty() {
            return Ok(());
        }
        lp.sock_sendall(&sock, data).await.0?;
    }
}

/// Serves by the traits of futures-io over a buffer per connection.
pub(crate) fn futures(
    backend: &'static str,
    listener: TcpListener,
    buffer: usize,
) -> io::Result<()> {
    run(backend, move |_| {
        anyloop::start_server(Bind::socket(listener), move |reader, writer| Copy {
            stream: TcpStream::from_split(reader, writer),
            buffer: vec![0; buffer],
            due: 0..0,
        })
    })
}

/// Reads into the buffer and writes what was read, for ever.
struct Copy {
    stream: TcpStream,
    buffer: Vec<u8>,
    due: std::ops::Range<usize>,
}

impl Future for Copy {
    type Output = anyloop::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { stream, buffer, due } = &mut *self;
        loop {
            while due.start < due.end {
                let pending = &buffer[due.clone()];
                due.start += std::task::ready!(Pin::new(&mut *stream).poll_write(cx, pending))?;
            }
            let received = std::task::ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
            if received == 0 {
                stream.writer().close();
                return Poll::Ready(Ok(()));
            }
            *due = 0..received;
        }
    }
}
