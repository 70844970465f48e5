//! `start_tls`: a connection that exists becomes one that encrypts.

use std::future::Future;
use std::rc::Rc;

use anyloop_api::{AnyProtocol, Error, LoopRef, Result, Transport};

use super::handshake::Handshaking;
use super::layer::{Attachment, Layer};
use super::options::Tls;

/// Puts TLS between `transport` and `protocol`, and returns the transport that the protocol is to use
/// from now on (asyncio's `loop.start_tls`). The protocol gets no second `connection_made`. What was
/// written before goes ahead of the handshake.
///
/// TLS is in between when this call returns: whatever arrives from then on is the peer's part of the
/// handshake. The future waits for the handshake, and reading goes on when it has been awaited.
///
/// ```
/// use anyloop::{AnyProtocol, LoopRef, Transport, tls};
/// # async fn example(lp: LoopRef, plain: Transport, protocol: AnyProtocol, tls: tls::ClientTls)
/// # -> anyloop::Result<()> {
/// plain.write(b"STARTTLS\r\n")?;
/// // … and when the answer has come:
/// let tls = tls.server_hostname("mail.example.com");
/// let transport = tls::start_tls(&lp, &plain, protocol, tls).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `WrongType` for a pipe: it goes one way only. `Usage` if the transport is closing. `InvalidArg` for a
/// timeout of zero, or for a client without
/// [`server_hostname`](super::ClientTls#structfield.server_hostname). These leave the transport alone. The
/// handshake's are those of [`create_connection`](super::create_connection); they close it, and the
/// protocol's `connection_lost` follows.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub fn start_tls(
    lp: &LoopRef,
    transport: &Transport,
    protocol: impl Into<AnyProtocol>,
    tls: impl Into<Tls>,
) -> impl Future<Output = Result<Transport>> + 'static {
    start_tls_with(lp, transport, protocol.into(), tls.into(), Vec::new)
}

/// The same for somebody who has read too far: `early` gives what the peer has said already, and is asked
/// if nothing was refused.
pub(crate) fn start_tls_with(
    lp: &LoopRef,
    transport: &Transport,
    protocol: AnyProtocol,
    tls: Tls,
    early: impl FnOnce() -> Vec<u8>,
) -> impl Future<Output = Result<Transport>> + 'static {
    let started = start(lp, transport, protocol, tls, early);
    let started = started.map(|layer| (Handshaking::of(&layer), layer));
    async move {
        let (handshaking, layer) = started?;
        handshaking.done().await?;
        let transport = layer.transport();
        // When the caller has put the new transport in the old one's place.
        layer.set_reading(true);
        Ok(transport)
    }
}

fn start(
    lp: &LoopRef,
    below: &Transport,
    protocol: AnyProtocol,
    tls: Tls,
    early: impl FnOnce() -> Vec<u8>,
) -> Result<Rc<Layer>> {
    const NAME: &str = "start_tls";
    if below.get_extra_info("pipe").is_some() {
        return Err(Error::WrongType(format!("{NAME}: {below:?} goes one way only").into()));
    }
    if below.is_closing() {
        return Err(Error::usage(format!("{NAME}: {below:?} is closing")));
    }
    let session = tls.session(NAME, None)?;
    let host = tls.asked_for(None);
    let layer = Layer::new(&lp.downgrade(), tls, host, session, protocol);
    layer.made.set(true);
    layer.reading_paused.set(true);
    below.set_protocol(AnyProtocol::plain(Attachment(layer.clone())));
    // With both marks at zero a transport that has something to send pauses now, and tells us; if it does
    // not, it was paused before, and the protocol knows (TLS-14).
    let _ = below.set_write_buffer_limits(Some(0), Some(0));
    if below.get_write_buffer_size() > 0 && !layer.below_writing_paused.replace(true) {
        layer.writing_paused.set(true);
    }
    layer.attach(below.clone());
    let early = early();
    if !early.is_empty() {
        layer.receive(&early);
    }
    below.resume_reading();
    if !below.is_reading() && !below.is_closing() {
        // The end of the stream is told once, and somebody else has heard it.
        layer.below_ends();
    }
    Ok(layer)
}
