//! What goes out: in order, whatever the kernel takes at a time.

use std::io::Write;
use std::net::Shutdown;

use crate::families::prelude::*;
use crate::tools::{
    CloggedTcp, Record, Script, available, clogged_tcp_pair, collect, pattern, reset,
    resident_memory, settle, tcp_pair,
};

pub(super) fn a_write_leaves_in_its_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    for size in [1, 1000, 40_000] {
        let data = pattern(size);
        let (writer, bytes) = (transport.clone(), data.clone());
        lp.call_soon(move || {
            let _ = writer.write(&bytes);
        })?;
        run_times(&lp, 2)?;
        ensure_eq!(transport.get_write_buffer_size(), 0, "bytes of {size} left after an iteration");
        ensure!(available(&mut far)?.0 == data, "the peer got other bytes than the {size} written");
    }
    Ok(())
}

pub(super) fn the_rest_leaves_later_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    let sent = pattern(1_000_000);
    // What is too much at once, and then more of it while nothing can leave.
    transport.write(&sent[..600_000])?;
    run_times(&lp, 2)?;
    for piece in sent[600_000..].chunks(9_999) {
        transport.write(piece)?;
        run_once(&lp)?;
    }
    ensure_eq!(
        transport.get_write_buffer_size(),
        sent.len(),
        "bytes buffered while nothing can leave"
    );
    let reader = collect(pair.far);
    transport.close();
    record.until_lost(&lp)?;
    let got = join(reader)??;
    ensure!(got[pair.unread..] == sent, "the peer got {} bytes, or others", got.len());
    Ok(())
}

pub(super) fn small_and_large_writes_keep_their_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let reader = collect(far);
    let sent = pattern(6_000_000);
    let mut rest = &sent[..];
    let sizes = [1, 32_768, 100, 32_769, 3, 70_000, 5, 5, 5, 300_000, 16_000, 16_000, 16_000];
    for (number, size) in sizes.into_iter().cycle().enumerate() {
        let (piece, more) = rest.split_at(size.min(rest.len()));
        if number % 2 == 0 {
            transport.write(piece)?;
        } else {
            transport.write_vec(piece.to_vec())?;
        }
        rest = more;
        if rest.is_empty() {
            break;
        }
        if number % 3 == 0 {
            run_once(&lp)?;
        }
    }
    transport.close();
    record.until_lost(&lp)?;
    ensure!(join(reader)?? == sent, "the peer got other bytes than were written");
    Ok(())
}

pub(super) fn a_write_leaves_although_the_loop_stops(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let writer = transport.clone();
    lp.run_until_complete(async move { writer.write("the last thing") })??;
    far.set_nonblocking(false)?;
    let mut got = [0; 14];
    std::io::Read::read_exact(&mut far, &mut got)?;
    ensure_eq!(&got, b"the last thing", "what the peer got from a stopped loop");
    // The loop goes on from there as if nothing had been.
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes that have left, but are buffered");
    transport.write_eof()?;
    transport.close();
    record.until_lost(&lp)?;
    record.expect(["made", "lost"])
}

pub(super) fn the_buffer_is_the_callers_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    let mut buffer = pattern(50_000);
    for round in 0..10 {
        buffer.fill(round);
        transport.write(&buffer)?;
        buffer.fill(0xff);
        run_once(&lp)?;
    }
    let reader = collect(pair.far);
    transport.close();
    record.until_lost(&lp)?;
    let expected: Vec<u8> = (0..10).flat_map(|round| vec![round; 50_000]).collect();
    ensure!(join(reader)??[pair.unread..] == expected, "the peer got what was put there later");
    Ok(())
}

pub(super) fn empty_writes_do_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(0), None)?;
    transport.write("")?;
    transport.write_vec(Vec::new())?;
    transport.writelines(&[])?;
    transport.writelines(&[b"", b""])?;
    settle(&lp)?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered");
    record.expect(["made"])?;
    transport.abort();
    record.until_lost(&lp)?;
    for _ in 0..10 {
        transport.write("")?;
    }
    reports.none()
}

pub(super) fn empty_writes_after_write_eof_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = tcp_pair()?;
    let transport = Script::new().record().attach(&lp, near)?;
    transport.write_eof()?;
    ensure_is!(transport.write(""), Err(Error::Usage(_)));
    ensure_is!(transport.writelines(&[]), Err(Error::Usage(_)));
    Ok(())
}

pub(super) fn writelines_is_one_write(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let reader = collect(far);
    let sent = pattern(3_000_000);
    let (head, rest) = sent.split_at(10);
    let (middle, tail) = rest.split_at(2_900_000);
    transport.write(head)?;
    transport.writelines(&[&middle[..1], b"", &middle[1..7], &middle[7..]])?;
    transport.writelines(&[tail])?;
    transport.close();
    record.until_lost(&lp)?;
    ensure!(join(reader)?? == sent, "the peer got other bytes than were written");
    Ok(())
}

pub(super) fn writelines_pauses_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let paused_at = Rc::new(Cell::new(0));
    let theirs = paused_at.clone();
    let pause = move |record: &Record| theirs.set(record.transport().get_write_buffer_size());
    let record = Script::new().pause(pause).record();
    let transport = record.attach(&lp, pair.near)?;
    transport.set_write_buffer_limits(Some(100), None)?;
    transport.writelines(&[&[b'a'; 60], &[b'b'; 60], &[b'c'; 60]])?;
    ensure_eq!(transport.get_write_buffer_size(), 180, "bytes buffered");
    ensure_eq!(paused_at.get(), 180, "bytes buffered when writing was paused");
    record.expect(["made", "pause"])?;
    let reader = collect(pair.far);
    transport.close();
    record.until_lost(&lp)?;
    ensure!(join(reader)??.ends_with(&[b'c'; 60]), "the peer got something else");
    record.expect(["made", "pause", "resume", "lost"])
}

