//! Who the peer is: the name that is asked for, and what is known about the session.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyloop::tls::rustls::{
    CertificateError, ClientConfig, ProtocolVersion, ServerConfig, client::WebPkiServerVerifier,
    version::TLS12,
};
use anyloop::tls::{AnyName, Session, Tls, rustls, rustls_error};
use anyloop_api::{Bind, ExtraInfo, Server, UnixConnect};

use super::*;
use crate::tools::{SERVER, Script, socket_view};

/// A server on 127.0.0.1, whose connections all get the same protocol.
fn serve(lp: &LoopRef, record: &Record, tls: ServerTls) -> Result<(Server, u16), Failure> {
    let serving = tls::create_server(lp, record.factory(), Bind::to("127.0.0.1", 0), tls);
    let server = lp.run_until_complete(serving)??;
    let address = server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
    Ok((server, address.port()))
}

/// A server with a certificate for these names.
fn named(authority: &Authority, names: &[&str]) -> Result<ServerTls, Failure> {
    let (chain, key) = authority.issue(names)?;
    Ok(ServerTls::with_certificate(chain, key.into())?)
}

/// Connects to 127.0.0.1: whom the server believes to have been asked for, or the error.
fn visit(
    cx: &Context,
    server: ServerTls,
    client: ClientTls,
) -> Result<anyloop_api::Result<Option<String>>, Failure> {
    let lp = cx.new_loop()?;
    let (near, far) = (Script::new().record(), Script::new().record());
    let (server, port) = serve(&lp, &far, server)?;
    let to = ("127.0.0.1", port);
    let connecting = tls::create_connection(&lp, near.factory(), to, client);
    let connected = lp.run_until_complete(connecting)?;
    server.close();
    let transport = match connected {
        Ok((transport, _)) => transport,
        Err(error) => return Ok(Err(error)),
    };
    far.until(&lp, |far| far.count("made") == 1)?;
    let session = Session::of(&far.transport()).ok_or_else(|| Failure::new("no session"))?;
    transport.close();
    near.until_lost(&lp)?;
    far.until_lost(&lp)?;
    Ok(Ok(session.server_name()))
}

