//! Over transports.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use anyloop::{timeout, tls};
use anyloop_api::Connect;

use super::*;
use crate::tools::{
    Authority, CloggedTcp, Record, Script, available, clogged_tcp_pair, collect, pipe, settle,
    tcp_pair,
};

pub(super) fn any_part_over_a_transport(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, bytes) = file()?;
        for wanted in PARTS {
            let expected = bytes_of(&bytes, wanted);
            let (near, far) = tcp_pair()?;
            let received = collect(far);
            let record = Script::new().record();
            let transport = record.attach(lp, near)?;
            misplace(&file)?;
            let sent = send(lp, &transport, part(&file, wanted))?;
            ensure_eq!(sent, expected.len() as u64, "bytes sent of {wanted:?}");
            ensure_eq!(position(&file)?, wanted.0 + sent, "the position after {wanted:?}");
            transport.close();
            record.until_lost(lp)?;
            ensure!(join(received)?? == expected, "other bytes came of {wanted:?}");
            record.expect(["made", "lost"])?;
        }
        Ok(())
    })
}

pub(super) fn an_empty_file_is_nothing_to_send(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let directory = TempDir::new()?;
        let file = Arc::new(File::create_new(directory.join("empty"))?);
        let file = Arc::new(File::open(directory.join("empty")).inspect(|_| drop(file))?);
        let (near, mut far) = tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        ensure_eq!(send(lp, &transport, file.clone())?, 0, "bytes sent");
        ensure_eq!(send(lp, &transport, SendFile::new(file.clone()).count(5))?, 0, "bytes sent");
        ensure_eq!(position(&file)?, 0, "the position");
        transport.write("x")?;
        settle(lp)?;
        ensure_eq!(available(&mut far)?.0, b"x", "what came");
        Ok(())
    })
}

pub(super) fn between_what_is_written_before_and_after(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, bytes) = file()?;
        let (before, after) = (vec![b'<'; 200_000], vec![b'>'; 200_000]);
        let CloggedTcp { near, far, unread } = clogged_tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        transport.write(&before)?;
        ensure!(transport.get_write_buffer_size() > 0, "the kernel took everything");
        record.expect(["made", "pause"])?;
        let received = collect(far);
        send(lp, &transport, file)?;
        transport.write(&after)?;
        transport.close();
        record.until_lost(lp)?;
        let expected = [&vec![b'.'; unread][..], &before, &bytes, &after].concat();
        ensure!(join(received)?? == expected, "other bytes came, or in another order");
        Ok(())
    })
}

pub(super) fn nobody_else_writes_meanwhile(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, bytes) = file()?;
        let CloggedTcp { near, far, unread } = clogged_tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        let task = lp.create_task(lp.sendfile(&transport, file.clone().into()))?;
        run_for(lp, ms(10))?;
        ensure!(!task.done(), "everything was sent to a peer that does not read");
        ensure_is!(transport.write("x"), Err(Error::Usage(_)));
        ensure_is!(transport.write(vec![0; 100_000]), Err(Error::Usage(_)));
        ensure_is!(transport.writelines(&[b"x", b"y"]), Err(Error::Usage(_)));
        ensure_is!(send(lp, &transport, file), Err(Error::Usage(_)));
        let received = collect(far);
        ensure_eq!(lp.run_until_done(&task)??, LENGTH as u64, "bytes sent");
        transport.write("x")?;
        transport.close();
        record.until_lost(lp)?;
        let expected = [&vec![b'.'; unread][..], &bytes, b"x"].concat();
        ensure!(join(received)?? == expected, "other bytes came");
        record.expect(["made", "lost"])
    })
}

pub(super) fn nor_over_other_transports(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (file, bytes) = file()?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = write_pipe(&lp, &record, write)?;
    let task = lp.create_task(lp.sendfile(&transport, file.clone().into()))?;
    while transport.get_write_buffer_size() == 0 {
        run_for(&lp, ms(1))?;
    }
    ensure_is!(transport.write("x"), Err(Error::Usage(_)));
    ensure_is!(transport.write(vec![0; 100_000]), Err(Error::Usage(_)));
    ensure_is!(transport.writelines(&[b"x", b"y"]), Err(Error::Usage(_)));
    ensure_is!(send(&lp, &transport, file), Err(Error::Usage(_)));
    let received = read_all(read);
    ensure_eq!(lp.run_until_done(&task)??, LENGTH as u64, "bytes sent");
    transport.write("x")?;
    transport.close();
    record.until_lost(&lp)?;
    ensure!(join(received)?? == [&bytes, &b"x"[..]].concat(), "other bytes came");
    record.expect(["made", "lost"])
}

