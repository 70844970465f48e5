//! `start_tls`: a connection that exists goes on over TLS; also one that is over TLS already.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use anyloop::tls::rustls::pki_types::ServerName;
use anyloop::tls::rustls::{ClientConnection, StreamOwned};
use anyloop::tls::{rustls, rustls_error};

use super::*;
use crate::tools::{CloggedTcp, SERVER, Script, clogged_tcp_pair, pattern, pipe, settle};

type Started = Task<anyloop_api::Result<Transport>>;

fn started(lp: &LoopRef, task: &Started) -> Result<Transport, Failure> {
    Ok(lp.run_until_done(task)??)
}

/// Both ends of a connection start TLS: the client's transport, then the server's.
fn start_both(
    lp: &LoopRef,
    authority: &Authority,
    client: (&Record, &Transport),
    server: (&Record, &Transport),
) -> Result<(Transport, Transport), Failure> {
    let theirs = tls::start_tls(lp, server.1, server.0.plain(), authority.server()?);
    let ours = tls::start_tls(lp, client.1, client.0.plain(), authority.client()?);
    let (theirs, ours) = (lp.create_task(theirs)?, lp.create_task(ours)?);
    Ok((started(lp, &ours)?, started(lp, &theirs)?))
}

/// Sends a lot each way and ends the connection.
fn exchange(
    lp: &LoopRef,
    (client, near): (&Record, &Transport),
    (server, far): (&Record, &Transport),
) -> Outcome {
    let sent = pattern(1_000_000);
    let (had, has) = (client.received(), server.received());
    near.write(&sent)?;
    far.write(&sent)?;
    client.until_received(lp, had + sent.len())?;
    server.until_received(lp, has + sent.len())?;
    ensure!(client.bytes()[had..] == sent, "the client got other bytes than were sent");
    ensure!(server.bytes()[has..] == sent, "the server got other bytes than were sent");
    near.close();
    client.until_lost(lp)?;
    server.until_lost(lp)?;
    client.expect(["made", "data", "lost"])?;
    server.expect(["made", "data", "eof", "lost"])
}

pub(super) fn the_same_protocol_goes_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, far) = tcp_pair()?;
    let (client, server) = (Script::new().record(), Script::new().record());
    let (near, far) = (client.attach(&lp, near)?, server.attach(&lp, far)?);
    near.write("in the clear")?;
    server.until_received(&lp, 12)?;
    // What is written before goes ahead.
    far.write("go on")?;
    near.write("the same")?;
    server.until_received(&lp, 20)?;
    client.until_received(&lp, 5)?;
    let (above, beyond) = start_both(&lp, &authority, (&client, &near), (&server, &far))?;
    ensure!(!above.same(&near), "the transport is the old one");
    ensure!(client.count("made") + server.count("made") == 2, "a second connection_made");
    exchange(&lp, (&client, &above), (&server, &beyond))?;
    ensure!(server.bytes().starts_with(b"in the clearthe same"), "the plain part is lost");
    Ok(())
}

pub(super) fn early_bytes_are_not_lost(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let record = Script::new().record();
    let below = record.attach(&lp, near)?;
    // The peer does not wait for us.
    below.pause_reading();
    let client = authority.blocking_client()?;
    let peer = thread::spawn(move || {
        let mut stream = client.connect(far)?;
        stream.write_all(b"hello")?;
        stream.read(&mut [0])
    });
    run_for(&lp, ms(20))?;
    record.expect(["made"])?;
    let starting = tls::start_tls(&lp, &below, record.plain(), authority.server()?);
    let transport = lp.run_until_complete(starting)??;
    record.until_received(&lp, 5)?;
    ensure_eq!(record.bytes(), b"hello", "what came");
    transport.close();
    record.until_lost(&lp)?;
    ensure_eq!(join(peer)??, 0, "what the peer reads");
    record.expect(["made", "data", "lost"])
}

pub(super) fn nothing_before_the_caller_knows(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let trace = cx.trace();
    let (near, far) = half_blocking()?;
    let theirs = trace.clone();
    let record = Script::new().data(move |_, _| theirs.push("data")).record();
    let below = record.attach(&lp, near)?;
    let starting = tls::start_tls(&lp, &below, record.plain(), authority.server()?);
    let config = authority.client()?.config;
    let peer = thread::spawn(move || {
        let name = ServerName::try_from(SERVER).map_err(std::io::Error::other)?;
        let session = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(session, far);
        // It leaves in one piece with the end of the handshake.
        stream.conn.writer().write_all(b"hello")?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        stream.read(&mut [0]).map(drop)
    });
    let ours = trace.clone();
    let transport = lp.run_until_complete(async move {
        let transport = starting.await;
        ours.push("started");
        transport
    })??;
    record.until_received(&lp, 5)?;
    trace.expect(["started", "data"])?;
    transport.close();
    until_finished(&lp, peer)??;
    Ok(())
}

