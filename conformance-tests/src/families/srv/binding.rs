//! Where a server listens.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyloop_api::{Bind, Family};

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{Script, available, free_port, socket_view, tcp_pair};

pub(super) fn contradictions_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let attempt = |at: Bind| lp.run_until_complete(lp.create_server(record.factory(), at));
    let listener = || TcpListener::bind("127.0.0.1:0");
    ensure_is!(attempt(local().with_socket(listener()?))?, Err(Error::InvalidArg(_)));
    ensure_is!(attempt(Bind::any(0).with_socket(listener()?))?, Err(Error::InvalidArg(_)));
    ensure_is!(attempt(Bind::default())?, Err(Error::InvalidArg(_)));
    let datagrams = UdpSocket::bind("127.0.0.1:0")?;
    ensure_is!(attempt(Bind::socket(datagrams))?, Err(Error::InvalidArg(_)));
    ensure_is!(attempt(Bind::socket(File::open("/dev/null")?))?, Err(Error::InvalidArg(_)));
    ensure_is!(attempt(Bind::from("no port here"))?, Err(Error::InvalidArg(_)));
    // A list that turned out empty is not the wish to be seen by everybody.
    ensure_is!(attempt(Bind::hosts(Vec::<String>::new(), 0))?, Err(Error::InvalidArg(_)));
    record.expect([])
}

pub(super) fn before_any_socket_exists(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    run_once(&lp)?;
    let before = open_descriptors();
    let port = free_port()?;
    let given = TcpListener::bind("127.0.0.1:0")?;
    let at = Bind::to("127.0.0.1", port).with_socket(given);
    ensure_is!(
        lp.run_until_complete(lp.create_server(record.factory(), at))?,
        Err(Error::InvalidArg(_))
    );
    // The socket was handed over, and is closed.
    ensure_eq!(open_descriptors(), before, "descriptors after the refusal");
    TcpListener::bind(("127.0.0.1", port))?;
    Ok(())
}

pub(super) fn no_host_means_every_interface(cx: &Context) -> Outcome {
    every_interface(cx, Bind::any(free_port()?))
}

pub(super) fn an_empty_host_means_every_interface(cx: &Context) -> Outcome {
    every_interface(cx, Bind::to("", free_port()?))
}

pub(super) fn also_beside_another_host(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), Bind::hosts(["127.0.0.5", ""], 0))?;
    let hosts: Vec<_> = addresses(&server)?.iter().map(SocketAddr::ip).collect();
    ensure!(hosts.contains(&Ipv4Addr::UNSPECIFIED.into()), "{hosts:?}");
    ensure!(hosts.contains(&Ipv4Addr::new(127, 0, 0, 5).into()), "{hosts:?}");
    Ok(())
}

pub(super) fn an_asterisk_means_every_interface(cx: &Context) -> Outcome {
    every_interface(cx, Bind::to("*", free_port()?))
}

/// The name of a service leads to the resolver, a number does not.
pub(super) fn also_with_the_name_of_a_service(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let resolve = |host: Option<&str>| {
        let host = host.map(ToOwned::to_owned);
        lp.run_until_complete(lp.resolve(host, Some("http".into()), Family::Unspecified))
    };
    if resolve(Some("127.0.0.1"))?.is_err() {
        return Err(Failure::skip("no table of services"));
    }
    for host in [None, Some(""), Some("*")] {
        let found = resolve(host)??;
        ensure!(!found.is_empty(), "no address for {host:?}");
        ensure!(found.iter().all(|at| at.ip().is_unspecified()), "{found:?} for {host:?}");
        ensure!(found.iter().all(|at| at.port() == 80), "{found:?} for {host:?}");
    }
    Ok(())
}

fn every_interface(cx: &Context, at: Bind) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, at)?;
    let found = addresses(&server)?;
    let port = address(&server)?.port();
    let mut expected = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
    let mut targets = vec![IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from([127, 0, 0, 9])];
    if need_ipv6().is_ok() {
        expected.push((Ipv6Addr::UNSPECIFIED, port).into());
        targets.push(Ipv6Addr::LOCALHOST.into());
    }
    let mut sorted = found.clone();
    sorted.sort();
    ensure_eq!(sorted, expected, "addresses");
    let count = targets.len();
    let clients: Vec<_> =
        targets.into_iter().map(|ip| TcpStream::connect((ip, port))).collect::<Result<_, _>>()?;
    record.until(&lp, move |record| record.count("made") == count)?;
    drop(clients);
    server.close();
    Ok(())
}

pub(super) fn each_host_is_bound(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let port = free_port()?;
    let record = Script::new().record();
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let server = start(&lp, &record, Bind::hosts(hosts, port))?;
    let expected: Vec<_> =
        (1..=3).map(|last| SocketAddr::from(([127, 0, 0, last], port))).collect();
    ensure_eq!(addresses(&server)?, expected, "addresses");
    let clients: Vec<_> = expected.iter().map(TcpStream::connect).collect::<Result<_, _>>()?;
    record.until(&lp, |record| record.count("made") == 3)?;
    drop(clients);
    ensure_eq!(
        TcpStream::connect(("127.0.0.4", port)).map_err(|error| error.kind()).err(),
        Some(ErrorKind::ConnectionRefused),
        "connecting to another address"
    );
    Ok(())
}

