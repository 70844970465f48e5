//! Protocols of both kinds: what their failures do, and what happens when one takes over from another.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use anyloop_api::{AnyProtocol, BufferedProtocol, Protocol, Transport};

use crate::families::prelude::*;
use crate::tools::{
    Record, Script, available, clogged_tcp_pair, collect, pattern, settle, tcp_pair,
};

pub(super) fn a_panic_in_data_received(cx: &Context) -> Outcome {
    let record = Script::new().data(|_, _| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.plain(), 1)
}

pub(super) fn a_panic_in_eof_received(cx: &Context) -> Outcome {
    let record = Script::new().eof(|_| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.plain(), 300_000)?;
    let record = Script::new().eof(|_| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.buffered(), 300_000)
}

pub(super) fn a_panic_in_get_buffer(cx: &Context) -> Outcome {
    let record = Script::new().buffer(|_| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.buffered(), 0)
}

pub(super) fn a_panic_in_buffer_updated(cx: &Context) -> Outcome {
    let record = Script::new().data(|_, _| panic!("in the callback")).record();
    a_panic_aborts(cx, &record, record.buffered(), 1)
}

/// The peer sends much and half-closes; at least `received` of it arrive.
fn a_panic_aborts(
    cx: &Context,
    record: &Record,
    protocol: AnyProtocol,
    received: usize,
) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = tcp_pair()?;
    let made = lp.connect_accepted_socket(Rc::new(move || protocol.clone()), near.into());
    lp.run_until_complete(made)??;
    let writer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        // The connection may be gone before all of it is written.
        let _ = far.write_all(&pattern(300_000));
        let _ = far.shutdown(Shutdown::Write);
        std::io::copy(&mut &far, &mut std::io::sink()).or(Ok::<u64, std::io::Error>(0))
    });
    record.until_lost(&lp)?;
    join(writer)??;
    let seen = reports.one()?;
    ensure!(seen.is_panic("in the callback"), "the report is {seen:?}");
    ensure!(seen.has("transport") && seen.has("protocol"), "the report is {seen:?}");
    ensure_is!(record.error(), Some(Error::Panicked(_)));
    settle(&lp)?;
    let events = record.events();
    ensure!(events.last().is_some_and(|last| last.starts_with("lost")), "callbacks: {events:?}");
    ensure!(record.received() >= received, "only {} bytes received", record.received());
    ensure!(record.count("data") <= 1, "callbacks: {events:?}");
    reports.none()
}

pub(super) fn what_was_written_is_dropped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let mut pair = clogged_tcp_pair()?;
    let data = |record: &Record, _: &[u8]| {
        let _ = record.transport().write("never sent");
        panic!("in the callback");
    };
    let record = Script::new().data(data).record();
    let transport = record.attach(&lp, pair.near)?;
    pair.far.write_all(b"x")?;
    record.until_lost(&lp)?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered");
    ensure!(reports.one()?.is_panic("in the callback"), "another report");
    let got = join(collect(pair.far))?;
    // The connection may have been reset.
    ensure!(got.map_or(0, |got| got.len()) <= pair.unread, "the peer got what was written");
    Ok(())
}

pub(super) fn a_false_answer_flushes_and_closes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    let sent = pattern(200_000);
    transport.write(&sent)?;
    pair.far.shutdown(Shutdown::Write)?;
    record.until(&lp, |record| record.count("eof") == 1)?;
    ensure!(transport.is_closing(), "not closing after eof_received said false");
    settle(&lp)?;
    ensure!(!record.is_lost(), "lost before everything was sent");
    let reader = collect(pair.far);
    record.until_lost(&lp)?;
    ensure_is!(record.error(), None);
    ensure!(join(reader)??[pair.unread..] == sent, "the peer got other bytes than were written");
    ensure_eq!(record.count("eof"), 1, "calls of eof_received");
    Ok(())
}

pub(super) fn a_true_answer_keeps_the_write_side(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().eof(|_| true).record();
    let transport = record.attach(&lp, near)?;
    far.write_all(b"question")?;
    far.shutdown(Shutdown::Write)?;
    record.until(&lp, |record| record.count("eof") == 1)?;
    settle(&lp)?;
    record.expect(["made", "data", "eof"])?;
    ensure!(!transport.is_closing(), "closing although eof_received said true");
    ensure!(!transport.is_reading(), "reading behind the end of the stream");
    transport.write("answer")?;
    run_times(&lp, 2)?;
    ensure_eq!(available(&mut far)?, (b"answer".to_vec(), false), "what the peer got");
    // Pausing and resuming does not bring the end again.
    transport.pause_reading();
    transport.resume_reading();
    settle(&lp)?;
    transport.close();
    record.until_lost(&lp)?;
    ensure!(available(&mut far)?.1, "the peer sees no end");
    record.expect(["made", "data", "eof", "lost"])
}

