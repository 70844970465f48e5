//! Sending.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use super::*;
use crate::tools::Reports;

pub(super) fn sent_at_once_if_nothing_waits(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let (transport, address) = endpoint(&lp, &post)?;
    let (far, far_at) = peer()?;
    transport.sendto(b"now", Some(&far_at.into()))?;
    // Without another iteration.
    let mut buffer = [0; 100];
    let (count, from) = far.recv_from(&mut buffer)?;
    ensure_eq!((&buffer[..count], from), (&b"now"[..], address), "what came, and from where");
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes that wait");
    Ok(())
}

pub(super) fn queued_whole_and_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    let message = |number: u8| vec![number; 100 + usize::from(number)];
    for number in 0..200 {
        transport.sendto(message(number), None)?;
    }
    ensure!(transport.get_write_buffer_size() > 0, "the kernel took everything");
    let mut received = Vec::new();
    while received.len() < 200 {
        received.extend(drain(&far)?);
        run_once(&lp)?;
    }
    ensure!(received == (0..200).map(message).collect::<Vec<_>>(), "other datagrams came");
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes that wait in the end");
    Ok(())
}

pub(super) fn sending_nothing_is_a_datagram(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let (transport, _) = endpoint(&lp, &post)?;
    let (far, far_at) = peer()?;
    transport.sendto(b"", Some(&far_at.into()))?;
    transport.sendto(b"x", Some(&far_at.into()))?;
    ensure_eq!((next(&far)?, next(&far)?), (b"".to_vec(), b"x".to_vec()), "what came");
    Ok(())
}

pub(super) fn a_connected_endpoint_has_one_address(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let ((far, far_at), (_other, other_at)) = (peer()?, peer()?);
    let transport = post.open(&lp, DatagramEndpoint::remote(far_at))?;
    ensure_eq!(transport.peer_addr(), Some(far_at), "peername");
    transport.sendto(b"without", None)?;
    transport.sendto(b"with", Some(&far_at.into()))?;
    ensure_eq!((next(&far)?, next(&far)?), (b"without".to_vec(), b"with".to_vec()), "what came");
    let refused = transport.sendto(b"elsewhere", Some(&other_at.into()));
    ensure_is!(refused, Err(Error::InvalidArg(_)));
    far.send_to(b"back", transport.local_addr().ok_or_else(|| Failure::new("no address"))?)?;
    post.until_received(&lp, 1)?;
    ensure_eq!(post.last_sender(), Some(far_at), "the sender");
    post.expect(["made", "datagram"])
}

pub(super) fn it_hears_nobody_else(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let ((far, far_at), (other, _)) = (peer()?, peer()?);
    let endpoint = DatagramEndpoint::remote(far_at).with_local("127.0.0.1:0");
    let transport = post.open(&lp, endpoint)?;
    let address = transport.local_addr().ok_or_else(|| Failure::new("no address"))?;
    other.send_to(b"from somebody else", address)?;
    far.send_to(b"from the peer", address)?;
    post.until_received(&lp, 1)?;
    settle(&lp)?;
    ensure_eq!(post.datagrams(), [b"from the peer"], "what came");
    Ok(())
}

pub(super) fn a_broadcasting_one_has_a_default(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let ((far, far_at), (other, _)) = (peer()?, peer()?);
    let endpoint = DatagramEndpoint::remote(far_at).with_local("127.0.0.1:0");
    let transport = post.open(&lp, endpoint.allow_broadcast(true))?;
    transport.sendto(b"to the default", None)?;
    ensure_eq!(next(&far)?, b"to the default", "what came");
    ensure!(transport.peer_addr().is_none(), "a broadcasting endpoint is connected");
    // It is not connected, so it hears everybody.
    other.send_to(b"from elsewhere", transport.local_addr().unwrap_or(far_at))?;
    Ok(post.until_received(&lp, 1)?)
}

pub(super) fn an_unconnected_endpoint_needs_an_address(cx: &Context) -> Outcome {
    /// The type says the rest: a host name is no address.
    fn takes_addresses_only(_: impl Fn(&DatagramTransport, &[u8], Option<&SockAddr>)) {}
    takes_addresses_only(|transport, data, to| drop(transport.sendto(data, to)));

    let lp = cx.new_loop()?;
    let post = Post::new();
    let (transport, _) = endpoint(&lp, &post)?;
    ensure_is!(transport.sendto(b"where to?", None), Err(Error::InvalidArg(_)));
    settle(&lp)?;
    post.expect(["made"])
}

