//! What comes in: complete, in order, one callback at a time, and not while paused.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyloop_api::{AnyProtocol, Connect, Interrupt, Protocol, Transport};

use crate::families::prelude::*;
use crate::tools::{
    CloggedTcp, Record, SIGUSR1, Script, clogged_tcp_pair, collect, one_in_each_run, pattern,
    raise, settle, tcp_pair,
};

/// What asyncio reads at a time.
const MOST: usize = 256 * 1024;

pub(super) fn megabytes_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let sent = pattern(5_000_000);
    let bytes = sent.clone();
    let writer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        far.write_all(&bytes)
    });
    let record = Script::new().record();
    record.attach(&lp, near)?;
    record.until_lost(&lp)?;
    join(writer)??;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    ensure!(record.largest() <= MOST, "a piece of {} bytes", record.largest());
    Ok(())
}

pub(super) fn small_messages_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    far.set_nodelay(true)?;
    let record = Script::new().record();
    record.attach(&lp, near)?;
    let sent = pattern(20_000);
    for (number, piece) in sent.chunks(7).enumerate() {
        far.write_all(piece)?;
        if number % 5 == 0 {
            run_once(&lp)?;
        }
    }
    record.until_received(&lp, sent.len())?;
    ensure!(record.bytes() == sent, "received something else than was sent");
    record.expect(["made", "data"])
}

pub(super) fn many_connections_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let mut ends = Vec::new();
    for _ in 0..50 {
        let (near, far) = tcp_pair()?;
        let record = Script::new().record();
        record.attach(&lp, near)?;
        ends.push((record, far));
    }
    // Rounds over all of them, so that each poll finds many ready.
    for round in 0..40 {
        for (index, (_, far)) in ends.iter_mut().enumerate() {
            far.write_all(&[round, index as u8, round ^ 0xff])?;
        }
        run_once(&lp)?;
    }
    for (index, (record, _)) in ends.iter().enumerate() {
        record.until_received(&lp, 120)?;
        let expected: Vec<u8> = (0..40).flat_map(|n| [n, index as u8, n ^ 0xff]).collect();
        ensure!(record.bytes() == expected, "connection {index} received {:?}", record.bytes());
    }
    Ok(())
}

pub(super) fn never_called_inside_a_data_callback(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let sent = pattern(2_000_000);
    let bytes = sent.clone();
    let writer = thread::spawn(move || {
        far.set_nonblocking(false)?;
        far.write_all(&bytes)?;
        far.shutdown(Shutdown::Write)?;
        std::io::copy(&mut &far, &mut std::io::sink())
    });
    let (inside, nested) = (Cell::new(false), Counter::new());
    let overlaps = nested.clone();
    let data = move |record: &Record, _: &[u8]| {
        if inside.replace(true) {
            overlaps.add();
        }
        let transport = record.transport();
        // Whatever could tempt it to go on at once.
        transport.pause_reading();
        transport.resume_reading();
        transport.set_protocol(transport.get_protocol());
        let _ = transport.write("x");
        inside.set(false);
    };
    let record = Script::new().data(data).record();
    record.attach(&lp, near)?;
    record.until_lost(&lp)?;
    join(writer)??;
    ensure_eq!(nested.get(), 0, "data callbacks inside another");
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    Ok(())
}

pub(super) fn no_spinning_at_the_end_of_the_stream(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
    let record = Script::new().eof(|_| true).record();
    let transport = record.attach(&lp, near)?;
    far.shutdown(Shutdown::Write)?;
    record.until(&lp, |record| record.count("eof") == 1)?;
    let busy = cpu_time();
    run_for(&lp, ms(300))?;
    let busy = cpu_time() - busy;
    ensure!(busy < ms(100), "300 ms of nothing took {busy:?} of processor time");
    // Not even with something to write, for which there is no room.
    transport.write(vec![b'x'; 1_000_000])?;
    run_times(&lp, 3)?;
    let busy = cpu_time();
    run_for(&lp, ms(300))?;
    let busy = cpu_time() - busy;
    ensure!(busy < ms(100), "300 ms of waiting for room took {busy:?} of processor time");
    transport.resume_reading();
    settle(&lp)?;
    record.expect(["made", "eof", "pause"])
}

