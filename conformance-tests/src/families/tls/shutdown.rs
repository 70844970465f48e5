//! The end: close-notify on both sides, its time limit, and what comes before it.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;

use anyloop::tls::{Session, rustls};

use super::*;
use crate::tools::{Blocking, Script, pattern, reset, settle};

const SHORT: Duration = ms(50);

pub(super) fn close_sends_everything_and_waits(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    ensure_eq!(authority.client()?.ssl_shutdown_timeout, Duration::from_secs(30), "by default");
    let (near, far) = half_blocking()?;
    let record = Script::new().record();
    let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
    let server = authority.blocking_server()?;
    let (answer, may_answer) = mpsc::channel();
    let (got, has_got) = mpsc::channel();
    let peer = thread::spawn(move || {
        let mut stream = server.accept(far)?;
        let mut bytes = Vec::new();
        // Fails without a close-notify at the end.
        stream.read_to_end(&mut bytes)?;
        let _ = got.send(bytes);
        let _ = may_answer.recv();
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock)?;
        // The connection is closed by whoever began with it.
        stream.sock.read_to_end(&mut Vec::new())
    });
    let transport = made(&lp, &dialling)?;
    let sent = pattern(3_000_000);
    transport.write(&sent)?;
    transport.close();
    ensure!(transport.is_closing(), "close does not close");
    let bytes = loop {
        if let Ok(bytes) = has_got.try_recv() {
            break bytes;
        }
        run_for(&lp, ms(1))?;
    };
    ensure!(bytes == sent, "the peer got other bytes than were written");
    settle(&lp)?;
    record.expect(["made"])?;
    answer.send(())?;
    record.until_lost(&lp)?;
    ensure_eq!(join(peer)??, 0, "bytes after the close-notify");
    record.expect(["made", "lost"])
}

/// A loop's client that does not wait long for a close-notify, and the other end, which does nothing.
fn impatient(
    lp: &LoopRef,
    record: &Record,
) -> Result<(Transport, Blocking<rustls::ServerConnection>), Failure> {
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let client = authority.client()?.ssl_shutdown_timeout(SHORT);
    let dialling = dial(lp, record.plain(), near, client)?;
    let server = authority.blocking_server()?;
    let peer = thread::spawn(move || server.accept(far));
    let transport = made(lp, &dialling)?;
    Ok((transport, join(peer)??))
}

pub(super) fn a_peer_that_does_not_answer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (transport, mut stream) = impatient(&lp, &record)?;
    let begin = Instant::now();
    transport.close();
    record.until_lost(&lp)?;
    ensure!(begin.elapsed() >= SHORT, "given up after {:?}", begin.elapsed());
    ensure_is!(record.error(), Some(Error::TimedOut(_)));
    ensure_eq!(stream.read(&mut [0])?, 0, "the peer was told");
    Ok(())
}

pub(super) fn a_peer_that_takes_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (transport, _stream) = impatient(&lp, &record)?;
    // More than the two kernels' ends can hold.
    transport.write(vec![0; 30_000_000])?;
    transport.close();
    record.until_lost(&lp)?;
    ensure_is!(record.error(), Some(Error::TimedOut(_)));
    ensure_eq!(record.count("eof"), 0, "eof_received");
    Ok(())
}

pub(super) fn a_peer_that_goes_on_sending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let record = Script::new().record();
    let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
    let server = authority.blocking_server()?;
    let (go, may_go) = mpsc::channel();
    let peer = thread::spawn(move || {
        let mut stream = server.accept(far)?;
        let _ = may_go.recv();
        stream.write_all(&pattern(2_000_000))?;
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock)?;
        Ok::<_, std::io::Error>(stream)
    });
    let transport = made(&lp, &dialling)?;
    transport.close();
    go.send(())?;
    record.until_lost(&lp)?;
    drop(join(peer)??);
    // As with any transport, nothing is delivered after close.
    record.expect(["made", "lost"])
}

pub(super) fn a_peer_that_answers_with_nonsense(cx: &Context) -> Outcome {
    // Also when it has come before, and is looked at only then.
    for early in [false, true] {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let record = Script::new().record();
        let (transport, peer) = with_server(&lp, &record, |stream| stream.sock.try_clone())?;
        let mut socket = join(peer)??;
        if early {
            transport.pause_reading();
        } else {
            transport.close();
        }
        socket.write_all(b"this is no record of TLS")?;
        settle(&lp)?;
        transport.close();
        record.until_lost(&lp)?;
        let error = record.error();
        let theirs = error.as_ref().and_then(tls::rustls_error);
        ensure!(theirs.is_some(), "lost with {error:?}");
        reports.none()?;
    }
    Ok(())
}

