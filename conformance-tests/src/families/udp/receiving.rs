//! Receiving.

use std::io;
use std::path::Path;

use anyloop_api::Interrupt;

use super::*;
use crate::tools::{Reports, TempDir, count_iterations, pattern};

pub(super) fn one_callback_per_datagram(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let (transport, address) = endpoint(&lp, &post)?;
    let ((one, one_at), (two, two_at)) = (peer()?, peer()?);
    for number in 0..50_u8 {
        one.send_to(&[number, 1], address)?;
        two.send_to(&[number, 2, 2], address)?;
    }
    post.until_received(&lp, 100)?;
    let expected: Vec<Vec<u8>> = (0..50).flat_map(|n| [vec![n, 1], vec![n, 2, 2]]).collect();
    ensure!(post.datagrams() == expected, "the datagrams differ from those sent");
    let senders: Vec<_> = post.senders().iter().map(|s| s.as_ref()?.as_socket()).collect();
    ensure!(senders.chunks(2).all(|c| c == [Some(one_at), Some(two_at)]), "the senders differ");
    // And later ones, after the kernel had nothing for a while.
    settle(&lp)?;
    one.send_to(b"later", address)?;
    post.until_received(&lp, 101)?;
    ensure_eq!(post.datagrams()[100], b"later", "a later datagram");
    transport.close();
    Ok(post.until_lost(&lp)?)
}

pub(super) fn empty_and_huge_ones_too(cx: &Context) -> Outcome {
    const HUGE: usize = 65_507;
    let lp = cx.new_loop()?;
    let post = Post::new();
    let (_, address) = endpoint(&lp, &post)?;
    let (far, far_at) = peer()?;
    let huge = pattern(HUGE);
    far.send_to(b"", address)?;
    far.send_to(&huge, address)?;
    far.send_to(b"", address)?;
    post.until_received(&lp, 3)?;
    ensure!(post.datagrams() == [Vec::new(), huge, Vec::new()], "other datagrams came");
    ensure_eq!(post.last_sender(), Some(far_at), "the sender of an empty datagram");
    Ok(())
}

/// As many as a turn brings and more, so that what comes by several ways keeps its order.
pub(super) fn many_of_all_sizes_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for host in ["127.0.0.1", "::1"] {
        let Ok(socket) = UdpSocket::bind((host, 0)) else { continue };
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20)?;
        let address = socket.local_addr()?;
        let far = [UdpSocket::bind((host, 0))?, UdpSocket::bind((host, 0))?];
        let post = Post::new();
        post.open(&lp, DatagramEndpoint::socket(socket))?;
        let sizes = [0, 1, 100, 1472, 9000, 30_000, 0, 7];
        let sent: Vec<_> = (0..60).map(|number| pattern(sizes[number % sizes.len()])).collect();
        // All of them wait when the loop looks, then a single one, then again some.
        let mut done = 0;
        for burst in [41, 1, 1, 2, 3, 12] {
            for number in done..done + burst {
                far[number % 2].send_to(&sent[number], address)?;
            }
            done += burst;
            post.until_received(&lp, done)?;
        }
        ensure!(post.datagrams() == sent, "other datagrams came");
        let from = far.map(|socket| socket.local_addr().ok());
        for (number, sender) in post.senders().into_iter().enumerate() {
            let sender = sender.and_then(|sender| sender.as_socket());
            ensure_eq!(sender, from[number % 2], "the sender of datagram {number}");
        }
        post.transport().close();
        post.until_lost(&lp)?;
    }
    Ok(())
}

/// A sender whose name is in no file system, where there are such names.
#[cfg(target_os = "linux")]
fn abstractly_named(name: &Path) -> io::Result<Option<UnixDatagram>> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    let name = std::os::unix::net::SocketAddr::from_abstract_name(name.as_os_str().as_bytes())?;
    UnixDatagram::bind_addr(&name).map(Some)
}

#[cfg(not(target_os = "linux"))]
fn abstractly_named(_: &Path) -> io::Result<Option<UnixDatagram>> {
    Ok(None)
}

pub(super) fn many_of_local_peers_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let (here, there) = (directory.join("here"), directory.join("there"));
    let post = Post::new();
    post.open(&lp, DatagramEndpoint::local(&*here))?;
    let named = [UnixDatagram::bind(&there)?, UnixDatagram::unbound()?];
    let senders: Vec<_> = named.into_iter().chain(abstractly_named(&there)?).collect();
    // Longer than any of the Internet.
    let sent = [b"first".to_vec(), Vec::new(), pattern(100_000), b"last".to_vec()];
    for (round, data) in sent.iter().enumerate() {
        for sender in &senders {
            sender.send_to(data, &here)?;
        }
        post.until_received(&lp, (round + 1) * senders.len())?;
    }
    let expected: Vec<_> = sent.iter().flat_map(|data| vec![data.clone(); senders.len()]).collect();
    ensure!(post.datagrams() == expected, "other datagrams came");
    for from in post.senders().chunks(senders.len()) {
        let path = from[0].as_ref().and_then(SockAddr::as_pathname);
        ensure_eq!(path, Some(&*there), "the sender with a path");
        ensure!(from[1].is_none(), "the sender without a name has {:?}", from[1]);
        for hidden in &from[2..] {
            let name = hidden.as_ref().and_then(SockAddr::as_abstract_namespace);
            let expected = there.to_string_lossy();
            ensure_eq!(name, Some(expected.as_bytes()), "the sender with an abstract name");
        }
    }
    Ok(())
}