pub(super) fn dropped_before_it_is_awaited(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, mut far) = half_blocking()?;
    let record = Script::new().record();
    let below = record.attach(&lp, near)?;
    drop(tls::start_tls(&lp, &below, record.plain(), authority.server()?));
    ensure!(below.is_closing(), "the transport is open");
    record.until_lost(&lp)?;
    record.expect(["made", "lost"])?;
    ensure_eq!(far.read(&mut [0])?, 0, "bytes at the peer");
    ensure_eq!(lp.dump().timers.len(), 0, "timers afterwards");
    Ok(())
}

pub(super) fn another_protocol_ends_the_handshake(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, far) = tcp_pair()?;
    let (client, server) = (Script::new().record(), Script::new().record());
    let (near, far) = (client.attach(&lp, near)?, server.attach(&lp, far)?);
    let start = || Ok::<_, Failure>(tls::start_tls(&lp, &far, server.plain(), authority.server()?));
    let first = lp.create_task(start()?)?;
    settle(&lp)?;
    let second = start()?;
    settle(&lp)?;
    ensure!(first.done(), "it waits for a handshake that never ends");
    ensure_is!(lp.run_until_done(&first)?, Err(Error::Usage(_)));
    let (above, beyond) = start_both(&lp, &authority, (&client, &near), (&server, &far))?;
    // The transport is no longer its to close.
    drop(second);
    exchange(&lp, (&client, &above), (&server, &beyond))
}

pub(super) fn closing_the_loop_ends_it_quietly(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.set_debug(true);
    let reports = Reports::of(&lp);
    let authority = Authority::new()?;
    let at = anyloop_api::Bind::to("127.0.0.1", 0);
    let record = Script::new().record();
    let serving = tls::create_server(&lp, record.factory(), at, authority.server()?);
    let server = lp.run_until_complete(serving)??;
    let address = server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
    let _silent = TcpStream::connect(address)?;
    settle(&lp)?;
    ensure_eq!(lp.dump().timers.len(), 1, "timers in the handshake");
    server.close();
    lp.close()?;
    ensure!(reports.take().iter().all(|seen| seen.exception.is_none()), "an error is reported");
    record.expect([])
}

pub(super) fn pipes_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (read, write) = pipe()?;
    let (reader, writer) = (Script::new().record(), Script::new().record());
    let reading = lp.run_until_complete(lp.connect_read_pipe(reader.factory(), read))??.0;
    let writing = lp.run_until_complete(lp.connect_write_pipe(writer.factory(), write))??.0;
    for (pipe, record) in [(&reading, &reader), (&writing, &writer)] {
        let starting = tls::start_tls(&lp, pipe, record.plain(), authority.client()?);
        ensure_is!(lp.run_until_complete(starting)?, Err(Error::WrongType(_)));
        ensure!(!pipe.is_closing(), "refused, and closed");
    }
    // What is no context does not compile; what is no stream transport neither.
    writing.write("still a pipe")?;
    reader.until_received(&lp, 12)?;
    writing.close();
    reader.until_lost(&lp)?;
    Ok(())
}

pub(super) fn closing_transports_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, _far) = tcp_pair()?;
    let record = Script::new().record();
    let below = record.attach(&lp, near)?;
    // A client without a name to ask for is refused, too, and leaves the transport alone.
    let starting = tls::start_tls(&lp, &below, record.plain(), authority.plain_client()?);
    ensure_is!(lp.run_until_complete(starting)?, Err(Error::InvalidArg(_)));
    ensure!(!below.is_closing(), "refused, and closed");
    below.close();
    let starting = tls::start_tls(&lp, &below, record.plain(), authority.client()?);
    ensure_is!(lp.run_until_complete(starting)?, Err(Error::Usage(_)));
    record.until_lost(&lp)?;
    record.expect(["made", "lost"])
}

pub(super) fn a_failure_closes_the_transport(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let authority = Authority::new()?;
    let (near, mut far) = half_blocking()?;
    let record = Script::new().record();
    let below = record.attach(&lp, near)?;
    let starting = tls::start_tls(&lp, &below, record.plain(), authority.server()?);
    far.write_all(b"this is not a ClientHello")?;
    let error = lp.run_until_complete(starting)?.err();
    ensure_is!(error.as_ref().and_then(rustls_error), Some(rustls::Error::InvalidMessage(_)));
    ensure!(below.is_closing(), "the transport is open");
    record.until_lost(&lp)?;
    settle(&lp)?;
    ensure_eq!(record.events().len(), 2, "callbacks {:?}", record.events());
    let error = record.error();
    ensure_is!(error.as_ref().and_then(rustls_error), Some(rustls::Error::InvalidMessage(_)));
    drop(far.read_to_end(&mut Vec::new()));
    reports.none()
}