pub(super) fn a_refusal_is_told_and_survived(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let post = Post::new();
    let (far, far_at) = peer()?;
    drop(far);
    let transport = post.open(&lp, DatagramEndpoint::remote(far_at))?;
    transport.sendto(b"anybody?", None)?;
    post.until(&lp, |post| !post.errors().is_empty())?;
    ensure_eq!(post.errors()[0].io_kind(), ErrorKind::ConnectionRefused, "the error");
    // The refusal of the second is told by the third, or before it.
    transport.sendto(b"anybody?", None)?;
    settle(&lp)?;
    transport.sendto(b"anybody?", None)?;
    settle(&lp)?;
    ensure!(post.errors().len() >= 2, "refusals after the first one are not told");
    // Somebody is there now.
    let far = UdpSocket::bind(far_at)?;
    let address = transport.local_addr().ok_or_else(|| Failure::new("no address"))?;
    far.send_to(b"me", address)?;
    post.until_received(&lp, 1)?;
    let mut answered = false;
    far.set_read_timeout(Some(ms(100)))?;
    while !answered {
        transport.sendto(b"hello", None)?;
        run_once(&lp)?;
        answered = far.recv(&mut [0; 100]).is_ok();
    }
    ensure!(!post.is_lost() && !transport.is_closing(), "the endpoint ended");
    reports.none()
}

pub(super) fn a_datagram_too_long_is_told_and_survived(cx: &Context) -> Outcome {
    const EMSGSIZE: i32 = 90;
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let post = Post::new();
    let (transport, _) = endpoint(&lp, &post)?;
    let (far, far_at) = peer()?;
    transport.sendto(vec![0; 70_000], Some(&far_at.into()))?;
    settle(&lp)?;
    let codes: Vec<_> = post.errors().iter().map(Error::raw_os_error).collect();
    ensure_eq!(codes, [Some(EMSGSIZE)], "the errors");
    transport.sendto(b"shorter", Some(&far_at.into()))?;
    ensure_eq!(next(&far)?, b"shorter", "what came");
    reports.none()
}

pub(super) fn an_error_while_flushing_costs_one_datagram(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    transport.set_write_buffer_limits(Some(10_000), None)?;
    let mut number = 0_u8;
    while post.count("pause") == 0 {
        transport.sendto([number; 500], None)?;
        number += 1;
    }
    // In the middle of the queue, one that can never be sent.
    transport.sendto(vec![0xff; 100_000], None)?;
    for _ in 0..3 {
        transport.sendto([number; 500], None)?;
        number += 1;
    }
    let mut received = Vec::new();
    while received.len() < usize::from(number) {
        received.extend(drain(&far)?);
        run_once(&lp)?;
    }
    let expected: Vec<_> = (0..number).map(|n| vec![n; 500]).collect();
    ensure!(received == expected, "other datagrams came than those that can be sent");
    ensure_eq!(post.errors().len(), 1, "errors");
    post.expect(["made", "pause", "error", "resume"])
}

/// Only one change of the socket tells of room for all of it.
pub(super) fn what_an_error_leaves_waits_for_nothing_else(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    // So large that there is no room before all of them are read.
    let mut taken = 0;
    while transport.get_write_buffer_size() == 0 {
        transport.sendto([b'x'; 3000], None)?;
        taken += 1;
    }
    transport.sendto(vec![0xff; 100_000], None)?;
    transport.sendto(b"last", None)?;
    ensure_eq!(drain(&far)?.len(), taken - 1, "datagrams that the kernel took at once");
    run_times(&lp, 5)?;
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes that wait although there is room");
    ensure_eq!(drain(&far)?, [vec![b'x'; 3000], b"last".to_vec()], "what came");
    post.expect(["made", "pause", "error", "resume"])
}

pub(super) fn a_broken_descriptor_ends_the_endpoint(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let post = Post::new();
    let (transport, _) = endpoint(&lp, &post)?;
    let (_far, far_at) = peer()?;
    let view = transport.get_extra_info("socket").and_then(|info| info.socket()?.fileno());
    let number = view.ok_or_else(|| Failure::new("the endpoint has no descriptor"))?;
    // Somebody who counts descriptors wrongly: the number is no socket any more.
    crate::tools::replace_descriptor(number, &std::fs::File::open("/dev/null")?)?;
    transport.sendto(b"x", Some(&far_at.into()))?;
    post.until_lost(&lp)?;
    let error = post.lost_with();
    ensure_is!(&error, Some(Error::Os(_)));
    let report = reports.one()?;
    ensure_is!(report.exception, Some(Error::Os(_)));
    ensure_eq!(post.count("made") + post.events().len(), 3, "callbacks: {:?}", post.events());
    Ok(())
}