pub(super) fn nothing_to_read_is_no_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    // Somebody else reads what the loop is told about.
    let mut thief = near.try_clone()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    for _ in 0..10 {
        far.write_all(b"stolen")?;
        let mut loot = [0; 6];
        thief.set_nonblocking(true)?;
        let mut stolen = 0;
        while stolen < 6 {
            // The loop may be quicker, if its kernel interface reads by itself.
            match thief.read(&mut loot[stolen..]) {
                Ok(count) => stolen += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        run_times(&lp, 2)?;
    }
    ensure!(!transport.is_closing(), "closing: {:?}", record.events());
    let before = record.received();
    far.write_all(b"received")?;
    record.until_received(&lp, before + 8)?;
    ensure!(record.bytes().ends_with(b"received"), "received {:?}", record.bytes());
    Ok(())
}

pub(super) fn signals_interrupt_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let signals = Counter::new();
    let handled = signals.clone();
    lp.add_signal_handler(SIGUSR1, move || {
        handled.add();
    })?;
    let (near, far) = tcp_pair()?;
    let sent = pattern(3_000_000);
    let (bytes, mut writing) = (sent.clone(), far.try_clone()?);
    let reader = collect(far);
    let done = Arc::new(AtomicBool::new(false));
    let finished = done.clone();
    let signaller = thread::spawn(move || -> std::io::Result<()> {
        // At least once, also if it begins late.
        loop {
            raise(SIGUSR1)?;
            if finished.load(Ordering::Relaxed) {
                return Ok(());
            }
            thread::sleep(Duration::from_micros(200));
        }
    });
    let writer = thread::spawn(move || {
        writing.set_nonblocking(false)?;
        writing.write_all(&bytes)?;
        writing.shutdown(Shutdown::Write)
    });
    // Everything goes back.
    let echo = |record: &Record, data: &[u8]| {
        let _ = record.transport().write(data);
    };
    let record = Script::new().data(echo).record();
    record.attach(&lp, near)?;
    record.until_lost(&lp)?;
    done.store(true, Ordering::Relaxed);
    join(signaller)??;
    join(writer)??;
    ensure_is!(record.error(), None);
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    ensure!(join(reader)?? == sent, "the peer got something else back");
    run_times(&lp, 2)?;
    ensure!(signals.get() > 0, "there was no signal");
    Ok(())
}

pub(super) fn everything_before_the_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    record.attach(&lp, near)?;
    // Data and end are there before the loop looks.
    let sent = pattern(100_000);
    far.write_all(&sent)?;
    drop(far);
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    Ok(())
}

pub(super) fn everything_into_a_small_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().buffer(|_| 16).record();
    record.attach_buffered(&lp, near)?;
    let sent = pattern(10_000);
    far.write_all(&sent)?;
    drop(far);
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    Ok(())
}

pub(super) fn everything_with_writes_pending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let mut pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.write("unsent")?;
    let sent = pattern(50_000);
    pair.far.write_all(&sent)?;
    pair.far.shutdown(Shutdown::Write)?;
    record.until(&lp, |record| record.count("eof") == 1)?;
    record.expect(["made", "data", "eof"])?;
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    let reader = collect(pair.far);
    record.until_lost(&lp)?;
    ensure_eq!(join(reader)??.len(), pair.unread + 6, "how much the peer got");
    Ok(())
}

pub(super) fn everything_that_came_before_the_transport(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let sent = pattern(60_000);
    far.write_all(&sent)?;
    drop(far);
    let record = Script::new().made(|record| record.transport().pause_reading()).record();
    let transport = record.attach(&lp, near)?;
    settle(&lp)?;
    record.expect(["made"])?;
    transport.resume_reading();
    record.until_lost(&lp)?;
    record.expect(["made", "data", "eof", "lost"])?;
    ensure!(record.bytes() == sent, "received {} bytes, or others", record.received());
    Ok(())
}

