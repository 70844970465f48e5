//! HTTP for the seeds, by hyper: a server that answers GETs, and a client that makes one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use anyloop::compat::hyper::{HyperExecutor, HyperIo, HyperTimer};
use anyloop::{Error, Result, Server, Task, TcpStream, create_task, start_server};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};

/// Status and text.
pub(crate) type Answer = (u16, String);

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    io::Error::other(error).into()
}

/// Cancels the task of a request whose client has gone.
struct Handling(Task<Answer>);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A server on a port of its own. `handler` gets the path of each request, in a task of its own.
pub(crate) async fn serve<H, F>(handler: H) -> Result<(Server, SocketAddr)>
where
    H: Fn(String) -> F + Clone + 'static,
    F: Future<Output = Answer> + 'static,
{
    let server = start_server("127.0.0.1:0", move |reader, writer| {
        let handler = handler.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let task = create_task(handler(request.uri().path().to_owned()));
            async move {
                let task = Handling(task?);
                let (status, text) = (&task.0).await?;
                let answer = Response::builder().status(status);
                answer.body(Full::<Bytes>::from(text)).map_err(other)
            }
        });
        async move {
            let io = HyperIo::new(TcpStream::from_split(reader, writer));
            let mut http = server::conn::http1::Builder::new();
            // Ends with an error if the client does not wait for its answer.
            let _ = http.timer(HyperTimer::current()?).serve_connection(io, service).await;
            Ok(())
        }
    })
    .await?;
    let address = server.local_addr().ok_or_else(|| Error::usage("the server has no address"))?;
    Ok((server, address))
}

/// GETs one page.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let io = HyperIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = client::conn::http1::handshake(io).await.map_err(other)?;
    HyperExecutor.execute(connection);
    let request = Request::get(path).header("host", address.to_string());
    let request = request.body(Full::<Bytes>::default()).map_err(other)?;
    let answer = sender.send_request(request).await.map_err(other)?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(other)?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
