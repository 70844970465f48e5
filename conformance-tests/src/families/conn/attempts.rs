//! Where to, where from, and what is said if it does not work.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, TcpStream, UdpSocket};

use anyloop_api::{
    DatagramEndpoint, DatagramFactory, DatagramProtocol, Domain, Family, Sock, Type, UnixBind,
    UnixConnect,
};

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{Script, free_port, settle, tcp_pair};

pub(super) fn contradictions_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let (_listener, at) = listener()?;
    let attempt = |to: Connect| failed(connect(&lp, &record, to)?);
    let (near, _far) = tcp_pair()?;
    ensure_is!(attempt(Connect::from(at).with_socket(near))?, Error::InvalidArg(_));
    let (near, _far) = tcp_pair()?;
    ensure_is!(attempt(Connect::to_any([at]).with_socket(near))?, Error::InvalidArg(_));
    let mut both = Connect::to_any([at]);
    both.host = Some("127.0.0.1".to_owned());
    ensure_is!(attempt(both)?, Error::InvalidArg(_));
    ensure_is!(attempt(Connect::default())?, Error::InvalidArg(_));
    let datagrams = UdpSocket::bind("127.0.0.1:0")?;
    ensure_is!(attempt(Connect::socket(datagrams))?, Error::InvalidArg(_));
    ensure_is!(attempt(Connect::socket(File::open("/dev/null")?))?, Error::InvalidArg(_));
    for text in ["no port here", "127.0.0.1:", "[::1]", "[::1]:", "[::1]80", "::1:80"] {
        ensure_is!(attempt(Connect::from(text))?, Error::InvalidArg(_));
    }
    record.expect([])
}

pub(super) fn refused_before_any_connection(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let (listener, at) = listener()?;
    let before = open_descriptors();
    let (near, far) = tcp_pair()?;
    let refused = connect(&lp, &Script::new().record(), Connect::from(at).with_socket(near))?;
    ensure_is!(failed(refused)?, Error::InvalidArg(_));
    drop(far);
    ensure_eq!(open_descriptors(), before, "descriptors after the refusal");
    settle(&lp)?;
    listener.set_nonblocking(true)?;
    let came = listener.accept().map(|_| ()).map_err(|error| error.kind());
    ensure_eq!(came, Err(ErrorKind::WouldBlock), "who came to the address");
    Ok(())
}

pub(super) fn the_first_that_answers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let ([closed, also_closed], _bound) = refusing()?;
    let (_first, at) = listener()?;
    let (second, later) = listener()?;
    let record = Script::new().record();
    let to = Connect::to_any([closed, also_closed, at, later]);
    let (transport, _) = connect(&lp, &record, to)??;
    ensure_eq!(transport.peer_addr(), Some(at), "the peer");
    settle(&lp)?;
    second.set_nonblocking(true)?;
    let came = second.accept().map(|_| ()).map_err(|error| error.kind());
    ensure_eq!(came, Err(ErrorKind::WouldBlock), "who came to the second one");
    Ok(())
}

pub(super) fn a_name_with_several_addresses(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let mut connections = 0;
    // Wherever `localhost` leads, one of its addresses is listened to.
    for host in ["127.0.0.1", "::1"] {
        let Ok(listener) = TcpListener::bind((host, 0)) else { continue };
        let port = listener.local_addr()?.port();
        let resolving =
            lp.resolve(Some("localhost".into()), Some(port.to_string()), Family::default());
        let Ok(addresses) = lp.run_until_complete(resolving)? else {
            return Err(Failure::skip("no localhost"));
        };
        if !addresses.contains(&listener.local_addr()?) {
            // Where it leads, others may listen to this port.
            continue;
        }
        let record = Script::new().record();
        let connected = connect(&lp, &record, Connect::to("localhost", port))?;
        ensure_eq!(connected?.0.peer_addr(), Some(listener.local_addr()?), "the peer");
        connections += 1;
    }
    ensure!(connections > 0, "it leads neither to 127.0.0.1 nor to ::1");
    Ok(())
}

pub(super) fn one_error_as_it_is(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let ([closed], _bound) = refusing()?;
    let error = failed(connect(&lp, &Script::new().record(), closed)?)?;
    check_refused(&error, &[closed])?;
    let error = failed(connect(&lp, &Script::new().record(), Connect::to_any([closed]))?)?;
    check_refused(&error, &[closed])
}

