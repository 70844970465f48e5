//! The handshake: what comes after it, and how it fails.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use anyloop::tls::rustls::{AlertDescription, CertificateError};
use anyloop::tls::{Session, rustls, rustls_error};
use anyloop_api::{Bind, Server, UnixBind};

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{Script, TempDir, reset, settle};

/// Whether the transport has agreed on anything.
fn is_ready(record: &Record) -> bool {
    Session::of(&record.transport()).is_some()
}

pub(super) fn made_when_the_handshake_is_done(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let trace = cx.trace();
    let made_trace = trace.clone();
    let record = Script::new()
        .made(move |record| made_trace.push(if is_ready(record) { "made" } else { "too early" }))
        .record();
    let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
    let returned = trace.pusher("returned");
    dialling.add_done_callback(move |_| returned());
    settle(&lp)?;
    trace.expect([])?;
    let server = authority.blocking_server()?;
    let peer = thread::spawn(move || server.accept(far));
    made(&lp, &dialling)?;
    run_once(&lp)?;
    trace.expect(["made", "returned"])?;
    drop(join(peer)??);
    record.until_lost(&lp)?;
    Ok(())
}

/// A server on a port of its own, whose connections all get the same protocol.
fn serve(lp: &LoopRef, record: &Record, tls: ServerTls) -> Result<Server, Failure> {
    let serving = tls::create_server(lp, record.factory(), Bind::to("127.0.0.1", 0), tls);
    Ok(lp.run_until_complete(serving)??)
}

/// A blocking socket connected to it.
fn visit(server: &Server) -> Result<TcpStream, Failure> {
    let address = server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
    Ok(TcpStream::connect(address)?)
}

pub(super) fn on_a_server_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let record = Script::new()
        .data(|record, data| {
            let _ = record.transport().write(data);
        })
        .record();
    let server = serve(&lp, &record, authority.server()?)?;
    let socket = visit(&server)?;
    settle(&lp)?;
    record.expect([])?;
    let client = authority.blocking_client()?;
    let peer = thread::spawn(move || {
        let mut stream = client.connect(socket)?;
        stream.write_all(b"hello")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    ensure_eq!(until_finished(&lp, peer)??, *b"hello", "the answer");
    record.until_lost(&lp)?;
    ensure_eq!(record.count("made"), 1, "connection_made");
    server.close();
    Ok(())
}

pub(super) fn over_local_sockets_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let directory = TempDir::new()?;
    let path = directory.join("s");
    let (tls, client) = (authority.server()?, authority.client()?);
    lp.run_until_complete(async move {
        let server = tls::start_unix_server(&path, tls, |reader, writer| async move {
            while let Some(line) = reader.next_line().await? {
                writer.write(&line);
            }
            Ok(())
        })
        .await?;
        let (reader, writer) = tls::open_unix_connection(&path, client).await?;
        writer.write("hello\n");
        ensure_eq!(reader.read_line().await?, b"hello\n", "the answer");
        let plain = UnixStream::connect(&path)?;
        drop(plain);
        writer.close();
        writer.wait_closed().await?;
        server.close();
        Ok(())
    })?
}

pub(super) fn a_certificate_that_is_not_trusted(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    run_once(&lp)?;
    let before = open_descriptors();
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let (near, far) = half_blocking()?;
    let address = far.local_addr()?;
    let record = Script::new().record();
    let dialling = dial(&lp, record.plain(), near, ours.client()?)?;
    let server = theirs.blocking_server()?;
    let peer = thread::spawn(move || server.accept(far).map(drop));
    let error = failure(&lp, &dialling)?;
    ensure_is!(
        rustls_error(&error),
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
    );
    let text = error.to_string();
    ensure!(text.contains("TLS handshake with"), "what was done is not in {text:?}");
    ensure!(text.contains(&address.to_string()), "{address} is not in {text:?}");
    ensure!(text.contains("UnknownIssuer"), "the reason is not in {text:?}");
    drop(until_finished(&lp, peer)?);
    settle(&lp)?;
    ensure_eq!(open_descriptors(), before, "descriptors when the call has failed");
    record.expect([])?;
    reports.none()
}

pub(super) fn the_peer_is_told_why(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let (near, far) = half_blocking()?;
    let record = Script::new().record();
    let dialling = dial(&lp, record.plain(), near, ours.client()?)?;
    let server = theirs.blocking_server()?;
    let peer = thread::spawn(move || server.accept(far).map(drop));
    failure(&lp, &dialling)?;
    let error = until_finished(&lp, peer)?.err();
    let error = error.as_ref().and_then(|error| error.get_ref()?.downcast_ref::<rustls::Error>());
    ensure_is!(error, Some(rustls::Error::AlertReceived(AlertDescription::UnknownCA)));
    Ok(())
}