pub(super) fn writelines_on_a_dead_connection(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    reset(far)?;
    record.until_lost(&lp)?;
    transport.writelines(&[b"a", b"b"])?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered");
    Ok(())
}

pub(super) fn the_fifth_dead_write_warns(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    reset(far)?;
    record.until_lost(&lp)?;
    for write in 1..=4 {
        transport.write("into the void")?;
        ensure_eq!(reports.count(), 0, "reports after {write} writes");
    }
    transport.write("into the void")?;
    ensure!(reports.count() > 0, "no warning after five writes");
    transport.write_vec(vec![0; 100_000])?;
    transport.writelines(&[b"into", b"the void"])?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered");
    run_times(&lp, 3)?;
    ensure_eq!(record.events().len(), 2, "callbacks: {:?}", record.events());
    Ok(())
}

pub(super) fn writing_after_close_is_no_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.write("before")?;
    transport.close();
    for _ in 0..10 {
        transport.write("after")?;
    }
    let reader = collect(pair.far);
    record.until_lost(&lp)?;
    let got = join(reader)??;
    let late = got[pair.unread..].strip_prefix(b"before");
    ensure!(
        late.is_some_and(|late| late.is_empty() || late == b"after".repeat(10)),
        "the peer got {:?}",
        String::from_utf8_lossy(&got[pair.unread..])
    );
    settle(&lp)?;
    record.expect(["made", "lost"])?;
    reports.none()
}

pub(super) fn a_write_error_ends_the_connection_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    // A paused reader does not notice; so it is the write that does.
    transport.pause_reading();
    reset(far)?;
    settle(&lp)?;
    record.expect(["made"])?;
    transport.write(vec![b'x'; 100])?;
    transport.write(vec![b'x'; 100_000])?;
    record.until_lost(&lp)?;
    ensure_is!(record.error(), Some(Error::Os(_)));
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered");
    ensure!(transport.is_closing(), "not closing");
    settle(&lp)?;
    ensure_eq!(record.events().len(), 2, "callbacks: {:?}", record.events());
    reports.none()
}

pub(super) fn many_small_writes_cost_their_bytes(cx: &Context) -> Outcome {
    const WRITES: usize = 50_000;
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    run_times(&lp, 3)?;
    let before = resident_memory()?;
    let begin = Instant::now();
    for write in 1..=WRITES {
        transport.write(b"0123456789")?;
        ensure_eq!(transport.get_write_buffer_size(), write * 10, "bytes buffered");
    }
    run_times(&lp, 3)?;
    let (took, grown) = (begin.elapsed(), resident_memory()?.saturating_sub(before));
    ensure!(grown < 8 << 20, "500 KB unsent, and {grown} bytes more in memory");
    ensure!(took < ms(10_000), "{WRITES} small writes took {took:?}");
    transport.write_eof()?;
    let reader = collect(pair.far);
    record.until_lost(&lp)?;
    ensure!(join(reader)??[pair.unread..] == b"0123456789".repeat(WRITES), "other bytes arrived");
    Ok(())
}

pub(super) fn many_small_writes_to_a_reading_peer(cx: &Context) -> Outcome {
    const ROUNDS: usize = 400;
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let counter = thread::spawn(move || {
        far.set_nonblocking(false)?;
        std::io::copy(&mut &far, &mut std::io::sink())
    });
    let mut before = 0;
    for round in 0..ROUNDS {
        for _ in 0..500 {
            transport.write([b'x'; 100])?;
        }
        // The buffer empties now and then, but is used again each time.
        let patient = Instant::now() + ms(20_000);
        while transport.get_write_buffer_size() > 100_000 {
            run_once(&lp)?;
            ensure!(Instant::now() < patient, "the peer reads, but nothing leaves");
        }
        if round == 20 {
            before = resident_memory()?;
        }
    }
    let grown = resident_memory()?.saturating_sub(before);
    ensure!(grown < 4 << 20, "at most 150 KB unsent, and {grown} bytes more in memory");
    transport.close();
    record.until_lost(&lp)?;
    ensure_eq!(join(counter)??, (ROUNDS * 500 * 100) as u64, "bytes that arrived");
    Ok(())
}

pub(super) fn a_slow_reader_costs_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.write(vec![b'x'; 5_000_000])?;
    transport.write("and a little more")?;
    run_times(&lp, 3)?;
    let (begin, busy) = (Instant::now(), cpu_time());
    run_for(&lp, ms(300))?;
    let (took, busy) = (begin.elapsed(), cpu_time() - busy);
    ensure!(busy < ms(100), "300 ms of waiting for room took {busy:?} of processor time");
    ensure!(took < ms(5_000), "300 ms took {took:?}");
    ensure_eq!(transport.get_write_buffer_size(), 5_000_017, "bytes buffered");
    // Another connection is as quick as ever.
    let (near, mut other) = tcp_pair()?;
    let quick = Script::new().record();
    quick.attach(&lp, near)?;
    other.write_all(b"x")?;
    quick.until_received(&lp, 1)?;
    transport.abort();
    record.until_lost(&lp)?;
    far.shutdown(Shutdown::Both).or(Ok(()))
}
