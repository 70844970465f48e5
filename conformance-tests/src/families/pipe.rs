//! Pipe transports.

mod ends;
mod scripts;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use anyloop_api::{Rejected, Transport};

use self::ends::*;
use self::scripts::*;
use super::prelude::*;
use crate::tools::{
    Record, Script, TempDir, drain, fifo, is_nonblocking, pattern, pipe, rest, settle, socket_pair,
    terminal,
};

cases! {
    PIPE_01 => regular_files_are_refused_and_kept, a_closed_loop_gives_it_back,
        fifos_sockets_and_devices_are_taken;
    PIPE_02 => made_nonblocking_and_closed_once, the_other_end_too, closed_when_the_loop_is,
        closed_when_the_call_is_cancelled, closed_when_it_is_forgotten_while_paused;
    PIPE_03 => the_end_of_a_pipe, a_pipe_is_not_kept_open, everything_comes_before_the_end,
        also_into_the_protocols_own_memory;
    PIPE_04 => a_closed_terminal_is_the_end;
    PIPE_05 => an_idle_writer_notices, a_writer_with_something_left_breaks,
        words_of_the_reader_are_no_hang_up;
    PIPE_06 => a_readable_terminal_is_no_hang_up;
    PIPE_07 => write_eof_flushes_and_closes;
    PIPE_08 => close_flushes, abort_drops, what_is_written_after_close_is_discarded;
    PIPE_09 => a_broken_pipe_is_an_error, writing_to_the_dead_is_tolerated;
    PIPE_10 => any_order_of_writes_reads_and_runs, paused_nothing_comes, paused_from_the_start, a_writer_has_nothing_to_pause;
    PIPE_11 => both_directions_of_a_terminal;
    PIPE_12 => the_pipe_can_be_asked_for_afterwards;
}

fn reader(lp: &LoopRef, record: &Record, end: impl Into<OwnedFd>) -> Result<Transport, Rejected> {
    let connecting = lp.connect_read_pipe(record.factory(), end.into());
    Ok(lp.run_until_complete(connecting)??.0)
}

fn writer(lp: &LoopRef, record: &Record, end: impl Into<OwnedFd>) -> Result<Transport, Rejected> {
    let connecting = lp.connect_write_pipe(record.factory(), end.into());
    Ok(lp.run_until_complete(connecting)??.0)
}

fn regular_files_are_refused_and_kept(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let directory = TempDir::new()?;
    for connect in [reader, writer] {
        for file in [File::open(std::env::current_exe()?)?, File::open(directory.path())?] {
            let number = file.as_raw_fd();
            let refused = connect(&lp, &record, file).err();
            let refused = refused.ok_or_else(|| Failure::new("a file was taken for a pipe"))?;
            ensure_is!(refused.error, Error::InvalidArg(_));
            let back = refused.fd.ok_or_else(|| Failure::new("the file was not given back"))?;
            ensure_eq!(back.as_raw_fd(), number, "the descriptor given back");
            ensure!(!is_nonblocking(&back)?, "what was refused was changed");
        }
    }
    record.expect([])
}

fn a_closed_loop_gives_it_back(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let other = cx.new_loop()?;
    lp.close()?;
    let record = Script::new().record();
    let (read, _write) = pipe()?;
    let connecting = lp.connect_read_pipe(record.factory(), read);
    let refused = other.run_until_complete(connecting)?.err();
    let refused = refused.ok_or_else(|| Failure::new("a closed loop took a pipe"))?;
    ensure_is!(refused.error, Error::Closed(_));
    ensure!(refused.fd.is_some(), "the pipe was not given back");
    record.expect([])
}

fn fifos_sockets_and_devices_are_taken(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let (fifo_read, fifo_write) = fifo(&directory.path().join("fifo"))?;
    let (near, far) = socket_pair()?;
    for (read, write) in [(fifo_read, fifo_write), (near.into(), far.into())] {
        let (there, here) = (Script::new().record(), Script::new().record());
        reader(&lp, &there, read)?;
        let transport = writer(&lp, &here, write)?;
        transport.write(b"through the pipe")?;
        transport.close();
        there.until_lost(&lp)?;
        there.expect(["made", "data", "eof", "lost"])?;
        ensure_eq!(there.bytes(), b"through the pipe", "what came out");
        here.until_lost(&lp)?;
        here.expect(["made", "lost"])?;
    }
    // A device that nobody can be told about, because it is always ready.
    let (there, here) = (Script::new().record(), Script::new().record());
    reader(&lp, &there, File::open("/dev/null")?)?;
    there.until_lost(&lp)?;
    there.expect(["made", "eof", "lost"])?;
    let transport = writer(&lp, &here, File::options().write(true).open("/dev/null")?)?;
    transport.write(pattern(1 << 20))?;
    settle(&lp)?;
    here.expect(["made"])?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes that /dev/null did not take");
    transport.close();
    here.until_lost(&lp)?;
    here.expect(["made", "lost"])
}

