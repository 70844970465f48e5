//! The load generator of the TLS suite: blocking, in lock-step, and it compares every byte.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use anyloop::tls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use anyloop::tls::rustls::client::{ClientConnection, Resumption};
use anyloop::tls::rustls::crypto::ring;
use anyloop::tls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use anyloop::tls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use crate::child::Child;
use crate::lockstep::{Load, Work};

/// One shape of load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encrypted {
    pub(super) name: &'static str,
    /// Bytes per message.
    pub(super) size: usize,
    /// Connections that are open at the same time.
    pub(super) connections: usize,
    /// Whether each request has a connection of its own.
    pub(super) handshake: bool,
}

impl Encrypted {
    pub(super) const fn echo(name: &'static str, size: usize, connections: usize) -> Self {
        Self { name, size, connections, handshake: false }
    }
}

impl Work for Encrypted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn size(&self) -> usize {
        self.size
    }

    /// Connects, unless each request does.
    fn open(&self, server: &Child) -> io::Result<Box<dyn Load>> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let mut client = Client {
            work: *self,
            address: server.address,
            config: Arc::new(config),
            peers: Vec::new(),
            message: (0..self.size).map(|_| fastrand::u8(..)).collect(),
            answer: vec![0; self.size],
        };
        if !self.handshake {
            for _ in 0..self.connections {
                let peer = client.connect()?;
                client.peers.push(peer);
            }
        }
        Ok(Box::new(client))
    }
}

type Peer = StreamOwned<ClientConnection, TcpStream>;

/// The connections to one server.
struct Client {
    work: Encrypted,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    peers: Vec<Peer>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    fn connect(&self) -> io::Result<Peer> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(self.config.clone(), name);
        Ok(StreamOwned::new(session.map_err(io::Error::other)?, socket))
    }

    /// One message on every connection, then every answer.
    fn echo(&mut self) -> io::Result<usize> {
        for peer in &mut self.peers {
            send(peer, &self.message)?;
        }
        for peer in &mut self.peers {
            receive(peer, &self.message, &mut self.answer)?;
        }
        Ok(self.peers.len())
    }

    /// A connection for one message.
    fn handshake(&mut self) -> io::Result<usize> {
        let mut peer = self.connect()?;
        send(&mut peer, &self.message)?;
        receive(&mut peer, &self.message, &mut self.answer)?;
        peer.conn.send_close_notify();
        peer.flush()?;
        peer.sock.shutdown(Shutdown::Write)?;
        // Until the server has closed, too.
        peer.sock.read_to_end(&mut Vec::new())?;
        Ok(1)
    }
}

impl Load for Client {
    fn round(&mut self) -> io::Result<usize> {
        if self.work.handshake { self.handshake() } else { self.echo() }
    }
}

fn send(peer: &mut Peer, message: &[u8]) -> io::Result<()> {
    peer.write_all(message)?;
    peer.flush()
}

fn receive(peer: &mut Peer, message: &[u8], answer: &mut [u8]) -> io::Result<()> {
    answer.fill(0);
    peer.read_exact(answer)?;
    if answer != message {
        return Err(io::Error::other("the server answered with other bytes than it was sent"));
    }
    Ok(())
}

/// Trusts anybody: who the server is is not what is measured.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
