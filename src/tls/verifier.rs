//! `AnyName`: trusts a certificate whomever it is for.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// A verifier that asks another one, and does not mind if the certificate is for somebody else: Python's
/// `check_hostname = False`. The chain, the dates and the signatures are checked as ever.
///
/// [`ClientTls::with_roots`](super::ClientTls::with_roots) uses it by itself where the server's name is
/// empty.
///
/// ```
/// use anyloop::tls::{AnyName, rustls};
/// use rustls::{ClientConfig, RootCertStore, client::WebPkiServerVerifier};
/// # fn example(roots: RootCertStore) -> Result<(), Box<dyn std::error::Error>> {
/// let strict = WebPkiServerVerifier::builder(roots.into()).build()?;
/// let config = ClientConfig::builder()
///     .dangerous()
///     .with_custom_certificate_verifier(AnyName::new(strict))
///     .with_no_client_auth();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AnyName(Arc<dyn ServerCertVerifier>);

impl AnyName {
    /// Asks `verifier` about everything but the name. It must check the name last, as rustls's own does.
    #[must_use]
    pub fn new(verifier: Arc<dyn ServerCertVerifier>) -> Arc<Self> {
        Arc::new(Self(verifier))
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let verified =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.0.root_hint_subjects()
    }
}
