//! `Session`: what client and server have agreed on.

use std::fmt;
use std::rc::Rc;

use anyloop_api::{Error, Result, Transport};
use rustls::pki_types::CertificateDer;
use rustls::{Connection, HandshakeKind, ProtocolVersion, SupportedCipherSuite};

use super::layer::{self, Layer};

/// The session of a connection: the extra info named `"ssl_object"`. It outlives the connection.
///
/// ```
/// # async fn example(tls: anyloop::tls::ClientTls) -> anyloop::Result<()> {
/// use anyloop::tls::{self, Session};
/// let (reader, writer) = tls::open_connection("example.com:443", tls).await?;
/// let session = Session::of(&writer.transport()).expect("it is a TLS connection");
/// println!("{:?}, {:?}", session.protocol_version(), session.alpn_protocol());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session(Rc<Layer>);

impl Session {
    pub(super) fn new(layer: Rc<Layer>) -> Self {
        Self(layer)
    }

    /// Of a transport that speaks TLS, and has done its handshake.
    #[must_use]
    pub fn of(transport: &Transport) -> Option<Self> {
        layer::of(transport).map(Self).filter(Self::is_ready)
    }

    /// The peer's certificate and those that it sent along, the peer's first; none from a client that was
    /// not asked.
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        self.ask(|session| session.peer_certificates().map(<[_]>::to_vec)).unwrap_or_default()
    }

    /// Which version of TLS.
    #[must_use]
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.ask(|session| session.protocol_version())
    }

    /// Which cipher.
    #[must_use]
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.ask(|session| session.negotiated_cipher_suite())
    }

    /// Which protocol is spoken over it, if that was a question (ALPN).
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.ask(|session| session.alpn_protocol().map(<[_]>::to_vec))
    }

    /// Which server the client asked for: what we were told as the client, and what the client told us as
    /// the server.
    #[must_use]
    pub fn server_name(&self) -> Option<String> {
        self.ask(|session| match session {
            Connection::Client(_) => self.0.host.clone(),
            Connection::Server(session) => session.server_name().map(str::to_owned),
        })
    }

    /// Whether the handshake went on from an earlier session.
    #[must_use]
    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.ask(|session| session.handshake_kind())
    }

    /// Whether the peer has said that it sent everything. At the end of a stream without it, somebody may
    /// have cut the stream short.
    #[must_use]
    pub fn close_notify_received(&self) -> bool {
        self.0.close_notify.get()
    }

    /// Keys for other purposes, made from those of the session (RFC 5705).
    ///
    /// # Errors
    /// `InvalidArg` if nothing was asked for, or too much.
    pub fn export_keying_material(
        &self,
        length: usize,
        label: &[u8],
        context: Option<&[u8]>,
    ) -> Result<Vec<u8>> {
        let session = self.0.session.borrow();
        session.export_keying_material(vec![0; length], label, context).map_err(|error| {
            Error::invalid_arg(format!("export_keying_material of {length} bytes: {error}"))
        })
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.0.session.borrow().is_handshaking()
    }

    pub(super) fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.ask(|session| session.peer_certificates()?.first().map(|first| first.to_vec()))
    }

    pub(super) fn cipher(&self) -> Option<String> {
        self.cipher_suite().map(|cipher| format!("{:?}", cipher.suite()))
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> Option<T>) -> Option<T> {
        question(&self.0.session.borrow())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Session")?;
        if let (Some(version), Some(cipher)) = (self.protocol_version(), self.cipher()) {
            write!(f, " {version:?} {cipher}")?;
        }
        write!(f, " with {}>", self.0.peer())
    }
}
