//! How pipes and terminals end, and what each side learns of it.

use anyloop_api::Transport;

use super::{reader, writer};
use crate::families::prelude::*;
use crate::tools::{Script, clog, drain, pattern, pipe, settle, socket_pair, terminal};

pub(super) fn the_end_of_a_pipe(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = reader(&lp, &record, read)?;
    ensure!(transport.is_reading() && !transport.is_closing(), "not reading");
    rustix::io::write(&write, b"one")?;
    record.until_received(&lp, 3)?;
    rustix::io::write(&write, b"two")?;
    record.until_received(&lp, 6)?;
    record.expect(["made", "data"])?;
    drop(write);
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure!(transport.is_closing() && !transport.is_reading(), "the transport did not end");
    ensure_is!(transport.write(b"x"), Err(Error::Usage(_)));
    reports.none()
}

pub(super) fn a_pipe_is_not_kept_open(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let record = Script::new().eof(|_| true).record();
    reader(&lp, &record, read)?;
    drop(write);
    record.until_lost(&lp)?;
    record.expect(["made", "eof", "lost"])
}

pub(super) fn everything_comes_before_the_end(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let sent = clog(&write)?;
    drop(write);
    let record = Script::new().record();
    reader(&lp, &record, read)?;
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure_eq!(record.received(), sent, "bytes before the end");
    Ok(())
}

pub(super) fn also_into_the_protocols_own_memory(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let sent = pattern(40_000);
    rustix::io::write(&write, &sent)?;
    drop(write);
    let record = Script::new().record();
    let protocol = record.buffered();
    let factory = Rc::new(move || protocol.clone());
    lp.run_until_complete(lp.connect_read_pipe(factory, read))??;
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure!(record.bytes() == sent, "something else arrived than was sent");
    ensure_eq!(record.buffers_out(), 0, "buffers that were not given back");
    Ok(())
}

pub(super) fn a_closed_terminal_is_the_end(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (ours, theirs) = terminal()?;
    let record = Script::new().record();
    reader(&lp, &record, ours)?;
    rustix::io::write(&theirs, b"last words")?;
    record.until_received(&lp, 10)?;
    drop(theirs);
    record.until_lost(&lp)?;
    ensure_eq!(record.bytes(), b"last words", "what was said");
    ensure_eq!(record.count("made"), 1, "beginnings");
    reports.none()
}

pub(super) fn an_idle_writer_notices(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, far) = socket_pair()?;
    let (read, write) = pipe()?;
    for (there, here) in [(read, write), (near.into(), far.into())] {
        let record = Script::new().record();
        let transport = writer(&lp, &record, here)?;
        transport.write(b"x")?;
        settle(&lp)?;
        record.expect(["made"])?;
        drop(there);
        record.until_lost(&lp)?;
        record.expect(["made", "lost"])?;
    }
    reports.none()
}

pub(super) fn a_writer_with_something_left_breaks(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = socket_pair()?;
    let (read, write) = pipe()?;
    for (there, here) in [(read, write), (near.into(), far.into())] {
        let record = Script::new().record();
        let transport = writer(&lp, &record, here)?;
        transport.write(vec![0; 4 << 20])?;
        settle(&lp)?;
        ensure!(transport.get_write_buffer_size() > 0, "a pipe took 4 MiB");
        drop(there);
        record.until_lost(&lp)?;
        let error = record.error();
        ensure_is!(&error, Some(Error::Os(_)));
        let broken = error.as_ref().is_some_and(|error| error.raw_os_error() == Some(EPIPE));
        ensure!(broken, "another error than a broken pipe: {error:?}");
        ensure_eq!(transport.get_write_buffer_size(), 0, "bytes still buffered");
    }
    Ok(())
}

const EPIPE: i32 = 32;

pub(super) fn words_of_the_reader_are_no_hang_up(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = socket_pair()?;
    let record = Script::new().record();
    let transport = writer(&lp, &record, near)?;
    // Somebody talks back, though nobody listens.
    rustix::io::write(&far, b"I hear you")?;
    let before = cpu_time();
    run_for(&lp, ms(100))?;
    let used = cpu_time() - before;
    ensure!(used < ms(50), "the loop spins: {used:?} of processor time in 100 ms");
    record.expect(["made"])?;
    transport.write(b"go on")?;
    ensure_eq!(drain(&far)?, (b"go on".to_vec(), false), "what the reader got");
    transport.close();
    record.until_lost(&lp)?;
    record.expect(["made", "lost"])
}

pub(super) fn a_readable_terminal_is_no_hang_up(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (ours, theirs) = terminal()?;
    let record = Script::new().record();
    let transport = writer(&lp, &record, ours)?;
    rustix::io::write(&theirs, b"typed ahead")?;
    settle(&lp)?;
    transport.write(b"prompt")?;
    settle(&lp)?;
    record.expect(["made"])?;
    ensure_eq!(drain(&theirs)?, (b"prompt".to_vec(), false), "what came through");
    transport.close();
    record.until_lost(&lp)?;
    record.expect(["made", "lost"])
}

/// Ends a clogged write pipe by `end`, and returns what comes out of it.
pub(super) fn after(
    cx: &Context,
    end: fn(&Transport) -> Result<(), Error>,
) -> Result<usize, Failure> {
    const LENGTH: usize = 300_000;
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = writer(&lp, &record, write)?;
    transport.write(pattern(LENGTH))?;
    end(&transport)?;
    end(&transport)?;
    ensure!(transport.is_closing(), "not closing");
    let mut bytes = Vec::new();
    while !record.is_lost() {
        let (more, _) = drain(&read)?;
        bytes.extend(more);
        run_once(&lp)?;
    }
    let (rest, at_end) = drain(&read)?;
    bytes.extend(rest);
    ensure!(at_end, "the descriptor is still open");
    ensure!(pattern(LENGTH).starts_with(&bytes), "something else came out than went in");
    ensure_eq!(record.count("lost"), 1, "quiet ends");
    Ok(bytes.len())
}

pub(super) fn a_broken_pipe_is_an_error(cx: &Context) -> Outcome {
    const SIGPIPE: i32 = 13;
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    // Where the signal is not ignored from the start, it would end the process.
    lp.add_signal_handler(SIGPIPE, || ())?;
    lp.remove_signal_handler(SIGPIPE)?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = writer(&lp, &record, write)?;
    drop(read);
    // Before the loop can notice.
    transport.write(b"x")?;
    record.until_lost(&lp)?;
    let error = record.error();
    let broken = error.as_ref().is_some_and(|error| error.raw_os_error() == Some(EPIPE));
    ensure!(broken, "connection_lost with {error:?}");
    ensure_eq!(record.events().len(), 2, "callbacks");
    reports.none()
}

pub(super) fn writing_to_the_dead_is_tolerated(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = writer(&lp, &record, write)?;
    drop(read);
    record.until_lost(&lp)?;
    for _ in 0..4 {
        transport.write(b"x")?;
    }
    reports.none()?;
    transport.write(b"x")?;
    ensure!(reports.count() > 0, "nobody was warned of the fifth write");
    record.expect(["made", "lost"])
}
