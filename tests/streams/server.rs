//! The callback of `start_server`.

use std::cell::Cell;
use std::time::Duration;

use super::*;
use anyloop::{all_tasks, sleep, start_server};

/// Connects and waits until the server has closed the connection; returns what it sent.
async fn visit(server: &Server) -> Result<Vec<u8>> {
    let (reader, writer) = open_connection(address(server)).await?;
    let sent = reader.read_to_end().await?;
    writer.close();
    writer.wait_closed().await?;
    Ok(sent)
}

on_every_backend! {
    /// STREAM-19
    fn its_error_is_reported_and_closes_the_connection(backend) {
        support::run(backend, async {
            let reports = reports()?;
            let kept = Rc::new(RefCell::new(Vec::new()));
            let keep = kept.clone();
            let server = start_server("127.0.0.1:0", move |_, writer: StreamWriter| {
                keep.borrow_mut().push(writer.clone());
                async move {
                    writer.write("hello");
                    Err(Error::usage("no such luck"))
                }
            })
            .await?;
            assert_eq!(visit(&server).await?, b"hello");
            assert_eq!(reports.borrow().len(), 1, "{reports:?}");
            let report = reports.borrow()[0].clone();
            assert!(report.contains("no such luck") && report.contains("transport:"), "{report}");
            assert!(kept.borrow()[0].is_closing());
            Ok(())
        })?
    }

    /// STREAM-19
    fn its_panic_is_reported_and_closes_the_connection(backend) {
        support::run(backend, async {
            let reports = reports()?;
            let server = start_server("127.0.0.1:0", |_, writer| async move {
                writer.write("hello");
                if !writer.is_closing() {
                    panic!("no such luck");
                }
            })
            .await?;
            assert_eq!(visit(&server).await?, b"hello");
            until(|| !reports.borrow().is_empty()).await;
            let report = reports.borrow()[0].clone();
            assert!(report.contains("no such luck") && report.contains("transport:"), "{report}");
            assert_eq!(reports.borrow().len(), 1, "{reports:?}");
            Ok(())
        })?
    }

    /// STREAM-19
    fn its_cancellation_closes_silently(backend) {
        support::run(backend, async {
            let reports = reports()?;
            let mine = anyloop::current_task();
            let server = start_server("127.0.0.1:0", |_reader, writer: StreamWriter| async move {
                let _writer = writer;
                sleep(Duration::from_secs(3600)).await;
            })
            .await?;
            let (reader, writer) = open_connection(address(&server)).await?;
            until(|| all_tasks().is_ok_and(|tasks| tasks.len() == 2)).await;
            for task in all_tasks()? {
                if Some(&task) != mine.as_ref() {
                    task.cancel();
                }
            }
            assert_eq!(reader.read(1).await?, b"");
            writer.close();
            assert!(reports.borrow().is_empty(), "{reports:?}");
            Ok(())
        })?
    }

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

    /// STREAM-20
    fn it_need_not_be_async(backend) {
        support::run(backend, async {
            let reports = reports()?;
            let calls = Rc::new(Cell::new(0));
            let counter = calls.clone();
            let server = start_server("127.0.0.1:0", move |_, writer| {
                counter.set(counter.get() + 1);
                writer.write("sync");
            })
            .await?;
            assert_eq!(visit(&server).await?, b"sync");
            assert_eq!(visit(&server).await?, b"sync");
            assert_eq!(calls.get(), 2);
            assert!(reports.borrow().is_empty(), "{reports:?}");
            Ok(())
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
