//! What becomes of each connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use anyloop_api::{AnyProtocol, Connect, Protocol, Transport};

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{Script, available, collect, reset, settle, socket_view};

pub(super) fn one_call_of_the_factory_each(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (calls, record) = (Counter::new(), Script::new().record());
    let (counter, protocol) = (calls.clone(), record.clone());
    let factory = Rc::new(move || {
        counter.add();
        protocol.plain()
    });
    let server = lp.run_until_complete(lp.create_server(factory, local()))??;
    ensure_eq!(calls.get(), 0, "calls before anybody came");
    let at = address(&server)?;
    let clients: Vec<_> = (0..7).map(|_| TcpStream::connect(at)).collect::<Result<_, _>>()?;
    record.until(&lp, |record| record.count("made") == 7)?;
    settle(&lp)?;
    ensure_eq!(calls.get(), 7, "calls for seven connections");
    drop(clients);
    Ok(())
}

pub(super) fn a_failing_factory_costs_one_connection(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (calls, record) = (Counter::new(), Script::new().record());
    let (counter, protocol) = (calls.clone(), record.clone());
    let factory = Rc::new(move || {
        assert!(counter.add() != 2, "in the factory");
        protocol.plain()
    });
    let server = lp.run_until_complete(lp.create_server(factory, local()))??;
    let at = address(&server)?;
    let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(at)).collect::<Result<_, _>>()?;
    record.until(&lp, |record| record.count("made") == 2)?;
    settle(&lp)?;
    let seen = reports.one()?;
    ensure!(seen.is_panic("in the factory"), "the report is {seen:?}");
    ensure_eq!(calls.get(), 3, "calls of the factory");
    // The second client sees the end, the others do not.
    ensure_eq!(clients[1].read(&mut [0; 1])?, 0, "bytes for the client without a protocol");
    for client in [&clients[0], &clients[2]] {
        client.set_nonblocking(true)?;
        let read = (&*client).read(&mut [0; 1]).map_err(|error| error.kind());
        ensure_eq!(read, Err(std::io::ErrorKind::WouldBlock), "the others' connections");
    }
    clients.truncate(1);
    server.close();
    drop(clients);
    wait_closed(&lp, &server)
}

/// Sends everything back.
struct Echo(RefCell<Option<Transport>>);

impl Protocol for Echo {
    fn connection_made(&self, transport: Transport) {
        *self.0.borrow_mut() = Some(transport);
    }

    fn data_received(&self, data: &[u8]) {
        if let Some(transport) = &*self.0.borrow() {
            let _ = transport.write(data);
        }
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.0.take();
    }
}

/// Says its number when everybody is there, and expects it back.
struct Numbered {
    number: u32,
    transport: RefCell<Option<Transport>>,
    heard: RefCell<Vec<u8>>,
    answered: LoopFuture<()>,
}

impl Protocol for Numbered {
    fn connection_made(&self, transport: Transport) {
        *self.transport.borrow_mut() = Some(transport);
    }

    fn data_received(&self, data: &[u8]) {
        self.heard.borrow_mut().extend_from_slice(data);
        if *self.heard.borrow() == self.number.to_be_bytes() {
            // A second answer would be a wrong one.
            let _ = self.answered.set_result(());
        }
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.transport.take();
    }
}

pub(super) fn a_thousand_at_once(cx: &Context) -> Outcome {
    const CLIENTS: usize = 1000;
    allow_descriptors(2 * CLIENTS as u64 + 100)?;
    let lp = cx.new_loop()?;
    let open = Counter::new();
    let opened = open.clone();
    let serving = lp.serve(
        move || {
            opened.add();
            Echo(RefCell::default())
        },
        local().backlog(CLIENTS as u32),
    );
    let server = lp.run_until_complete(serving)??;
    let port = address(&server)?.port();
    let inner = lp.clone();
    let heard = lp.run_until_complete(async move {
        let mut clients = Vec::new();
        for number in 0..CLIENTS as u32 {
            let answered = inner.create_future::<()>();
            let make = move || Numbered {
                number,
                transport: RefCell::default(),
                heard: RefCell::default(),
                answered,
            };
            clients.push(inner.connect(make, Connect::to("127.0.0.1", port)).await?.1);
        }
        for client in &clients {
            if let Some(transport) = &*client.transport.borrow() {
                transport.write(client.number.to_be_bytes())?;
            }
        }
        let mut heard = Vec::new();
        for client in &clients {
            let answered = client.answered.clone();
            answered.await?;
            heard.push(client.heard.take());
            if let Some(transport) = &*client.transport.borrow() {
                transport.close();
            }
        }
        Ok::<_, Error>(heard)
    })??;
    let expected: Vec<_> = (0..CLIENTS as u32).map(|n| n.to_be_bytes().to_vec()).collect();
    ensure!(heard == expected, "wrong answers");
    ensure_eq!(open.get(), CLIENTS, "calls of the factory");
    server.close();
    wait_closed(&lp, &server)
}

