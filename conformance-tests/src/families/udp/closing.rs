//! The end.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use super::*;
use crate::tools::Reports;

pub(super) fn close_flushes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    for number in 0..100_u8 {
        transport.sendto([number; 200], None)?;
    }
    transport.close();
    ensure!(transport.is_closing(), "is_closing() after close()");
    transport.sendto(b"too late", None)?;
    far.send(b"not listening")?;
    let mut received = Vec::new();
    while !post.is_lost() {
        received.extend(drain(&far)?);
        run_once(&lp)?;
    }
    received.extend(drain(&far)?);
    let expected: Vec<_> = (0..100_u8).map(|n| vec![n; 200]).collect();
    ensure!(received == expected, "{} datagrams came", received.len());
    post.expect(["made", "lost"])
}

pub(super) fn abort_discards(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    for number in 0..100_u8 {
        transport.sendto([number; 200], None)?;
    }
    transport.abort();
    ensure_eq!(transport.get_write_buffer_size(), 0, "bytes that wait after abort()");
    ensure!(!post.is_lost(), "connection_lost was called inside abort()");
    post.until_lost(&lp)?;
    ensure!(drain(&far)?.len() < 100, "everything was sent");
    post.expect(["made", "lost"])
}

pub(super) fn closing_twice_is_closing_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let (transport, address) = endpoint(&lp, &post)?;
    transport.close();
    transport.close();
    transport.abort();
    ensure!(!post.is_lost(), "connection_lost was called inside close()");
    post.until_lost(&lp)?;
    transport.close();
    transport.abort();
    run_times(&lp, 3)?;
    post.expect(["made", "lost"])?;
    ensure_eq!(transport.local_addr(), Some(address), "sockname after the end");
    UdpSocket::bind(address)?;
    Ok(())
}

pub(super) fn sending_after_close_is_discarded(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let post = Post::new();
    let (far, far_at) = peer()?;
    let transport = post.open(&lp, DatagramEndpoint::remote(far_at))?;
    transport.close();
    transport.sendto(b"too late", None)?;
    post.until_lost(&lp)?;
    for _ in 0..3 {
        transport.sendto(b"too late", None)?;
    }
    reports.none()?;
    transport.sendto(b"too late", None)?;
    ensure!(reports.count() > 0, "nobody was warned of the fifth");
    far.set_nonblocking(true)?;
    ensure_is!(far.recv(&mut [0; 100]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    post.expect(["made", "lost"])
}
