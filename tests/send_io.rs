//! Streams that are carried to other threads.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use anyloop::compat::SendIo;
use anyloop::{
    Error, EventLoopExt, Result, Server, StreamReader, TcpStream, new_event_loop_with,
    open_connection, start_server, to_thread,
};

/// A server's side of a connection, and the reader of the client's.
async fn connected() -> Result<(Server, TcpStream, StreamReader)> {
    let server = start_server("127.0.0.1:0", |reader, writer| async move {
        // Until we hang up, which it tells in its turn.
        reader.read_to_end().await?;
        writer.close();
        writer.wait_closed().await
    })
    .await?;
    let address = server.local_addr().expect("an address");
    let (reader, writer) = open_connection(address).await?;
    Ok((server, TcpStream::from_split(reader.clone(), writer), reader))
}

on_every_backend! {
    fn a_stream_that_another_thread_drops_is_closed(backend) {
        support::run(backend, async {
            let (server, stream, reader) = connected().await?;
            let stream = SendIo::new(stream)?;
            to_thread(move || drop(stream)).await?;
            assert_eq!(reader.read_to_end().await?, b"");
            server.close();
            server.wait_closed().await
        })?
    }

    fn another_thread_gets_an_error(backend) {
        support::run(backend, async {
            let (server, stream, reader) = connected().await?;
            let mut stream = SendIo::new(stream)?;
            let (mut stream, read, written) = to_thread(move || {
                let read = support::block_on(support::read(&mut stream, &mut [0]));
                let written = support::block_on(support::write_all(&mut stream, b"no"));
                (stream, read, written)
            })
            .await?;
            for error in [read.map(drop), written].map(Result::unwrap_err) {
                assert!(matches!(Error::from(error), Error::Usage(_)));
            }
            // Back here it is as good as ever.
            support::close(&mut stream).await?;
            assert_eq!(support::read(&mut stream, &mut [0]).await?, 0);
            assert!(reader.at_eof());
            drop(stream);
            server.close();
            server.wait_closed().await
        })?
    }

    fn the_loop_drops_what_outlives_it(backend) {
        let lp = new_event_loop_with(backend)?;
        let (server, stream, reader) = lp.run_until_complete(async {
            let (server, stream, reader) = connected().await?;
            Ok::<_, Error>((server, SendIo::new(stream)?, reader))
        })??;
        server.close();
        lp.close()?;
        drop((stream, reader));
        Ok(())
    }
}