pub(super) fn a_peer_that_speaks_no_tls(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, mut far) = half_blocking()?;
    far.write_all(b"220 mail.test ready to serve you\r\n")?;
    let record = Script::new().record();
    let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
    let error = failure(&lp, &dialling)?;
    ensure_is!(rustls_error(&error), Some(rustls::Error::InvalidMessage(_)));
    ensure_eq!(error.io_kind(), ErrorKind::InvalidData, "the kind of {error}");
    // The socket is closed without anybody's help.
    let peer = thread::spawn(move || far.read_to_end(&mut Vec::new()).map(drop));
    drop(until_finished(&lp, peer)?);
    record.expect([])
}

pub(super) fn a_server_goes_on(cx: &Context) -> Outcome {
    for debug in [false, true] {
        let lp = cx.new_loop_with(|config| config.debug(debug))?;
        let reports = Reports::of(&lp);
        let authority = Authority::new()?;
        let record = Script::new().record();
        let server = serve(&lp, &record, authority.server()?)?;
        let mut stranger = visit(&server)?;
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        let peer = thread::spawn(move || stranger.read_to_end(&mut Vec::new()).map(drop));
        drop(until_finished(&lp, peer)?);
        settle(&lp)?;
        record.expect([])?;
        if debug {
            let seen = reports.one()?;
            ensure!(seen.has("transport") && seen.has("protocol"), "too little in {seen:?}");
            let error = seen.exception.as_ref().and_then(rustls_error);
            ensure_is!(error, Some(rustls::Error::InvalidMessage(_)));
        }
        reports.none()?;
        let (client, socket) = (authority.blocking_client()?, visit(&server)?);
        let peer = thread::spawn(move || client.connect(socket)?.write_all(b"hello"));
        record.until_received(&lp, 5)?;
        join(peer)??;
        record.until_lost(&lp)?;
        server.close();
    }
    Ok(())
}

pub(super) fn no_time_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let record = Script::new().record();
    let (client, server) = (authority.client()?, authority.server()?);
    // There are no negative durations.
    for client in [
        client.clone().ssl_handshake_timeout(Duration::ZERO),
        client.clone().ssl_shutdown_timeout(Duration::ZERO),
    ] {
        let (near, _far) = tcp_pair()?;
        ensure_is!(failure(&lp, &dial(&lp, record.plain(), near, client)?)?, Error::InvalidArg(_));
    }
    for server in [
        server.clone().ssl_handshake_timeout(Duration::ZERO),
        server.clone().ssl_shutdown_timeout(Duration::ZERO),
    ] {
        let (near, _far) = tcp_pair()?;
        let accepting = accept(&lp, record.plain(), near, server.clone())?;
        ensure_is!(failure(&lp, &accepting)?, Error::InvalidArg(_));
        let serving =
            tls::create_server(&lp, record.factory(), Bind::to("127.0.0.1", 0), server.clone());
        ensure_is!(lp.run_until_complete(serving)?, Err(Error::InvalidArg(_)));
        let directory = TempDir::new()?;
        let at = UnixBind::path(directory.join("s"));
        let serving = tls::create_unix_server(&lp, record.factory(), at, server.clone());
        ensure_is!(lp.run_until_complete(serving)?, Err(Error::InvalidArg(_)));
        // A connection that exists stays as it is.
        let (near, _far) = tcp_pair()?;
        let plain = Script::new().record();
        let below = plain.attach(&lp, near)?;
        let starting = tls::start_tls(&lp, &below, record.plain(), server);
        ensure_is!(lp.run_until_complete(starting)?, Err(Error::InvalidArg(_)));
        ensure!(!below.is_closing(), "refused, and closed");
    }
    record.expect([])
}

const SHORT: Duration = ms(50);

pub(super) fn a_silent_server_is_given_up(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    ensure_eq!(authority.client()?.ssl_handshake_timeout, Duration::from_secs(60), "by default");
    let (near, mut far) = half_blocking()?;
    let record = Script::new().record();
    let begin = Instant::now();
    let client = authority.client()?.ssl_handshake_timeout(SHORT);
    let error = failure(&lp, &dial(&lp, record.plain(), near, client)?)?;
    ensure!(begin.elapsed() >= SHORT, "given up after {:?}", begin.elapsed());
    ensure_eq!(error.io_kind(), ErrorKind::ConnectionAborted, "the kind of {error}");
    settle(&lp)?;
    far.read_to_end(&mut Vec::new())?;
    record.expect([])
}

