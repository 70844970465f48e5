//! The TLS echo servers: the line, tokio-rustls, and ours.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use anyloop::tls::rustls::pki_types::PrivateKeyDer;
use anyloop::tls::rustls::{ServerConfig, crypto::ring};
use anyloop::tls::{self, ServerTls};
use anyloop::{AnyProtocol, Bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::line;
use crate::servers::anyloop::{Echo, echo, run};

/// Every server, the line first.
pub(super) const NAMES: [&str; 8] = [
    "rustls on epoll",
    "tokio-rustls",
    "anyloop-uring, TLS",
    "anyloop-uring-streams, TLS",
    "anyloop-mio, TLS",
    "anyloop-mio-streams, TLS",
    "anyloop-polling, TLS",
    "anyloop-polling-streams, TLS",
];

/// Is the server `name`, if that is one of this suite.
pub(crate) fn serve(
    name: &str,
    buffer: usize,
    ready: impl FnOnce(u16) -> io::Result<()>,
) -> Option<io::Result<()>> {
    let name = NAMES.into_iter().find(|known| *known == name)?;
    Some(serve_by(name, buffer, ready))
}

fn serve_by(
    name: &'static str,
    buffer: usize,
    ready: impl FnOnce(u16) -> io::Result<()>,
) -> io::Result<()> {
    let config = config()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    ready(listener.local_addr()?.port())?;
    match name {
        "rustls on epoll" => line::serve(listener, config, buffer),
        "tokio-rustls" => tokio_rustls(listener, config, buffer),
        ours => {
            let ours = ours.trim_start_matches("anyloop-").trim_end_matches(", TLS");
            match ours.strip_suffix("-streams") {
                Some(backend) => streams(backend, listener, config),
                None => protocol(ours, listener, config),
            }
        }
    }
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
    listener.set_nonblocking(true)?;
    let acceptor = TlsAcceptor::from(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(echo_by_tokio(acceptor.clone(), stream, buffer));
        }
    })
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