/// Succeeds if the certificate was for somebody else.
fn ensure_stranger<T: std::fmt::Debug>(visited: &anyloop_api::Result<T>) -> Outcome {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    ensure_is!(
        visited.as_ref().err().and_then(rustls_error),
        Some(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
    );
    Ok(())
}

pub(super) fn the_host_is_asked_for(cx: &Context) -> Outcome {
    let authority = Authority::new()?;
    // Addresses are compared, but not sent.
    let visited = visit(cx, authority.server()?, authority.plain_client()?)?;
    ensure_eq!(visited?, None, "whom the client asked for");
    let stranger = named(&authority, &[SERVER, "127.0.0.2"])?;
    ensure_stranger(&visit(cx, stranger, authority.plain_client()?)?)
}

pub(super) fn another_name_is_asked_for(cx: &Context) -> Outcome {
    let authority = Authority::new()?;
    let visited = visit(cx, named(&authority, &[SERVER])?, authority.client()?)?;
    ensure_eq!(visited?.as_deref(), Some(SERVER), "whom the client asked for");
    let stranger = named(&authority, &["127.0.0.1", "other.test"])?;
    ensure_stranger(&visit(cx, stranger, authority.client()?)?)
}

pub(super) fn nobody_is_asked_for(cx: &Context) -> Outcome {
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let anybody = ours.plain_client()?.server_hostname("");
    let visited = visit(cx, named(&ours, &["other.test"])?, anybody.clone())?;
    ensure_eq!(visited?, None, "whom the client asked for");
    // Whose certificate is not trusted is refused all the same.
    let visited = visit(cx, named(&theirs, &["other.test"])?, anybody)?;
    ensure_is!(
        visited.as_ref().err().and_then(rustls_error),
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
    );
    // A configuration made elsewhere has a verifier of its own.
    let strict = WebPkiServerVerifier::builder(ours.roots()?.into()).build()?;
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(AnyName::new(strict))
        .with_no_client_auth();
    let lenient = ClientTls::new(config).server_hostname("");
    visit(cx, named(&ours, &["other.test"])?, lenient)??;
    let config = ClientConfig::builder().with_root_certificates(ours.roots()?);
    let strict = ClientTls::new(config.with_no_client_auth()).server_hostname("");
    ensure_stranger(&visit(cx, named(&ours, &["other.test"])?, strict)?)
}

pub(super) fn needed_where_no_host_is_given(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let record = Script::new().record();
    let (near, _far) = tcp_pair()?;
    let nobody = "127.0.0.1:1".parse()?;
    for to in [Connect::socket(near), Connect::to_any([nobody])] {
        let client = authority.plain_client()?;
        let connecting = tls::create_connection(&lp, record.factory(), to, client);
        ensure_is!(lp.run_until_complete(connecting)?, Err(Error::InvalidArg(_)));
    }
    let to = UnixConnect::path("/nobody/is/here");
    let client = authority.plain_client()?;
    let connecting = tls::create_unix_connection(&lp, record.factory(), to, client);
    ensure_is!(lp.run_until_complete(connecting)?, Err(Error::InvalidArg(_)));
    let client = authority.client()?.server_hostname("no such name!");
    let connecting = tls::create_connection(&lp, record.factory(), "127.0.0.1:1", client);
    ensure_is!(lp.run_until_complete(connecting)?, Err(Error::InvalidArg(_)));
    record.expect([])
}

fn bytes(info: Option<&ExtraInfo>) -> Option<&[u8]> {
    info.and_then(ExtraInfo::bytes)
}

pub(super) fn facts_of_the_session(cx: &Context) -> Outcome {
    let authority = Authority::new()?;
    let (chain, key) = authority.issue(&[SERVER])?;
    let certificate = chain[0].clone();
    let server = |versions| -> Result<_, Failure> {
        let config = ServerConfig::builder_with_protocol_versions(versions);
        let mut config =
            config.with_no_client_auth().with_single_cert(chain.clone(), key.clone_key().into())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(ServerTls::new(config))
    };
    for (server, version, prefix) in [
        (server(rustls::DEFAULT_VERSIONS)?, ProtocolVersion::TLSv1_3, "TLS13_"),
        (server(&[&TLS12])?, ProtocolVersion::TLSv1_2, "TLS_"),
    ] {
        let lp = cx.new_loop()?;
        let mut client = authority.client()?;
        Arc::make_mut(&mut client.config).alpn_protocols = vec![b"http/1.1".to_vec()];
        let (near, far) = tcp_pair()?;
        let (own, peer, fd) = (near.local_addr()?, near.peer_addr()?, near.as_raw_fd());
        let (record, theirs) = (Script::new().record(), Script::new().record());
        let accepting = accept(&lp, theirs.plain(), far, server)?;
        let dialling = dial(&lp, record.plain(), near, client)?;
        let (near, far) = (made(&lp, &dialling)?, made(&lp, &accepting)?);

        let info = |name| near.get_extra_info(name);
        ensure_eq!(bytes(info("peercert").as_ref()), Some(&certificate[..]), "the certificate");
        let cipher = info("cipher");
        let cipher = cipher.as_ref().and_then(ExtraInfo::text).unwrap_or_default();
        ensure!(cipher.starts_with(prefix), "the cipher is {cipher:?}");
        ensure!(info("compression").is_none(), "there is no compression");
        ensure!(info("nonsense").is_none(), "an answer to nonsense");
        let session = info("ssl_object").and_then(|info| info.object::<Session>());
        let session = session.ok_or_else(|| Failure::new("no session"))?;
        ensure_eq!(session.protocol_version(), Some(version), "the version");
        ensure_eq!(session.alpn_protocol().as_deref(), Some(&b"http/1.1"[..]), "the protocol");
        ensure_eq!(session.server_name().as_deref(), Some(SERVER), "the server's name");
        ensure_eq!(session.peer_certificates(), chain, "the certificates");
        let theirs = Session::of(&far).ok_or_else(|| Failure::new("no session"))?;
        ensure_eq!(theirs.server_name().as_deref(), Some(SERVER), "the name that was asked for");
        ensure_eq!(theirs.peer_certificates(), [], "certificates of the client");
        let secret = session.export_keying_material(32, b"test", None)?;
        ensure_eq!(theirs.export_keying_material(32, b"test", None)?, secret, "the secret");
        ensure_is!(session.export_keying_material(0, b"test", None), Err(Error::InvalidArg(_)));

        ensure_eq!((near.local_addr(), near.peer_addr()), (Some(own), Some(peer)), "addresses");
        ensure_eq!(socket_view(&near)?.fileno(), Some(fd), "the socket");
        near.close();
        record.until_lost(&lp)?;
        ensure_eq!(near.peer_addr(), Some(peer), "the peer after the end");
        ensure_eq!(bytes(info("peercert").as_ref()), Some(&certificate[..]), "after the end");
    }
    Ok(())
}

pub(super) fn certificates_of_clients(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (client, certificate) = authority.known_client()?;
    let (near, far) = tcp_pair()?;
    let (record, theirs) = (Script::new().record(), Script::new().record());
    let accepting = accept(&lp, theirs.plain(), far, authority.strict_server()?)?;
    let dialling = dial(&lp, record.plain(), near, client)?;
    let (_near, far) = (made(&lp, &dialling)?, made(&lp, &accepting)?);
    let info = far.get_extra_info("peercert");
    ensure_eq!(bytes(info.as_ref()), Some(&certificate[..]), "the client's certificate");

    let (near, far) = tcp_pair()?;
    let (record, theirs) = (Script::new().record(), Script::new().record());
    let accepting = accept(&lp, theirs.plain(), far, authority.strict_server()?)?;
    let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
    let error = failure(&lp, &accepting)?;
    ensure_is!(rustls_error(&error), Some(rustls::Error::NoCertificatesPresented));
    theirs.expect([])?;
    // The client was content, and learns of it afterwards.
    made(&lp, &dialling)?;
    record.until_lost(&lp)?;
    let error = record.error();
    ensure_is!(error.as_ref().and_then(rustls_error), Some(rustls::Error::AlertReceived(_)));
    Ok(())
}

pub(super) fn the_context_is_there_from_the_start(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let seen: Rc<RefCell<Vec<bool>>> = Rc::default();
    let note = |seen: &Rc<RefCell<Vec<bool>>>| {
        let seen = seen.clone();
        move |record: &Record| {
            let info = |name| record.transport().get_extra_info(name);
            let context = info("sslcontext").and_then(|info| info.object::<Tls>());
            let session = info("ssl_object").and_then(|info| info.object::<Session>());
            seen.borrow_mut().push(context.is_some() && session.is_some());
        }
    };
    let client = Script::new().made(note(&seen)).lost(note(&seen)).record();
    let server = Script::new().made(note(&seen)).lost(note(&seen)).record();
    let (near, _far) = connected(&lp, &authority, &client, &server)?;
    near.close();
    client.until_lost(&lp)?;
    server.until_lost(&lp)?;
    ensure_eq!(*seen.borrow(), [true; 4], "context and session in the callbacks");
    Ok(())
}
