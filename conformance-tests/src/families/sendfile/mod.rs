//! Sending files. What does not depend on who copies the bytes is tried twice: as the loop does it, and
//! with its fallback forced.

mod arguments;
mod cut_short;
mod sockets;
mod transports;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use anyloop_api::{SendFile, Transport};

use self::arguments::*;
use self::cut_short::*;
use self::sockets::*;
use self::transports::*;
use super::prelude::*;
use crate::tools::{TempDir, pattern};

cases! {
    SENDFILE_01 => any_part_over_a_transport, any_part_over_a_socket,
        the_position_tells_how_far_it_came;
    SENDFILE_02 => an_empty_file_is_nothing_to_send;
    SENDFILE_03 => between_what_is_written_before_and_after, nobody_else_writes_meanwhile,
        nor_over_other_transports, another_protocol_meanwhile,
        a_half_close_waits_for_the_file;
    SENDFILE_04 => reading_pauses_meanwhile, what_was_paused_stays_paused;
    SENDFILE_05 => other_files_are_read, other_transports_are_written_to, over_tls_it_is_read,
        or_it_is_refused;
    SENDFILE_06 => a_peer_that_does_not_read_fills_no_memory, a_slow_file_stops_nobody_else,
        waiting_for_a_file_costs_nothing;
    SENDFILE_07 => a_peer_that_vanishes_is_an_error, over_a_socket_too,
        an_abort_ends_the_transfer, ended_inside_the_abort;
    SENDFILE_08 => a_closing_transport_is_refused, wrong_arguments_are_refused;
    SENDFILE_09 => cancelling_leaves_the_transport_usable, and_a_socket,
        its_protocol_learns_that_writing_is_paused;
}

/// More than one read of the fallback, and more than the buffers of a clogged connection take.
const LENGTH: usize = 700_000;

/// A case for loops that send by the kernel, and for loops that read and write.
fn each_way(cx: &Context, case: impl Fn(&LoopRef) -> Outcome) -> Outcome {
    case(&cx.new_loop()?)?;
    case(&cx.new_loop_with(|config| config.sendfile_fallback(true))?)
}

/// A file with [`LENGTH`] bytes that nobody else has, and the bytes.
fn file() -> Result<(Arc<File>, Vec<u8>), Failure> {
    let directory = TempDir::new()?;
    let (path, bytes) = (directory.join("file"), pattern(LENGTH));
    std::fs::write(&path, &bytes)?;
    Ok((Arc::new(File::options().read(true).write(true).open(path)?), bytes))
}

fn position(mut file: &File) -> Result<u64, Failure> {
    Ok(file.stream_position()?)
}

/// Moves the file's position to where it should not matter.
fn misplace(mut file: &File) -> Outcome {
    file.seek(SeekFrom::Start(17))?;
    Ok(())
}

/// Parts of a file of [`LENGTH`] bytes: from where, and how much at most.
const PARTS: [(u64, Option<u64>); 7] = [
    (0, None),
    (0, Some(10)),
    (1000, None),
    (1000, Some(400_000)),
    (LENGTH as u64 - 1, Some(100)),
    (LENGTH as u64, None),
    (LENGTH as u64 + 100, Some(1)),
];

fn part(file: &Arc<File>, (offset, count): (u64, Option<u64>)) -> SendFile {
    let part = SendFile::new(file.clone()).offset(offset);
    if let Some(count) = count { part.count(count) } else { part }
}

fn bytes_of(bytes: &[u8], (offset, count): (u64, Option<u64>)) -> &[u8] {
    let rest = &bytes[bytes.len().min(offset as usize)..];
    &rest[..count.map_or(rest.len(), |count| rest.len().min(count as usize))]
}

fn send(lp: &LoopRef, transport: &Transport, file: impl Into<SendFile>) -> Result<u64, Error> {
    lp.run_until_complete(lp.sendfile(transport, file.into()))?
}
