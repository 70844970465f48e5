//! `create_connection` and its kin: connect, shake hands, hand over.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyloop_api::{
    AnyProtocol, Connect, Error, LocalBoxFuture, LoopRef, ProtocolFactory, Result, Transport,
    UnixConnect,
};

use super::handshake::Handshaking;
use super::layer::{Attachment, Layer};
use super::options::{ClientTls, ServerTls, Tls};

type Connecting = LocalBoxFuture<Result<(Transport, AnyProtocol)>>;

/// [`EventLoop::create_connection`](crate::EventLoop::create_connection) with TLS (asyncio's `ssl=`): the protocol gets a transport that
/// encrypts, once the peer has shown who it is. The peer must be the host that is connected to, or
/// [`ClientTls::server_hostname`](ClientTls#structfield.server_hostname).
///
/// ```
/// use anyloop::{AnyProtocol, LoopRef, ProtocolFactory, tls};
/// # async fn example(lp: LoopRef, factory: ProtocolFactory, tls: tls::ClientTls) -> anyloop::Result<()> {
/// let connecting = tls::create_connection(&lp, factory, "example.com:443", tls);
/// let (transport, protocol) = connecting.await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As without TLS. `InvalidArg` for a timeout of zero, or without any name to ask for. The handshake:
/// `Os` with rustls's words, and its error in [`rustls_error`](super::rustls_error); `Os` with
/// `ConnectionAborted` when it takes too long, with `ConnectionReset` when the peer goes away.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub fn create_connection(
    lp: &LoopRef,
    factory: ProtocolFactory,
    to: impl Into<Connect>,
    tls: impl Into<ClientTls>,
) -> impl Future<Output = Result<(Transport, AnyProtocol)>> + 'static {
    let mut to = to.into();
    let tls = Tls::Client(tls.into());
    let begun = match to.malformed.take() {
        Some(error) => Err(error),
        None => {
            let host = to.host.clone();
            begin(lp, "create_connection", factory, tls, host, |lp, factory| {
                lp.create_connection(factory, to)
            })
        }
    };
    finish(begun)
}

/// [`EventLoop::create_unix_connection`](crate::EventLoop::create_unix_connection) with TLS. The server's name must be given.
///
/// # Errors
/// As [`create_connection`].
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub fn create_unix_connection(
    lp: &LoopRef,
    factory: ProtocolFactory,
    to: impl Into<UnixConnect>,
    tls: impl Into<ClientTls>,
) -> impl Future<Output = Result<(Transport, AnyProtocol)>> + 'static {
    let (to, tls) = (to.into(), Tls::Client(tls.into()));
    let begun = begin(lp, "create_unix_connection", factory, tls, None, |lp, factory| {
        lp.create_unix_connection(factory, to)
    });
    finish(begun)
}

/// [`EventLoop::connect_accepted_socket`](crate::EventLoop::connect_accepted_socket) with TLS, as the server.
///
/// # Errors
/// As [`create_connection`].
///
/// # Cancel safety
/// Dropping it closes the socket.
pub fn connect_accepted_socket(
    lp: &LoopRef,
    factory: ProtocolFactory,
    sock: impl Into<OwnedFd>,
    tls: impl Into<ServerTls>,
) -> impl Future<Output = Result<(Transport, AnyProtocol)>> + 'static {
    let (sock, tls) = (sock.into(), Tls::Server(tls.into()));
    let begun = begin(lp, "connect_accepted_socket", factory, tls, None, |lp, factory| {
        lp.connect_accepted_socket(factory, sock)
    });
    finish(begun)
}

/// What the factory made, for the caller.
type Made = Rc<RefCell<Option<(Rc<Layer>, AnyProtocol)>>>;

/// Whatever can be refused is refused before anything is opened (CONN-01).
fn begin(
    lp: &LoopRef,
    operation: &'static str,
    factory: ProtocolFactory,
    tls: Tls,
    host: Option<String>,
    connect: impl FnOnce(&LoopRef, ProtocolFactory) -> Connecting,
) -> Result<(Connecting, Made)> {
    let session = tls.session(operation, host.as_deref())?;
    let host = tls.asked_for(host);
    let made = Made::default();
    let (weak, theirs) = (lp.downgrade(), made.clone());
    let once = Cell::new(Some((tls, host, session)));
    let layered: ProtocolFactory = Rc::new(move || {
        let protocol = factory();
        let (tls, host, session) = once.take().expect("the factory of a connection is called once");
        let layer = Layer::new(&weak, tls, host, session, protocol.clone());
        *theirs.borrow_mut() = Some((layer.clone(), protocol));
        AnyProtocol::plain(Attachment(layer))
    });
    Ok((connect(lp, layered), made))
}

async fn finish(begun: Result<(Connecting, Made)>) -> Result<(Transport, AnyProtocol)> {
    let (connecting, made) = begun?;
    connecting.await?;
    let Some((layer, protocol)) = made.take() else {
        return Err(Error::usage("the loop made a connection without asking for a protocol"));
    };
    Handshaking::of(&layer).done().await?;
    Ok((layer.transport(), protocol))
}