pub(super) fn an_address_given_twice_is_bound_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let port = free_port()?;
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"];
    let server = start(&lp, &record, Bind::hosts(hosts, port))?;
    ensure_eq!(addresses(&server)?.len(), 2, "sockets");
    let server = start(&lp, &record, Bind::hosts(["127.0.0.1", "127.0.0.1"], 0))?;
    ensure_eq!(addresses(&server)?.len(), 1, "sockets on a free port");
    Ok(())
}

pub(super) fn both_families_share_a_port(cx: &Context) -> Outcome {
    need_ipv6()?;
    let lp = cx.new_loop()?;
    let port = free_port()?;
    let record = Script::new().record();
    // In the order in which an IPv6 socket for everything would be in the way.
    let six = start(&lp, &record, Bind::to("::", port))?;
    let four = start(&lp, &record, Bind::to("0.0.0.0", port).family(Family::Inet))?;
    for view in six.sockets() {
        ensure!(view.only_v6()?, "an IPv6 socket that takes IPv4, too");
    }
    let clients = [
        TcpStream::connect((Ipv6Addr::LOCALHOST, port))?,
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))?,
    ];
    record.until(&lp, |record| record.count("made") == 2)?;
    drop(clients);
    six.close();
    ensure!(
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_err(),
        "IPv6 answered by the IPv4 server"
    );
    four.close();
    Ok(())
}

pub(super) fn port_zero_is_visible(cx: &Context) -> Outcome {
    is_reachable(cx, Bind::to("127.0.0.1", 0))
}

pub(super) fn no_port_is_port_zero(cx: &Context) -> Outcome {
    let mut at = Bind::to("127.0.0.1", "");
    at.port = None;
    is_reachable(cx, at)
}

fn is_reachable(cx: &Context, at: Bind) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, at)?;
    let address = address(&server)?;
    ensure!(address.port() != 0, "the port is not visible");
    let client = TcpStream::connect(address)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    ensure_eq!(record.transport().peer_addr(), Some(client.local_addr()?), "the peer");
    Ok(())
}

pub(super) fn every_address_has_its_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, Bind::hosts(["127.0.0.1", "127.0.0.2"], 0))?;
    let addresses = addresses(&server)?;
    ensure_eq!(addresses.len(), 2, "sockets");
    let clients: Vec<_> = addresses.iter().map(TcpStream::connect).collect::<Result<_, _>>()?;
    record.until(&lp, |record| record.count("made") == 2)?;
    drop(clients);
    Ok(())
}

pub(super) fn addresses_are_used_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let server = start(&lp, &record, local())?;
    let address = address(&server)?;
    for view in server.sockets() {
        ensure!(view.reuse_address()?, "SO_REUSEADDR is off");
        ensure!(!view.reuse_port()?, "SO_REUSEPORT is on");
    }
    // A connection that the server ended stays behind in the kernel for a while.
    let client = TcpStream::connect(address)?;
    record.until(&lp, |record| record.count("made") == 1)?;
    record.transport().close();
    record.until_lost(&lp)?;
    drop(client);
    server.close();
    start(&lp, &Script::new().record(), Bind::from(address))?;
    Ok(())
}

pub(super) fn not_if_switched_off(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local().reuse_address(false))?;
    for view in server.sockets() {
        ensure!(!view.reuse_address()?, "SO_REUSEADDR is on");
    }
    Ok(())
}

pub(super) fn ports_are_shared_on_request(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let first = start(&lp, &record, local().reuse_port(true))?;
    let address = address(&first)?;
    let second = start(&lp, &record, Bind::from(address).reuse_port(true))?;
    for view in second.sockets() {
        ensure!(view.reuse_port()?, "SO_REUSEPORT is off");
    }
    let third = lp.create_server(record.factory(), Bind::from(address));
    let third = lp.run_until_complete(third)?.map_err(|error| error.io_kind());
    ensure_is!(third, Err(ErrorKind::AddrInUse));
    let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    record.until(&lp, |record| record.count("made") == 20)?;
    drop(clients);
    Ok(())
}

pub(super) fn connections_are_kept_alive_on_request(cx: &Context) -> Outcome {
    for on in [false, true] {
        let lp = cx.new_loop()?;
        let record = Script::new().record();
        let server = start(&lp, &record, local().keep_alive(on))?;
        for view in server.sockets() {
            ensure_eq!(view.keepalive()?, on, "SO_KEEPALIVE of the listener");
        }
        let _client = TcpStream::connect(address(&server)?)?;
        record.until(&lp, |record| record.count("made") == 1)?;
        let kept = socket_view(&record.transport())?.keepalive()?;
        ensure_eq!(kept, on, "SO_KEEPALIVE of a connection");
    }
    Ok(())
}

