//! Receiving datagrams that wait.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use super::measure::Effort;
use super::runtime::{Boxed, Runtime};

/// Receives at a socket that it has taken into use: so many datagrams each time, which wait already.
pub(crate) type Receive = Box<dyn Fn(u32) -> Boxed>;

/// Takes a bound, non-blocking socket into use.
type Open = fn(UdpSocket) -> Option<Receive>;

/// Measures it for a datagram that waits alone, and for one of sixteen.
pub(super) async fn run<R: Runtime>(effort: Effort) -> io::Result<()> {
    let ways: [(&str, Open); 3] =
        [("recv", R::recv_from), ("batch", R::recv_batch), ("protocol", R::datagram_protocol)];
    for (way, open) in ways {
        for waiting in [1, MANY] {
            let there = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            there.set_nonblocking(true)?;
            let here = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            here.connect(there.local_addr()?)?;
            let Some(receive) = open(there) else { continue };
            effort
                .measure_prepared(&format!("datagram-{way}-{waiting}"), waiting, async |clock| {
                    for _ in 0..waiting {
                        here.send(&[7; 64]).expect("there is room for a few datagrams");
                    }
                    clock.start();
                    receive(waiting).await;
                    clock.stop();
                })
                .await;
        }
    }
    Ok(())
}

const MANY: u32 = 16;
