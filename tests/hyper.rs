//! hyper's server and client over the adapters, on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling", feature = "hyper"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use anyloop::compat::SendIo;
use anyloop::compat::hyper::{HyperExecutor, HyperIo, HyperSendExecutor, HyperTimer};
use anyloop::{
    Error, EventLoopExt, LoopRef, Result, Server, TcpStream, create_task, open_connection, sleep,
    start_server, to_thread,
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Executor, Timer};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, client, server};

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    io::Error::other(error).into()
}

/// Answers with the path and the body of the request.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let answer = [path.as_bytes(), b" ", &body].concat();
    Ok(Response::new(answer.into()))
}

/// A server whose connections may be silent for `patience` before a request.
async fn serve(patience: Duration) -> Result<(Server, SocketAddr)> {
    let server = start_server("127.0.0.1:0", move |reader, writer| async move {
        let io = HyperIo::new(TcpStream::from_split(reader, writer));
        let mut http = server::conn::http1::Builder::new();
        http.timer(HyperTimer::current()?).header_read_timeout(patience);
        // Ends with an error when the time is up.
        let _ = http.serve_connection(io, service_fn(echo)).await;
        Ok(())
    })
    .await?;
    let address = server.local_addr().expect("an address");
    Ok((server, address))
}

async fn connect(address: SocketAddr) -> Result<client::conn::http1::SendRequest<Full<Bytes>>> {
    let io = HyperIo::new(TcpStream::connect(address).await?);
    let (sender, connection) = client::conn::http1::handshake(io).await.map_err(other)?;
    HyperExecutor.execute(connection);
    Ok(sender)
}

fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("host", "here");
    request.body(Full::new(body.into())).expect("a request")
}

/// Switches to another protocol, which tells bytes back until the end, in capitals.
async fn upgrade(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let upgraded = hyper::upgrade::on(&mut request);
    let talk = async move {
        let mut io = HyperIo::new(upgraded.await.map_err(other)?);
        loop {
            let mut bytes = [0; 10];
            let count = support::read(&mut io, &mut bytes).await?;
            if count == 0 {
                support::close(&mut io).await?;
                return Ok::<_, Error>(());
            }
            support::write_all(&mut io, &bytes[..count].to_ascii_uppercase()).await?;
        }
    };
    HyperExecutor.execute(talk);
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert("upgrade", "capitals".parse().expect("a value"));
    Ok(answer)
}

