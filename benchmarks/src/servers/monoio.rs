//! monoio on its io_uring driver and on its epoll driver, a task per connection.

use std::io;
use std::net::TcpListener;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Serves the listener on io_uring.
pub(crate) fn serve(listener: TcpListener, buffer: usize) -> io::Result<()> {
    RuntimeBuilder::<IoUringDriver>::new().build()?.block_on(accept(listener, buffer))
}

/// Serves the listener on epoll.
pub(crate) fn serve_legacy(listener: TcpListener, buffer: usize) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    RuntimeBuilder::<LegacyDriver>::new().build()?.block_on(accept(listener, buffer))
}

async fn accept(listener: TcpListener, buffer: usize) -> io::Result<()> {
    let listener = monoio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        monoio::spawn(echo(stream, buffer));
    }
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(buffer);
    loop {
        let (received, filled) = stream.read(buffer).await;
        if received? == 0 {
            return Ok(());
        }
        let (written, emptied) = stream.write_all(filled).await;
        written?;
        buffer = emptied;
        buffer.clear();
    }
}
