//! The TLS echo servers: the line, tokio-rustls, and ours.

use std::io;
use std::net::TcpListener;
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
use crate::servers::{Serve, tokio};

/// Every server, the line first.
pub(crate) const SERVERS: [(&str, Serve); 8] = [
    ("rustls on epoll", |listener, buffer| line::serve(listener, config()?, buffer)),
    ("tokio-rustls", tokio_rustls),
    ("anyloop-uring, TLS", |listener, _| protocol("uring", listener)),
    ("anyloop-uring-streams, TLS", |listener, _| streams("uring", listener)),
    ("anyloop-mio, TLS", |listener, _| protocol("mio", listener)),
    ("anyloop-mio-streams, TLS", |listener, _| streams("mio", listener)),
    ("anyloop-polling, TLS", |listener, _| protocol("polling", listener)),
    ("anyloop-polling-streams, TLS", |listener, _| streams("polling", listener)),
];

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
fn protocol(backend: &'static str, listener: TcpListener) -> io::Result<()> {
    let config = config()?;
    run(backend, |lp| async move {
        let factory = Rc::new(|| AnyProtocol::plain(Echo::default()));
        tls::create_server(&lp, factory, Bind::socket(listener), ServerTls::from(config)).await
    })
}

/// Ours, by streams.
fn streams(backend: &'static str, listener: TcpListener) -> io::Result<()> {
    let config = config()?;
    run(backend, |_| tls::start_server(Bind::socket(listener), ServerTls::from(config), echo))
}

/// tokio, current-thread runtime, a task per connection.
fn tokio_rustls(listener: TcpListener, buffer: usize) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(config()?);
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
