//! Random scripts over local sockets and TCP, by both kinds of protocol.

use std::os::fd::OwnedFd;

use rustix::net::sockopt;

use crate::families::prelude::*;
use crate::tools::{Author, Deed, Play, Step, pattern, random_scripts, socket_pair, tcp_pair};

/// So much is written at most, each way.
const MOST: usize = 1_000_000;

/// Two ends of a connection that does not take much; theirs twice.
fn connection(tcp: bool) -> Result<(OwnedFd, [OwnedFd; 2]), Failure> {
    if tcp {
        let (near, far) = tcp_pair()?;
        sockopt::set_socket_send_buffer_size(&near, 64 << 10)?;
        sockopt::set_socket_recv_buffer_size(&far, 64 << 10)?;
        Ok((near.into(), [far.try_clone()?.into(), far.into()]))
    } else {
        let (near, far) = socket_pair()?;
        Ok((near.into(), [far.try_clone()?.into(), far.into()]))
    }
}

pub(super) fn any_order_of_writes_reads_and_runs(cx: &Context) -> Outcome {
    let text = Rc::new(pattern(MOST));
    random_scripts(
        |rng| Step::random(rng, Deed::random),
        |number, script| {
            let lp = cx.new_loop()?;
            let (near, [from_us, to_us]) = connection(number % 4 > 1)?;
            let author = Rc::new(Author::new(&text));
            let record = author.record();
            let attached = if number % 2 == 1 {
                record.attach_buffered(&lp, near)
            } else {
                record.attach(&lp, near)
            };
            drop(attached?);
            run_once(&lp)?;
            Play::new((author.clone(), from_us), (author, to_us), &text).play(&lp, script)
        },
    )
}
