//! The TLS echo servers: the line, tokio-rustls, and ours.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::TcpStream;
use anyloop::tls::rustls::pki_types::PrivateKeyDer;
use anyloop::tls::rustls::{ServerConfig, crypto::ring};
use anyloop::tls::{self, ServerTls};
use anyloop::{AnyProtocol, Bind};
use tokio_rustls::TlsAcceptor;

use super::line;
use crate::servers::anyloop::{Echo, echo, run};
use crate::servers::tokio;

/// Serves a listener until killed, with the buffer of a connection where it has one of its own.
type Serve = fn(TcpListener, Arc<ServerConfig>, usize) -> io::Result<()>;

/// Every server, the line first.
pub(super) const ALL: [(&str, Serve); 8] = [
    ("rustls on epoll", line::serve),
    ("tokio-rustls", tokio_rustls),
    ("anyloop-uring, TLS", |l, c, _| protocol("uring", l, c)),
    ("anyloop-uring-streams, TLS", |l, c, _| streams("uring", l, c)),
    ("anyloop-mio, TLS", |l, c, _| protocol("mio", l, c)),
    ("anyloop-mio-streams, TLS", |l, c, _| streams("mio", l, c)),
    ("anyloop-polling, TLS", |l, c, _| protocol("polling", l, c)),
    ("anyloop-polling-streams, TLS", |l, c, _| streams("polling", l, c)),
];

/// Is the server `name`, if that is one of this suite.
pub(crate) fn serve(
    name: &str,
    buffer: usize,
    ready: impl FnOnce(u16) -> io::Result<()>,
) -> Option<io::Result<()>> {
    let (_, serve) = ALL.into_iter().find(|(known, _)| *known == name)?;
    Some(serve_by(serve, buffer, ready))
}

fn serve_by(
    serve: Serve,
    buffer: usize,
    ready: impl FnOnce(u16) -> io::Result<()>,
) -> io::Result<()> {
    let config = config()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    ready(listener.local_addr()?.port())?;
    serve(listener, config, buffer)
}

/// With a key and a certificate that are made for this process.
fn config() -> io::Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Ok(Arc::new(config.map_err(io::Error::other)?))
}

/// Ours, by a protocol.
fn protocol(
    backend: &'static str,
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> io::Result<()> {
    run(backend, |lp| async move {
        let factory = Rc::new(|| AnyProtocol::plain(Echo::default()));
        tls::create_server(&lp, factory, Bind::socket(listener), ServerTls::from(config)).await
    })
}

/// Ours, by streams.
fn streams(
    backend: &'static str,
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> io::Result<()> {
    run(backend, |_| tls::start_server(Bind::socket(listener), ServerTls::from(config), echo))
}

/// tokio, current-thread runtime, a task per connection.
fn tokio_rustls(listener: TcpListener, config: Arc<ServerConfig>, buffer: usize) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(config);
    tokio::serve_by(listener, |stream| echo_by_tokio(acceptor.clone(), stream, buffer))
}

async fn echo_by_tokio(acceptor: TlsAcceptor, stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = vec![0; buffer];
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..received]).await?;
        stream.flush().await?;
    }
}
