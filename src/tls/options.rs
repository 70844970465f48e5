//! `ClientTls` and `ServerTls`: asyncio's `ssl=`, `server_hostname=`, `ssl_handshake_timeout=` and
//! `ssl_shutdown_timeout=`.

use std::sync::Arc;
use std::time::Duration;

use anyloop_api::{Error, Result};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, IpAddr, Ipv4Addr, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use super::verifier::AnyName;

/// How long a handshake may take if nothing else is said: 60 seconds.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long closing may take if nothing else is said: 30 seconds.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How the client's side of a connection speaks TLS.
///
/// ```
/// use anyloop::tls::{ClientTls, rustls::RootCertStore};
/// use std::time::Duration;
///
/// # fn example(roots: RootCertStore) -> anyloop::Result<()> {
/// let usual = ClientTls::with_roots(roots)?;
/// let hasty = usual.server_hostname("db.internal").ssl_handshake_timeout(Duration::from_secs(5));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientTls {
    /// What is offered, and who is trusted.
    pub config: Arc<ClientConfig>,
    /// Whom the peer's certificate must be for; the host that is connected to if nothing is said. Empty:
    /// nobody is asked for, and whoever has a certificate that is trusted will do.
    pub server_hostname: Option<String>,
    /// How long the handshake may take.
    pub ssl_handshake_timeout: Duration,
    /// How long closing may take: sending the rest, and waiting for the peer's close-notify.
    pub ssl_shutdown_timeout: Duration,
    /// What is used if nobody is asked for.
    unnamed: Option<Arc<ClientConfig>>,
}

impl ClientTls {
    /// With a configuration of rustls's, of whatever cryptography. A verifier that insists on a name does
    /// so also if [`ClientTls::server_hostname`] is empty, and then fails every handshake; [`AnyName`]
    /// makes one that does not.
    #[must_use]
    pub fn new(config: impl Into<Arc<ClientConfig>>) -> Self {
        Self {
            config: config.into(),
            server_hostname: None,
            ssl_handshake_timeout: HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout: SHUTDOWN_TIMEOUT,
            unnamed: None,
        }
    }

    /// With rustls's own choices, trusting certificates that these have signed. No client certificate.
    ///
    /// # Errors
    /// `InvalidArg` if the process's [`CryptoProvider`] supports no version of TLS, or `roots` is empty.
    pub fn with_roots(roots: RootCertStore) -> Result<Self> {
        let (roots, provider) = (Arc::new(roots), provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            roots.clone(),
            provider.clone(),
        );
        let verifier = verifier.build().map_err(|error| invalid("ClientTls", error))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("ClientTls", error))?;
        let named = builder.clone().with_root_certificates(roots).with_no_client_auth();
        let unnamed = builder
            .dangerous()
            .with_custom_certificate_verifier(AnyName::new(verifier))
            .with_no_client_auth();
        Ok(Self { unnamed: Some(Arc::new(unnamed)), ..Self::new(named) })
    }

    /// See [`ClientTls::server_hostname`](#structfield.server_hostname).
    #[must_use]
    pub fn server_hostname(mut self, name: impl Into<String>) -> Self {
        self.server_hostname = Some(name.into());
        self
    }

    /// See [`ClientTls::ssl_handshake_timeout`](#structfield.ssl_handshake_timeout).
    #[must_use]
    pub fn ssl_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.ssl_handshake_timeout = timeout;
        self
    }

    /// See [`ClientTls::ssl_shutdown_timeout`](#structfield.ssl_shutdown_timeout).
    #[must_use]
    pub fn ssl_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.ssl_shutdown_timeout = timeout;
        self
    }

    /// The client's end of a session with `host`, unless another name was given (TLS-17).
    pub(super) fn session(
        &self,
        operation: &'static str,
        host: Option<&str>,
    ) -> Result<Connection> {
        let Some(name) = self.server_hostname.as_deref().or(host) else {
            return Err(Error::invalid_arg(format!(
                "{operation}: a server_hostname is needed where no host is given"
            )));
        };
        let config = match &self.unnamed {
            Some(unnamed) if name.is_empty() => unnamed,
            _ => &self.config,
        };
        let session = ClientConnection::new(config.clone(), server_name(operation, name)?);
        session.map(Connection::Client).map_err(|error| invalid(operation, error))
    }
}

/// A name as rustls wants it. Addresses are not sent to the peer, so this one stands for nobody.
fn server_name(operation: &'static str, name: &str) -> Result<ServerName<'static>> {
    if name.is_empty() {
        return Ok(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4]))));
    }
    // The zone of a link-local address is not part of the name.
    let plain = name.split_once('%').map_or(name, |(address, _)| address);
    ServerName::try_from(plain.to_owned()).map_err(|error| {
        Error::invalid_arg(format!("{operation}: {name:?} is no name of a server: {error}"))
    })
}

impl<C: Into<Arc<ClientConfig>>> From<C> for ClientTls {
    fn from(config: C) -> Self {
        Self::new(config)
    }
}

