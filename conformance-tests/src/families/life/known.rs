//! Who knows the loop that runs.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use anyloop_api::{Bind, Connect, DatagramEndpoint};

use crate::families::prelude::*;
use crate::tools::{
    Post, SIGUSR1, Script, Trace, clogged_tcp_pair, collect, on_readable, raise, socket_pair,
};

/// Makes callbacks which note what they are called if `lp` is the running loop.
fn knows(lp: &LoopRef, trace: &Trace) -> impl Fn(&'static str) -> Box<dyn Fn()> + use<> {
    // The loop keeps its exception handler: that must not keep the loop.
    let (home, log) = (lp.downgrade(), trace.clone());
    move |what| {
        let (home, log) = (home.clone(), log.clone());
        Box::new(move || {
            let home = home.upgrade();
            let here = LoopRef::current().ok().zip(home).is_some_and(|(lp, home)| lp.same(&home));
            log.push(if here { what } else { "unknown" });
        })
    }
}

pub(super) fn known_to_everything_it_calls(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let call = knows(&lp, &trace);
    lp.call_soon(call("callback"))?;
    lp.call_later(ms(1), call("timer"))?;
    let in_task = call("task");
    lp.create_task(async move { in_task() })?;
    let future = lp.create_future();
    let in_done = call("done-callback");
    future.add_done_callback(move |_| in_done());
    future.set_result(())?;
    let (near, mut far) = socket_pair()?;
    on_readable(&lp, &near, call("watcher"))?;
    far.write_all(b"x")?;
    let in_handler = call("exception handler");
    lp.set_exception_handler(Some(Rc::new(move |_, _| in_handler())));
    lp.call_soon(|| panic!("on purpose"))?;
    run_for(&lp, ms(20))?;
    trace.expect_in_any_order([
        "callback",
        "done-callback",
        "exception handler",
        "task",
        "timer",
        "watcher",
    ])
}

pub(super) fn known_to_protocols_and_signal_handlers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let call = knows(&lp, &trace);
    // Everything happens to this one: what it hears makes it write more than the peer reads for now.
    let (made, pause, resume) = (call("made"), call("pause"), call("resume"));
    let (data, eof, lost) = (call("data"), call("eof"), call("lost"));
    let script = Script::new().made(move |_| made()).pause(move |_| pause());
    let script = script.resume(move |_| resume()).lost(move |_| lost());
    let script = script.data(move |record, _| {
        data();
        let _ = record.transport().write(vec![b'x'; 200_000]);
    });
    let record = script.eof(move |_| {
        eof();
        false
    });
    let record = record.record();
    let mut pair = clogged_tcp_pair()?;
    record.attach(&lp, pair.near)?;
    pair.far.write_all(b"x")?;
    record.until(&lp, |record| record.count("pause") == 1)?;
    let reader = collect(pair.far.try_clone()?);
    record.until(&lp, |record| record.count("resume") == 1)?;
    pair.far.shutdown(Shutdown::Write)?;
    record.until_lost(&lp)?;
    join(reader)??;
    trace.expect(["made", "data", "pause", "resume", "eof", "lost"])?;

    // The factory of a server and that of a client; buffers; datagrams; signals.
    let (factory, buffer) = (call("factory"), call("buffer"));
    let served = Script::new().buffer(move |_| {
        buffer();
        10
    });
    let served = served.record();
    let theirs = served.clone();
    let factory = Rc::new(move || {
        factory();
        theirs.buffered()
    });
    let serving = lp.create_server(factory.clone(), Bind::to("127.0.0.1", 0));
    let server = lp.run_until_complete(serving)??;
    let address = server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
    let client = std::net::TcpStream::connect(address)?;
    (&client).write_all(b"x")?;
    served.until_received(&lp, 1)?;
    drop(client);
    served.until_lost(&lp)?;
    server.close();
    let (near, _far) = socket_pair()?;
    let connecting = lp.create_connection(factory, Connect::socket(near));
    lp.run_until_complete(connecting)??.0.abort();
    let mut events = trace.take();
    events.dedup();
    ensure_eq!(events, ["factory", "buffer", "factory"], "factories and buffers");

    let (made, datagram, failed) = (call("made"), call("datagram"), call("error"));
    let post = Post::new().made(move |_| made()).datagram(move |_| datagram());
    let post = post.error(move |_| failed());
    let (near, far) = UnixDatagram::pair()?;
    let endpoint = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    far.send(b"x")?;
    post.until_received(&lp, 1)?;
    lp.call_soon(move || drop(endpoint.sendto(vec![0; 1 << 20], None)))?;
    post.until(&lp, |post| post.count("error") == 1)?;
    lp.add_signal_handler(SIGUSR1, call("signal"))?;
    raise(SIGUSR1)?;
    run_times(&lp, 4)?;
    trace.expect(["made", "datagram", "error", "signal"])
}

pub(super) fn unknown_outside_and_elsewhere(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    ensure_is!(LoopRef::current(), Err(Error::Usage(_)));
    let elsewhere = Rc::new(Cell::new(None));
    let theirs = elsewhere.clone();
    lp.call_soon(move || {
        let thread = thread::spawn(|| matches!(LoopRef::current(), Err(Error::Usage(_))));
        theirs.set(thread.join().ok());
    })?;
    run_once(&lp)?;
    ensure_eq!(elsewhere.get(), Some(true), "whether another thread sees no running loop");
    ensure_is!(LoopRef::current(), Err(Error::Usage(_)));
    Ok(())
}