/// A loop's client whose blocking server does this after the handshake.
fn with_server<T: Send + 'static>(
    lp: &LoopRef,
    record: &Record,
    serve: impl FnOnce(&mut Blocking<rustls::ServerConnection>) -> std::io::Result<T> + Send + 'static,
) -> Result<(Transport, Peer<T>), Failure> {
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let dialling = dial(lp, record.plain(), near, authority.client()?)?;
    let server = authority.blocking_server()?;
    let peer = thread::spawn(move || serve(&mut server.accept(far)?));
    Ok((made(lp, &dialling)?, peer))
}

pub(super) fn everything_before_the_close_notify(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let sent = pattern(1_000_000);
    let bytes = sent.clone();
    let (transport, peer) = with_server(&lp, &record, move |stream| {
        stream.write_all(&bytes)?;
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock)?;
        // We say it, too, before the stream ends.
        stream.read(&mut [0])
    })?;
    record.until_lost(&lp)?;
    ensure_eq!(join(peer)??, 0, "what the peer reads");
    ensure!(record.bytes() == sent, "other bytes came than were sent");
    let session = Session::of(&transport).ok_or_else(|| Failure::new("no session"))?;
    ensure!(session.close_notify_received(), "nobody noticed the close-notify");
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn a_stream_without_close_notify(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let sent = pattern(300_000);
    let bytes = sent.clone();
    let (transport, peer) = with_server(&lp, &record, move |stream| {
        stream.write_all(&bytes)?;
        stream.sock.shutdown(Shutdown::Write)?;
        stream.read(&mut [0])
    })?;
    record.until_lost(&lp)?;
    ensure_eq!(join(peer)??, 0, "what the peer reads");
    ensure!(record.bytes() == sent, "other bytes came than were sent");
    let session = Session::of(&transport).ok_or_else(|| Failure::new("no session"))?;
    ensure!(!session.close_notify_received(), "there was no close-notify");
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn what_is_queued_is_still_sent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let sent = pattern(3_000_000);
    let bytes = sent.clone();
    // Written when the peer has said that it sends no more, and takes its time to read.
    let record = Script::new()
        .eof(move |record| {
            let _ = record.transport().write(&bytes);
            false
        })
        .record();
    let (_transport, peer) = with_server(&lp, &record, move |stream| {
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock)?;
        thread::sleep(ms(20));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    })?;
    record.until_lost(&lp)?;
    ensure!(join(peer)?? == sent, "the peer got other bytes than were written");
    ensure!(record.error().is_none(), "lost with {:?}", record.error());
    Ok(())
}

pub(super) fn a_true_answer_changes_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let record = Script::new().eof(|_| true).record();
    let (_transport, peer) = with_server(&lp, &record, |stream| {
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock)?;
        stream.read(&mut [0])
    })?;
    record.until_lost(&lp)?;
    ensure_eq!(join(peer)??, 0, "what the peer reads");
    record.expect(["made", "eof", "lost"])?;
    let seen = reports.one()?;
    ensure!(seen.message.contains("eof_received"), "another warning: {seen:?}");
    ensure!(seen.exception.is_none(), "an error: {seen:?}");
    Ok(())
}

pub(super) fn there_is_no_half_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (client, server) = (Script::new().record(), Script::new().record());
    let (near, far) = connected(&lp, &authority, &client, &server)?;
    for transport in [&near, &far] {
        ensure!(!transport.can_write_eof(), "it says that it can");
        ensure_is!(transport.write_eof(), Err(Error::Usage(_)));
        transport.write("still open")?;
    }
    client.until_received(&lp, 10)?;
    server.until_received(&lp, 10)?;
    near.close();
    client.until_lost(&lp)?;
    server.until_lost(&lp)?;
    client.expect(["made", "data", "lost"])?;
    server.expect(["made", "data", "eof", "lost"])
}

