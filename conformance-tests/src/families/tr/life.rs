//! What a transport is besides its bytes: addresses, options, an owner, a place in the loop's life.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

use anyloop_api::{Bind, Connect, SocketView, Transport};

use crate::families::prelude::*;
use crate::tools::{
    Record, Script, available, clogged_tcp_pair, collect, pattern, reset, settle, socket_view,
    tcp_pair,
};

pub(super) fn addresses_outlive_the_connection(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let (ours, theirs) = (far.peer_addr()?, far.local_addr()?);
    let seen: Rc<RefCell<Vec<_>>> = Rc::default();
    let (made, lost) = (seen.clone(), seen.clone());
    let record = Script::new()
        .made(move |r| {
            made.borrow_mut().push((r.transport().local_addr(), r.transport().peer_addr()))
        })
        .lost(move |r| {
            lost.borrow_mut().push((r.transport().local_addr(), r.transport().peer_addr()))
        })
        .record();
    let transport = record.attach(&lp, near)?;
    ensure!(transport.get_extra_info("socket").is_some(), "no socket");
    ensure!(transport.get_extra_info("nonsense").is_none(), "a value for an unknown name");
    transport.close();
    seen.borrow_mut().push((transport.local_addr(), transport.peer_addr()));
    record.until_lost(&lp)?;
    run_once(&lp)?;
    seen.borrow_mut().push((transport.local_addr(), transport.peer_addr()));
    ensure_eq!(*seen.borrow(), vec![(Some(ours), Some(theirs)); 4], "our address and the peer's");
    ensure!(transport.get_extra_info("nonsense").is_none(), "a value for an unknown name");
    Ok(())
}

pub(super) fn the_peers_address_outlives_a_reset(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let (ours, theirs) = (far.peer_addr()?, far.local_addr()?);
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    // Nobody has asked before, and the kernel does not know it any more.
    reset(far)?;
    record.until_lost(&lp)?;
    ensure_eq!(transport.peer_addr(), Some(theirs), "the peer's address");
    ensure_eq!(transport.local_addr(), Some(ours), "our address");
    Ok(())
}

pub(super) fn the_view_cannot_be_used_for_io(cx: &Context) -> Outcome {
    assert_not_impl!(SocketView: Read);
    assert_not_impl!(SocketView: Write);
    assert_not_impl!(SocketView: AsFd);
    assert_not_impl!(SocketView: AsRawFd);
    assert_not_impl!(SocketView: IntoRawFd);
    assert_not_impl!(SocketView: Into<OwnedFd>);
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let fd = near.as_raw_fd();
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let view = socket_view(&transport)?;
    // It is good for asking, and dropping it drops nothing else.
    ensure_eq!(view.fileno(), Some(fd), "the descriptor");
    ensure_eq!(view.peer_addr()?.as_socket(), Some(far.local_addr()?), "the peer's address");
    drop(view);
    far.write_all(b"x")?;
    record.until_received(&lp, 1)?;
    Ok(())
}

pub(super) fn nagle_is_off_everywhere(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // Handed over.
    let (near, _far) = tcp_pair()?;
    near.set_nodelay(false)?;
    let transport = Script::new().record().attach(&lp, near)?;
    ensure!(socket_view(&transport)?.nodelay()?, "Nagle's algorithm on an adopted socket");

    // Both ends of a server's connections, also if the server was given a listener.
    for given in [false, true] {
        let bind = if given {
            Bind::socket(TcpListener::bind("127.0.0.1:0")?)
        } else {
            Bind::to("127.0.0.1", 0)
        };
        let (ours, theirs) = (Script::new().record(), Script::new().record());
        let server = lp.run_until_complete(lp.create_server(theirs.factory(), bind))??;
        let address = server.local_addr().map(Connect::from).unwrap_or_default();
        let (client, _) =
            lp.run_until_complete(lp.create_connection(ours.factory(), address))??;
        theirs.until(&lp, |record| record.count("made") == 1)?;
        ensure!(socket_view(&client)?.nodelay()?, "Nagle's algorithm on a client");
        ensure!(
            socket_view(&theirs.transport())?.nodelay()?,
            "Nagle's algorithm on a server (given {given})"
        );
        server.close();
    }

    // A connected socket given to create_connection.
    let (near, _far) = tcp_pair()?;
    near.set_nodelay(false)?;
    let record = Script::new().record();
    let made = lp.create_connection(record.factory(), Connect::socket(near));
    let (transport, _) = lp.run_until_complete(made)??;
    ensure!(socket_view(&transport)?.nodelay()?, "Nagle's algorithm on a socket that was given");
    Ok(())
}

