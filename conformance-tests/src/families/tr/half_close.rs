//! `write_eof`: one direction ends, the other goes on.

use std::io::{Read, Write};

use anyloop_api::UnixConnect;

use crate::families::prelude::*;
use crate::tools::{
    Script, available, clogged_tcp_pair, collect, pattern, settle, socket_pair, tcp_pair,
};

pub(super) fn writing_after_write_eof_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.write("before")?;
    transport.write_eof()?;
    ensure_is!(transport.write("x"), Err(Error::Usage(_)));
    ensure_is!(transport.write_vec(vec![b'x'; 100_000]), Err(Error::Usage(_)));
    ensure_is!(transport.writelines(&[b"x", b"y"]), Err(Error::Usage(_)));
    let reader = collect(pair.far.try_clone()?);
    run_until_read(&lp, reader, pair.unread, b"before")?;
    ensure_is!(transport.write("x"), Err(Error::Usage(_)));
    drop(pair.far);
    record.until_lost(&lp).map_err(Into::into)
}

/// Runs until the peer has read to the end: what was there, and `sent`.
fn run_until_read(
    lp: &LoopRef,
    reader: thread::JoinHandle<std::io::Result<Vec<u8>>>,
    unread: usize,
    sent: &[u8],
) -> Outcome {
    while !reader.is_finished() {
        run_for(lp, ms(1))?;
    }
    let got = join(reader)??;
    ensure_eq!(got[unread..], *sent, "what the peer got");
    Ok(())
}

pub(super) fn write_eof_after_the_flush(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let mut pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    let sent = pattern(100_000);
    transport.write(&sent)?;
    transport.write_eof()?;
    settle(&lp)?;
    ensure!(!transport.is_closing(), "closing after write_eof");
    let reader = collect(pair.far.try_clone()?);
    run_until_read(&lp, reader, pair.unread, &sent)?;
    // The other direction goes on.
    pair.far.write_all(b"answer")?;
    record.until_received(&lp, 6)?;
    ensure!(transport.is_reading(), "not reading after write_eof");
    drop(pair.far);
    record.until_lost(&lp)?;
    record.expect(["made", "pause", "resume", "data", "eof", "lost"])
}

pub(super) fn write_eof_twice_or_when_closing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.write_eof()?;
    transport.write_eof()?;
    run_times(&lp, 2)?;
    transport.write_eof()?;
    ensure!(available(&mut far)?.1, "the peer sees no end");
    transport.close();
    transport.write_eof()?;
    record.until_lost(&lp)?;
    transport.write_eof()?;
    record.expect(["made", "lost"])?;

    let (near, _far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.close();
    transport.write_eof()?;
    record.until_lost(&lp)?;
    record.expect(["made", "lost"])
}

pub(super) fn tcp_can_half_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    ensure!(transport.can_write_eof(), "TCP cannot write_eof");
    transport.abort();
    record.until_lost(&lp)?;
    ensure!(transport.can_write_eof(), "TCP cannot write_eof once closed");
    Ok(())
}

pub(super) fn local_sockets_can_half_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let record = Script::new().record();
    let connecting = lp.create_unix_connection(record.factory(), UnixConnect::socket(near));
    let (transport, _) = lp.run_until_complete(connecting)??;
    ensure!(transport.can_write_eof(), "a local socket cannot write_eof");
    transport.write("last words")?;
    transport.write_eof()?;
    settle(&lp)?;
    let mut got = Vec::new();
    far.read_to_end(&mut got)?;
    ensure_eq!(got, b"last words", "what the peer got before the end");
    // The other direction goes on.
    far.write_all(b"answer")?;
    record.until_received(&lp, 6)?;
    drop(far);
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])
}
