//! Nothing comes in while reading is paused, and nothing is lost.

use std::io::Write;

use super::resets::check_reset;
use crate::families::prelude::*;
use crate::tools::{Record, Script, pattern, reset, rest, settle, socket_pair, tcp_pair};

pub(super) fn pausing_is_idempotent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    ensure!(transport.is_reading(), "not reading at first");
    transport.resume_reading();
    ensure!(transport.is_reading(), "not reading after resuming without a pause");
    transport.pause_reading();
    transport.pause_reading();
    ensure!(!transport.is_reading(), "reading although paused");
    far.write_all(b"x")?;
    settle(&lp)?;
    record.expect(["made"])?;
    transport.resume_reading();
    ensure!(transport.is_reading(), "one resume does not undo two pauses");
    transport.resume_reading();
    record.until_received(&lp, 1)?;
    record.expect(["made", "data"])
}

pub(super) fn pausing_a_closed_transport_does_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.close();
    ensure!(!transport.is_reading(), "reading although closing");
    transport.pause_reading();
    transport.resume_reading();
    ensure!(!transport.is_reading(), "reading although closing");
    record.until_lost(&lp)?;
    transport.pause_reading();
    transport.resume_reading();
    ensure!(!transport.is_reading(), "reading although closed");
    settle(&lp)?;
    record.expect(["made", "lost"])
}

pub(super) fn nothing_while_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let sent = pattern(400_000);
    let bytes = sent.clone();
    let writer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        far.write_all(&bytes)
    });
    // Each piece is the last until somebody resumes.
    let pieces = Counter::new();
    let counted = pieces.clone();
    let data = move |record: &Record, _: &[u8]| {
        counted.add();
        record.transport().pause_reading();
    };
    let record = Script::new().data(data).record();
    let transport = record.attach(&lp, near)?;
    let (mut resumed, mut before) = (1, 0);
    while before < sent.len() {
        record.until(&lp, move |record| record.received() > before)?;
        if resumed < 20 {
            run_times(&lp, 3)?;
        }
        ensure_eq!(pieces.get(), resumed, "pieces, each of which was to be the last");
        before = record.received();
        transport.resume_reading();
        resumed += 1;
    }
    join(writer)??;
    record.until_lost(&lp)?;
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    Ok(())
}

pub(super) fn not_even_what_the_poll_brought(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let records: Rc<RefCell<Vec<Record>>> = Rc::default();
    let mut fars = Vec::new();
    for _ in 0..2 {
        let (near, far) = tcp_pair()?;
        let all = records.clone();
        // Whoever comes first pauses everybody.
        let data = move |_: &Record, _: &[u8]| {
            all.borrow().iter().for_each(|record| record.transport().pause_reading());
        };
        let record = Script::new().data(data).record();
        record.attach(&lp, near)?;
        records.borrow_mut().push(record);
        fars.push(far);
    }
    // Both are ready in the same poll.
    for far in &mut fars {
        far.write_all(b"x")?;
    }
    settle(&lp)?;
    let received: usize = records.borrow().iter().map(Record::received).sum();
    ensure_eq!(received, 1, "bytes received after everybody was paused by the first");
    drop(fars);
    settle(&lp)?;
    let (all, ended) = (records.borrow().clone(), records.borrow().clone());
    records.borrow_mut().clear();
    for record in all {
        ensure_eq!(record.count("eof"), 0, "ends of a paused stream");
        record.transport().resume_reading();
        record.until_lost(&lp)?;
    }
    let received: usize = ended.iter().map(Record::received).sum();
    ensure_eq!(received, 2, "bytes received in the end");
    Ok(())
}

pub(super) fn pausing_and_resuming_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let sent = pattern(3_000);
    for (number, piece) in sent.chunks(10).enumerate() {
        transport.pause_reading();
        far.write_all(piece)?;
        if number % 3 == 0 {
            run_once(&lp)?;
        }
        transport.resume_reading();
        if number % 2 == 0 {
            transport.pause_reading();
            run_once(&lp)?;
            transport.resume_reading();
        }
        if number % 7 == 0 {
            run_once(&lp)?;
        }
    }
    record.until_received(&lp, sent.len())?;
    ensure!(record.bytes() == sent, "received something else than was sent");
    Ok(())
}

pub(super) fn the_end_waits_while_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.pause_reading();
    far.write_all(b"last words")?;
    drop(far);
    settle(&lp)?;
    record.expect(["made"])?;
    rest(&lp)?;
    transport.resume_reading();
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn a_reset_waits_while_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.pause_reading();
    reset(far)?;
    settle(&lp)?;
    record.expect(["made"])?;
    transport.resume_reading();
    record.until_lost(&lp)?;
    check_reset(&record)
}

/// `poll` and `epoll` tell of hang-ups and errors whether or not they were asked for anything.
pub(super) fn a_hang_up_costs_nothing_while_paused(cx: &Context) -> Outcome {
    for local in [true, false] {
        let lp = cx.new_loop()?;
        let record = Script::new().record();
        let transport = if local {
            let (near, far) = socket_pair()?;
            let transport = record.attach(&lp, near)?;
            transport.pause_reading();
            settle(&lp)?;
            drop(far);
            transport
        } else {
            let (near, far) = tcp_pair()?;
            let transport = record.attach(&lp, near)?;
            transport.pause_reading();
            settle(&lp)?;
            reset(far)?;
            transport
        };
        settle(&lp)?;
        rest(&lp)?;
        record.expect(["made"])?;
        transport.resume_reading();
        record.until_lost(&lp)?;
    }
    Ok(())
}