/// Asks for everything that comes, and takes it four bytes at a time.
#[derive(Default)]
struct OnDemand {
    transport: RefCell<Option<Transport>>,
    taken: RefCell<Vec<u8>>,
    taking: Cell<bool>,
    interrupted: Cell<bool>,
}

impl OnDemand {
    fn take(&self) {
        let Some(transport) = self.transport.borrow().clone() else { return };
        let mut piece = [0; 4];
        self.taking.set(true);
        let count = transport.try_read(&mut piece);
        self.taking.set(false);
        self.taken.borrow_mut().extend_from_slice(&piece[..count.unwrap_or(0)]);
    }
}

impl Protocol for OnDemand {
    fn connection_made(&self, transport: Transport) {
        *self.transport.borrow_mut() = Some(transport);
    }

    fn readable(&self) -> bool {
        let protocol = self.transport.borrow().as_ref().map(Transport::get_protocol);
        let Some(this) = protocol.and_then(|protocol| protocol.downcast::<Self>()) else {
            return false;
        };
        LoopRef::current().is_ok_and(|lp| lp.call_soon(move || this.take()).is_ok())
    }

    fn data_received(&self, data: &[u8]) {
        self.interrupted.set(self.interrupted.get() || self.taking.get());
        self.taken.borrow_mut().extend_from_slice(data);
        if let Some(transport) = &*self.transport.borrow() {
            let _ = transport.await_readable();
        }
    }
}

pub(super) fn nor_inside_a_read_on_demand(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let protocol = Rc::new(OnDemand::default());
    let theirs = AnyProtocol::from(protocol.clone());
    let factory = Rc::new(move || theirs.clone());
    let made = lp.create_connection(factory, Connect::socket(near));
    let (transport, _) = lp.run_until_complete(made)??;
    far.write_all(b"0")?;
    settle(&lp)?;
    far.write_all(b"123456789")?;
    settle(&lp)?;
    ensure_eq!(*protocol.taken.borrow(), b"0123456789", "what came, in order");
    ensure!(!protocol.interrupted.get(), "data_received was called inside of try_read");
    transport.abort();
    protocol.transport.take();
    Ok(())
}

pub(super) fn other_connections_wait_for_the_next_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let mut connections = Vec::new();
    for name in ["a", "b"] {
        let (near, far) = tcp_pair()?;
        let (inner, log) = (lp.clone(), trace.clone());
        let record = Script::new().data(move |_, _| {
            log.push(name);
            inner.interrupt(Interrupt::new(name));
        });
        let record = record.record();
        record.attach(&lp, near)?;
        connections.push((record, far));
    }
    run_times(&lp, 2)?;
    for (_, far) in &mut connections {
        far.write_all(b"x")?;
    }
    one_in_each_run(&lp, &trace)?;
    for (record, far) in connections {
        drop(far);
        record.until_lost(&lp)?;
    }
    Ok(())
}

/// What one read brings is more than the protocol takes in one call.
pub(super) fn an_interrupt_between_two_pieces(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for paused in [false, true] {
        let (near, mut far) = tcp_pair()?;
        let inner = lp.clone();
        let record = Script::new()
            .buffer(|_| 16)
            .updated(move |record| {
                if [16, 48].contains(&record.received()) {
                    inner.interrupt(Interrupt::new("on purpose"));
                }
            })
            .record();
        let transport = record.attach_buffered(&lp, near)?;
        if paused {
            run_once(&lp)?;
            transport.pause_reading();
        }
        far.write_all(&pattern(64))?;
        if paused {
            run_times(&lp, 3)?;
            transport.resume_reading();
        }
        for so_far in [16, 48] {
            ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
            ensure_eq!(record.received(), so_far, "bytes so far, paused before: {paused}");
        }
        drop(far);
        record.until_lost(&lp)?;
        ensure!(record.bytes() == pattern(64), "other bytes came");
    }
    Ok(())
}