pub(super) fn one_failure_undoes_all_and_is_named(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let taken = TcpListener::bind("127.0.0.2:0")?;
    let port = taken.local_addr()?.port();
    let before = open_descriptors();
    let at = Bind::hosts(["127.0.0.1", "127.0.0.2", "127.0.0.3"], port);
    let made = lp.create_server(Script::new().record().factory(), at);
    let Err(error) = lp.run_until_complete(made)? else {
        return Err(Failure::new("bound an address that is taken"));
    };
    ensure_eq!(error.io_kind(), ErrorKind::AddrInUse, "the kind of the error");
    ensure!(error.raw_os_error().is_some(), "the system's code is lost: {error:?}");
    let text = error.to_string();
    ensure!(text.contains(&format!("127.0.0.2:{port}")), "the address is not named: {text}");
    ensure_eq!(open_descriptors(), before, "descriptors after the failure");
    TcpListener::bind(("127.0.0.1", port))?;
    Ok(())
}

/// For documentation; no machine has it.
const NOWHERE: &str = "2001:db8::1";

pub(super) fn a_missing_address_is_skipped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    // Whether it is worth a warning is the loop's to decide.
    let _reports = Reports::of(&lp);
    let server = start(&lp, &record, Bind::hosts([NOWHERE, "127.0.0.1"], 0))?;
    let found = addresses(&server)?;
    ensure_eq!(found.len(), 1, "sockets: {found:?}");
    let _client = TcpStream::connect(found[0])?;
    record.until(&lp, |record| record.count("made") == 1)?;
    Ok(())
}

pub(super) fn unless_it_is_the_only_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let made = lp.create_server(Script::new().record().factory(), Bind::to(NOWHERE, 0));
    let Err(error) = lp.run_until_complete(made)? else {
        return Err(Failure::new("bound an address that this machine does not have"));
    };
    ensure_is!(&error, Error::Os(_));
    ensure!(error.to_string().contains(NOWHERE), "the address is not named: {error}");
    Ok(())
}

pub(super) fn a_bound_socket_is_used(cx: &Context) -> Outcome {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let before = open_descriptors();
    let bound = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_keepalive(&bound, true)?;
    bind(&bound, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let name = SocketAddr::try_from(getsockname(&bound)?)?;
    let record = Script::new().record();
    let server = start(&lp, &record, Bind::socket(bound))?;
    check_given(&lp, &record, &server, name)?;
    ensure_eq!(open_descriptors(), before, "descriptors after the server was closed");
    Ok(())
}

pub(super) fn a_listening_socket_is_used(cx: &Context) -> Outcome {
    use rustix::net::sockopt;
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let before = open_descriptors();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    sockopt::set_socket_keepalive(&listener, true)?;
    let name = listener.local_addr()?;
    // Somebody came before the server did.
    let mut early = TcpStream::connect(name)?;
    let record = Script::new().record();
    let server = start(&lp, &record, Bind::socket(listener))?;
    record.until(&lp, |record| record.count("made") == 1)?;
    record.transport().write("hello")?;
    run_times(&lp, 2)?;
    ensure_eq!(available(&mut early)?.0, b"hello", "what the early client got");
    record.transport().abort();
    record.until_lost(&lp)?;
    drop(early);
    check_given(&lp, &record, &server, name)?;
    ensure_eq!(open_descriptors(), before, "descriptors after the server was closed");
    Ok(())
}

/// It serves at `name`, with the options the socket had, and owns it.
fn check_given(lp: &LoopRef, record: &Record, server: &Server, name: SocketAddr) -> Outcome {
    ensure_eq!(addresses(server)?, [name], "addresses");
    for view in server.sockets() {
        ensure!(view.keepalive()?, "the socket's options are lost");
    }
    let before = record.count("made");
    let client = TcpStream::connect(name)?;
    record.until(lp, move |record| record.count("made") == before + 1)?;
    ensure_eq!(record.transport().peer_addr(), Some(client.local_addr()?), "the peer");
    server.close();
    ensure_is!(
        TcpStream::connect(name).map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionRefused)
    );
    drop(client);
    wait_closed(lp, server)
}

pub(super) fn only_streams_are_adopted(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let record = Script::new().record();
    let datagrams = UdpSocket::bind("127.0.0.1:0")?;
    let attached = record.attach(&lp, datagrams);
    ensure_is!(attached, Err(Error::InvalidArg(_)));
    record.expect([])
}

pub(super) fn an_adopted_connection_is_nobodys_client(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let server = start(&lp, &Script::new().record(), local())?;
    let (client, accepted) = tcp_pair()?;
    let record = Script::new().record();
    let transport = record.attach(&lp, accepted)?;
    ensure_eq!(transport.peer_addr(), Some(client.local_addr()?), "the peer");
    server.close_clients();
    server.abort_clients();
    server.close();
    wait_closed(&lp, &server)?;
    ensure!(!transport.is_closing(), "closed with a server it does not belong to");
    drop(client);
    record.until_lost(&lp)?;
    record.expect(["made", "eof", "lost"])
}
