//! Beginning to serve, and no longer serving.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{Script, available, free_port, settle};

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

pub(super) fn bound_but_not_listening(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, local().start_serving(false))?;
    let address = address(&server)?;
    ensure!(!server.is_serving(), "serving already");
    ensure!(is_refused(address), "a client got through before serving began");
    settle(&lp)?;
    ensure!(is_refused(address), "a client got through before serving began");
    // The address is taken, though.
    let taken = TcpListener::bind(address).map_err(|error| error.kind());
    // (Where sharing an address that nobody listens on is allowed, it is not ours any less.)
    ensure!(matches!(taken, Ok(_) | Err(ErrorKind::AddrInUse)), "binding says {taken:?}");
    drop(taken);
    let starting = server.clone();
    lp.run_until_complete(async move { starting.start_serving().await })??;
    ensure!(server.is_serving(), "not serving after start_serving");
    let _client = TcpStream::connect(address)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    Ok(())
}

pub(super) fn never_served_and_dropped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let before = open_descriptors();
    let server = start(&lp, &Script::new().record(), local().start_serving(false))?;
    drop(server);
    ensure_eq!(open_descriptors(), before, "descriptors after the drop");
    let server = start(&lp, &Script::new().record(), local().start_serving(false))?;
    server.close();
    wait_closed(&lp, &server)?;
    ensure_eq!(open_descriptors(), before, "descriptors after close()");
    Ok(())
}

pub(super) fn serving_on_return(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, local())?;
    ensure!(server.is_serving(), "not serving");
    let _client = TcpStream::connect(address(&server)?)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    Ok(())
}

pub(super) fn starting_twice_is_starting_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    for at_once in [true, false] {
        let server = start(&lp, &record, local().start_serving(at_once))?;
        let starting = server.clone();
        lp.run_until_complete(async move {
            starting.start_serving().await?;
            starting.start_serving().await
        })??;
        let before = record.count("made");
        let _client = TcpStream::connect(address(&server)?)?;
        record.until(&lp, move |record| record.count("made") > before)?;
        settle(&lp)?;
        ensure_eq!(record.count("made"), before + 1, "connections of one client");
        server.close();
    }
    Ok(())
}

pub(super) fn all_addresses_or_none(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let port = free_port()?;
    let hosts = ["127.0.0.1", "127.0.0.2"];
    let at = Bind::hosts(hosts, port).start_serving(false);
    let server = start(&lp, &Script::new().record(), at)?;
    // Nobody listened there when the server was made, so sharing the address was allowed.
    let _rival = TcpListener::bind((hosts[1], port))?;
    let starting = server.clone();
    let started = lp.run_until_complete(async move { starting.start_serving().await })?;
    let taken = started.map_err(|error| error.io_kind());
    ensure_eq!(taken, Err(ErrorKind::AddrInUse), "serving where somebody listens");
    ensure!(!server.is_serving(), "serving, although it failed");
    ensure!(is_refused(SocketAddr::from(([127, 0, 0, 1], port))), "the first address accepts");
    Ok(())
}

pub(super) fn a_closed_server_does_not_start(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local().start_serving(false))?;
    server.close();
    let starting = lp.run_until_complete(async move { server.start_serving().await })?;
    ensure_is!(starting, Err(Error::Usage(_)));
    Ok(())
}

pub(super) fn forever_serves_until_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, local().start_serving(false))?;
    let address = address(&server)?;
    let serving = server.clone();
    let task = lp.create_task(async move { serving.serve_forever().await })?;
    run_times(&lp, 3)?;
    ensure!(server.is_serving(), "not serving in serve_forever");
    let client = TcpStream::connect(address)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    drop(client);
    record.until_lost(&lp)?;
    settle(&lp)?;
    ensure!(!task.done(), "serve_forever ended by itself");
    task.cancel();
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    ensure!(!server.is_serving() && server.sockets().is_empty(), "the server is not closed");
    ensure!(is_refused(address), "a client got through after the end");
    Ok(())
}

pub(super) fn idle_clients_do_not_hold_up_its_end(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, local())?;
    let _idle = TcpStream::connect(address(&server)?)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    let task = lp.create_task(async move { server.serve_forever().await })?;
    run_times(&lp, 2)?;
    task.cancel();
    settle(&lp)?;
    record.expect(["made", "lost"])?;
    ensure!(task.cancelled(), "it waits for a client that has nothing to say");
    Ok(())
}

pub(super) fn dropped_it_may_begin_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local())?;
    let serving = server.clone();
    let task = lp.create_task(async move {
        // As the branch of a `select!` that lost.
        let mut first = Box::pin(serving.serve_forever());
        std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_ready())).await;
        drop(first);
        serving.serve_forever().await
    })?;
    run_times(&lp, 3)?;
    ensure!(!task.done(), "it is served by nobody, and cannot be served: {:?}", task.result());
    server.close();
    lp.run_until_done(&task)??;
    Ok(())
}