/// Closes like a user's own descriptor would: whoever has the number next must keep it.
fn made_nonblocking_and_closed_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let number = read.as_raw_fd();
    let twin = read.as_fd().try_clone_to_owned()?;
    ensure!(!is_nonblocking(&twin)?, "a fresh pipe does not block");
    let record = Script::new().record();
    let transport = reader(&lp, &record, read)?;
    ensure!(is_nonblocking(&twin)?, "the pipe blocks");
    closed_once(&lp, &record, &transport, number)?;
    drop(twin);
    ensure_is!(rustix::io::write(&write, b"x"), Err(rustix::io::Errno::PIPE));
    record.expect(["made", "lost"])
}

/// Closes it again and again: its number is free after the first time, and stays with whoever gets it.
fn closed_once(lp: &LoopRef, record: &Record, transport: &Transport, number: RawFd) -> Outcome {
    transport.close();
    transport.close();
    record.until_lost(lp)?;
    run_times(lp, 2)?;
    let next = File::open("/dev/null")?;
    ensure_eq!(next.as_raw_fd(), number, "the next descriptor");
    transport.close();
    transport.abort();
    run_times(lp, 3)?;
    lp.close()?;
    next.metadata()?;
    Ok(())
}

fn the_other_end_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let number = write.as_raw_fd();
    let twin = write.as_fd().try_clone_to_owned()?;
    let record = Script::new().record();
    let transport = writer(&lp, &record, write)?;
    ensure!(is_nonblocking(&twin)?, "the pipe blocks");
    drop(twin);
    transport.write(b"x")?;
    closed_once(&lp, &record, &transport, number)?;
    ensure_eq!(drain(&read)?, (b"x".to_vec(), true), "what the other end reads");
    record.expect(["made", "lost"])
}

fn closed_when_the_loop_is(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = reader(&lp, &record, read)?;
    lp.close()?;
    ensure_is!(rustix::io::write(&write, b"x"), Err(rustix::io::Errno::PIPE));
    transport.close();
    record.forget_transport();
    record.expect(["made"])
}

fn closed_when_it_is_forgotten_while_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = reader(&lp, &record, read)?;
    record.forget_transport();
    let same = transport.clone();
    transport.pause_reading();
    drop(transport);
    settle(&lp)?;
    ensure!(!record.is_lost(), "lost although there is a handle");
    drop(same);
    record.until_lost(&lp)?;
    run_times(&lp, 3)?;
    ensure_is!(rustix::io::write(&write, b"x"), Err(rustix::io::Errno::PIPE));
    let seen = reports.one()?;
    ensure!(seen.exception.is_none(), "the warning is {seen:?}");

    // While it reads, its protocol may still have something to do.
    let (read, write) = pipe()?;
    let record = Script::new().record();
    drop(reader(&lp, &record, read)?);
    record.forget_transport();
    settle(&lp)?;
    rustix::io::write(&write, b"still there")?;
    record.until_received(&lp, 11)?;
    drop(write);
    record.until_lost(&lp)?;
    reports.none()
}

fn closed_when_the_call_is_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let task = lp.create_task(lp.connect_write_pipe(record.factory(), write))?;
    run_once(&lp)?;
    task.cancel();
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    run_times(&lp, 3)?;
    ensure_eq!(drain(&read)?, (Vec::new(), true), "what the other end reads");
    ensure_eq!(record.count("made"), record.count("lost"), "beginnings and ends");
    Ok(())
}

fn write_eof_flushes_and_closes(cx: &Context) -> Outcome {
    let sent = after(cx, |transport| {
        ensure_can(transport)?;
        transport.write_eof()
    })?;
    ensure_eq!(sent, 300_000, "bytes that came out");
    Ok(())
}

fn ensure_can(transport: &Transport) -> Result<(), Error> {
    if transport.can_write_eof() { Ok(()) } else { Err(Error::usage("can_write_eof says no")) }
}

fn close_flushes(cx: &Context) -> Outcome {
    let sent = after(cx, |transport| {
        transport.close();
        Ok(())
    })?;
    ensure_eq!(sent, 300_000, "bytes that came out");
    Ok(())
}