/// It is the system's error, and names these addresses.
fn check_refused(error: &Error, addresses: &[SocketAddr]) -> Outcome {
    ensure_is!(error, Error::Os(_));
    ensure_eq!(error.io_kind(), ErrorKind::ConnectionRefused, "the kind of {error:?}");
    ensure!(error.raw_os_error().is_some(), "the system's code is lost: {error:?}");
    let text = error.to_string();
    for address in addresses {
        ensure!(text.contains(&address.to_string()), "{address} is not named: {text}");
    }
    Ok(())
}

pub(super) fn equal_errors_as_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let ([closed], _bound) = refusing()?;
    let one = failed(connect(&lp, &Script::new().record(), closed)?)?;
    let to = Connect::to_any([closed, closed, closed]);
    let three = failed(connect(&lp, &Script::new().record(), to)?)?;
    check_refused(&three, &[closed])?;
    ensure_eq!(three.to_string(), one.to_string(), "the text of three equal errors");
    Ok(())
}

pub(super) fn different_errors_each_named(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (closed, _bound) = refusing::<3>()?;
    let error = failed(connect(&lp, &Script::new().record(), Connect::to_any(closed))?)?;
    ensure_is!(&error, Error::Os(_));
    let text = error.to_string();
    for address in closed {
        ensure!(text.contains(&address.to_string()), "{address} is not named: {text}");
    }
    Ok(())
}

pub(super) fn all_errors_in_a_group(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (closed, _bound) = refusing::<3>()?;
    let to = Connect::to_any(closed).all_errors(true);
    let Error::Group(group) = failed(connect(&lp, &Script::new().record(), to)?)? else {
        return Err(Failure::new("all_errors gave one error"));
    };
    ensure_eq!(group.errors().len(), 3, "errors in the group");
    for (error, address) in group.errors().iter().zip(closed) {
        check_refused(error, &[address])?;
    }
    // Also of one.
    let to = Connect::from(closed[0]).all_errors(true);
    let error = failed(connect(&lp, &Script::new().record(), to)?)?;
    ensure_is!(&error, Error::Group(group) if group.errors().len() == 1);
    Ok(())
}

pub(super) fn failures_leave_no_descriptor(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let (closed, _bound) = refusing::<3>()?;
    let before = open_descriptors();
    for _ in 0..100 {
        failed(connect(&lp, &Script::new().record(), Connect::to_any(closed))?)?;
        ensure_eq!(open_descriptors(), before, "descriptors after a failure");
    }
    // The failed ones before a success are closed, too.
    let (_listener, at) = listener()?;
    let before = open_descriptors();
    let to = Connect::to_any([closed[0], closed[1], at]);
    let record = Script::new().record();
    let (transport, _) = connect(&lp, &record, to)??;
    ensure_eq!(open_descriptors(), before.map(|count| count + 1), "descriptors with a connection");
    transport.abort();
    record.until_lost(&lp)?;
    run_once(&lp)?;
    ensure_eq!(open_descriptors(), before, "descriptors without it");
    Ok(())
}

pub(super) fn a_failing_factory_closes_the_socket(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let (listener, at) = listener()?;
    let before = open_descriptors();
    let made = lp.create_connection(Rc::new(|| panic!("in the factory")), at.into());
    ensure_is!(lp.run_until_complete(made)?, Err(Error::Panicked(_)));
    ensure_eq!(open_descriptors(), before, "descriptors after the failure");
    let (mut accepted, _) = listener.accept()?;
    ensure_eq!(std::io::Read::read(&mut accepted, &mut [0; 1])?, 0, "bytes for the listener");
    Ok(())
}

pub(super) fn the_local_address_is_used(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (listener, at) = listener()?;
    let record = Script::new().record();
    let (transport, _) = connect(&lp, &record, Connect::from(at).local_addr("127.0.0.5", 0))??;
    let (_, peer) = listener.accept()?;
    ensure_eq!(peer.ip().to_string(), "127.0.0.5", "the address the listener saw");
    ensure_eq!(transport.local_addr(), Some(peer), "our address");
    // A port, too.
    let free = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let to = Connect::from(at).local_addr("127.0.0.1", free.port());
    let record = Script::new().record();
    let (transport, _) = connect(&lp, &record, to)??;
    ensure_eq!(transport.local_addr(), Some(free), "our address");
    Ok(())
}