/// Raises the limit if it is too low; where that is not allowed the case is skipped.
fn allow_descriptors(wanted: u64) -> Outcome {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        setrlimit(Resource::Nofile, limit)
            .map_err(|_| Failure::skip(format!("fewer than {wanted} descriptors are allowed")))?;
    }
    Ok(())
}

/// A listener with `count` clients in its queue, in this order.
fn queued(count: usize) -> Result<(TcpListener, Vec<TcpStream>), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let clients = (0..count).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    Ok((listener, clients))
}

pub(super) fn a_flood_is_taken_in_portions(cx: &Context) -> Outcome {
    const BACKLOG: u32 = 4;
    const CLIENTS: usize = 33;
    let lp = cx.new_loop()?;
    let (listener, clients) = queued(CLIENTS)?;
    let record = Script::new().record();
    // Counted at the end of each iteration, as far as the count of one is known there: callbacks of
    // the loop's own come before or after it, but always in the same place.
    let counts: Rc<RefCell<Vec<usize>>> = Rc::default();
    let (theirs, counted) = (counts.clone(), record.clone());
    every_iteration(&lp, move |_| {
        theirs.borrow_mut().push(counted.count("made"));
        counted.count("made") < CLIENTS
    })?;
    let server = start(&lp, &record, Bind::socket(listener).backlog(BACKLOG))?;
    record.until(&lp, |record| record.count("made") == CLIENTS)?;
    run_times(&lp, 2)?;
    let counts = counts.borrow();
    let most = counts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    ensure!(most <= BACKLOG as usize + 1, "{most} connections in one iteration");
    drop(clients);
    server.close();
    Ok(())
}

pub(super) fn a_vanished_peer_is_passed_over(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (listener, mut clients) = queued(6)?;
    // Some have gone before anybody accepted them.
    reset(clients.remove(4))?;
    reset(clients.remove(1))?;
    drop(clients.remove(0));
    let echo = |record: &Record, data: &[u8]| {
        let _ = record.transport().write(data);
    };
    // Each connection has a record of its own.
    let made = Counter::new();
    let counter = made.clone();
    let factory = Rc::new(move || {
        counter.add();
        let protocol: AnyProtocol = Script::new().data(echo).record().plain();
        protocol
    });
    let server = lp.run_until_complete(lp.create_server(factory, Bind::socket(listener)))??;
    clients.push(TcpStream::connect(address(&server)?)?);
    let patience = Instant::now() + ms(10_000);
    for client in &mut clients {
        client.write_all(b"alive")?;
        let mut got = Vec::new();
        while got.len() < 5 {
            run_for(&lp, ms(1))?;
            got.extend(available(client)?.0);
            ensure!(Instant::now() < patience, "no echo in ten seconds");
        }
        ensure_eq!(got, b"alive", "the echo");
    }
    ensure!((4..=7).contains(&made.get()), "{} connections", made.get());
    server.close();
    drop(clients);
    wait_closed(&lp, &server)?;
    reports.none()
}

pub(super) fn closed_while_accepting(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let before = open_descriptors();
    for round in 0..30 {
        let record = Script::new().record();
        let (listener, clients) = queued(5)?;
        let server = start(&lp, &record, Bind::socket(listener))?;
        // Anywhere between nobody and everybody has been accepted.
        run_times(&lp, round % 4)?;
        server.close();
        // The listener's number is somebody else's at once.
        let (mut left, mut right) = UnixStream::pair()?;
        settle(&lp)?;
        left.write_all(b"mine")?;
        let mut got = [0; 4];
        right.read_exact(&mut got)?;
        ensure_eq!(&got, b"mine", "what came through a socket that is none of the server's");
        server.abort_clients();
        wait_closed(&lp, &server)?;
        for client in clients {
            // Served, then closed; or closed without.
            drop(join(collect(client))?);
        }
        let made = record.count("made");
        ensure!(made <= 5, "{made} connections of five clients");
        let lost = record.events().iter().filter(|event| event.starts_with("lost")).count();
        ensure_eq!(lost, made, "connections lost in round {round}");
    }
    ensure_eq!(open_descriptors(), before, "descriptors afterwards");
    reports.none()
}

