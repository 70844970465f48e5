//! Flow control: of what is written, of what is read, and of the transport below.

use std::io::{Read, Write};
use std::sync::mpsc;

use super::*;
use crate::tools::{Blocking, Script, TempDir, pattern, settle};

const KIB: usize = 1024;

pub(super) fn the_marks_are_larger(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (client, server) = (Script::new().record(), Script::new().record());
    let (near, far) = connected(&lp, &authority, &client, &server)?;
    ensure_eq!(near.get_write_buffer_limits(), (128 * KIB, 512 * KIB), "the marks");
    near.set_write_buffer_limits(Some(40), None)?;
    ensure_eq!(near.get_write_buffer_limits(), (10, 40), "from the upper one");
    near.set_write_buffer_limits(None, Some(40))?;
    ensure_eq!(near.get_write_buffer_limits(), (40, 160), "from the lower one");
    near.set_write_buffer_limits(None, None)?;
    ensure_eq!(near.get_write_buffer_limits(), (128 * KIB, 512 * KIB), "by default");
    ensure_is!(near.set_write_buffer_limits(Some(1), Some(2)), Err(Error::InvalidArg(_)));
    ensure_eq!(far.get_write_buffer_limits(), (128 * KIB, 512 * KIB), "of the server");
    Ok(())
}

type Go = mpsc::Sender<()>;

/// A loop's client, and a blocking server that reads to the end once it is told to.
fn with_slow_reader(
    lp: &LoopRef,
    record: &Record,
) -> Result<(Transport, Go, Peer<Vec<u8>>), Failure> {
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let dialling = dial(lp, record.plain(), near, authority.client()?)?;
    let server = authority.blocking_server()?;
    let (go, may_go) = mpsc::channel();
    let peer = thread::spawn(move || {
        let mut stream = server.accept(far)?;
        let _ = may_go.recv();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    Ok((made(lp, &dialling)?, go, peer))
}

pub(super) fn paused_above_and_resumed_below(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let sizes: Rc<RefCell<Vec<usize>>> = Rc::default();
    let (at_pause, at_resume) = (sizes.clone(), sizes.clone());
    let note = |sizes: &RefCell<Vec<usize>>, record: &Record| {
        sizes.borrow_mut().push(record.transport().get_write_buffer_size());
    };
    let record = Script::new()
        .pause(move |record| note(&at_pause, record))
        .resume(move |record| note(&at_resume, record))
        .record();
    let (transport, go, peer) = with_slow_reader(&lp, &record)?;
    let piece = pattern(16 * KIB);
    let mut sent = Vec::new();
    while record.count("pause") == 0 {
        let before = transport.get_write_buffer_size();
        ensure!(before <= 512 * KIB, "not paused with {before} bytes queued");
        transport.write(&piece)?;
        sent.extend_from_slice(&piece);
        ensure!(sent.len() < 1 << 30, "never paused");
        if sent.len() % (1 << 20) == 0 {
            run_once(&lp)?;
        }
    }
    settle(&lp)?;
    ensure!(sizes.borrow()[0] > 512 * KIB, "paused with {:?} bytes queued", sizes.borrow());
    record.expect(["made", "pause"])?;
    go.send(())?;
    record.until(&lp, |record| record.count("resume") == 1)?;
    ensure!(sizes.borrow()[1] <= 128 * KIB, "resumed with {:?} bytes queued", sizes.borrow());
    transport.close();
    record.until_lost(&lp)?;
    ensure!(join(peer)?? == sent, "the peer got other bytes than were written");
    record.expect(["made", "pause", "resume", "lost"])
}

pub(super) fn with_marks_of_zero(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new()
        .resume(|record| {
            let left = record.transport().get_write_buffer_size();
            assert_eq!(left, 0, "resumed before everything was sent");
        })
        .record();
    let (transport, go, peer) = with_slow_reader(&lp, &record)?;
    transport.set_write_buffer_limits(Some(0), Some(0))?;
    // Until the first byte too many: there is little to be said about it below.
    let piece = pattern(1_000);
    let mut sent = Vec::new();
    while record.count("pause") == 0 {
        transport.write(&piece)?;
        sent.extend_from_slice(&piece);
    }
    go.send(())?;
    record.until(&lp, |record| record.count("resume") == 1)?;
    ensure_eq!(cx.panics(), 0, "panics in resume_writing");
    transport.close();
    record.until_lost(&lp)?;
    ensure!(join(peer)?? == sent, "the peer got other bytes than were written");
    record.expect(["made", "pause", "resume", "lost"])
}

/// A server by `start_tls`, whose transport below is in the case's hands, with a blocking client that does
/// this after the handshake. It is paused.
fn over_known<T: Send + 'static>(
    lp: &LoopRef,
    record: &Record,
    client: impl FnOnce(&mut Blocking<tls::rustls::ClientConnection>) -> std::io::Result<T>
    + Send
    + 'static,
) -> Result<(Transport, Transport, Peer<T>), Failure> {
    let authority = Authority::new()?;
    let (near, far) = half_blocking()?;
    let below = record.attach(lp, near)?;
    let starting = tls::start_tls(lp, &below, record.plain(), authority.server()?);
    let connector = authority.blocking_client()?;
    let peer = thread::spawn(move || client(&mut connector.connect(far)?));
    let transport = lp.run_until_complete(async move {
        let transport = starting.await?;
        transport.pause_reading();
        Ok::<_, Error>(transport)
    })??;
    Ok((transport, below, peer))
}

pub(super) fn reading_below_is_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (go, may_go) = mpsc::channel();
    let sent = pattern(3_000_000);
    let bytes = sent.clone();
    let (transport, below, peer) = over_known(&lp, &record, move |stream| {
        stream.write_all(&bytes[..100_000])?;
        let _ = may_go.recv();
        stream.write_all(&bytes[100_000..])?;
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock)?;
        stream.read(&mut [0]).map(drop)
    })?;
    run_for(&lp, ms(20))?;
    ensure!(below.is_reading(), "paused below with 100 KB held back");
    go.send(())?;
    while below.is_reading() {
        run_for(&lp, ms(1))?;
    }
    settle(&lp)?;
    ensure_eq!(record.received(), 0, "bytes although paused");
    transport.resume_reading();
    record.until_lost(&lp)?;
    join(peer)??;
    ensure!(record.bytes() == sent, "other bytes came than were sent");
    Ok(())
}