pub(super) fn another_protocol_meanwhile(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (file, bytes) = file()?;
    let (read, write) = pipe()?;
    let (before, after) = (Script::new().record(), Script::new().record());
    let transport = write_pipe(&lp, &before, write)?;
    let limits = transport.get_write_buffer_limits();
    let task = lp.create_task(lp.sendfile(&transport, file.into()))?;
    while transport.get_write_buffer_size() == 0 {
        run_for(&lp, ms(1))?;
    }
    // Whoever decorates a protocol keeps the one that was there.
    let _there = transport.get_protocol();
    transport.set_protocol((after.factory())());
    let received = read_all(read);
    let sent = lp.run_until_complete(timeout(ms(10_000), task))????;
    ensure_eq!(sent, LENGTH as u64, "bytes sent");
    ensure_eq!(transport.get_write_buffer_limits(), limits, "the water marks");
    transport.close();
    after.until_lost(&lp)?;
    ensure!(join(received)?? == bytes, "other bytes came");
    before.expect(["made"])?;
    after.expect(["lost"])
}

/// Everything that comes through a pipe.
fn read_all(read: OwnedFd) -> thread::JoinHandle<std::io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        File::from(read).read_to_end(&mut bytes).map(|_| bytes)
    })
}

pub(super) fn a_half_close_waits_for_the_file(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, bytes) = file()?;
        let CloggedTcp { near, far, unread } = clogged_tcp_pair()?;
        let record = Script::new().eof(|_| true).record();
        let transport = record.attach(lp, near)?;
        let task = lp.create_task(lp.sendfile(&transport, file.into()))?;
        run_for(lp, ms(10))?;
        transport.write_eof()?;
        let received = collect(far);
        ensure_eq!(lp.run_until_done(&task)??, LENGTH as u64, "bytes sent");
        record.until(lp, |record| record.count("eof") > 0)?;
        let expected = [&vec![b'.'; unread][..], &bytes].concat();
        ensure!(join(received)?? == expected, "other bytes came");
        ensure_is!(transport.write("x"), Err(Error::Usage(_)));
        Ok(())
    })
}

pub(super) fn reading_pauses_meanwhile(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, _) = file()?;
        let CloggedTcp { near, mut far, .. } = clogged_tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        let task = lp.create_task(lp.sendfile(&transport, file.into()))?;
        run_once(lp)?;
        far.write_all(b"hello")?;
        settle(lp)?;
        ensure!(!task.done() && !transport.is_reading(), "it goes on reading");
        record.expect(["made"])?;
        let received = collect(far.try_clone()?);
        lp.run_until_done(&task)??;
        ensure!(transport.is_reading(), "it does not read any more");
        record.until_received(lp, 5)?;
        ensure_eq!(record.bytes(), b"hello", "what came meanwhile");
        transport.close();
        record.until_lost(lp)?;
        join(received)??;
        Ok(())
    })
}

pub(super) fn what_was_paused_stays_paused(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, _) = file()?;
        let (near, mut far) = tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        transport.pause_reading();
        far.write_all(b"hello")?;
        let received = collect(far.try_clone()?);
        send(lp, &transport, file)?;
        settle(lp)?;
        ensure!(!transport.is_reading(), "reading was resumed");
        record.expect(["made"])?;
        transport.resume_reading();
        record.until_received(lp, 5)?;
        transport.close();
        record.until_lost(lp)?;
        join(received)??;
        Ok(())
    })
}

pub(super) fn other_files_are_read(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let received = collect(far);
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    // A device, a part of one, and a pipe, which has no positions.
    let zero = Arc::new(File::open("/dev/zero")?);
    let zeroes = send(&lp, &transport, SendFile::new(zero).count(300_000))?;
    ensure_eq!(zeroes, 300_000, "zeroes sent");
    let (read, write) = pipe()?;
    File::from(write).write_all(&[b'p'; 5000])?;
    ensure_eq!(send(&lp, &transport, File::from(read))?, 5000, "bytes sent of a pipe");
    transport.close();
    record.until_lost(&lp)?;
    let expected = [&[0; 300_000][..], &[b'p'; 5000]].concat();
    ensure!(join(received)?? == expected, "other bytes came");
    Ok(())
}

/// A transport over the write end of a pipe.
fn write_pipe(lp: &LoopRef, record: &Record, write: OwnedFd) -> Result<Transport, Failure> {
    let connecting = lp.connect_write_pipe(record.factory(), write);
    Ok(lp.run_until_complete(connecting)?.map_err(Error::from)?.0)
}