/// Makes a server connection, lets `prepare` do something to its transport, drops the handle, and
/// expects everything to end.
fn dropped(
    cx: &Context,
    script: Script,
    prepare: impl FnOnce(&LoopRef, &Transport, &TcpStream) -> Outcome,
) -> Result<(LoopRef, Record, TcpStream, Reports), Failure> {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let record = script.record();
    let serving = lp.create_server(record.factory(), Bind::to("127.0.0.1", 0));
    let server = lp.run_until_complete(serving)??;
    let Some(address) = server.local_addr() else {
        return Err(Failure::new("the server has no address"));
    };
    let far = TcpStream::connect(address)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    let transport = record.transport();
    prepare(&lp, &transport, &far)?;
    server.close();
    record.forget_transport();
    drop(transport);
    let closing = lp.create_task(async move { server.wait_closed().await })?;
    drop(closing);
    Ok((lp, record, far, reports))
}

/// The server's last connection is gone, the peer sees the end, somebody was warned.
fn check_dropped(lp: &LoopRef, record: &Record, far: TcpStream, reports: &Reports) -> Outcome {
    record.until_lost(lp)?;
    run_times(lp, 3)?;
    ensure_eq!(lp.all_tasks().len(), 0, "tasks still waiting for the server's last connection");
    let seen = reports.one()?;
    ensure!(seen.exception.is_none(), "the warning is {seen:?}");
    // An end or a reset, at once.
    drop(join(collect(far))?);
    Ok(())
}

pub(super) fn dropped_while_paused(cx: &Context) -> Outcome {
    let prepare = |_: &LoopRef, transport: &Transport, _: &TcpStream| {
        transport.pause_reading();
        Ok(())
    };
    let (lp, record, far, reports) = dropped(cx, Script::new(), prepare)?;
    check_dropped(&lp, &record, far, &reports)?;
    record.expect(["made", "lost"])
}

pub(super) fn dropped_at_the_end_of_the_stream(cx: &Context) -> Outcome {
    let script = Script::new().eof(|_| true);
    let prepare = |lp: &LoopRef, _: &Transport, far: &TcpStream| {
        far.shutdown(Shutdown::Write)?;
        Ok(settle(lp)?)
    };
    let (lp, record, far, reports) = dropped(cx, script, prepare)?;
    check_dropped(&lp, &record, far, &reports)?;
    // And if the handle was dropped before the end came.
    let script = Script::new().eof(|_| true);
    let (lp, record, far, reports) = dropped(cx, script, |_, _, _| Ok(()))?;
    settle(&lp)?;
    reports.none()?;
    far.shutdown(Shutdown::Write)?;
    check_dropped(&lp, &record, far, &reports)
}

pub(super) fn dropped_while_flushing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    let sent = pattern(100_000);
    transport.write(&sent)?;
    transport.pause_reading();
    record.forget_transport();
    drop(transport);
    settle(&lp)?;
    ensure!(!record.is_lost(), "lost before everything was sent");
    reports.none()?;
    let reader = collect(pair.far);
    record.until_lost(&lp)?;
    ensure!(join(reader)??[pair.unread..] == sent, "the peer got other bytes than were written");
    reports.one()?;
    Ok(())
}

pub(super) fn dropped_while_reading(cx: &Context) -> Outcome {
    // The protocol may still have something to do: nothing ends but with the peer.
    let (lp, record, mut far, reports) = dropped(cx, Script::new(), |_, _, _| Ok(()))?;
    far.write_all(b"still there")?;
    record.until_received(&lp, 11)?;
    drop(far);
    record.until_lost(&lp)?;
    run_times(&lp, 3)?;
    ensure_eq!(lp.all_tasks().len(), 0, "tasks still waiting for the server's last connection");
    reports.none()?;
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn connections_go_on_in_the_next_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    let sent = pattern(100_000);
    let mut got = Vec::new();
    for piece in sent.chunks(10_000) {
        // Between the runs.
        far.write_all(piece)?;
        transport.write(piece)?;
        run_times(&lp, 2)?;
        got.extend(available(&mut far)?.0);
    }
    record.until_received(&lp, sent.len())?;
    ensure!(record.bytes() == sent, "received other bytes than were sent");
    got.extend(available(&mut far)?.0);
    ensure!(got == sent, "the peer got {} bytes, or others", got.len());
    record.expect(["made", "data"])
}

pub(super) fn a_socket_belongs_to_one_transport(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let fd = near.as_raw_fd();
    let record = Script::new().record();
    // The socket is moved: there is nothing left that a second transport could be made of …
    record.attach(&lp, near)?;
    // … and its number is refused wherever numbers are taken.
    ensure_is!(lp.add_reader_fd(fd, Box::new(|| ())), Err(Error::Usage(_)));
    ensure_is!(lp.add_writer_fd(fd, Box::new(|| ())), Err(Error::Usage(_)));
    far.write_all(b"x")?;
    record.until_received(&lp, 1)?;
    Ok(())
}
