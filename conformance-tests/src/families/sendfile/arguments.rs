//! What is refused.

use std::net::UdpSocket;

use anyloop_api::{Sock, Type};

use super::*;
use crate::tools::{Script, pipe, tcp_pair};

pub(super) fn a_closing_transport_is_refused(cx: &Context) -> Outcome {
    each_way(cx, |lp| {
        let (file, _) = file()?;
        let (near, _far) = tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        transport.close();
        ensure_is!(send(lp, &transport, file.clone()), Err(Error::Usage(_)));
        record.until_lost(lp)?;
        ensure_is!(send(lp, &transport, file.clone()), Err(Error::Usage(_)));
        let (near, _far) = tcp_pair()?;
        let transport = Script::new().record().attach(lp, near)?;
        transport.write_eof()?;
        ensure_is!(send(lp, &transport, file.clone()), Err(Error::Usage(_)));
        Ok(())
    })
}

/// The types refuse the rest: there is no negative offset, and no file that is text.
pub(super) fn wrong_arguments_are_refused(cx: &Context) -> Outcome {
    fn bad<T: std::fmt::Debug>(result: Result<T, Error>, what: &str) -> Outcome {
        match result {
            Err(Error::InvalidArg(_)) => Ok(()),
            other => Err(Failure::new(format!("{what}: expected InvalidArg, found {other:?}"))),
        }
    }
    each_way(cx, |lp| {
        let (file, _) = file()?;
        let new = || SendFile::new(file.clone());
        let (near, _far) = tcp_pair()?;
        let record = Script::new().record();
        let transport = record.attach(lp, near)?;
        let (stream, _peer) = Sock::pair(Type::STREAM)?;
        let over = |sock: &Sock, file| lp.run_until_complete(lp.sock_sendfile(sock, file))?;
        misplace(&file)?;

        bad(send(lp, &transport, new().count(0)), "a count of zero")?;
        bad(over(&stream, new().count(0)), "a count of zero")?;
        bad(send(lp, &transport, new().offset(u64::MAX)), "an offset beyond all files")?;
        bad(over(&stream, new().offset(1 << 63)), "an offset beyond all files")?;
        let (read, _write) = pipe()?;
        let pipe = Arc::new(File::from(read));
        bad(send(lp, &transport, SendFile::new(pipe).offset(1)), "an offset into a pipe")?;
        bad(over(&Sock::new(UdpSocket::bind("127.0.0.1:0")?)?, new()), "a datagram socket")?;
        let other = cx.new_loop()?;
        bad(send(&other, &transport, new()), "a transport of another loop")?;

        ensure_eq!(position(&file)?, 17, "the position after nothing was sent");
        ensure!(transport.is_reading(), "the transport does not read any more");
        transport.write("x")?;
        record.expect(["made"])
    })
}