pub(super) fn one_of_the_other_family_is_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (_listener, at) = listener()?;
    let to = Connect::from(at).local_addr("::1", 0);
    let error = failed(connect(&lp, &Script::new().record(), to)?)?;
    ensure_is!(&error, Error::Os(_));
    // But only an error of that attempt.
    let Ok(six) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return Err(Failure::skip("no IPv6"));
    };
    let to = Connect::to_any([at, six.local_addr()?]).local_addr("::1", 0);
    let record = Script::new().record();
    let (transport, _) = connect(&lp, &record, to)??;
    ensure_eq!(transport.peer_addr(), Some(six.local_addr()?), "the peer");
    Ok(())
}

pub(super) fn one_that_cannot_be_bound_is_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let (_listener, at) = listener()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let before = open_descriptors();
    // For documentation; no machine has it.
    for (host, port) in [("192.0.2.1", 0), ("127.0.0.1", taken.local_addr()?.port())] {
        let to = Connect::from(at).local_addr(host, port);
        let error = failed(connect(&lp, &Script::new().record(), to)?)?;
        ensure_is!(&error, Error::Os(_));
        ensure!(error.raw_os_error().is_some(), "the system's code is lost: {error:?}");
        ensure!(error.to_string().contains(host), "the address is not named: {error}");
        ensure_eq!(open_descriptors(), before, "descriptors after the failure");
    }
    Ok(())
}

pub(super) fn the_factorys_protocol_with_its_transport(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (listener, at) = listener()?;
    let calls = Counter::new();
    let record = Script::new().record();
    let protocol = record.plain();
    let (counter, made) = (calls.clone(), protocol.clone());
    let factory = Rc::new(move || {
        counter.add();
        made.clone()
    });
    let (transport, returned) =
        lp.run_until_complete(lp.create_connection(factory, at.into()))??;
    ensure_eq!(calls.get(), 1, "calls of the factory");
    record.expect(["made"])?;
    ensure!(transport.same(&record.transport()), "connection_made got another transport");
    let same = match (&protocol, &returned) {
        (AnyProtocol::Plain(ours), AnyProtocol::Plain(theirs)) => Rc::ptr_eq(ours, theirs),
        _ => false,
    };
    ensure!(same, "another protocol was returned than the factory's");
    let (accepted, peer) = listener.accept()?;
    ensure_eq!(transport.local_addr(), Some(peer), "our address");
    ensure_eq!(transport.peer_addr(), Some(at), "the peer's address");
    drop::<TcpStream>(accepted);
    record.until_lost(&lp)?;
    Ok(())
}

pub(super) fn a_refused_address_names_the_operation(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let factory = Script::new().record().factory();
    let sock = Sock::open(Domain::IPV4, Type::STREAM)?;
    let long = "x".repeat(200);
    let mut found = Vec::new();
    let mut note = |operation: &'static str, outcome: Result<(), Error>| {
        found.push((operation, outcome));
    };
    let nonsense = lp.create_connection(factory.clone(), "nonsense".into());
    note("create_connection", lp.run_until_complete(nonsense)?.map(drop));
    let beyond = lp.create_connection(factory.clone(), "127.0.0.1:70000".into());
    note("getaddrinfo", lp.run_until_complete(beyond)?.map(drop));
    let nonsense = lp.create_server(factory.clone(), "nonsense".into());
    note("create_server", lp.run_until_complete(nonsense)?.map(drop));
    let connecting = lp.create_unix_connection(factory.clone(), UnixConnect::path(&long));
    note("create_unix_connection", lp.run_until_complete(connecting)?.map(drop));
    let binding = lp.create_unix_server(factory, UnixBind::path(""));
    note("create_unix_server", lp.run_until_complete(binding)?.map(drop));
    note("sock_connect", lp.run_until_complete(lp.sock_connect(&sock, "nonsense".into()))?);
    let quiet: DatagramFactory = Rc::new(|| -> Rc<dyn DatagramProtocol> { Rc::new(Silent) });
    let nowhere = DatagramEndpoint::local("nonsense");
    let opening = lp.create_datagram_endpoint(quiet, nowhere);
    note("create_datagram_endpoint", lp.run_until_complete(opening)?.map(drop));
    for (operation, outcome) in found {
        let Err(Error::InvalidArg(text)) = &outcome else {
            return Err(Failure::new(format!("{operation}: {outcome:?}")));
        };
        ensure!(text.starts_with(operation), "{text:?} does not name {operation}");
    }
    Ok(())
}

/// Hears nothing.
struct Silent;

impl DatagramProtocol for Silent {}