pub(super) fn forever_waits_for_the_connections(cx: &Context) -> Outcome {
    const SIZE: usize = 20_000_000;
    let lp = cx.new_loop()?;
    // More than the kernel takes, so that it cannot end at once, even if somebody closes it.
    let made = |record: &Record| {
        let _ = record.transport().write(vec![b'x'; SIZE]);
    };
    let record = Script::new().made(made).record();
    let server = start(&lp, &record, local())?;
    let serving = server.clone();
    let task = lp.create_task(async move { serving.serve_forever().await })?;
    let mut client = TcpStream::connect(address(&server)?)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    task.cancel();
    settle(&lp)?;
    ensure!(!server.is_serving(), "serving after the cancellation");
    ensure!(!task.done(), "cancelled before the last connection was lost");
    let reader = thread::spawn(move || client.read_exact(&mut vec![0; SIZE]));
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    ensure!(record.is_lost(), "cancelled before connection_lost");
    join(reader)??;
    Ok(())
}

pub(super) fn forever_is_for_one_at_a_time(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local())?;
    let serving = server.clone();
    let first = lp.create_task(async move { serving.serve_forever().await })?;
    run_times(&lp, 2)?;
    let serving = server.clone();
    let second = lp.run_until_complete(async move { serving.serve_forever().await })?;
    ensure_is!(second, Err(Error::Usage(_)));
    ensure!(server.is_serving() && !first.done(), "the second call ended the first");
    server.close();
    lp.run_until_done(&first)??;
    Ok(())
}

pub(super) fn forever_is_not_for_a_closed_server(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local())?;
    server.close();
    let serving = lp.run_until_complete(async move { server.serve_forever().await })?;
    ensure_is!(serving, Err(Error::Usage(_)));
    Ok(())
}

pub(super) fn close_refuses_newcomers_and_spares_the_rest(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let echo = |record: &Record, data: &[u8]| {
        let _ = record.transport().write(data);
    };
    let record = Script::new().data(echo).record();
    let server = start(&lp, &record, local())?;
    let address = address(&server)?;
    let mut client = TcpStream::connect(address)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    server.close();
    ensure!(is_refused(address), "a client got through after close()");
    client.write_all(b"still there?")?;
    record.until_received(&lp, 12)?;
    run_times(&lp, 2)?;
    ensure_eq!(available(&mut client)?.0, b"still there?", "the echo after close()");
    drop(client);
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn close_ends_serve_forever(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local())?;
    let serving = server.clone();
    let task = lp.create_task(async move { serving.serve_forever().await })?;
    run_times(&lp, 2)?;
    server.close();
    run_times(&lp, 3)?;
    ensure!(task.done(), "serve_forever goes on after close()");
    Ok(())
}

pub(super) fn the_address_is_free_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let mut server = start(&lp, &record, local())?;
    let at = address(&server)?;
    let mut clients = Vec::new();
    for round in 1..=10 {
        clients.push(TcpStream::connect(at)?);
        record.until(&lp, move |record| record.count("made") == round)?;
        server.close();
        server = start(&lp, &record, at.into())?;
        ensure_eq!(address(&server)?, at, "the address in round {round}");
    }
    Ok(())
}

pub(super) fn close_is_idempotent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local())?;
    server.close();
    server.close();
    run_once(&lp)?;
    server.close();
    server.close_clients();
    server.abort_clients();
    wait_closed(&lp, &server)
}

pub(super) fn a_closed_server_shows_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local())?;
    ensure!(server.get_loop().is_some_and(|mine| mine.same(&lp)), "the server has another loop");
    let views = server.sockets();
    ensure_eq!(views.len(), 1, "sockets");
    ensure!(views[0].fileno().is_some(), "the socket has no descriptor");
    server.close();
    ensure!(server.sockets().is_empty(), "sockets after close()");
    ensure!(server.local_addr().is_none(), "an address after close()");
    ensure!(!server.is_serving(), "serving after close()");
    ensure_eq!(views[0].fileno(), None, "the descriptor of an old view");
    ensure_is!(views[0].local_addr(), Err(Error::Closed(_)));
    Ok(())
}

pub(super) fn nobody_needs_to_hold_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, local())?;
    let address = address(&server)?;
    drop(server);
    for round in 1..=3 {
        let _client = TcpStream::connect(address)?;
        record.until(&lp, move |record| record.count("made") == round)?;
    }
    lp.close()?;
    ensure!(is_refused(address), "a client got through after the loop was closed");
    Ok(())
}