pub(super) fn other_transports_are_written_to(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (file, bytes) = file()?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = write_pipe(&lp, &record, write)?;
    let limits = transport.get_write_buffer_limits();
    let before = vec![b'<'; 200_000];
    transport.write(&before)?;
    record.expect(["made", "pause"])?;
    let received = read_all(read);
    misplace(&file)?;
    ensure_eq!(send(&lp, &transport, file.clone())?, LENGTH as u64, "bytes sent");
    ensure_eq!(position(&file)?, LENGTH as u64, "the position");
    // What was paused is resumed, once; the protocol heard nothing of the rest.
    record.expect(["made", "pause", "resume"])?;
    ensure_eq!(transport.get_write_buffer_limits(), limits, "the water marks");
    transport.write("after")?;
    transport.close();
    record.until_lost(&lp)?;
    let expected = [&before[..], &bytes, b"after"].concat();
    ensure!(join(received)?? == expected, "other bytes came");
    Ok(())
}

/// Cancelled while the transport is paused: its protocol is back, and waits until it may write again.
pub(super) fn its_protocol_learns_that_writing_is_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (file, bytes) = file()?;
    let (read, write) = pipe()?;
    let record = Script::new().record();
    let transport = write_pipe(&lp, &record, write)?;
    let task = lp.create_task(lp.sendfile(&transport, file.clone().into()))?;
    let theirs = transport.clone();
    lp.run_until_complete(async move {
        // The pipe is full, and a piece of the file is read by another thread.
        while theirs.get_write_buffer_size() == 0 {
            anyloop_api::sleep(ms(1)).await;
        }
    })?;
    record.expect(["made"])?;
    task.cancel();
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    record.expect(["made", "pause"])?;
    let sent = position(&file)? as usize;
    let received = read_all(read);
    record.until(&lp, |record| record.count("resume") == 1)?;
    transport.close();
    record.until_lost(&lp)?;
    record.expect(["made", "pause", "resume", "lost"])?;
    ensure!(join(received)?? == bytes[..sent], "other bytes came than the position says");
    Ok(())
}

pub(super) fn or_it_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (file, _) = file()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let natively = |file: Arc<File>| SendFile::new(file).fallback(false);
    let (read, write) = pipe()?;
    let refused = send(&lp, &transport, natively(Arc::new(read.into())));
    ensure_is!(refused, Err(Error::SendfileUnavailable(_)));
    drop(write);
    let (_read, write) = pipe()?;
    let at_pipe = Script::new().record();
    let refused = send(&lp, &write_pipe(&lp, &at_pipe, write)?, natively(file.clone()));
    ensure_is!(refused, Err(Error::SendfileUnavailable(_)));
    let forced = cx.new_loop_with(|config| config.sendfile_fallback(true))?;
    let (other, _far) = tcp_pair()?;
    let refused = send(&forced, &Script::new().record().attach(&forced, other)?, natively(file));
    ensure_is!(refused, Err(Error::SendfileUnavailable(_)));
    // Nothing was sent, and the transport is in order.
    transport.write("x")?;
    settle(&lp)?;
    ensure_eq!(available(&mut far)?.0, b"x", "what came");
    ensure!(transport.is_reading(), "it does not read any more");
    record.expect(["made"])
}

/// The kernel does not encrypt.
pub(super) fn over_tls_it_is_read(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (file, bytes) = file()?;
    let (near, far) = tcp_pair()?;
    let (client, server) = (Script::new().record(), Script::new().record());
    let accepting = tls::connect_accepted_socket(&lp, server.factory(), far, authority.server()?);
    let accepting = lp.create_task(accepting)?;
    let to = Connect::socket(near);
    let dialling = tls::create_connection(&lp, client.factory(), to, authority.client()?);
    let (transport, _) = lp.run_until_complete(dialling)??;
    let (_far, _) = lp.run_until_done(&accepting)??;
    let refused = send(&lp, &transport, SendFile::new(file.clone()).fallback(false));
    ensure_is!(refused, Err(Error::SendfileUnavailable(_)));
    ensure_eq!(send(&lp, &transport, file)?, LENGTH as u64, "bytes sent");
    transport.write("!")?;
    server.until_received(&lp, LENGTH + 1)?;
    ensure!(server.bytes() == [&bytes[..], b"!"].concat(), "other bytes came");
    client.expect(["made"])
}
