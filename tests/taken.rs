//! A connection that cannot be taken into service: its number belongs to a transport, whose descriptor somebody closed
//! behind the loop's back.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling", target_os = "linux"))]
#![allow(missing_docs, reason = "a test")]

mod support;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyloop::{Bind, EventLoopExt, LoopRef, Protocol, Result, Transport, new_event_loop_with};
use rustix::net::{AddressFamily, SocketType};

#[derive(Default)]
struct Counts {
    made: Cell<u32>,
    protocols: Cell<u32>,
    reports: RefCell<Vec<String>>,
}

struct Counting(Rc<Counts>);

impl Protocol for Counting {
    fn connection_made(&self, _: Transport) {
        self.0.made.set(self.0.made.get() + 1);
    }
}

fn run_until(lp: &LoopRef, done: impl Fn() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it never comes");
        lp.run_until_complete(anyloop::yield_now())?;
    }
    Ok(())
}

/// A client that connects when it is told to, without another descriptor.
fn client() -> OwnedFd {
    rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket")
}

/// The next descriptor has this number.
fn close_below(number: RawFd) -> Vec<File> {
    let mut holes = Vec::new();
    loop {
        let hole = File::open("/dev/null").expect("a device");
        if hole.as_raw_fd() > number {
            // SAFETY: nobody else uses the number until it is open again: the transport is idle.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
            return holes;
        }
        holes.push(hole);
    }
}

fn test(backend: &'static str) -> Result<()> {
    let lp = new_event_loop_with(backend)?;
    let counts = Rc::new(Counts::default());
    let seen = counts.clone();
    lp.set_exception_handler(Some(Rc::new(move |_, report| {
        seen.reports.borrow_mut().push(report.to_string());
    })));
    let theirs = counts.clone();
    let factory = move || {
        theirs.protocols.set(theirs.protocols.get() + 1);
        Counting(theirs.clone())
    };
    let server = lp.run_until_complete(lp.serve(factory, Bind::to("127.0.0.1", 0)))??;
    let Some(std::net::SocketAddr::V4(at)) = server.local_addr() else { panic!("no address") };
    let (near, _far) = UnixStream::pair().expect("a pair");
    let number = near.as_raw_fd();
    let theirs = Rc::new(Counts::default());
    let protocol = theirs.clone();
    let attaching = lp.connect_accepted_socket(
        Rc::new(move || anyloop::AnyProtocol::plain(Counting(protocol.clone()))),
        near.into(),
    );
    let (victim, _) = lp.run_until_complete(attaching)??;
    run_until(&lp, || theirs.made.get() == 1)?;

    let first = client();
    let holes = close_below(number);
    rustix::net::connect(&first, &SocketAddrV4::new(*at.ip(), at.port())).expect("a server");
    run_until(&lp, || !counts.reports.borrow().is_empty())?;
    // The number is open again before the transport closes it.
    let again = File::open("/dev/null").expect("a device").into_raw_fd();
    assert_eq!(again, number, "the accepted socket is open");
    drop(holes);
    assert_eq!(TcpStream::from(first).read(&mut [0]).expect("its end"), 0);
    assert_eq!((counts.protocols.get(), counts.made.get()), (1, 0));
    let report = counts.reports.take();
    assert!(matches!(&*report, [one] if one.contains("taken into service")), "{report:?}");

    // The others are served.
    let _second = TcpStream::connect(at).expect("a server");
    run_until(&lp, || counts.made.get() == 1)?;
    assert_eq!((counts.protocols.get(), counts.reports.borrow().len()), (2, 0));
    victim.abort();
    server.close();
    server.close_clients();
    lp.run_until_complete(async move { server.wait_closed().await })??;
    lp.close()
}

/// One test for all backends, so that nobody else opens descriptors meanwhile.
#[test]
fn one_connection_fails_and_the_others_are_served() {
    for backend in ["mio", "uring", "polling"] {
        support::mount(backend, |backend| test(backend).expect("nothing else fails"));
    }
}