fn abort_drops(cx: &Context) -> Outcome {
    let sent = after(cx, |transport| {
        transport.abort();
        Ok(())
    })?;
    ensure!(sent < 300_000, "everything came out though the pipe was full");
    Ok(())
}

fn what_is_written_after_close_is_discarded(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = writer(&lp, &record, write)?;
    transport.write(b"before")?;
    transport.close();
    transport.write(b"after")?;
    record.until_lost(&lp)?;
    ensure_eq!(drain(&read)?, (b"before".to_vec(), true), "what came out");
    record.expect(["made", "lost"])
}

fn paused_nothing_comes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = reader(&lp, &record, read)?;
    transport.pause_reading();
    transport.pause_reading();
    ensure!(!transport.is_reading(), "is_reading() while paused");
    rustix::io::write(&write, b"held back")?;
    drop(write);
    settle(&lp)?;
    record.expect(["made"])?;
    // The kernel tells of the hang-up whether or not it was asked for anything.
    rest(&lp)?;
    transport.resume_reading();
    record.expect(["made"])?;
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure_eq!(record.bytes(), b"held back", "what came");
    transport.resume_reading();
    Ok(())
}

fn paused_from_the_start(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    rustix::io::write(&write, &[b'x'; 5000])?;
    // One piece, then a pause, from inside the callback.
    let pause = |record: &Record, _: &[u8]| record.transport().pause_reading();
    let record = Script::new().made(|record| record.transport().pause_reading()).data(pause);
    let record = record.record();
    let transport = reader(&lp, &record, read)?;
    settle(&lp)?;
    record.expect(["made"])?;
    transport.resume_reading();
    settle(&lp)?;
    record.expect(["made", "data"])?;
    rustix::io::write(&write, b"more")?;
    settle(&lp)?;
    ensure_eq!(record.received(), 5000, "bytes while paused");
    transport.resume_reading();
    record.until_received(&lp, 5004)?;
    transport.close();
    record.until_lost(&lp).map_err(Into::into)
}

fn a_writer_has_nothing_to_pause(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (_read, write) = pipe()?;
    let record = Script::new().record();
    let transport = writer(&lp, &record, write)?;
    ensure!(!transport.is_reading(), "a write pipe is reading");
    transport.pause_reading();
    transport.resume_reading();
    settle(&lp)?;
    record.expect(["made"])
}

fn both_directions_of_a_terminal(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (ours, theirs) = terminal()?;
    let (input, output) = (Script::new().record(), Script::new().record());
    let twin = theirs.as_fd().try_clone_to_owned()?;
    let reading = reader(&lp, &input, theirs)?;
    let writing = writer(&lp, &output, twin)?;
    rustix::io::write(&ours, b"question")?;
    input.until_received(&lp, 8)?;
    writing.write(b"answer")?;
    settle(&lp)?;
    ensure_eq!(drain(&ours)?, (b"answer".to_vec(), false), "what came back");
    rustix::io::write(&ours, b"?")?;
    input.until_received(&lp, 9)?;
    ensure_eq!(input.bytes(), b"question?", "what came in");
    writing.close();
    output.until_lost(&lp)?;
    output.expect(["made", "lost"])?;
    rustix::io::write(&ours, b"!")?;
    input.until_received(&lp, 10)?;
    reading.close();
    input.until_lost(&lp)?;
    input.expect(["made", "data", "lost"])?;
    reports.none()
}

fn the_pipe_can_be_asked_for_afterwards(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let (number, twin) = (read.as_raw_fd(), read.as_fd().try_clone_to_owned()?);
    let record = Script::new().record();
    let transport = reader(&lp, &record, read)?;
    let info = || transport.get_extra_info("pipe").and_then(|info| info.pipe().cloned());
    let view = info().ok_or_else(|| Failure::new("no extra info named pipe"))?;
    ensure_eq!(view.fileno(), Some(number), "the number of the pipe");
    let duplicate = view.dup()?;
    rustix::io::write(&write, b"x")?;
    ensure_eq!(drain(&duplicate)?, (b"x".to_vec(), false), "what the duplicate reads");
    transport.close();
    record.until_lost(&lp)?;
    run_once(&lp)?;
    let after = info().ok_or_else(|| Failure::new("no extra info after the end"))?;
    ensure_eq!((view.fileno(), after.fileno()), (None, None), "the number of a closed pipe");
    ensure_is!(view.dup(), Err(Error::Closed(_)));
    ensure!(transport.get_extra_info("peername").is_none(), "a pipe has a peer's name");
    drop(twin);
    Ok(())
}