pub(super) fn closed_by_the_first_of_many(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let before = open_descriptors();
    for _ in 0..10 {
        let open: Rc<RefCell<Option<Server>>> = Rc::default();
        let theirs = open.clone();
        let made = move |record: &Record| {
            if let Some(server) = theirs.take() {
                server.close();
            }
            record.transport().abort();
        };
        let record = Script::new().made(made).record();
        let (listener, clients) = queued(20)?;
        let at = Bind::socket(listener).start_serving(false);
        let server = start(&lp, &record, at)?;
        *open.borrow_mut() = Some(server.clone());
        let starting = server.clone();
        lp.run_until_complete(async move { starting.start_serving().await })??;
        record.until_lost(&lp)?;
        wait_closed(&lp, &server)?;
        // What the kernel had accepted meanwhile is closed as soon as the loop sees it.
        settle(&lp)?;
        for client in clients {
            drop(join(collect(client))?);
        }
        let lost = record.events().iter().filter(|event| event.starts_with("lost")).count();
        ensure_eq!(lost, record.count("made"), "connections lost");
    }
    ensure_eq!(open_descriptors(), before, "descriptors afterwards");
    reports.none()
}

/// Of those that had to wait for a later iteration, nobody begins any more.
pub(super) fn closed_by_one_while_others_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let open: Rc<RefCell<Option<Server>>> = Rc::default();
    let theirs = open.clone();
    let made = move |record: &Record| {
        // The first of the second portion.
        if record.count("made") == 3
            && let Some(server) = theirs.take()
        {
            server.close();
        }
    };
    let record = Script::new().made(made).record();
    let (listener, clients) = queued(9)?;
    let at = Bind::socket(listener).backlog(1).start_serving(false);
    let server = start(&lp, &record, at)?;
    *open.borrow_mut() = Some(server.clone());
    let starting = server.clone();
    lp.run_until_complete(async move { starting.start_serving().await })??;
    record.until(&lp, |record| record.count("made") >= 3)?;
    settle(&lp)?;
    ensure_eq!(record.count("made"), 3, "connections that have begun");
    drop(clients);
    wait_closed(&lp, &server)?;
    reports.none()
}

pub(super) fn accepted_sockets_are_nonblocking_and_close_on_exec(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, local())?;
    let _client = TcpStream::connect(address(&server)?)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    let view = socket_view(&record.transport())?;
    let status = rustix::fs::fcntl_getfl(view.dup()?)?;
    ensure!(status.contains(rustix::fs::OFlags::NONBLOCK), "the socket blocks: {status:?}");
    let fd = view.fileno().ok_or_else(|| Failure::new("the socket has no descriptor"))?;
    // Only the system can tell this of a descriptor that is not ours.
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .map_err(|_| Failure::skip("the system does not tell the flags of descriptors"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok());
    let cloexec = u64::from(rustix::fs::OFlags::CLOEXEC.bits());
    ensure!(flags.is_some_and(|flags| flags & cloexec != 0), "the socket survives an exec: {info}");
    Ok(())
}

pub(super) fn in_the_order_of_the_queue(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (listener, clients) = queued(40)?;
    let order: Rc<RefCell<Vec<_>>> = Rc::default();
    let theirs = order.clone();
    let record = Script::new()
        .made(move |record| theirs.borrow_mut().push(record.transport().peer_addr()))
        .record();
    start(&lp, &record, Bind::socket(listener).backlog(7))?;
    record.until(&lp, |record| record.count("made") == 40)?;
    let expected: Vec<_> = clients.iter().map(|client| client.local_addr().ok()).collect();
    ensure!(*order.borrow() == expected, "started as {:?}", order.borrow());
    Ok(())
}