pub(super) fn lost_once_whatever_happens(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let ends: [fn(&Transport, TcpStream); 5] = [
        |transport, _| {
            transport.close();
            transport.abort();
            transport.close();
        },
        |transport, far| {
            drop(reset(far));
            transport.close();
        },
        |transport, far| {
            drop(reset(far));
            let _ = transport.write(vec![0; 3_000_000]);
            let _ = transport.write("x");
        },
        |transport, far| {
            let _ = (&far).write_all(b"this is no record of TLS");
            transport.close();
        },
        |transport, far| {
            let _ = far.shutdown(Shutdown::Both);
            let _ = transport.write("x");
            transport.abort();
        },
    ];
    for end in ends {
        let (near, far) = half_blocking()?;
        let record = Script::new()
            .lost(|record| {
                record.transport().close();
                record.transport().abort();
            })
            .record();
        let dialling = dial(&lp, record.plain(), near, authority.client()?)?;
        let server = authority.blocking_server()?;
        let socket = far.try_clone()?;
        let peer = thread::spawn(move || server.accept(socket).map(|stream| stream.sock));
        let transport = made(&lp, &dialling)?;
        drop(join(peer)??);
        end(&transport, far);
        ensure!(!record.is_lost(), "connection_lost inside of a call");
        record.until_lost(&lp)?;
        settle(&lp)?;
        let lost = record.events().iter().filter(|event| event.starts_with("lost")).count();
        ensure_eq!(lost, 1, "connection_lost in {:?}", record.events());
        ensure!(transport.is_closing(), "not closing");
    }
    Ok(())
}

pub(super) fn a_write_error_wakes_who_drains(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let server = authority.blocking_server()?;
    let peer = thread::spawn(move || server.accept(far));
    let client = authority.client()?;
    lp.run_until_complete(async move {
        let (_reader, writer) = tls::open_connection(Connect::socket(near), client).await?;
        while !peer.is_finished() {
            anyloop::sleep(ms(1)).await;
        }
        let stream = join(peer)??;
        writer.write_vec(vec![0; 30_000_000]);
        let theirs = writer.clone();
        let draining = anyloop::create_task(async move { theirs.drain().await })?;
        yield_now().await;
        yield_now().await;
        ensure!(!draining.done(), "drained to a peer that does not read");
        reset(stream.sock)?;
        ensure_is!(draining.await?.map_err(|error| error.io_kind()), Err(_));
        ensure!(writer.is_closing(), "not closing");
        let lost = writer.wait_closed().await;
        let kind = lost.as_ref().err().map(Error::io_kind);
        ensure_is!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
        Ok(())
    })?
}

pub(super) fn a_panic_ends_the_connection(cx: &Context) -> Outcome {
    // Also when what was held back is delivered, outside of the transport below.
    for paused in [false, true] {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let authority = Authority::new()?;
        let client = Script::new().data(|_, _| panic!("no such luck")).record();
        let server = Script::new().record();
        let (near, far) = connected(&lp, &authority, &client, &server)?;
        if paused {
            near.pause_reading();
        }
        far.write("x")?;
        settle(&lp)?;
        near.resume_reading();
        client.until_lost(&lp)?;
        ensure_is!(client.error(), Some(Error::Panicked(_)));
        let seen = reports.one()?;
        ensure!(seen.is_panic("no such luck"), "another report: {seen:?}");
        ensure!(seen.has("transport") && seen.has("protocol"), "too little in {seen:?}");
        server.until_lost(&lp)?;
    }
    Ok(())
}

pub(super) fn aborted_in_the_handshake(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let record = Script::new().record();
    let at = anyloop_api::Bind::to("127.0.0.1", 0);
    let serving = tls::create_server(&lp, record.factory(), at, authority.server()?);
    let server = lp.run_until_complete(serving)??;
    let address = server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
    let mut socket = TcpStream::connect(address)?;
    settle(&lp)?;
    ensure_eq!(lp.dump().timers.len(), 1, "timers in the handshake");
    server.abort_clients();
    server.close();
    lp.run_until_complete(async move { server.wait_closed().await })??;
    ensure_eq!(lp.dump().timers.len(), 0, "timers afterwards");
    drop(socket.read_to_end(&mut Vec::new()));
    record.expect([])
}

pub(super) fn aborted_in_the_shutdown(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (transport, peer) = with_server(&lp, &record, |stream| stream.sock.try_clone())?;
    let _socket = join(peer)??;
    transport.close();
    settle(&lp)?;
    record.expect(["made"])?;
    transport.abort();
    run_times(&lp, 3)?;
    record.expect(["made", "lost"])?;
    ensure_eq!(lp.dump().timers.len(), 0, "timers afterwards");
    Ok(())
}
