//! hyper on tokio and on our loops: HTTP/1.1, a task per connection.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;

use anyloop::compat::hyper::HyperIo;
use anyloop::{Bind, TcpStream, start_server};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::servers::anyloop::run;
use crate::servers::{Serve, tokio};

/// What bodies begin with.
pub(super) static BODY: [u8; 16 << 10] = body();

const fn body() -> [u8; 16 << 10] {
    let mut body = [0; 16 << 10];
    let mut at = 0;
    while at < body.len() {
        body[at] = (at % 251) as u8;
        at += 1;
    }
    body
}

/// Every server; ratios refer to the first.
pub(crate) const SERVERS: [(&str, Serve); 4] = [
    ("hyper on tokio", |listener, _| on_tokio(listener)),
    ("hyper on anyloop-uring", |listener, _| on_anyloop("uring", listener)),
    ("hyper on anyloop-mio", |listener, _| on_anyloop("mio", listener)),
    ("hyper on anyloop-polling", |listener, _| on_anyloop("polling", listener)),
];

/// As long a body as the path says.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let size = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
    let body = BODY.get(..size).unwrap_or_default();
    Ok(Response::new(Full::new(Bytes::from_static(body))))
}

fn on_anyloop(backend: &'static str, listener: TcpListener) -> io::Result<()> {
    run(backend, |_| {
        start_server(Bind::socket(listener), |reader, writer| async {
            let io = HyperIo::new(TcpStream::from_split(reader, writer));
            let served = http1::Builder::new().serve_connection(io, service_fn(answer)).await;
            served.map_err(|error| io::Error::other(error).into())
        })
    })
}

fn on_tokio(listener: TcpListener) -> io::Result<()> {
    tokio::serve_by(listener, |stream| async {
        let io = TokioIo::new(stream);
        let served = http1::Builder::new().serve_connection(io, service_fn(answer)).await;
        served.map_err(io::Error::other)
    })
}