/// A row of protocols that hand the connection on after each piece.
struct Relay {
    transport: RefCell<Option<Transport>>,
    got: RefCell<Vec<u8>>,
    turns: Cell<usize>,
    /// Which of them are buffered.
    kinds: &'static [bool],
    buffer: usize,
    pausing: bool,
    lost: LoopFuture<()>,
}

struct Member(Rc<Relay>);

impl Relay {
    fn new(lp: &LoopRef, kinds: &'static [bool], buffer: usize, pausing: bool) -> Rc<Self> {
        Rc::new(Self {
            transport: RefCell::default(),
            got: RefCell::default(),
            turns: Cell::new(0),
            kinds,
            buffer,
            pausing,
            lost: lp.create_future(),
        })
    }

    fn member(self: &Rc<Self>) -> AnyProtocol {
        let member = Member(self.clone());
        if self.kinds[self.turns.get() % self.kinds.len()] {
            AnyProtocol::buffered(member)
        } else {
            AnyProtocol::plain(member)
        }
    }

    fn attach(self: &Rc<Self>, lp: &LoopRef, near: TcpStream) -> anyloop_api::Result<Transport> {
        let first = self.member();
        let attaching = lp.connect_accepted_socket(Rc::new(move || first.clone()), near.into());
        let (transport, _) = lp.run_until_complete(attaching)??;
        *self.transport.borrow_mut() = Some(transport.clone());
        Ok(transport)
    }

    fn got(self: &Rc<Self>, data: &[u8]) {
        self.got.borrow_mut().extend_from_slice(data);
        self.turns.set(self.turns.get() + 1);
        if let Some(transport) = &*self.transport.borrow() {
            if self.pausing {
                transport.pause_reading();
            }
            transport.set_protocol(self.member());
        }
    }

    fn lost(&self) {
        self.transport.take();
        // A second time would be another case's to find.
        let _ = self.lost.set_result(());
    }
}

impl Protocol for Member {
    fn data_received(&self, data: &[u8]) {
        self.0.got(data);
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.0.lost();
    }
}

impl BufferedProtocol for Member {
    fn get_buffer(&self, _: usize) -> Vec<u8> {
        vec![0; self.0.buffer]
    }

    fn buffer_updated(&self, buffer: Vec<u8>, nbytes: usize) {
        if nbytes > 0 {
            self.0.got(&buffer[..nbytes]);
        }
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.0.lost();
    }
}

pub(super) fn another_protocol_from_the_next_callback(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let (first, second) = (Script::new().record(), Script::new().record());
    let transport = first.attach(&lp, near)?;
    far.write_all(b"first")?;
    first.until_received(&lp, 5)?;
    transport.set_protocol(second.plain());
    far.write_all(b"second")?;
    second.until_received(&lp, 6)?;
    transport.set_write_buffer_limits(Some(0), None)?;
    transport.write(vec![b'x'; 10_000_000])?;
    drop(far);
    second.until_lost(&lp)?;
    ensure_eq!(first.bytes(), b"first", "what the first protocol received");
    ensure_eq!(second.bytes(), b"second", "what the second protocol received");
    first.expect(["made", "data"])?;
    ensure_eq!(second.events()[..2], ["data", "pause"], "callbacks of the second protocol");
    ensure_eq!(second.count("made"), 0, "calls of connection_made of the second protocol");
    Ok(())
}

pub(super) fn between_plain_and_buffered(cx: &Context) -> Outcome {
    for buffer in [1000, 7] {
        let lp = cx.new_loop()?;
        let (near, mut far) = tcp_pair()?;
        let relay = Relay::new(&lp, &[false, true, true], buffer, false);
        relay.attach(&lp, near)?;
        let sent = pattern(20_000);
        for piece in sent.chunks(500) {
            far.write_all(piece)?;
            run_once(&lp)?;
        }
        drop(far);
        lp.run_until_done(&relay.lost)?;
        let got = relay.got.take();
        ensure!(got == sent, "received {} bytes, or others", got.len());
        ensure!(relay.turns.get() > 3, "only {} turns", relay.turns.get());
    }
    Ok(())
}

