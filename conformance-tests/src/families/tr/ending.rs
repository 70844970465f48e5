//! How a connection ends: once, never inside the call that ends it, and without a trace.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};

use anyloop_api::Transport;

use crate::families::prelude::*;
use crate::tools::{
    Record, Script, clogged_tcp_pair, collect, pattern, reset, settle, socket_view, tcp_pair,
};

pub(super) fn close_stops_reading_and_flushes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let mut pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    let sent = pattern(300_000);
    transport.write(&sent)?;
    pair.far.write_all(b"too late")?;
    transport.close();
    ensure!(transport.is_closing(), "not closing after close()");
    settle(&lp)?;
    pair.far.write_all(b"later still")?;
    settle(&lp)?;
    record.expect(["made", "pause"])?;
    let reader = collect(pair.far);
    record.until_lost(&lp)?;
    ensure_is!(record.error(), None);
    record.expect(["made", "pause", "resume", "lost"])?;
    // What the peer wrote in vain may turn the end into a reset, but not before it has read all.
    let got = join(reader)?;
    ensure!(
        got.is_err() || got?[pair.unread..] == sent,
        "the peer got other bytes than were written"
    );
    Ok(())
}

pub(super) fn close_of_an_idle_connection(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, near)?;
    transport.close();
    run_times(&lp, 2)?;
    record.expect(["made", "lost"])?;
    ensure_is!(record.error(), None);
    ensure_eq!(join(collect(far))??, b"", "what the peer got");
    Ok(())
}

pub(super) fn connection_lost_is_not_called_inside(cx: &Context) -> Outcome {
    for end in [Transport::close, Transport::abort] {
        let lp = cx.new_loop()?;
        let (near, mut far) = tcp_pair()?;
        let inside = Counter::new();
        let seen = inside.clone();
        let data = move |record: &Record, _: &[u8]| {
            end(&record.transport());
            if record.is_lost() {
                seen.add();
            }
        };
        let record = Script::new().data(data).record();
        record.attach(&lp, near)?;
        far.write_all(b"x")?;
        record.until_lost(&lp)?;
        ensure_eq!(inside.get(), 0, "calls of connection_lost inside the call");

        // From outside, too.
        let (near, _far) = tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(&lp, near)?;
        end(&transport);
        record.expect(["made"])?;
        record.until_lost(&lp)?;
    }
    Ok(())
}

type Step = fn(&Transport, &mut Option<TcpStream>) -> Outcome;

fn peer_resets(_: &Transport, far: &mut Option<TcpStream>) -> Outcome {
    far.take().map_or(Ok(()), |far| Ok(reset(far)?))
}

fn peer_closes(_: &Transport, far: &mut Option<TcpStream>) -> Outcome {
    far.take();
    Ok(())
}

fn peer_writes(_: &Transport, far: &mut Option<TcpStream>) -> Outcome {
    // In vain, if our end is gone already.
    let _ = far.as_mut().map(|far| far.write_all(b"x"));
    Ok(())
}

fn closes(transport: &Transport, _: &mut Option<TcpStream>) -> Outcome {
    transport.close();
    Ok(())
}

fn aborts(transport: &Transport, _: &mut Option<TcpStream>) -> Outcome {
    transport.abort();
    Ok(())
}

fn writes(transport: &Transport, _: &mut Option<TcpStream>) -> Outcome {
    Ok(transport.write(vec![b'x'; 100_000])?)
}

pub(super) fn once_whatever_happens(cx: &Context) -> Outcome {
    const STEPS: [Step; 6] = [peer_resets, peer_closes, peer_writes, closes, aborts, writes];
    // All ways of doing three of these things, the loop running now and then in between.
    for number in 0..STEPS.len().pow(3) * 4 {
        let (choice, pauses) = (number / 4, number % 4);
        let lp = cx.new_loop()?;
        let (near, far) = tcp_pair()?;
        let panics = number % 3 == 0;
        let data = move |_: &Record, _: &[u8]| assert!(!panics, "in data_received");
        let record = Script::new().data(data).record();
        let reports = Reports::of(&lp);
        let transport = record.attach(&lp, near)?;
        let mut far = Some(far);
        for place in 0..3 {
            STEPS[choice / STEPS.len().pow(place) % STEPS.len()](&transport, &mut far)?;
            if pauses >> place & 1 == 1 {
                run_times(&lp, 2)?;
            }
        }
        drop(far);
        record.until_lost(&lp)?;
        run_times(&lp, 3)?;
        let events = record.events();
        let lost = events.iter().filter(|event| event.starts_with("lost")).count();
        ensure_eq!(record.count("made"), 1, "connection_made in combination {number}");
        ensure_eq!(lost, 1, "connection_lost in combination {number}");
        let last = events.last().is_some_and(|event| event.starts_with("lost"));
        ensure!(last, "callbacks of combination {number}: {events:?}");
        ensure!(reports.count() <= 1, "reports in combination {number}: {:?}", reports.take());
        lp.close()?;
    }
    Ok(())
}

pub(super) fn closing_inside_callbacks(cx: &Context) -> Outcome {
    ended_inside_callbacks(cx, |record| record.transport().close())
}

pub(super) fn aborting_inside_callbacks(cx: &Context) -> Outcome {
    ended_inside_callbacks(cx, |record| record.transport().abort())
}

type End = fn(&Record);

