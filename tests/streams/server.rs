//! The callback of `start_server`.

use std::time::Duration;

use super::*;
use anyloop::{sleep, start_server};

/// Connects and waits until the server has closed the connection; returns what it sent.
async fn visit(server: &Server) -> Result<Vec<u8>> {
    let (reader, writer) = open_connection(address(server)).await?;
    let sent = reader.read_to_end().await?;
    writer.close();
    writer.wait_closed().await?;
    Ok(sent)
}

on_every_backend! {
    /// A callback that is done and has dropped its writer closes the connection, without a warning.
    fn its_end_closes_the_connection(backend) {
        support::run(backend, async {
            let reports = reports()?;
            let server = start_server("127.0.0.1:0", |_, writer| async move {
                writer.write("bye");
                Ok(())
            })
            .await?;
            assert_eq!(visit(&server).await?, b"bye");
            assert!(reports.borrow().is_empty(), "{reports:?}");
            server.close();
            server.wait_closed().await
        })?
    }

    /// Ctrl-C's way out: serve_forever is cancelled while a client is connected and idle.
    fn a_cancelled_server_ends_with_clients_connected(backend) {
        support::run(backend, async {
            let server = start_server("127.0.0.1:0", |reader, writer| async move {
                while let Some(line) = reader.next_line().await? {
                    writer.write(&line);
                }
                Ok(())
            })
            .await?;
            let (reader, writer) = open_connection(address(&server)).await?;
            writer.write("x\n");
            reader.read_line().await?;
            let serving = anyloop::create_task(async move { server.serve_forever().await })?;
            sleep(Duration::from_millis(1)).await;
            serving.cancel();
            assert!(failed(serving.await).is_cancelled());
            assert_eq!(reader.read(1).await?, b"");
            writer.close();
            Ok(())
        })?
    }

    fn bad_input(backend) {
        support::run(backend, async {
            let error = failed(start_server("no port", |_, _| ()).await);
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
            let error = failed(open_connection("no port").await);
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
            let server = start_server("127.0.0.1:0", |_, _| ()).await?;
            let error = failed(start_server(address(&server), |_, _| ()).await);
            assert_eq!(error.io_kind(), std::io::ErrorKind::AddrInUse, "{error}");
            let at = address(&server);
            server.close();
            let error = failed(open_connection(at).await);
            assert_eq!(error.io_kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
            Ok(())
        })?
    }
}

#[test]
fn outside_a_loop() {
    let mut opening = pin!(open_connection("127.0.0.1:1"));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match opening.as_mut().poll(&mut cx) {
        Poll::Ready(Err(Error::Usage(_))) => {}
        other => panic!("{other:?}"),
    }
}