pub(super) fn switched_while_paused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let relay = Relay::new(&lp, &[false, true], 333, true);
    let transport = relay.attach(&lp, near)?;
    let sent = pattern(30_000);
    far.write_all(&sent)?;
    drop(far);
    while relay.got.borrow().len() < sent.len() {
        let before = relay.turns.get();
        settle(&lp)?;
        ensure!(relay.turns.get() <= before + 1, "data while paused");
        transport.resume_reading();
    }
    lp.run_until_done(&relay.lost)?;
    ensure!(relay.got.take() == sent, "received other bytes than were sent");
    Ok(())
}

pub(super) fn never_beyond_the_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let sizes = Counter::new();
    // Another size each time.
    let record = Script::new().buffer(move |_| 1 + sizes.add() * 37 % 5000).record();
    record.attach_buffered(&lp, near)?;
    let sent = pattern(500_000);
    let bytes = sent.clone();
    let writer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        far.write_all(&bytes)
    });
    record.until_lost(&lp)?;
    join(writer)??;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    ensure_eq!(record.buffers_out(), 0, "buffers that were not given back");
    Ok(())
}

pub(super) fn never_beyond_a_tiny_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().buffer(|_| 1).record();
    record.attach_buffered(&lp, near)?;
    let sent = pattern(2_000);
    for piece in sent.chunks(100) {
        far.write_all(piece)?;
        run_once(&lp)?;
    }
    record.until_received(&lp, sent.len())?;
    ensure!(record.bytes() == sent, "received something else than was sent");
    ensure_eq!(record.largest(), 1, "the longest piece");
    run_times(&lp, 2)?;
    ensure_eq!(record.buffers_out(), 0, "buffers that were not given back");
    Ok(())
}

pub(super) fn an_empty_buffer_is_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().buffer(|_| 0).record();
    record.attach_buffered(&lp, near)?;
    far.write_all(b"x")?;
    record.until_lost(&lp)?;
    ensure!(record.error().is_some(), "no error");
    let seen = reports.one()?;
    ensure!(seen.has("transport") && seen.has("protocol"), "the report is {seen:?}");
    ensure!(seen.exception.is_some(), "the report is {seen:?}");
    Ok(())
}

/// What is behind the pause was received already, and the end with it.
pub(super) fn pausing_with_each_full_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record =
        Script::new().buffer(|_| 4).updated(|record| record.transport().pause_reading()).record();
    let transport = record.attach_buffered(&lp, near)?;
    far.write_all(b"0123456789")?;
    drop(far);
    for count in [4, 8, 10] {
        settle(&lp)?;
        ensure_eq!(record.bytes(), b"0123456789"[..count], "what was received so far");
        transport.resume_reading();
    }
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])
}

pub(super) fn pausing_in_get_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let buffer = |record: &Record| {
        record.transport().pause_reading();
        64
    };
    let record = Script::new().buffer(buffer).record();
    let transport = record.attach_buffered(&lp, near)?;
    far.write_all(b"kept")?;
    settle(&lp)?;
    record.expect(["made"])?;
    ensure_eq!(record.buffers_out(), 0, "buffers that were not given back");
    let calm = Script::new().record();
    transport.set_protocol(calm.plain());
    transport.resume_reading();
    calm.until_received(&lp, 4)?;
    ensure_eq!(calm.bytes(), b"kept", "what was received");
    Ok(())
}

/// Goes with its first data, and panics then.
#[derive(Default)]
struct Bomb(RefCell<Option<(Transport, AnyProtocol)>>);

impl Protocol for Bomb {
    fn data_received(&self, _: &[u8]) {
        if let Some((transport, successor)) = self.0.take() {
            transport.set_protocol(successor);
        }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the destructor");
    }
}

pub(super) fn an_old_protocol_that_panics_when_dropped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (mut records, mut peers) = (Vec::new(), Vec::new());
    for number in 0..5 {
        let (near, far) = tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(&lp, near)?;
        if number == 2 {
            let bomb = Bomb(RefCell::new(Some((transport.clone(), record.plain()))));
            transport.set_protocol(AnyProtocol::plain(bomb));
        }
        records.push(record);
        peers.push(far);
    }
    // All in one poll: the neighbours lose nothing.
    for far in &mut peers {
        far.write_all(b"x")?;
    }
    settle(&lp)?;
    let received: Vec<_> = records.iter().map(Record::received).collect();
    ensure_eq!(received, [1, 1, 0, 1, 1], "bytes that came to each");
    ensure!(reports.one()?.is_panic("in the destructor"), "another report");
    peers[2].write_all(b"x")?;
    records[2].until_received(&lp, 1).map_err(Into::into)
}
