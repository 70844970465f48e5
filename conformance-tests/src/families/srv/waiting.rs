//! The end of a server: closed, and the last connection lost.

use std::net::TcpStream;
use std::pin::pin;
use std::task;

use super::*;
use crate::tools::{Script, clogged_tcp_pair, collect, poll_inside, settle};

/// A server with `count` idle clients.
fn with_clients(
    lp: &LoopRef,
    record: &Record,
    count: usize,
) -> Result<(Server, Vec<TcpStream>), Failure> {
    let server = start(lp, record, local())?;
    let address = address(&server)?;
    let clients: Vec<_> =
        (0..count).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    record.until(lp, move |record| record.count("made") == count)?;
    Ok((server, clients))
}

pub(super) fn waits_for_the_last_connection(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let record = Script::new().lost(move |_| log.push("lost")).record();
    let (server, clients) = with_clients(&lp, &record, 3)?;
    let (waiting, log) = (server.clone(), trace.clone());
    let task = lp.create_task(async move {
        waiting.wait_closed().await?;
        log.push("waited");
        Ok::<_, Error>(())
    })?;
    server.close();
    settle(&lp)?;
    trace.expect([])?;
    for client in clients {
        ensure!(!task.done(), "waited before the last connection was lost");
        drop(client);
        settle(&lp)?;
    }
    lp.run_until_done(&task)??;
    trace.expect(["lost", "lost", "lost", "waited"])
}

pub(super) fn a_factory_that_closes_is_waited_for(cx: &Context) -> Outcome {
    for fails in [false, true] {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let record = Script::new().record();
        let (slot, protocol) = (Rc::new(RefCell::new(None::<Server>)), record.clone());
        let theirs = slot.clone();
        let factory = Rc::new(move || {
            theirs.take().expect("the first connection").close();
            assert!(!fails, "in the factory");
            protocol.plain()
        });
        let server = lp.run_until_complete(lp.create_server(factory, local()))??;
        let client = TcpStream::connect(address(&server)?)?;
        let waiting = server.clone();
        let task = lp.create_task(async move { waiting.wait_closed().await })?;
        // The wait begins before anybody is accepted, or with it.
        lp.call_soon(move || *slot.borrow_mut() = Some(server))?;
        if fails {
            lp.run_until_done(&task)??;
            let seen = reports.one()?;
            ensure!(seen.is_panic("in the factory"), "the report is {seen:?}");
            ensure_eq!(record.count("made"), 0, "connections of a factory that failed");
            continue;
        }
        record.until(&lp, |record| record.count("made") == 1)?;
        settle(&lp)?;
        // A server that closes itself with its first connection is one for that connection.
        ensure_eq!(record.count("lost"), 0, "lost connections while the client is there");
        ensure!(!task.done(), "waited before the only connection was lost");
        drop(client);
        lp.run_until_done(&task)??;
        ensure_eq!(record.count("lost"), 1, "lost connections when it was waited for");
    }
    Ok(())
}

pub(super) fn waits_for_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (server, clients) = with_clients(&lp, &record, 1)?;
    let waiting = server.clone();
    let task = lp.create_task(async move { waiting.wait_closed().await })?;
    drop(clients);
    record.until_lost(&lp)?;
    settle(&lp)?;
    ensure!(!task.done(), "waited for an open server, and came back");
    server.close();
    lp.run_until_done(&task)??;
    Ok(())
}

pub(super) fn at_once_if_both_hold(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local())?;
    server.close();
    let waiting = server.clone();
    let task = lp.create_task(async move { waiting.wait_closed().await })?;
    run_once(&lp)?;
    ensure!(task.done(), "still waiting after one step");
    // And when a connection has come and gone.
    let record = Script::new().record();
    let (server, clients) = with_clients(&lp, &record, 1)?;
    drop(clients);
    record.until_lost(&lp)?;
    run_once(&lp)?;
    server.close();
    let task = lp.create_task(async move { server.wait_closed().await })?;
    run_once(&lp)?;
    ensure!(task.done(), "still waiting after one step");
    Ok(())
}