pub(super) fn panicking_callbacks_are_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let post = Post::new()
        .made(|_| panic!("made"))
        .datagram(|post| {
            if post.count("datagram") == 1 {
                panic!("received");
            }
        })
        .error(|_| panic!("failed"));
    let (transport, address) = endpoint(&lp, &post)?;
    ensure!(reports.one()?.is_panic("made"), "another report");
    let (far, far_at) = peer()?;
    far.send_to(b"one", address)?;
    post.until_received(&lp, 1)?;
    ensure!(reports.one()?.is_panic("received"), "another report");
    transport.sendto(vec![0; 70_000], Some(&far_at.into()))?;
    ensure!(reports.one()?.is_panic("failed"), "another report");
    far.send_to(b"two", address)?;
    post.until_received(&lp, 2)?;
    transport.sendto(b"three", Some(&far_at.into()))?;
    ensure_eq!(next(&far)?, b"three", "what came");
    ensure!(!post.is_lost(), "the endpoint ended");
    reports.none()
}

pub(super) fn the_marks_of_flow_control(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    ensure_eq!(transport.get_write_buffer_limits(), (16 * 1024, 64 * 1024), "the default marks");
    ensure_is!(transport.set_write_buffer_limits(Some(1), Some(2)), Err(Error::InvalidArg(_)));
    transport.set_write_buffer_limits(Some(4000), Some(1000))?;
    while transport.get_write_buffer_size() <= 4000 {
        post.expect(["made"])?;
        transport.sendto([b'x'; 300], None)?;
    }
    // Inside the call that went above, and once.
    post.expect(["made", "pause"])?;
    transport.sendto([b'x'; 300], None)?;
    post.expect(["made", "pause"])?;
    while transport.get_write_buffer_size() > 1000 {
        ensure_eq!(post.count("resume"), 0, "resumed above the low mark");
        drain(&far)?;
        run_once(&lp)?;
    }
    post.expect(["made", "pause", "resume"])
}

pub(super) fn lowered_and_zero_marks(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    while transport.get_write_buffer_size() == 0 {
        transport.sendto([b'x'; 500], None)?;
    }
    let size = transport.get_write_buffer_size();
    transport.set_write_buffer_limits(Some(size), None)?;
    post.expect(["made"])?;
    transport.set_write_buffer_limits(Some(size - 1), Some(0))?;
    // Inside the call.
    post.expect(["made", "pause"])?;
    transport.sendto([b'x'; 500], None)?;
    while transport.get_write_buffer_size() > 0 {
        ensure_eq!(post.count("resume"), 0, "resumed before everything was sent");
        drain(&far)?;
        run_once(&lp)?;
    }
    post.until(&lp, |post| post.count("resume") == 1)?;
    // The smallest one that waits is too much for a mark of zero.
    transport.set_write_buffer_limits(Some(0), None)?;
    while transport.get_write_buffer_size() == 0 {
        post.expect(["made", "pause", "resume"])?;
        transport.sendto([b'x'; 500], None)?;
    }
    post.expect(["made", "pause", "resume", "pause"])
}

pub(super) fn sizes_are_added_and_removed_alike(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    while transport.get_write_buffer_size() == 0 {
        transport.sendto([b'x'; 100], None)?;
    }
    let one = transport.get_write_buffer_size();
    let overhead = one.checked_sub(100);
    ensure!(overhead.is_some_and(|o| (1..=256).contains(&o)), "100 bytes count {one}");
    for count in 2..=10 {
        transport.sendto([b'x'; 100], None)?;
        ensure_eq!(transport.get_write_buffer_size(), count * one, "size of {count} datagrams");
    }
    // Empty ones count too.
    transport.sendto(b"", None)?;
    ensure_eq!(transport.get_write_buffer_size(), 11 * one - 100, "with an empty one");
    while transport.get_write_buffer_size() > 0 {
        drain(&far)?;
        run_once(&lp)?;
    }
    post.expect(["made"])
}

pub(super) fn broadcasting_has_to_be_asked_for(cx: &Context) -> Outcome {
    const EACCES: i32 = 13;
    let lp = cx.new_loop()?;
    let everybody = SockAddr::from(SocketAddr::from((Ipv4Addr::new(127, 255, 255, 255), 9)));
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::local("0.0.0.0:0"))?;
    transport.sendto(b"x", Some(&everybody))?;
    let code = post.errors().first().and_then(Error::raw_os_error);
    // Without a network there is nobody to broadcast to, which is another error.
    if code != Some(EACCES) {
        return Err(Failure::skip(format!("no broadcasting here: {:?}", post.errors())));
    }
    let post = Post::new();
    let endpoint = DatagramEndpoint::local("0.0.0.0:0").allow_broadcast(true);
    let transport = post.open(&lp, endpoint)?;
    transport.sendto(b"x", Some(&everybody))?;
    let codes: Vec<_> = post.errors().iter().filter_map(Error::raw_os_error).collect();
    ensure!(!codes.contains(&EACCES), "broadcasting is not permitted");
    Ok(())
}
