//! Transfers that stall, or end before the file does.

use std::io::{ErrorKind, Read, Write};

use super::*;
use crate::tools::{
    CloggedTcp, Script, available, clogged_tcp_pair, collect, pipe, poll_inside, reset,
    resident_memory, settle, tcp_pair,
};

pub(super) fn a_peer_that_does_not_read_fills_no_memory(cx: &Context) -> Outcome {
    const HUGE: u64 = 1 << 30;
    const ALLOWED: usize = 16 << 20;
    let lp = cx.new_loop_with(|config| config.sendfile_fallback(true))?;
    let (file, _) = file()?;
    file.set_len(HUGE)?;
    let CloggedTcp { near, far: _far, .. } = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let before = resident_memory()?;
    let task = lp.create_task(lp.sendfile(&transport, file.into()))?;
    while transport.get_write_buffer_size() == 0 {
        run_once(&lp)?;
    }
    run_for(&lp, ms(50))?;
    settle(&lp)?;
    ensure!(!task.done(), "a gigabyte was sent to a peer that does not read");
    let waiting = transport.get_write_buffer_size();
    ensure!(waiting <= 1 << 20, "{waiting} bytes are buffered");
    let grown = resident_memory()?.saturating_sub(before);
    ensure!(grown <= ALLOWED, "the process has grown by {grown} bytes");
    transport.abort();
    ensure_is!(lp.run_until_done(&task)?, Err(Error::Os(_)));
    Ok(record.until_lost(&lp)?)
}

pub(super) fn a_slow_file_stops_nobody_else(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let (near, far) = tcp_pair()?;
    let received = collect(far);
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    // Reading it blocks whoever reads.
    let task = lp.create_task(lp.sendfile(&transport, File::from(read).into()))?;
    let counter = Counter::new();
    let theirs = counter.clone();
    every_iteration(&lp, move |_| {
        theirs.add();
        theirs.get() < 200
    })?;
    while counter.get() < 200 {
        run_once(&lp)?;
    }
    ensure!(!task.done(), "a file that gives nothing was sent");
    let mut write = File::from(write);
    write.write_all(b"late")?;
    drop(write);
    ensure_eq!(lp.run_until_done(&task)??, 4, "bytes sent");
    transport.close();
    record.until_lost(&lp)?;
    ensure_eq!(join(received)??, b"late", "what came");
    Ok(())
}

pub(super) fn waiting_for_a_file_costs_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (read, write) = pipe()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.write(vec![b'<'; 500_000])?;
    let task = lp.create_task(lp.sendfile(&transport, File::from(read).into()))?;
    run_once(&lp)?;
    // Room for what was written: the file has nothing yet.
    let received = collect(far);
    while transport.get_write_buffer_size() > 0 {
        run_for(&lp, ms(1))?;
    }
    let busy = cpu_time();
    run_for(&lp, ms(300))?;
    let busy = cpu_time() - busy;
    ensure!(busy < ms(100), "300 ms of waiting for a file took {busy:?} of processor time");
    drop(write);
    ensure_eq!(lp.run_until_done(&task)??, 0, "bytes sent");
    transport.close();
    record.until_lost(&lp)?;
    join(received)??;
    Ok(())
}

pub(super) fn ended_inside_the_abort(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, _) = file()?;
        let CloggedTcp { near, far: _far, .. } = clogged_tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        let (sending, failed) = (lp.sendfile(&transport, file.into()), Counter::new());
        let theirs = failed.clone();
        let inner = lp.clone();
        lp.run_until_complete(async move {
            // The waker polls inside of the abort.
            poll_inside(async move {
                if sending.await.is_err() {
                    theirs.add();
                }
            });
            inner.call_soon(move || transport.abort())
        })??;
        record.until_lost(lp)?;
        // The fallback may have to wait for a piece of the file first.
        while failed.get() == 0 {
            run_for(lp, ms(1))?;
        }
        Ok(())
    })
}

fn is_connection_error(error: &Error) -> bool {
    let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
    kinds.contains(&error.io_kind())
}

pub(super) fn a_peer_that_vanishes_is_an_error(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, _) = file()?;
        let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        let task = lp.create_task(lp.sendfile(&transport, file.clone().into()))?;
        run_for(lp, ms(10))?;
        ensure!(!task.done(), "everything was sent to a peer that does not read");
        reset(far)?;
        let failed = lp.run_until_done(&task)?;
        ensure!(failed.as_ref().is_err_and(is_connection_error), "found {failed:?}");
        ensure!(position(&file)? < LENGTH as u64, "everything was sent");
        record.until_lost(lp)?;
        ensure_eq!(record.events().len(), 2, "callbacks {:?}", record.events());
        Ok(())
    })
}

pub(super) fn an_abort_ends_the_transfer(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        for close in [Transport::abort, Transport::close] {
            let (file, _) = file()?;
            let CloggedTcp { near, mut far, .. } = clogged_tcp_pair()?;
            let record = Script::new().record();
            let transport = record.attach(lp, near)?;
            let task = lp.create_task(lp.sendfile(&transport, file.into()))?;
            run_for(lp, ms(10))?;
            close(&transport);
            transport.write("discarded")?;
            let failed = lp.run_until_done(&task)?;
            ensure!(failed.as_ref().is_err_and(is_connection_error), "found {failed:?}");
            // A close flushes what the transport has accepted.
            while !record.is_lost() {
                available(&mut far)?;
                run_once(lp)?;
            }
            record.expect(["made", "lost"])?;
            far.set_nonblocking(false)?;
            far.set_read_timeout(Some(ms(10_000)))?;
            // It is the end of the connection: nobody else has the socket.
            let _ = far.read_to_end(&mut Vec::new())?;
        }
        Ok(())
    })
}

pub(super) fn cancelling_leaves_the_transport_usable(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, bytes) = file()?;
        let CloggedTcp { near, mut far, unread } = clogged_tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        let task = lp.create_task(lp.sendfile(&transport, file.clone().into()))?;
        run_for(lp, ms(10))?;
        task.cancel();
        ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
        let sent = position(&file)? as usize;
        ensure!(sent < LENGTH, "everything was sent to a peer that does not read");
        far.write_all(b"hello")?;
        record.until_received(lp, 5)?;
        transport.write("after")?;
        let received = collect(far);
        transport.close();
        record.until_lost(lp)?;
        let expected = [&vec![b'.'; unread][..], &bytes[..sent], b"after"].concat();
        ensure!(join(received)?? == expected, "other bytes came than the position says");
        // What had been handed over may be above the high mark.
        ensure_eq!(record.count("pause"), record.count("resume"), "callbacks of flow control");
        ensure!(record.error().is_none(), "the connection failed");
        Ok(())
    })
}
