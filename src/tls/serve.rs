//! `create_server` and `create_unix_server`: every connection shakes hands first.

use std::future::Future;
use std::rc::Rc;

use anyloop_api::{
    AnyProtocol, Bind, LocalBoxFuture, LoopRef, ProtocolFactory, Result, Server, UnixBind,
};

use super::layer::{Attachment, Layer};
use super::options::{ServerTls, Tls};

/// [`EventLoop::create_server`](crate::EventLoop::create_server) with TLS (asyncio's `ssl=`): each connection gets a protocol of its own,
/// which learns of it when the handshake is done. A handshake that fails is reported in debug mode, and
/// harms nobody else.
///
/// [`Server::close_clients`] and [`Server::abort_clients`] end the connections below TLS, without a
/// close-notify, as asyncio does.
///
/// ```
/// use anyloop::{LoopRef, ProtocolFactory, tls};
/// # async fn example(lp: LoopRef, factory: ProtocolFactory, tls: tls::ServerTls) -> anyloop::Result<()> {
/// let server = tls::create_server(&lp, factory, "0.0.0.0:443", tls).await?;
/// server.serve_forever().await
/// # }
/// ```
///
/// # Errors
/// As without TLS; `InvalidArg` for a timeout of zero.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub fn create_server(
    lp: &LoopRef,
    factory: ProtocolFactory,
    at: impl Into<Bind>,
    tls: impl Into<ServerTls>,
) -> impl Future<Output = Result<Server>> + 'static {
    let (at, tls) = (at.into(), tls.into());
    let layered = layered(lp, "create_server", factory, tls);
    finish(layered.map(|factory| lp.create_server(factory, at)))
}

/// [`EventLoop::create_unix_server`](crate::EventLoop::create_unix_server) with TLS.
///
/// # Errors
/// As [`create_server`].
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub fn create_unix_server(
    lp: &LoopRef,
    factory: ProtocolFactory,
    at: impl Into<UnixBind>,
    tls: impl Into<ServerTls>,
) -> impl Future<Output = Result<Server>> + 'static {
    let (at, tls) = (at.into(), tls.into());
    let layered = layered(lp, "create_unix_server", factory, tls);
    finish(layered.map(|factory| lp.create_unix_server(factory, at)))
}

async fn finish(begun: Result<LocalBoxFuture<Result<Server>>>) -> Result<Server> {
    begun?.await
}

/// Makes layers with the protocols of `factory` on top.
fn layered(
    lp: &LoopRef,
    operation: &'static str,
    factory: ProtocolFactory,
    tls: ServerTls,
) -> Result<ProtocolFactory> {
    let tls = Tls::Server(tls);
    // Refuses a bad configuration now rather than for every connection.
    drop(tls.session(operation, None)?);
    let weak = lp.downgrade();
    Ok(Rc::new(move || {
        let protocol = factory();
        let session = tls.session(operation, None).expect("the configuration was accepted before");
        let layer = Layer::new(&weak, tls.clone(), None, session, protocol);
        layer.handshake.unattended.set(true);
        AnyProtocol::plain(Attachment(layer))
    }))
}
