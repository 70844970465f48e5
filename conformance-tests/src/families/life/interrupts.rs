//! Interrupts by callbacks of protocols: what would follow in the same breath waits for the next run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use anyloop_api::{Bind, Connect, DatagramEndpoint, Interrupt, Protocol, Transport};

use crate::families::prelude::*;
use crate::tools::{Clogged, Post, Record, Script, clogged_pair, settle, socket_pair};

/// One event for both: data has come, and there is room again.
pub(super) fn data_that_interrupts_goes_before_resuming(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let Clogged { full, mut drain, unread } = clogged_pair()?;
    let inner = lp.clone();
    let interrupt = move |_: &Record, _: &[u8]| inner.interrupt(Interrupt::new("on purpose"));
    let record = Script::new().data(interrupt).record();
    let transport = record.attach(&lp, full)?;
    transport.set_write_buffer_limits(Some(0), None)?;
    settle(&lp)?;
    transport.write(b"x")?;
    settle(&lp)?;
    record.expect(["made", "pause"])?;
    drain.set_nonblocking(false)?;
    drain.read_exact(&mut vec![0; unread])?;
    drain.write_all(b"y")?;
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
    ensure_eq!(record.events().last().map(String::as_str), Some("data"), "the last callback");
    record.until(&lp, |record| record.count("resume") == 1)?;
    drain.read_exact(&mut [0])?;
    drop(drain);
    Ok(record.until_lost(&lp)?)
}

/// Asked whether it reads by itself, it does not, and interrupts.
struct Undecided {
    lp: LoopRef,
    received: Cell<usize>,
}

impl Protocol for Undecided {
    fn connection_made(&self, transport: Transport) {
        let _ = transport.await_readable();
    }

    fn readable(&self) -> bool {
        self.lp.interrupt(Interrupt::new("on purpose"));
        false
    }

    fn data_received(&self, data: &[u8]) {
        self.received.set(self.received.get() + data.len());
        self.lp.stop();
    }
}

pub(super) fn an_answer_that_interrupts_goes_before_the_data(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let undecided = Undecided { lp: lp.clone(), received: Cell::new(0) };
    let connecting = lp.connect(move || undecided, Connect::socket(near));
    let (transport, protocol) = lp.run_until_complete(connecting)??;
    far.write_all(b"xy")?;
    // Only a loop that offers its bytes asks.
    if let Err(error) = lp.run_forever() {
        ensure_is!(error, Error::Interrupt(_));
        ensure_eq!(protocol.received.get(), 0, "bytes before the end of the run");
        lp.run_forever()?;
    }
    ensure_eq!(protocol.received.get(), 2, "bytes in the end");
    transport.abort();
    Ok(settle(&lp)?)
}

/// As data before it, a datagram.
pub(super) fn a_datagram_that_interrupts_goes_before_resuming(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = UnixDatagram::pair()?;
    far.set_nonblocking(true)?;
    let inner = lp.clone();
    let post = Post::new().datagram(move |_| inner.interrupt(Interrupt::new("on purpose")));
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    transport.set_write_buffer_limits(Some(0), None)?;
    while post.count("pause") == 0 {
        transport.sendto(b"x", None)?;
    }
    settle(&lp)?;
    while far.recv(&mut [0; 8]).is_ok() {}
    far.send(b"y")?;
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
    ensure_eq!(post.events().last().map(String::as_str), Some("datagram"), "the last callback");
    Ok(post.until(&lp, |post| post.count("resume") == 1)?)
}

/// Two datagrams in the queue can never be sent, and what comes behind them can.
pub(super) fn an_error_that_interrupts_ends_the_flush(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = UnixDatagram::pair()?;
    far.set_nonblocking(true)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 4096)?;
    let inner = lp.clone();
    let post = Post::new().error(move |_| inner.interrupt(Interrupt::new("on purpose")));
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    transport.set_write_buffer_limits(Some(0), None)?;
    while post.count("pause") == 0 {
        transport.sendto([b'x'; 500], None)?;
    }
    for _ in 0..2 {
        transport.sendto([0xff; 100_000], None)?;
    }
    transport.sendto(b"last", None)?;
    let mut buffer = [0; 1000];
    while far.recv(&mut buffer).is_ok() {}
    for errors in 1..=2 {
        ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
        ensure_eq!(post.count("error"), errors, "errors so far");
        ensure_eq!(post.count("resume"), 0, "calls of resume_writing");
    }
    post.until(&lp, |post| post.count("resume") == 1)?;
    let mut last = Vec::new();
    while let Ok(count) = far.recv(&mut buffer) {
        last = buffer[..count].to_vec();
    }
    ensure_eq!(last, b"last", "the last datagram");
    Ok(())
}

/// Room was found at the end of a run, and is told of at the start of the next one.
pub(super) fn resuming_that_interrupts_goes_before_the_rest(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let mut records = Vec::new();
    for name in ["a", "b"] {
        let Clogged { full, drain, unread } = clogged_pair()?;
        drain.set_nonblocking(false)?;
        let (inner, log) = (lp.clone(), trace.clone());
        let resume = move |_: &Record| {
            log.push(name);
            inner.interrupt(Interrupt::new(name));
        };
        let record = Script::new().resume(resume).record();
        let transport = record.attach(&lp, full)?;
        transport.set_write_buffer_limits(Some(0), None)?;
        records.push((record, drain, unread));
    }
    settle(&lp)?;
    for (record, drain, unread) in &records {
        let (record, mut drain, unread) = (record.clone(), drain.try_clone()?, *unread);
        lp.call_soon(move || {
            let _ = record.transport().write(b"1");
            let _ = drain.read_exact(&mut vec![0; unread]);
        })?;
    }
    run_once(&lp)?;
    trace.expect([])?;
    lp.call_soon(trace.pusher("soon"))?;
    for resumed in 1..=2 {
        ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
        let so_far = trace.take();
        let names = so_far.iter().filter(|name| *name != "soon").count();
        ensure_eq!(names, 1, "resumed in run {resumed}");
        ensure!(so_far.last().is_some_and(|last| last != "soon"), "after an interrupt: {so_far:?}");
        lp.call_soon(trace.pusher("soon"))?;
    }
    run_once(&lp)?;
    for (record, drain, _) in records {
        drop(drain);
        record.until_lost(&lp)?;
    }
    Ok(())
}

/// Several connections are accepted at once.
pub(super) fn newcomers_wait_for_the_next_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for in_the_factory in [false, true] {
        let calls = Counter::new();
        let (made, factory) = (lp.clone(), lp.clone());
        let interrupt = move |_: &Record| {
            if !in_the_factory {
                made.interrupt(Interrupt::new("made"));
            }
        };
        let record = Script::new().made(interrupt).record();
        let (counter, protocol) = (calls.clone(), record.clone());
        let make = move || {
            counter.add();
            if in_the_factory {
                factory.interrupt(Interrupt::new("in the factory"));
            }
            protocol.plain()
        };
        let bind = Bind::to("127.0.0.1", 0);
        let server = lp.run_until_complete(lp.create_server(Rc::new(make), bind))??;
        let at = server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(at)).collect::<Result<_, _>>()?;
        for run in 1..=3 {
            ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
            ensure_eq!(calls.get(), run, "calls of the factory");
            let late = usize::from(in_the_factory);
            ensure!(record.count("made") <= calls.get() - late, "made in an interrupted run");
        }
        record.until(&lp, |record| record.count("made") == 3)?;
        server.close();
        drop(clients);
        record.until(&lp, |record| record.count("lost") == 3)?;
    }
    Ok(())
}