pub(super) fn a_silent_client_is_given_up(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let authority = Authority::new()?;
    let record = Script::new().record();
    let server = serve(&lp, &record, authority.server()?.ssl_handshake_timeout(SHORT))?;
    let mut socket = visit(&server)?;
    let peer = thread::spawn(move || socket.read_to_end(&mut Vec::new()));
    ensure_eq!(until_finished(&lp, peer)??, 0, "bytes from the server");
    server.close();
    record.expect([])?;
    reports.none()
}

pub(super) fn a_peer_that_goes_away(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    for hear in [false, true] {
        let (near, mut far) = half_blocking()?;
        let record = Script::new().record();
        let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
        settle(&lp)?;
        if hear {
            // Without this, the kernel resets the connection.
            let mut hello = [0; 4096];
            ensure!(far.read(&mut hello)? > 0, "no ClientHello");
        }
        drop(far);
        let error = failure(&lp, &dialling)?;
        ensure_eq!(error.io_kind(), ErrorKind::ConnectionReset, "the kind of {error}");
        record.expect([])?;
        let (near, far) = half_blocking()?;
        let accepting = accept(&lp, record.plain(), near, authority.server()?)?;
        settle(&lp)?;
        drop(far);
        let error = failure(&lp, &accepting)?;
        ensure_eq!(error.io_kind(), ErrorKind::ConnectionReset, "the kind of {error}");
        record.expect([])?;
    }
    Ok(())
}

pub(super) fn a_peer_that_resets(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let record = Script::new().record();
    let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
    settle(&lp)?;
    reset(far)?;
    let error = failure(&lp, &dialling)?;
    ensure_eq!(error.io_kind(), ErrorKind::ConnectionReset, "the kind of {error}");
    record.expect([])?;
    reports.none()
}

pub(super) fn cancelled_in_the_handshake(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    run_once(&lp)?;
    let authority = Authority::new()?;
    let (near, mut far) = half_blocking()?;
    let before = open_descriptors();
    let record = Script::new().record();
    let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
    settle(&lp)?;
    ensure!(!dialling.done(), "connected to somebody who does not answer");
    dialling.cancel();
    ensure_is!(lp.run_until_done(&dialling).map(drop), Err(Error::Cancelled(_)));
    settle(&lp)?;
    ensure_eq!(open_descriptors(), before.map(|before| before - 1), "descriptors afterwards");
    far.read_to_end(&mut Vec::new())?;
    ensure_eq!(lp.dump().timers.len(), 0, "timers afterwards");
    record.expect([])?;
    reports.none()
}

pub(super) fn cancelled_at_any_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    run_once(&lp)?;
    let authority = Authority::new()?;
    let before = open_descriptors();
    let mut ended = 0;
    for steps in 0..40 {
        let (near, far) = tcp_pair()?;
        let (record, theirs) = (Script::new().record(), Script::new().record());
        let accepting = accept(&lp, theirs.plain(), far, authority.server()?)?;
        let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
        run_times(&lp, steps)?;
        let cancelled = dialling.cancel();
        match lp.run_until_done(&dialling) {
            Ok(Ok((transport, _))) => {
                ensure!(!cancelled, "cancelled, and connected all the same");
                ended += 1;
                transport.abort();
            }
            Err(Error::Cancelled(_)) => ensure!(cancelled, "not cancelled, but it says so"),
            other => return Err(Failure::new(format!("after {steps} steps: {other:?}"))),
        }
        // The server has failed by then, or is done and sees the end.
        drop(lp.run_until_done(&accepting)?);
        settle(&lp)?;
        ensure_eq!(record.count("made"), record.count("lost"), "callbacks {:?}", record.events());
        if theirs.count("made") > 0 {
            theirs.until_lost(&lp)?;
        }
    }
    ensure!(ended > 0, "no connection was ready after 40 iterations");
    ensure_eq!(open_descriptors(), before, "descriptors afterwards");
    ensure_eq!(lp.dump().timers.len(), 0, "timers afterwards");
    reports.none()
}

pub(super) fn the_timer_is_freed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (client, server) = (Script::new().record(), Script::new().record());
    let (near, far) = tcp_pair()?;
    let accepting = accept(&lp, server.plain(), far, authority.server()?)?;
    settle(&lp)?;
    ensure_eq!(lp.dump().timers.len(), 1, "timers in the handshake");
    let dialling = dial(&lp, client.plain(), near, authority.client()?)?;
    let (near, _far) = (made(&lp, &dialling)?, made(&lp, &accepting)?);
    ensure_eq!(lp.dump().timers.len(), 0, "timers after the handshake");
    near.close();
    ensure_eq!(lp.dump().timers.len(), 1, "timers in the shutdown");
    client.until_lost(&lp)?;
    server.until_lost(&lp)?;
    ensure_eq!(lp.dump().timers.len(), 0, "timers afterwards");
    Ok(())
}