pub(super) fn everybody_who_waits_is_told(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (server, clients) = with_clients(&lp, &record, 1)?;
    let mut tasks = Vec::new();
    for _ in 0..5 {
        let waiting = server.clone();
        tasks.push(lp.create_task(async move { waiting.wait_closed().await })?);
    }
    run_once(&lp)?;
    server.close();
    drop(clients);
    for task in tasks {
        lp.run_until_done(&task)??;
    }
    Ok(())
}

pub(super) fn giving_up_the_wait_changes_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (server, clients) = with_clients(&lp, &record, 1)?;
    let (one, other) = (server.clone(), server.clone());
    let impatient = lp.create_task(async move { one.wait_closed().await })?;
    let patient = lp.create_task(async move { other.wait_closed().await })?;
    run_times(&lp, 2)?;
    impatient.cancel();
    ensure_is!(lp.run_until_done(&impatient), Err(Error::Cancelled(_)));
    ensure!(server.is_serving() && !patient.done(), "the other one's wait is over, too");
    server.close();
    drop(clients);
    lp.run_until_done(&patient)??;
    Ok(())
}

pub(super) fn clients_are_closed_gracefully(cx: &Context) -> Outcome {
    const SIZE: usize = 20_000_000;
    let lp = cx.new_loop()?;
    let record = Script::new()
        .made(|record| {
            // More than the kernel takes.
            let _ = record.transport().write(vec![b'x'; SIZE]);
        })
        .record();
    let (server, mut clients) = with_clients(&lp, &record, 1)?;
    server.close();
    server.close_clients();
    ensure!(record.transport().is_closing(), "not closing after close_clients");
    settle(&lp)?;
    ensure!(!record.is_lost(), "lost before everything was sent");
    let readers: Vec<_> = clients.drain(..).map(collect).collect();
    wait_closed(&lp, &server)?;
    ensure_is!(record.error(), None);
    for reader in readers {
        ensure_eq!(join(reader)??.len(), SIZE, "how much the client got");
    }
    Ok(())
}

pub(super) fn clients_are_aborted(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new()
        .made(|record| {
            let _ = record.transport().write(vec![b'x'; 20_000_000]);
        })
        .record();
    let (server, clients) = with_clients(&lp, &record, 1)?;
    server.close();
    server.abort_clients();
    // Nobody reads, and it ends all the same.
    wait_closed(&lp, &server)?;
    record.expect(["made", "pause", "lost"])?;
    ensure_is!(record.error(), None);
    drop(clients);
    // A connection of somebody else's is left alone.
    let pair = clogged_tcp_pair()?;
    let other = Script::new().record();
    let transport = other.attach(&lp, pair.near)?;
    server.abort_clients();
    ensure!(!transport.is_closing(), "aborted with a server it does not belong to");
    Ok(())
}

pub(super) fn idle_clients_take_two_iterations(cx: &Context) -> Outcome {
    for end in [Server::close_clients, Server::abort_clients] {
        let lp = cx.new_loop()?;
        let lost = Counter::new();
        let counter = lost.clone();
        let record = Script::new()
            .lost(move |_| {
                counter.add();
            })
            .record();
        let (server, _clients) = with_clients(&lp, &record, 10)?;
        server.close();
        end(&server);
        ensure_eq!(lost.get(), 0, "connections lost inside the call");
        run_times(&lp, 2)?;
        ensure_eq!(lost.get(), 10, "connections lost after two iterations");
        let waiting = lp.create_task(async move { server.wait_closed().await })?;
        run_once(&lp)?;
        ensure!(waiting.done(), "wait_closed still waits");
    }
    Ok(())
}

pub(super) fn leaving_the_scope_closes_and_waits(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (server, clients) = with_clients(&lp, &record, 1)?;
    let (scoped, inside) = (server.clone(), server.clone());
    let task =
        lp.create_task(async move { scoped.scope(async move { inside.is_serving() }).await })?;
    settle(&lp)?;
    ensure!(!server.is_serving(), "serving after the scope's body");
    ensure!(!task.done(), "left the scope before the last connection was lost");
    drop(clients);
    ensure!(lp.run_until_done(&task)?, "not serving inside the scope");
    ensure!(record.is_lost(), "left the scope before connection_lost");
    Ok(())
}

