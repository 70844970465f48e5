//! How a connection begins.

use std::io::Write;
use std::net::TcpStream;

use anyloop_api::{Bind, Connect};

use crate::families::prelude::*;
use crate::tools::{Record, Script, available, collect, pattern, settle, tcp_pair};

pub(super) fn made_then_reading_then_the_call_returns(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (near, mut far) = tcp_pair()?;
    far.write_all(b"early")?;
    let log = trace.clone();
    let record = Script::new().made(move |_| log.push("made")).record();
    let (log, attaching) =
        (trace.clone(), lp.connect_accepted_socket(record.factory(), near.into()));
    let transport = lp.run_until_complete(async move {
        let made = attaching.await;
        log.push("returned");
        made
    })??;
    trace.expect(["made", "returned"])?;
    ensure!(transport.0.is_reading(), "not reading when the call returns");
    record.until_received(&lp, 5)?;
    record.expect(["made", "data"])
}

pub(super) fn early_data_waits_for_connection_made(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    far.write_all(b"early")?;
    drop(far);
    let record = Script::new().record();
    record.attach(&lp, near)?;
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure_eq!(record.bytes(), b"early", "what was received");
    Ok(())
}

pub(super) fn also_on_a_server(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let serving = lp.create_server(record.factory(), Bind::to("127.0.0.1", 0));
    let server = lp.run_until_complete(serving)??;
    let Some(address) = server.local_addr() else {
        return Err(Failure::new("the server has no address"));
    };
    let mut far = TcpStream::connect(address)?;
    far.write_all(b"early")?;
    drop(far);
    record.until_lost(&lp)?;
    server.close();
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn paused_from_the_start(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let sent = pattern(100_000);
    far.write_all(&sent)?;
    let record = Script::new().made(|record| record.transport().pause_reading()).record();
    let transport = record.attach(&lp, near)?;
    ensure!(!transport.is_reading(), "reading although paused");
    settle(&lp)?;
    record.expect(["made"])?;
    transport.resume_reading();
    record.until_received(&lp, sent.len())?;
    ensure!(record.bytes() == sent, "received something else than was sent");
    Ok(())
}

pub(super) fn paused_and_resumed_before_the_start(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    far.write_all(b"early")?;
    let made = |record: &Record| {
        record.transport().pause_reading();
        record.transport().resume_reading();
    };
    let record = Script::new().made(made).record();
    record.attach(&lp, near)?;
    record.until_received(&lp, 5)?;
    far.write_all(b", late")?;
    record.until_received(&lp, 11)?;
    ensure_eq!(record.bytes(), b"early, late", "what was received");
    Ok(())
}

pub(super) fn closing_in_connection_made(cx: &Context) -> Outcome {
    ended_in_connection_made(cx, |record| record.transport().close())
}

pub(super) fn aborting_in_connection_made(cx: &Context) -> Outcome {
    ended_in_connection_made(cx, |record| record.transport().abort())
}

/// The peer has sent something, which nobody wants any more.
fn ended_in_connection_made(cx: &Context, end: fn(&Record)) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    far.write_all(b"early")?;
    let record = Script::new().made(end).record();
    let transport = record.attach(&lp, near)?;
    ensure!(transport.is_closing(), "not closing when the call returns");
    record.until_lost(&lp)?;
    settle(&lp)?;
    record.expect(["made", "lost"])
}

pub(super) fn closing_in_connection_made_of_a_server(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().made(|record| record.transport().close()).record();
    let client = Script::new().record();
    let serving = lp.create_server(record.factory(), Bind::to("127.0.0.1", 0));
    let server = lp.run_until_complete(serving)??;
    let address = server.local_addr().map(Connect::from).unwrap_or_default();
    lp.run_until_complete(lp.create_connection(client.factory(), address))??;
    client.until_lost(&lp)?;
    server.close();
    let closing = server.clone();
    lp.run_until_complete(async move { closing.wait_closed().await })??;
    record.expect(["made", "lost"])?;
    client.expect(["made", "eof", "lost"])
}

pub(super) fn closing_after_writing_in_connection_made(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let made = |record: &Record| {
        let _ = record.transport().write("hello");
        let _ = record.transport().write(pattern(200_000));
        record.transport().close();
    };
    let record = Script::new().made(made).record();
    let reader = collect(far);
    record.attach(&lp, near)?;
    record.until_lost(&lp)?;
    record.expect(["made", "lost"])?;
    let bytes = join(reader)??;
    ensure_eq!(bytes.len(), 200_005, "how much the peer got");
    ensure!(bytes[..5] == *b"hello" && bytes[5..] == pattern(200_000), "the peer got other bytes");
    Ok(())
}

pub(super) fn a_panic_in_connection_made_is_reported_only(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = tcp_pair()?;
    far.write_all(b"early")?;
    let record = Script::new().made(|_| panic!("in connection_made")).record();
    let transport = record.attach(&lp, near)?;
    let seen = reports.one()?;
    ensure!(seen.is_panic("in connection_made"), "the report is {seen:?}");
    ensure!(seen.has("transport") && seen.has("protocol"), "the report is {seen:?}");
    record.until_received(&lp, 5)?;
    transport.write("answer")?;
    run_times(&lp, 2)?;
    ensure_eq!(available(&mut far)?.0, b"answer", "what the peer got");
    transport.close();
    record.until_lost(&lp)?;
    ensure_is!(record.error(), None);
    record.expect(["made", "data", "lost"])?;
    reports.none()
}
