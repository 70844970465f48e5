//! glommio: one executor on the calling thread, a task per connection.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::LocalExecutorBuilder;
use glommio::net::{TcpListener, TcpStream};

/// Serves the listener.
pub(crate) fn serve(listener: std::net::TcpListener, buffer: usize) -> io::Result<()> {
    let executor = LocalExecutorBuilder::default()
        .make()
        .map_err(|error| io::Error::other(error.to_string()))?;
    executor.run(async {
        // SAFETY: the descriptor is that of a listening socket, given up by its former owner.
        let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
        loop {
            let stream = listener.accept().await?;
            stream.set_nodelay(true)?;
            glommio::spawn_local(echo(stream, buffer)).detach();
        }
    })
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..received]).await?;
    }
}