pub(super) fn also_when_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (server, clients) = with_clients(&lp, &record, 1)?;
    let (scoped, never) = (server.clone(), lp.create_future::<()>());
    let task = lp.create_task(async move { scoped.scope(never).await })?;
    run_times(&lp, 2)?;
    task.cancel();
    settle(&lp)?;
    ensure!(!server.is_serving(), "serving after the cancellation");
    ensure!(!task.done(), "left the scope before the last connection was lost");
    drop(clients);
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    Ok(())
}

pub(super) fn also_after_a_panic(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (server, clients) = with_clients(&lp, &record, 1)?;
    let scoped = server.clone();
    let task = lp.create_task(async move { scoped.scope(async { panic!("inside") }).await })?;
    settle(&lp)?;
    ensure!(!server.is_serving(), "serving after the panic");
    ensure!(!task.done(), "left the scope before the last connection was lost");
    drop(clients);
    let left: Result<(), Error> = lp.run_until_done(&task);
    ensure_is!(left, Err(Error::Panicked(panic)) if panic.message() == "inside");
    ensure!(record.is_lost(), "left the scope before connection_lost");
    Ok(())
}

pub(super) fn a_waiter_may_end_inside_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, local())?;
    let (waiting, told) = (server.clone(), Counter::new());
    let theirs = told.clone();
    poll_inside(async move {
        if waiting.wait_closed().await.is_ok() {
            theirs.add();
        }
    });
    server.close();
    ensure_eq!(told.get(), 1, "waiters that were told");
    Ok(())
}

/// An application that keeps its server, and whose protocols know it.
pub(super) fn closed_it_lets_go_of_the_application(cx: &Context) -> Outcome {
    struct Application {
        server: RefCell<Option<Server>>,
    }
    struct Quiet;
    impl anyloop_api::Protocol for Quiet {}

    // A server that does not serve yet is no exception.
    for (with_the_loop, serving) in [(false, true), (true, true), (false, false), (true, false)] {
        let lp = cx.new_loop()?;
        let app = Rc::new(Application { server: RefCell::new(None) });
        let theirs = app.clone();
        let made = lp.serve(
            move || {
                let _known = theirs.clone();
                Quiet
            },
            local().start_serving(serving),
        );
        let server = lp.run_until_complete(made)??;
        *app.server.borrow_mut() = Some(server.clone());
        let left = Rc::downgrade(&app);
        drop(app);
        ensure!(left.upgrade().is_some(), "an open server lost its factory");
        if !with_the_loop {
            server.close();
            ensure_eq!(left.strong_count(), 0, "holders after the server's close");
        }
        lp.close()?;
        ensure_eq!(left.strong_count(), 0, "holders after the loop's close");
        ensure!(server.sockets().is_empty(), "a socket is open after the loop's close");
        if with_the_loop && !serving {
            let mut cx = task::Context::from_waker(task::Waker::noop());
            let late = pin!(server.start_serving()).poll(&mut cx);
            ensure_is!(late, task::Poll::Ready(Err(Error::Closed(_))));
        }
    }
    Ok(())
}

/// A protocol that keeps its transport is kept by the server's factory: when all is over, none of it keeps the
/// others.
pub(super) fn over_it_holds_nobody(cx: &Context) -> Outcome {
    for with_the_loop in [false, true] {
        let lp = cx.new_loop()?;
        let held = Rc::new(());
        let inside = held.clone();
        let record = Script::new().lost(move |_| drop(inside.clone())).record();
        let (server, clients) = with_clients(&lp, &record, 1)?;
        if !with_the_loop {
            drop(clients);
            record.until_lost(&lp)?;
            server.close();
            settle(&lp)?;
        }
        lp.close()?;
        drop((server, record, lp));
        ensure_eq!(Rc::strong_count(&held), 1, "holders, by the loop's close: {with_the_loop}");
    }
    Ok(())
}