/// An endpoint at which `count` datagrams wait, numbered.
fn crowded(lp: &LoopRef, post: &Post, count: u8) -> Outcome {
    let (_, address) = endpoint(lp, post)?;
    let (far, _) = peer()?;
    for number in 0..count {
        far.send_to(&[number], address)?;
    }
    Ok(())
}

pub(super) fn nothing_is_delivered_after_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for abort in [false, true] {
        // As many come as it takes for the others to be received with the last one.
        let post = Post::new().datagram(move |post| {
            if post.count("datagram") == 5 {
                let transport = post.transport();
                if abort { transport.abort() } else { transport.close() }
            }
        });
        crowded(&lp, &post, 12)?;
        post.until_lost(&lp)?;
        settle(&lp)?;
        let numbers: Vec<u8> = post.datagrams().iter().map(|data| data[0]).collect();
        ensure_eq!(numbers, [0, 1, 2, 3, 4], "datagrams until the end");
        ensure_eq!(post.events().last().map(String::as_str), Some("lost"), "the last callback");
    }
    Ok(())
}

pub(super) fn an_interrupted_loop_goes_on_where_it_was(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let post = Post::new().datagram(move |post| {
        if [5, 8].contains(&post.count("datagram")) {
            inner.interrupt(Interrupt::new("on purpose"));
        }
    });
    crowded(&lp, &post, 12)?;
    let interrupted = |so_far: u8| {
        ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
        let numbers: Vec<u8> = post.datagrams().iter().map(|data| data[0]).collect();
        ensure_eq!(numbers, (0..so_far).collect::<Vec<_>>(), "datagrams so far");
        Ok(())
    };
    interrupted(5)?;
    interrupted(8)?;
    post.until_received(&lp, 12)?;
    settle(&lp)?;
    let numbers: Vec<u8> = post.datagrams().iter().map(|data| data[0]).collect();
    ensure_eq!(numbers, (0..12).collect::<Vec<_>>(), "all datagrams");
    post.transport().close();
    Ok(post.until_lost(&lp)?)
}

pub(super) fn a_panic_among_many_costs_none(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let post = Post::new().datagram(|post| {
        if post.count("datagram") % 2 == 0 {
            panic!("received");
        }
    });
    crowded(&lp, &post, 12)?;
    post.until_received(&lp, 12)?;
    ensure_eq!(reports.count(), 6, "panics that were reported");
    let numbers: Vec<u8> = post.datagrams().iter().map(|data| data[0]).collect();
    ensure_eq!(numbers, (0..12).collect::<Vec<_>>(), "all datagrams");
    Ok(())
}

pub(super) fn a_refusal_among_many_is_told(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let (far, far_at) = peer()?;
    let transport = post.open(&lp, DatagramEndpoint::remote(far_at))?;
    let address = transport.local_addr().ok_or_else(|| Failure::new("no address"))?;
    for number in 0..6_u8 {
        far.send_to(&[number], address)?;
    }
    drop(far);
    transport.sendto(b"anybody?", None)?;
    let far = UdpSocket::bind(far_at)?;
    for number in 6..12_u8 {
        far.send_to(&[number], address)?;
    }
    post.until(&lp, |post| post.count("datagram") == 12 && !post.errors().is_empty())?;
    let numbers: Vec<u8> = post.datagrams().iter().map(|data| data[0]).collect();
    ensure_eq!(numbers, (0..12).collect::<Vec<_>>(), "all datagrams");
    let kinds: Vec<_> = post.errors().iter().map(Error::io_kind).collect();
    ensure_eq!(kinds, [io::ErrorKind::ConnectionRefused], "the errors");
    Ok(())
}

pub(super) fn a_flood_leaves_room_for_others(cx: &Context) -> Outcome {
    const FLOOD: usize = 500;
    let lp = cx.new_loop()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1 << 20)?;
    let (far, _) = peer()?;
    far.connect(socket.local_addr()?)?;
    for _ in 0..FLOOD {
        far.send(b"x")?;
    }
    let post = Post::new();
    let _transport = post.open(&lp, DatagramEndpoint::socket(socket))?;
    let iterations = count_iterations(&lp)?;
    let (most, last) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(post.count("datagram"))));
    while post.count("datagram") < FLOOD {
        run_once(&lp)?;
        let now = post.count("datagram");
        most.set(most.get().max(now - last.replace(now)));
    }
    ensure!(most.get() <= 100, "{} datagrams in one iteration", most.get());
    ensure!(iterations.get() > 4, "everything in {} iterations", iterations.get());
    Ok(())
}