/// A client by `start_tls` whose connection is full, with `queued` bytes more; the peer takes them and
/// shakes hands. What the protocol was told.
fn start_while_full(cx: &Context, queued: usize) -> Result<Record, Failure> {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let CloggedTcp { near, mut far, unread } = clogged_tcp_pair()?;
    let record = Script::new().record();
    let below = record.attach(&lp, near)?;
    let plain = pattern(queued);
    below.write(&plain)?;
    let starting = tls::start_tls(&lp, &below, record.plain(), authority.client()?);
    let starting = lp.create_task(starting)?;
    settle(&lp)?;
    let server = authority.blocking_server()?;
    let peer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        let mut bytes = vec![0; unread + queued];
        far.read_exact(&mut bytes)?;
        let mut stream = server.accept(far)?;
        stream.read_to_end(&mut Vec::new())?;
        Ok::<_, std::io::Error>(bytes.split_off(unread))
    });
    let transport = started(&lp, &starting)?;
    settle(&lp)?;
    let events = record.events();
    transport.close();
    record.until_lost(&lp)?;
    ensure!(join(peer)?? == plain, "the peer got other bytes than were written");
    ensure_eq!(record.events()[..events.len()], events[..], "callbacks before the close");
    Ok(record)
}

pub(super) fn paused_before_resumed_after(cx: &Context) -> Outcome {
    start_while_full(cx, 300_000)?.expect(["made", "pause", "resume", "lost"])
}

pub(super) fn queued_but_not_paused(cx: &Context) -> Outcome {
    start_while_full(cx, 10_000)?.expect(["made", "lost"])
}

pub(super) fn a_layer_over_a_layer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (outer, inner) = (Authority::new()?, Authority::new()?);
    let (client, server) = (Script::new().record(), Script::new().record());
    let (near, far) = connected(&lp, &outer, &client, &server)?;
    let (above, beyond) = start_both(&lp, &inner, (&client, &near), (&server, &far))?;
    let certificate = |transport: &Transport| {
        transport.get_extra_info("peercert").and_then(|info| info.bytes().map(<[u8]>::to_vec))
    };
    ensure!(certificate(&above).is_some(), "no certificate");
    ensure!(certificate(&above) != certificate(&near), "one certificate for both layers");
    ensure_eq!(above.peer_addr(), near.peer_addr(), "the peer of both layers");
    exchange(&lp, (&client, &above), (&server, &beyond))
}

pub(super) fn over_tls_from_the_beginning(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (outer, inner) = (Authority::new()?, Authority::new()?);
    let (near, far) = half_blocking()?;
    let (first, second) = (outer.blocking_server()?, inner.blocking_server()?);
    let peer = thread::spawn(move || {
        let mut stream = second.accept(first.accept(far)?)?;
        let mut bytes = vec![0; 500_000];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)?;
        // The close-notify of the layer, and then that of the layer below.
        stream.read_to_end(&mut bytes)?;
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock)?;
        stream.sock.read_to_end(&mut bytes)?;
        stream.sock.conn.send_close_notify();
        stream.sock.conn.complete_io(&mut stream.sock.sock)?;
        Ok::<_, std::io::Error>(bytes)
    });
    let record = Script::new().record();
    let dialling = dial(&lp, record.plain(), near, outer.client()?)?;
    let below = made(&lp, &dialling)?;
    let starting = tls::start_tls(&lp, &below, record.plain(), inner.client()?);
    let transport = lp.run_until_complete(starting)??;
    let sent = pattern(500_000);
    transport.write(&sent)?;
    record.until_received(&lp, sent.len())?;
    transport.close();
    record.until_lost(&lp)?;
    ensure!(record.bytes() == sent, "other bytes came back than were sent");
    ensure!(until_finished(&lp, peer)?? == sent, "the peer got other bytes than were sent");
    record.expect(["made", "data", "lost"])
}

pub(super) fn the_outer_layer_ends_first(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (outer, inner) = (Authority::new()?, Authority::new()?);
    let (client, server) = (Script::new().record(), Script::new().record());
    let (near, far) = connected(&lp, &outer, &client, &server)?;
    let _layers = start_both(&lp, &inner, (&client, &near), (&server, &far))?;
    far.close();
    client.until_lost(&lp)?;
    server.until_lost(&lp)?;
    client.expect(["made", "eof", "lost"])?;
    reports.none()
}

pub(super) fn a_peer_that_had_ended_before(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let authority = Authority::new()?;
    let (near, far) = tcp_pair()?;
    let record = Script::new().eof(|_| true).record();
    let below = record.attach(&lp, near)?;
    far.shutdown(Shutdown::Write)?;
    record.until(&lp, |record| record.count("eof") == 1)?;
    let starting = tls::start_tls(&lp, &below, record.plain(), authority.server()?);
    let starting = lp.create_task(starting)?;
    settle(&lp)?;
    ensure!(starting.done(), "it waits for somebody who will say nothing more");
    let error = lp.run_until_done(&starting)?.err();
    let kind = error.as_ref().map(Error::io_kind);
    ensure_eq!(kind, Some(ErrorKind::ConnectionReset), "the kind of {error:?}");
    record.until_lost(&lp)?;
    ensure_eq!(lp.dump().timers.len(), 0, "timers afterwards");
    reports.none()
}