on_every_backend! {
    fn an_upgraded_connection_has_another_protocol(backend) {
        support::run(backend, async {
            let server = start_server("127.0.0.1:0", |reader, writer| async {
                let io = HyperIo::new(SendIo::new(TcpStream::from_split(reader, writer))?);
                let http = server::conn::http1::Builder::new();
                let served = http.serve_connection(io, service_fn(upgrade)).with_upgrades();
                served.await.map_err(other)
            })
            .await?;
            let address = server.local_addr().expect("an address");
            let io = HyperIo::new(SendIo::new(TcpStream::connect(address).await?)?);
            let (mut sender, connection) = client::conn::http1::handshake(io).await.map_err(other)?;
            HyperExecutor.execute(connection.with_upgrades());
            let mut request = request("/", "");
            for (name, value) in [("connection", "upgrade"), ("upgrade", "capitals")] {
                request.headers_mut().insert(name, value.parse().expect("a value"));
            }
            let answer = sender.send_request(request).await.map_err(other)?;
            assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
            let upgraded = hyper::upgrade::on(answer).await.map_err(other)?;
            let parts = upgraded.downcast::<HyperIo<SendIo<TcpStream>>>().expect("what it was");
            assert!(parts.read_buf.is_empty());
            let mut stream = parts.io.into_inner().into_inner()?;
            support::write_all(&mut stream, b"what is said comes back").await?;
            support::close(&mut stream).await?;
            let said = stream.reader().read_to_end().await?;
            assert_eq!(said, b"WHAT IS SAID COMES BACK");
            drop(stream);
            server.close();
            server.wait_closed().await
        })?
    }

    fn requests_and_answers_on_one_connection(backend) {
        support::run(backend, async {
            let (server, address) = serve(Duration::from_secs(60)).await?;
            let mut sender = connect(address).await?;
            // The last one is larger than every buffer on the way.
            for size in [0, 1, 1000, 3 << 20] {
                let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
                let path = format!("/echo/{size}");
                let answer = sender.send_request(request(&path, body.clone())).await;
                let answer = answer.map_err(other)?;
                assert_eq!(answer.status(), StatusCode::OK);
                let bytes = answer.into_body().collect().await.map_err(other)?.to_bytes();
                let expected = [path.as_bytes(), b" ", &body].concat();
                assert!(bytes == expected, "{} bytes came back of {size}", bytes.len());
            }
            drop(sender);
            server.close();
            server.wait_closed().await
        })?
    }

    fn many_requests_share_an_http2_connection(backend) {
        support::run(backend, async {
            let server = start_server("127.0.0.1:0", |reader, writer| async {
                let io = HyperIo::new(TcpStream::from_split(reader, writer));
                let mut http = server::conn::http2::Builder::new(HyperExecutor);
                http.timer(HyperTimer::current()?).keep_alive_interval(Duration::from_secs(60));
                http.serve_connection(io, service_fn(echo)).await.map_err(other)
            })
            .await?;
            let address = server.local_addr().expect("an address");
            let io = HyperIo::new(TcpStream::connect(address).await?);
            let handshake = client::conn::http2::handshake(HyperExecutor, io);
            let (sender, connection) = handshake.await.map_err(other)?;
            let connection = create_task(connection)?;
            let mut asking = Vec::new();
            for number in 0..50_usize {
                let mut sender = sender.clone();
                asking.push(create_task(async move {
                    // Some are larger than the window.
                    let body = vec![number as u8; number * 5000];
                    let answer = sender.send_request(request("/", body.clone())).await?;
                    let bytes = answer.into_body().collect().await?.to_bytes();
                    assert!(bytes[2..] == body, "request {number}: {} bytes", bytes.len());
                    Ok::<_, hyper::Error>(())
                })?);
            }
            for task in asking {
                task.await?.map_err(other)?;
            }
            drop(sender);
            connection.await?.map_err(other)?;
            server.close();
            server.wait_closed().await
        })?
    }

    fn a_silent_client_is_cut_off(backend) {
        support::run(backend, async {
            let patience = Duration::from_millis(60);
            let (server, address) = serve(patience).await?;
            let begin = Instant::now();
            let (reader, writer) = open_connection(address).await?;
            writer.write("GET / HTTP/1.1\r\nhost: he");
            assert_eq!(reader.read_to_end().await?, b"");
            assert!(begin.elapsed() >= patience, "after {:?}", begin.elapsed());
            writer.close();
            server.close();
            server.wait_closed().await
        })?
    }

    fn a_keep_alive_connection_is_cut_off_after_its_last_request(backend) {
        support::run(backend, async {
            let patience = Duration::from_millis(60);
            let (server, address) = serve(patience).await?;
            let (reader, writer) = open_connection(address).await?;
            let mut begin = Instant::now();
            for _ in 0..3 {
                begin = Instant::now();
                writer.write("POST /a HTTP/1.1\r\nhost: here\r\ncontent-length: 1\r\n\r\nx");
                while reader.read_line().await?.trim_ascii() != b"" {}
                assert_eq!(reader.read_exact(4).await?, b"/a x");
            }
            assert_eq!(reader.read_to_end().await?, b"");
            assert!(begin.elapsed() >= patience, "after {:?}", begin.elapsed());
            writer.close();
            server.close();
            server.wait_closed().await
        })?
    }

    fn sleeps_end_when_they_should(backend) {
        support::run(backend, async {
            let lp = LoopRef::current()?;
            let timer = HyperTimer::current()?;
            let begin = timer.now();
            timer.sleep(Duration::from_millis(20)).await;
            assert!(timer.now() - begin >= Duration::from_millis(20));

            // Put off while it waits: later, then earlier.
            let mut late = timer.sleep(Duration::from_millis(10));
            let mut once = Context::from_waker(Waker::noop());
            assert!(late.as_mut().poll(&mut once).is_pending());
            let begin = timer.now();
            timer.reset(&mut late, begin + Duration::from_millis(50));
            late.await;
            assert!(timer.now() - begin >= Duration::from_millis(50));
            let mut soon = timer.sleep(Duration::from_secs(3600));
            assert!(soon.as_mut().poll(&mut once).is_pending());
            timer.reset(&mut soon, timer.now() + Duration::from_millis(1));
            soon.as_mut().await;
            // And once more, after it ended.
            timer.reset(&mut soon, timer.now() + Duration::from_millis(1));
            soon.await;

            // Dropped, it leaves no timer.
            let timers = lp.dump().timers.len();
            let mut dropped = timer.sleep(Duration::MAX);
            assert!(dropped.as_mut().poll(&mut once).is_pending());
            assert_eq!(lp.dump().timers.len(), timers + 1);
            drop(dropped);
            assert_eq!(lp.dump().timers.len(), timers);
            Ok(())
        })?
    }

    fn sleeps_may_wait_on_another_thread(backend) {
        support::run(backend, async {
            let lp = LoopRef::current()?;
            let timers = lp.dump().timers.len();
            let timer = HyperTimer::current()?;
            let waited = to_thread(move || {
                let begin = Instant::now();
                support::block_on(timer.sleep(Duration::from_millis(20)));
                let waited = begin.elapsed();
                let mut dropped = timer.sleep(Duration::from_secs(3600));
                assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                waited
            });
            assert!(waited.await? >= Duration::from_millis(20));
            // What the thread dropped is taken off here, in the next iterations.
            while lp.dump().timers.len() > timers {
                sleep(Duration::ZERO).await;
            }
            Ok(())
        })?
    }

    fn executors_make_tasks(backend) {
        support::run(backend, async {
            let lp = LoopRef::current()?;
            let here = Rc::new(Cell::new(0));
            let theirs = here.clone();
            HyperExecutor.execute(async move { theirs.set(1) });
            let there = Arc::new(AtomicUsize::new(0));
            let (executor, theirs) = (HyperSendExecutor::new(lp.remote()), there.clone());
            to_thread(move || {
                executor.execute(async move { theirs.fetch_add(1, Ordering::Relaxed) });
            })
            .await?;
            while here.get() + there.load(Ordering::Relaxed) < 2 {
                sleep(Duration::ZERO).await;
            }
            Ok(())
        })?
    }

    fn a_client_that_hangs_up_ends_the_service(backend) {
        support::run(backend, async {
            struct Gone(Rc<Cell<bool>>);
            impl Drop for Gone {
                fn drop(&mut self) {
                    self.0.set(true);
                }
            }
            let (begun, gone) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
            let seen = (begun.clone(), gone.clone());
            let server = start_server("127.0.0.1:0", move |reader, writer| {
                let (begun, gone) = seen.clone();
                let service = service_fn(move |_| {
                    let (begun, gone) = (begun.clone(), Gone(gone.clone()));
                    async move {
                        begun.set(true);
                        sleep(Duration::from_secs(3600)).await;
                        drop(gone);
                        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                    }
                });
                async move {
                    let io = HyperIo::new(TcpStream::from_split(reader, writer));
                    let http = server::conn::http1::Builder::new();
                    let ended = http.serve_connection(io, service).await;
                    assert!(ended.is_err_and(|error| error.is_incomplete_message()));
                    Ok(())
                }
            })
            .await?;
            let address = server.local_addr().expect("an address");
            let mut sender = connect(address).await?;
            let asking = create_task(async move { sender.send_request(request("/", "")).await })?;
            while !begun.get() {
                sleep(Duration::from_millis(1)).await;
            }
            asking.cancel();
            while !gone.get() {
                sleep(Duration::from_millis(1)).await;
            }
            server.close();
            server.wait_closed().await
        })?
    }
}
