//! A transport that gets another protocol.

use std::io::Write;
use std::net::TcpStream;

use anyloop_api::{AnyProtocol, BufferedProtocol, Protocol, Transport};

use crate::families::prelude::*;
use crate::tools::{Record, Script, pattern, settle, tcp_pair};

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
