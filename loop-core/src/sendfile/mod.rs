//! Sending files: by the kernel where it can, else by reading on the executor and writing.
//!
//! ```text
//!  sock_sendfile ─▶ native ─(cannot)─▶ read, send
//!  sendfile      ─▶ a stream: native on a duplicate of its descriptor ─(cannot)─▶ read, write, wait
//!                └▶ another transport: read, write, wait, with its protocol put aside (`relay`)
//! ```

mod relay;
mod source;

use std::io::ErrorKind;
use std::rc::Weak;

use anyloop_api::{Direction, Error, Result, SendFile, Sock, Transport, Type, yield_now};
use rustix::io::Errno;

use self::relay::Relay;
use self::source::Source;
use crate::base::BaseLoop;
use crate::connect::open;
use crate::sock::Operation;
use crate::sockets::SEND_FLAGS;
use crate::stream::Transfer;

/// So much by one system call; then it is somebody else's turn.
const AT_ONCE: usize = 1024 * 1024;

/// How far the kernel came by itself.
enum Native {
    Done,
    /// It cannot send this to there.
    Unavailable,
}

/// `sock_sendfile`.
pub(crate) async fn sock_sendfile(base: Weak<BaseLoop>, sock: Sock, file: SendFile) -> Result<u64> {
    const NAME: &str = "sock_sendfile";
    let operation = Operation::begin(base.clone(), &sock, Direction::Send, NAME)?;
    if !sock.socket().r#type().is_ok_and(|kind| kind == Type::STREAM) {
        return Err(Error::invalid_arg("sock_sendfile: a stream socket was expected"));
    }
    let fallback = file.fallback;
    let mut source = Source::open(file, NAME)?;
    if let Native::Done = native(&base, &operation, &mut source, || Ok(())).await? {
        return Ok(source.sent());
    }
    if !fallback {
        return Err(unavailable(NAME));
    }
    let mut piece = Vec::new();
    loop {
        piece = source.read(&base, piece).await?;
        if piece.is_empty() {
            return Ok(source.sent());
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let count = operation.retry(|sock| rustix::net::send(sock, rest, SEND_FLAGS)).await?;
            source.advance(count);
            rest = &rest[count..];
        }
    }
}

/// `sendfile`.
pub(crate) async fn sendfile(
    base: Weak<BaseLoop>,
    transport: Transport,
    file: SendFile,
) -> Result<u64> {
    const NAME: &str = "sendfile";
    drop(open(&base, NAME)?);
    if transport.is_closing() {
        return Err(Error::usage("sendfile: the transport is closing"));
    }
    let fallback = file.fallback;
    match Transfer::begin(&base, &transport)? {
        Some(transfer) => over_stream(&base, &transfer, Source::open(file, NAME)?, fallback).await,
        None if fallback => {
            let source = Source::open(file, NAME)?;
            Relay::install(&base, &transport)?.send(&base, source).await
        }
        None => Err(unavailable(NAME)),
    }
}

async fn over_stream(
    base: &Weak<BaseLoop>,
    transfer: &Transfer,
    mut source: Source,
    fallback: bool,
) -> Result<u64> {
    transfer.until_sent().await?;
    let sent = {
        let duplicate = transfer.duplicate()?;
        let operation = Operation::begin(base.clone(), &duplicate, Direction::Send, "sendfile")?;
        transfer.watch(&operation);
        let sent = native(base, &operation, &mut source, || transfer.check()).await;
        transfer.unwatch();
        sent
    };
    match sent {
        Ok(Native::Done) => return Ok(source.sent()),
        Ok(Native::Unavailable) if fallback => {}
        Ok(Native::Unavailable) => return Err(unavailable("sendfile")),
        Err(error) => {
            if is_connection_error(&error) {
                transfer.fail(&error);
            }
            return Err(error);
        }
    }
    let mut piece = Vec::new();
    loop {
        piece = source.read(base, piece).await?;
        if piece.is_empty() {
            return Ok(source.sent());
        }
        transfer.write(&piece)?;
        source.advance(piece.len());
        transfer.until_sent().await?;
    }
}

/// Lets the kernel send; `check` says before each attempt whether it is still wanted.
async fn native(
    base: &Weak<BaseLoop>,
    operation: &Operation,
    source: &mut Source,
    check: impl Fn() -> Result<()>,
) -> Result<Native> {
    if !source.is_regular() || open(base, "sendfile")?.config().sendfile_fallback {
        return Ok(Native::Unavailable);
    }
    crate::signals::ignore_sigpipe();
    loop {
        check()?;
        let wanted = source.wanted(AT_ONCE);
        if wanted == 0 {
            return Ok(Native::Done);
        }
        match sendfile_once(operation.sock(), source, wanted) {
            Ok(0) => return Ok(Native::Done),
            Ok(count) => {
                source.advance(count);
                if count == wanted {
                    yield_now().await;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => operation.ready().await?,
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::OVERFLOW)
                if source.sent() == 0 =>
            {
                return Ok(Native::Unavailable);
            }
            Err(error) => return Err(operation.fail(error)),
        }
    }
}

#[cfg(target_os = "linux")]
fn sendfile_once(sock: &Sock, source: &Source, count: usize) -> std::result::Result<usize, Errno> {
    let mut position = source.position();
    rustix::fs::sendfile(sock, source.file(), Some(&mut position), count)
}

/// Other systems have other calls.
#[cfg(not(target_os = "linux"))]
fn sendfile_once(_: &Sock, _: &Source, _: usize) -> std::result::Result<usize, Errno> {
    Err(Errno::NOSYS)
}

fn is_connection_error(error: &Error) -> bool {
    matches!(
        error.io_kind(),
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
    )
}

fn unavailable(operation: &'static str) -> Error {
    Error::SendfileUnavailable(
        format!(
            "{operation}: the kernel cannot send this file to there, and no fallback is allowed"
        )
        .into(),
    )
}
