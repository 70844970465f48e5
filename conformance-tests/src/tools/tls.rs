//! An authority that signs certificates, and blocking peers that speak TLS without a loop.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyloop::tls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use anyloop::tls::rustls::server::WebPkiClientVerifier;
use anyloop::tls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use anyloop::tls::{ClientTls, ServerTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::case::Failure;

/// The name in every certificate, and an address with it.
pub const SERVER: &str = "server.test";
const ADDRESS: &str = "127.0.0.1";

/// An authority of its own for each case: who trusts it trusts nobody else.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

type Chain = (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>);

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn new() -> Result<Self, Failure> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Those who trust it.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn roots(&self) -> Result<RootCertStore, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        Ok(roots)
    }

    /// A certificate for these names, with its key.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn issue(&self, names: &[&str]) -> Result<Chain, Failure> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        Ok((vec![certificate.der().clone()], key.serialize_der().into()))
    }

    /// A server with a certificate for [`SERVER`] and 127.0.0.1.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn server(&self) -> Result<ServerTls, Failure> {
        let (chain, key) = self.issue(&[SERVER, ADDRESS])?;
        Ok(ServerTls::with_certificate(chain, key.into())?)
    }

    /// A server that wants to see its clients' certificates.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn strict_server(&self) -> Result<ServerTls, Failure> {
        let (chain, key) = self.issue(&[SERVER, ADDRESS])?;
        let verifier = WebPkiClientVerifier::builder(self.roots()?.into()).build()?;
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key.into())?;
        Ok(ServerTls::new(config))
    }

    /// A client that trusts this authority, and asks for [`SERVER`].
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn client(&self) -> Result<ClientTls, Failure> {
        Ok(self.plain_client()?.server_hostname(SERVER))
    }

    /// The same, asking for whomever it connects to.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn plain_client(&self) -> Result<ClientTls, Failure> {
        Ok(ClientTls::with_roots(self.roots()?)?)
    }

    /// A client with a certificate of its own.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn known_client(&self) -> Result<(ClientTls, CertificateDer<'static>), Failure> {
        let (chain, key) = self.issue(&["client.test"])?;
        let certificate = chain[0].clone();
        let config = ClientConfig::builder()
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key.into())?;
        Ok((ClientTls::new(config).server_hostname(SERVER), certificate))
    }

    /// What a blocking server on a thread of its own needs.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn blocking_server(&self) -> Result<BlockingServer, Failure> {
        Ok(BlockingServer(self.server()?.config))
    }

    /// What a blocking client on a thread of its own needs.
    ///
    /// # Errors
    /// Those of the cryptography.
    pub fn blocking_client(&self) -> Result<BlockingClient, Failure> {
        Ok(BlockingClient(self.client()?.config))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// Takes sockets into TLS as the server, and blocks.
#[derive(Clone, Debug)]
pub struct BlockingServer(Arc<ServerConfig>);

/// Takes sockets into TLS as the client, and blocks.
#[derive(Clone, Debug)]
pub struct BlockingClient(Arc<ClientConfig>);

/// A blocking end of a connection.
pub type Blocking<Session, S = TcpStream> = StreamOwned<Session, S>;

impl BlockingServer {
    /// The handshake.
    ///
    /// # Errors
    /// TLS's and the socket's.
    pub fn accept<S: Read + Write>(&self, socket: S) -> io::Result<Blocking<ServerConnection, S>> {
        let session = ServerConnection::new(self.0.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        // Tickets for the next time.
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock)?;
        }
        Ok(stream)
    }
}

impl BlockingClient {
    /// The handshake.
    ///
    /// # Errors
    /// TLS's and the socket's.
    pub fn connect<S: Read + Write>(&self, socket: S) -> io::Result<Blocking<ClientConnection, S>> {
        let name = ServerName::try_from(SERVER).map_err(io::Error::other)?;
        let session = ClientConnection::new(self.0.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}