pub(super) fn nothing_while_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let client = Script::new().data(|record, _| record.transport().pause_reading()).record();
    let server = Script::new().record();
    let (near, far) = connected(&lp, &authority, &client, &server)?;
    ensure!(near.is_reading(), "not reading at first");
    near.pause_reading();
    near.pause_reading();
    ensure!(!near.is_reading(), "reading although paused");
    let sent = pattern(500_000);
    far.write(&sent)?;
    run_for(&lp, ms(20))?;
    client.expect(["made"])?;
    // Each piece is the last until somebody resumes.
    let mut pieces = 0;
    while client.received() < sent.len() {
        let before = client.received();
        near.resume_reading();
        ensure_eq!(client.received(), before, "bytes inside of resume_reading");
        let seen = client.clone();
        client.until(&lp, move |_| seen.received() > before)?;
        let after = client.received();
        settle(&lp)?;
        ensure_eq!(client.received(), after, "bytes although paused");
        pieces += 1;
    }
    ensure!(pieces > 1 && client.largest() <= 256 * KIB, "in {pieces} pieces");
    ensure!(client.bytes() == sent, "other bytes came than were sent");
    near.close();
    server.until_lost(&lp)?;
    Ok(())
}

pub(super) fn closing_while_paused(cx: &Context) -> Outcome {
    for pending in [0, 10_000, 2_000_000] {
        let lp = cx.new_loop()?;
        let authority = Authority::new()?;
        let (client, server) = (Script::new().record(), Script::new().record());
        let (near, far) = connected(&lp, &authority, &client, &server)?;
        near.pause_reading();
        far.write(vec![0; pending])?;
        run_for(&lp, ms(10))?;
        near.write("the last words")?;
        near.close();
        client.until_lost(&lp)?;
        server.until_lost(&lp)?;
        client.expect(["made", "lost"])?;
        ensure_eq!(server.bytes(), b"the last words", "what came");
        ensure!(server.error().is_none(), "the server lost with {:?}", server.error());
    }
    Ok(())
}

pub(super) fn the_end_waits_while_paused(cx: &Context) -> Outcome {
    for clean in [true, false] {
        let lp = cx.new_loop()?;
        let record = Script::new().record();
        let (transport, _below, peer) = over_known(&lp, &record, move |stream| {
            stream.write_all(&[7; 50_000])?;
            if clean {
                stream.conn.send_close_notify();
                stream.conn.complete_io(&mut stream.sock)?;
            }
            stream.sock.shutdown(std::net::Shutdown::Write)?;
            stream.sock.read_to_end(&mut Vec::new()).map(drop)
        })?;
        run_for(&lp, ms(20))?;
        record.expect(["made"])?;
        transport.resume_reading();
        record.until_lost(&lp)?;
        ensure_eq!(record.received(), 50_000, "bytes");
        record.expect(["made", "data", "eof", "lost"])?;
        join(peer)??;
    }
    Ok(())
}

pub(super) fn resumed_while_a_file_is_sent(cx: &Context) -> Outcome {
    let directory = TempDir::new()?;
    let (path, sent) = (directory.join("file"), pattern(12_000_000));
    std::fs::write(&path, &sent)?;
    let authority = Authority::new()?;
    for buffered in [false, true] {
        let lp = cx.new_loop()?;
        let (client, server) = (Script::new().record(), Script::new().record());
        let (near_socket, far_socket) = tcp_pair()?;
        let protocol = if buffered { client.buffered() } else { client.plain() };
        let accepting = accept(&lp, server.plain(), far_socket, authority.server()?)?;
        let dialling = dial(&lp, protocol, near_socket, authority.client()?)?;
        let (near, far) = (made(&lp, &dialling)?, made(&lp, &accepting)?);
        far.pause_reading();
        let file = std::fs::File::open(&path)?;
        let sending = lp.create_task(lp.sendfile(&near, file.into()))?;
        run_times(&lp, 3)?;
        ensure!(!near.is_reading() && !sending.done(), "reading meanwhile, or sent already");
        near.resume_reading();
        far.write(&sent[..300_000])?;
        client.until_received(&lp, 300_000)?;
        ensure!(!sending.done(), "sent to a peer that does not read");
        far.resume_reading();
        ensure_eq!(lp.run_until_done(&sending)??, sent.len() as u64, "bytes sent");
        server.until_received(&lp, sent.len())?;
        ensure!(server.bytes() == sent, "other bytes came than were sent");
        ensure!(client.bytes() == sent[..300_000], "other bytes came back");
        ensure!(near.is_reading(), "it does not read any more");
    }
    Ok(())
}
