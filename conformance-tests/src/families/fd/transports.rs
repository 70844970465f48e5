//! Descriptors that belong to transports.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use anyloop_api::{AnyProtocol, Bind, Connect, DatagramEndpoint, Protocol, Transport};

use super::drain;
use crate::families::prelude::*;
use crate::tools::{Post, Script, pipe, socket_pair};

/// Records that its connection was lost.
struct Quiet(Counter);

impl Protocol for Quiet {
    fn connection_lost(&self, _: Option<Error>) {
        self.0.add();
    }
}

/// A transport over one end of a pair, the number of its descriptor, the other end, and a counter of
/// its end.
pub(super) fn transport(lp: &LoopRef) -> Result<(Transport, RawFd, UnixStream, Counter), Failure> {
    let (near, far) = socket_pair()?;
    let lost = Counter::new();
    let theirs = lost.clone();
    let factory = Rc::new(move || AnyProtocol::plain(Quiet(theirs.clone())));
    let connecting = lp.create_connection(factory, Connect::socket(near));
    let (transport, _) = lp.run_until_complete(connecting)??;
    let fd = transport.get_extra_info("socket").and_then(|info| info.socket()?.fileno());
    let fd = fd.ok_or_else(|| Failure::new("the transport has no descriptor"))?;
    Ok((transport, fd, far, lost))
}

pub(super) fn a_transports_descriptor_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, fd, mut far, lost) = transport(&lp)?;
    ensure_is!(lp.add_reader(&fd, || ()), Err(Error::Usage(_)));
    ensure_is!(lp.add_writer(&fd, || ()), Err(Error::Usage(_)));
    ensure_is!(lp.remove_reader(&fd), Err(Error::Usage(_)));
    ensure_is!(lp.remove_writer(&fd), Err(Error::Usage(_)));
    // It was not disturbed.
    transport.write(b"x")?;
    run_times(&lp, 2)?;
    let mut byte = [0];
    far.read_exact(&mut byte)?;
    transport.close();
    run_times(&lp, 3)?;
    ensure_eq!(lost.get(), 1, "connection_lost");
    Ok(())
}

pub(super) fn so_are_those_of_pipes_endpoints_and_servers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (read, into) = pipe()?;
    let reading = lp.run_until_complete(lp.connect_read_pipe(record.factory(), read))?;
    let reading = reading.map_err(Error::from)?.0;
    let (_from, write) = pipe()?;
    let writing = lp.run_until_complete(lp.connect_write_pipe(record.factory(), write))?;
    let writing = writing.map_err(Error::from)?.0;
    let endpoint = Post::new().open(&lp, DatagramEndpoint::local("127.0.0.1:0"))?;
    let serving = lp.create_server(record.factory(), Bind::to("127.0.0.1", 0));
    let server = lp.run_until_complete(serving)??;
    let of_pipe = |transport: &Transport| {
        transport.get_extra_info("pipe").and_then(|info| info.pipe()?.fileno())
    };
    let of_endpoint = endpoint.get_extra_info("socket").and_then(|info| info.socket()?.fileno());
    let of_server = server.sockets().first().and_then(|view| view.fileno());
    let all = [
        ("read pipe", of_pipe(&reading)),
        ("write pipe", of_pipe(&writing)),
        ("endpoint", of_endpoint),
        ("server", of_server),
    ];
    for (what, fd) in all {
        let fd = fd.ok_or_else(|| Failure::new(format!("the {what} has no descriptor")))?;
        let refused = [
            lp.add_reader(&fd, || ()),
            lp.add_writer(&fd, || ()),
            lp.remove_reader(&fd).map(drop),
            lp.remove_writer(&fd).map(drop),
        ];
        let refused = refused.iter().all(|result| matches!(result, Err(Error::Usage(_))));
        ensure!(refused, "watchers of the {what} are not refused");
    }
    File::from(into).write_all(b"x")?;
    record.until_received(&lp, 1)?;
    server.close();
    Ok(())
}

pub(super) fn a_transport_takes_over_what_is_watched(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let (read, write) = pipe()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let (calls, dropped) = (Counter::new(), Counter::new());
    let watch = |fd: &dyn AsRawFd| {
        let (counter, token) = (calls.clone(), dropped.token());
        lp.add_reader(&fd.as_raw_fd(), move || {
            token.keep();
            counter.add();
        })
    };
    [&near as &dyn AsRawFd, &read, &listener].into_iter().try_for_each(watch)?;
    run_times(&lp, 2)?;
    far.write_all(b"hello")?;
    let stream = Script::new().record();
    let transport = stream.attach(&lp, near)?;
    stream.until_received(&lp, 5)?;
    File::from(write).write_all(b"hello")?;
    let piped = Script::new().record();
    lp.run_until_complete(lp.connect_read_pipe(piped.factory(), read))?.map_err(|r| r.error)?;
    piped.until_lost(&lp)?;
    ensure_eq!(piped.bytes(), b"hello", "what came through the pipe");
    let address = listener.local_addr()?;
    let served = Script::new().record();
    let serving = lp.create_server(served.factory(), Bind::socket(listener));
    let server = lp.run_until_complete(serving)??;
    drop(std::net::TcpStream::connect(address)?);
    served.until_lost(&lp)?;
    ensure_eq!((calls.get(), dropped.get()), (0, 3), "calls of watchers, and how many are freed");
    transport.close();
    server.close();
    stream.until_lost(&lp)?;
    stream.expect(["made", "data", "lost"])
}

/// The transport of [`transport`], closing, with more to send than fits.
fn closing(lp: &LoopRef) -> Result<(Transport, RawFd, UnixStream, Counter), Failure> {
    let made = transport(lp)?;
    made.0.write(vec![0; 4 << 20])?;
    made.0.close();
    run_times(lp, 2)?;
    ensure_eq!(made.3.get(), 0, "connection_lost of a transport that cannot send");
    Ok(made)
}

pub(super) fn a_closing_transports_is_not(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (_transport, fd, mut far, lost) = closing(&lp)?;
    let calls = Counter::new();
    let counter = calls.clone();
    lp.add_reader(&fd, move || {
        counter.add();
    })?;
    run_times(&lp, 2)?;
    ensure_eq!(calls.get(), 0, "calls while there is nothing to read");
    far.write_all(b"x")?;
    run_once(&lp)?;
    ensure_eq!(calls.get(), 1, "calls when there is");
    ensure!(lp.remove_reader(&fd)?, "the reader was not found");
    // It goes on sending all the same, and ends.
    let mut received = 0;
    while lost.get() == 0 {
        received += drain(&far);
        run_once(&lp)?;
    }
    received += drain(&far);
    ensure_eq!(received, 4 << 20, "bytes received");
    ensure_eq!(calls.get(), 1, "calls after the removal");
    Ok(())
}

pub(super) fn watchers_of_a_closing_transport_end_with_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, fd, mut far, lost) = closing(&lp)?;
    let (calls, dropped) = (Counter::new(), Counter::new());
    let (counter, token) = (calls.clone(), dropped.token());
    lp.add_reader(&fd, move || {
        token.keep();
        counter.add();
    })?;
    transport.abort();
    run_times(&lp, 3)?;
    ensure_eq!(lost.get(), 1, "connection_lost");
    ensure_eq!(dropped.get(), 1, "how often the callback was freed");
    let called = calls.get();
    drain(&far);
    ensure_is!(far.read(&mut [0]), Ok(0));
    ensure!(!lp.remove_reader(&fd)?, "the watcher outlived the transport");
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), called, "calls after the end");
    Ok(())
}