fn ended_inside_callbacks(cx: &Context, end: End) -> Outcome {
    let scripts: [fn(End) -> Script; 6] = [
        |end| Script::new().data(move |record, _| end(record)),
        |end| {
            Script::new().eof(move |record| {
                end(record);
                true
            })
        },
        |end| {
            Script::new().eof(move |record| {
                end(record);
                false
            })
        },
        |end| Script::new().pause(end),
        |end| Script::new().resume(end),
        |end| Script::new().lost(end),
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let mut pair = clogged_tcp_pair()?;
        let record = script(end).record();
        let transport = record.attach(&lp, pair.near)?;
        // Everything happens to it: data, a pause, a resume, an end.
        pair.far.write_all(b"data")?;
        run_times(&lp, 2)?;
        transport.write(vec![b'x'; 200_000])?;
        run_times(&lp, 2)?;
        let reader = collect(pair.far.try_clone()?);
        let resumed = record.clone();
        record.until(&lp, move |_| resumed.count("resume") == 1 || resumed.is_lost())?;
        pair.far.shutdown(Shutdown::Write).or_else(|error| {
            // The connection may be gone.
            if error.kind() == ErrorKind::NotConnected { Ok(()) } else { Err(error) }
        })?;
        record.until_lost(&lp)?;
        run_times(&lp, 3)?;
        drop(pair.far);
        drop(join(reader)?);
        let events = record.events();
        let lost = events.iter().filter(|event| event.starts_with("lost")).count();
        ensure_eq!(lost, 1, "connection_lost with script {number}: {events:?}");
        ensure_is!(record.error(), None);
        reports.none()?;
    }
    Ok(())
}

pub(super) fn nothing_after_connection_lost(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = tcp_pair()?;
    let open = Rc::new(Cell::new(None));
    let theirs = open.clone();
    let lost = move |record: &Record| {
        let view = socket_view(&record.transport()).ok();
        theirs.set(view.and_then(|view| view.fileno()));
    };
    let record = Script::new().lost(lost).record();
    let transport = record.attach(&lp, near)?;
    let view = socket_view(&transport)?;
    far.write_all(b"unread")?;
    transport.set_write_buffer_limits(Some(0), None)?;
    transport.abort();
    record.until_lost(&lp)?;
    ensure!(open.get().is_some(), "the descriptor is closed before connection_lost");
    ensure_eq!(view.fileno(), None, "the descriptor after connection_lost");
    let _ = far.write_all(b"more");
    transport.write("x")?;
    transport.resume_reading();
    transport.close();
    transport.abort();
    transport.write_eof()?;
    settle(&lp)?;
    record.expect(["made", "lost"])
}

pub(super) fn closed_although_connection_lost_panics(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, far) = tcp_pair()?;
    let record = Script::new().lost(|_| panic!("in connection_lost")).record();
    let transport = record.attach(&lp, near)?;
    let view = socket_view(&transport)?;
    transport.close();
    record.until_lost(&lp)?;
    run_once(&lp)?;
    let seen = reports.one()?;
    ensure!(seen.is_panic("in connection_lost"), "the report is {seen:?}");
    ensure_eq!(view.fileno(), None, "the descriptor afterwards");
    ensure_eq!(join(collect(far))??, b"", "what the peer got");
    Ok(())
}

pub(super) fn abort_drops_the_buffer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.write(vec![b'x'; 500_000])?;
    run_times(&lp, 2)?;
    transport.abort();
    ensure!(transport.is_closing(), "not closing after abort()");
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes buffered after abort()");
    run_times(&lp, 2)?;
    record.expect(["made", "pause", "lost"])?;
    ensure_is!(record.error(), None);
    let got = join(collect(pair.far))?;
    let got = got.map_or(0, |got| got.len());
    ensure!(got < pair.unread + 500_000, "the peer got everything");
    Ok(())
}

/// Without that it is the system's matter what the peer sees.
pub(super) fn a_reset_if_one_is_asked_for(cx: &Context) -> Outcome {
    for paused in [false, true] {
        let lp = cx.new_loop()?;
        let (near, mut far) = tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(&lp, near)?;
        if paused {
            transport.pause_reading();
        }
        far.write_all(b"heard or not")?;
        settle(&lp)?;
        socket_view(&transport)?.dup()?.set_linger(Some(Duration::ZERO))?;
        transport.abort();
        record.until_lost(&lp)?;
        ensure_is!(record.error(), None);
        let got = join(collect(far))?;
        ensure_is!(got, Err(error) if error.kind() == ErrorKind::ConnectionReset);
    }
    Ok(())
}

pub(super) fn abort_ends_a_slow_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pair = clogged_tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, pair.near)?;
    transport.write(vec![b'x'; 500_000])?;
    transport.close();
    settle(&lp)?;
    ensure!(!record.is_lost(), "lost before everything was sent");
    transport.abort();
    run_times(&lp, 2)?;
    record.expect(["made", "pause", "lost"])?;
    ensure_is!(record.error(), None);
    drop(pair.far);
    Ok(())
}

pub(super) fn closing_twice_is_closing_once(cx: &Context) -> Outcome {
    let ways: [&[fn(&Transport)]; 4] = [
        &[Transport::close, Transport::close],
        &[Transport::abort, Transport::abort],
        &[Transport::close, Transport::abort],
        &[Transport::abort, Transport::close],
    ];
    for way in ways {
        for apart in [false, true] {
            let lp = cx.new_loop()?;
            let (near, _far) = tcp_pair()?;
            let record = Script::new().record();
            let transport = record.attach(&lp, near)?;
            for step in way {
                step(&transport);
                if apart {
                    run_times(&lp, 3)?;
                }
            }
            run_times(&lp, 3)?;
            record.expect(["made", "lost"])?;
            ensure_is!(record.error(), None);
        }
    }
    Ok(())
}