/// How the server's side of a connection speaks TLS.
///
/// ```no_run
/// use anyloop::tls::{ServerTls, rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject}};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let chain = CertificateDer::pem_file_iter("cert.pem")?.collect::<Result<Vec<_>, _>>()?;
/// let tls = ServerTls::with_certificate(chain, PrivateKeyDer::from_pem_file("key.pem")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerTls {
    /// What is offered, and the certificates.
    pub config: Arc<ServerConfig>,
    /// How long the handshake may take.
    pub ssl_handshake_timeout: Duration,
    /// How long closing may take: sending the rest, and waiting for the peer's close-notify.
    pub ssl_shutdown_timeout: Duration,
}

impl ServerTls {
    /// With a configuration of rustls's, of whatever cryptography. Sessions that are resumed and certificates of
    /// clients are its business; data ahead of the handshake (0-RTT) is not for protocols that begin after it, and
    /// a configuration that accepts some is refused with `InvalidArg` where it is used.
    #[must_use]
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self {
            config: config.into(),
            ssl_handshake_timeout: HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout: SHUTDOWN_TIMEOUT,
        }
    }

    /// With rustls's own choices and one certificate: the chain from it to its root, and its key. Clients
    /// are not asked for theirs.
    ///
    /// # Errors
    /// `InvalidArg` if the key does not fit, or is of a kind that is not known.
    pub fn with_certificate(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("ServerTls", error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| invalid("ServerTls", error))?;
        Ok(Self::new(config))
    }

    /// See [`ServerTls::ssl_handshake_timeout`](#structfield.ssl_handshake_timeout).
    #[must_use]
    pub fn ssl_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.ssl_handshake_timeout = timeout;
        self
    }

    /// See [`ServerTls::ssl_shutdown_timeout`](#structfield.ssl_shutdown_timeout).
    #[must_use]
    pub fn ssl_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.ssl_shutdown_timeout = timeout;
        self
    }

    pub(super) fn session(&self, operation: &'static str) -> Result<Connection> {
        // The client would be told that it has arrived, and nobody would get it.
        if self.config.max_early_data_size > 0 {
            return Err(Error::invalid_arg(format!("{operation}: max_early_data_size must be 0")));
        }
        let session = ServerConnection::new(self.config.clone());
        session.map(Connection::Server).map_err(|error| invalid(operation, error))
    }
}

impl<C: Into<Arc<ServerConfig>>> From<C> for ServerTls {
    fn from(config: C) -> Self {
        Self::new(config)
    }
}

/// Either side, for [`start_tls`](super::start_tls); the extra info named `"sslcontext"`.
#[derive(Clone, Debug)]
pub enum Tls {
    /// We are the client.
    Client(ClientTls),
    /// We are the server (asyncio's `server_side=True`).
    Server(ServerTls),
}

impl Tls {
    /// Refuses timeouts that leave no time (TLS-03).
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        let timeouts = [
            ("ssl_handshake_timeout", self.handshake_timeout()),
            ("ssl_shutdown_timeout", self.shutdown_timeout()),
        ];
        for (name, timeout) in timeouts {
            if timeout.is_zero() {
                return Err(Error::invalid_arg(format!("{operation}: {name} must be positive")));
            }
        }
        Ok(())
    }

    pub(super) fn session(
        &self,
        operation: &'static str,
        host: Option<&str>,
    ) -> Result<Connection> {
        self.check(operation)?;
        match self {
            Self::Client(tls) => tls.session(operation, host),
            Self::Server(tls) => tls.session(operation),
        }
    }

    /// Whom the peer has to be.
    pub(super) fn asked_for(&self, host: Option<String>) -> Option<String> {
        match self {
            Self::Client(tls) => tls.server_hostname.clone().or(host),
            Self::Server(_) => None,
        }
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        match self {
            Self::Client(tls) => tls.ssl_handshake_timeout,
            Self::Server(tls) => tls.ssl_handshake_timeout,
        }
    }

    pub(super) fn shutdown_timeout(&self) -> Duration {
        match self {
            Self::Client(tls) => tls.ssl_shutdown_timeout,
            Self::Server(tls) => tls.ssl_shutdown_timeout,
        }
    }
}

impl From<ClientTls> for Tls {
    fn from(tls: ClientTls) -> Self {
        Self::Client(tls)
    }
}

impl From<ServerTls> for Tls {
    fn from(tls: ServerTls) -> Self {
        Self::Server(tls)
    }
}

/// The process's own choice of cryptography, else ours.
fn provider() -> Arc<CryptoProvider> {
    let chosen = CryptoProvider::get_default().cloned();
    chosen.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

fn invalid(operation: &'static str, error: impl std::fmt::Display) -> Error {
    Error::invalid_arg(format!("{operation}: {error}"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    #[test]
    fn a_server_accepts_no_data_ahead_of_the_handshake() {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["server.test".to_owned()]).expect("a name");
        let chain = vec![params.self_signed(&key).expect("a certificate").der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let usual = ServerTls::with_certificate(chain, key.into()).expect("they fit");
        assert!(usual.session("create_server").is_ok());
        let mut config = ServerConfig::clone(&usual.config);
        config.max_early_data_size = 1;
        let refused = ServerTls::new(config).session("create_server");
        assert!(matches!(refused, Err(Error::InvalidArg(_))), "{refused:?}");
    }
}
