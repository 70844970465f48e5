//! Over raw sockets.

use std::io::Read;
use std::net::TcpStream;

use anyloop_api::{Sock, Type};

use super::*;
use crate::tools::{CloggedTcp, clogged_tcp_pair, collect, reset, tcp_pair};

fn sock(stream: TcpStream) -> Result<Sock, Error> {
    Sock::new(stream)
}

pub(super) fn any_part_over_a_socket(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, bytes) = file()?;
        for wanted in PARTS {
            let expected = bytes_of(&bytes, wanted);
            let (near, far) = tcp_pair()?;
            let received = collect(far);
            let near = sock(near)?;
            misplace(&file)?;
            let sending = lp.sock_sendfile(&near, part(&file, wanted));
            let sent = lp.run_until_complete(sending)??;
            ensure_eq!(sent, expected.len() as u64, "bytes sent of {wanted:?}");
            ensure_eq!(position(&file)?, wanted.0 + sent, "the position after {wanted:?}");
            drop(near);
            ensure!(join(received)?? == expected, "other bytes came of {wanted:?}");
        }
        Ok(())
    })
}

pub(super) fn the_position_tells_how_far_it_came(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, bytes) = file()?;
        for cancelled in [true, false] {
            let CloggedTcp { near, far, unread } = clogged_tcp_pair()?;
            let near = sock(near)?;
            // Room for some of it.
            let task = lp.create_task(lp.sock_sendfile(&near, part(&file, (1000, None))))?;
            let mut read = vec![0; unread];
            (&far).read_exact(&mut read)?;
            far.set_nonblocking(true)?;
            while far.peek(&mut [0]).is_err() {
                run_once(lp)?;
            }
            if cancelled {
                task.cancel();
                ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
                let sent = position(&file)? as usize;
                ensure!((1001..LENGTH).contains(&sent), "the position is {sent}");
                let received = collect(far);
                drop(near);
                ensure!(join(received)?? == bytes[1000..sent], "other bytes came");
            } else {
                reset(far)?;
                ensure_is!(lp.run_until_done(&task)?, Err(Error::Os(_)));
                let sent = position(&file)? as usize;
                ensure!((1001..LENGTH).contains(&sent), "the position is {sent}");
            }
        }
        Ok(())
    })
}

pub(super) fn over_a_socket_too(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, _) = file()?;
        let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
        let near = sock(near)?;
        let task = lp.create_task(lp.sock_sendfile(&near, file.into()))?;
        run_for(lp, ms(10))?;
        ensure!(!task.done(), "everything was sent to a peer that does not read");
        reset(far)?;
        ensure_is!(lp.run_until_done(&task)?, Err(Error::Os(_)));
        Ok(())
    })
}

pub(super) fn and_a_socket(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, bytes) = file()?;
        let CloggedTcp { near, far, unread } = clogged_tcp_pair()?;
        let near = sock(near)?;
        let task = lp.create_task(lp.sock_sendfile(&near, file.clone().into()))?;
        run_for(lp, ms(10))?;
        // One at a time, like any other operation.
        let second = lp.run_until_complete(lp.sock_sendall(&near, b"x".to_vec()))?.0;
        ensure_is!(second, Err(Error::Usage(_)));
        task.cancel();
        ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
        let sent = position(&file)? as usize;
        let received = collect(far);
        lp.run_until_complete(lp.sock_sendall(&near, b"after".to_vec()))?.0?;
        // The loop has let go of it: the number may be used for another file at once.
        let fd = near.into_fd().map_err(|_| Failure::new("somebody still has the socket"))?;
        drop(fd);
        let (left, right) = Sock::pair(Type::STREAM)?;
        lp.run_until_complete(lp.sock_sendall(&left, b"new".to_vec()))?.0?;
        ensure_eq!(lp.run_until_complete(lp.sock_recv(&right, 10))??, b"new", "on a new socket");
        let expected = [&vec![b'.'; unread][..], &bytes[..sent], b"after"].concat();
        ensure!(join(received)?? == expected, "other bytes came than the position says");
        Ok(())
    })
}
