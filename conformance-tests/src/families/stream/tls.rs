//! Streams that go on over TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyloop::tls::rustls::ClientConnection;
use anyloop::tls::rustls::pki_types::ServerName;
use anyloop::tls::{self, Session};
use anyloop::{StreamReaderProtocol, open_connection, start_server};
use anyloop_api::Server;

use super::super::prelude::*;
use super::{attach, on_a_loop};
use crate::tools::{Authority, SERVER, pattern, tcp_pair};

cases! {
    STREAM_24 => both_ends_go_on_over_tls, what_was_read_too_early_counts,
        what_was_written_before_goes_ahead, refused_without_losing_a_byte,
        over_tls_from_the_beginning;
}

fn address(server: &Server) -> Result<std::net::SocketAddr, Failure> {
    server.local_addr().ok_or_else(|| Failure::new("the server has no address"))
}

pub(super) fn both_ends_go_on_over_tls(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reports = Reports::of(&LoopRef::current()?);
        let authority = Authority::new()?;
        let tls = authority.server()?;
        let server = start_server("127.0.0.1:0", move |reader, writer| {
            let tls = tls.clone();
            async move {
                while let Some(line) = reader.next_line().await? {
                    writer.write(&line);
                    if line == b"STARTTLS\n" {
                        writer.start_tls(tls.clone()).await?;
                    }
                }
                writer.close();
                writer.wait_closed().await
            }
        })
        .await?;
        let (reader, writer) = open_connection(address(&server)?).await?;
        let clone = writer.clone();
        for line in [&b"plain\n"[..], b"STARTTLS\n"] {
            writer.write(line);
            ensure_eq!(reader.read_line().await?, line, "the answer in the clear");
        }
        ensure!(Session::of(&writer.transport()).is_none(), "a session too early");
        writer.start_tls(authority.client()?).await?;
        ensure!(Session::of(&clone.transport()).is_some(), "a clone still writes in the clear");
        ensure!(!writer.can_write_eof(), "there is no half-close");
        // More than the limit, both ways: the reader pauses what is above, not below.
        let line = [pattern(50_000).iter().map(|byte| byte | 0x80).collect(), vec![b'\n']].concat();
        for _ in 0..20 {
            clone.write(&line);
        }
        anyloop::sleep(ms(20)).await;
        for _ in 0..20 {
            ensure!(reader.read_line().await? == line, "another line came back");
        }
        writer.close();
        writer.wait_closed().await?;
        ensure_eq!(reader.read(1).await?, b"", "what comes after the end");
        server.close();
        server.wait_closed().await?;
        reports.none()
    })
}

pub(super) fn what_was_read_too_early_counts(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, mut far) = tcp_pair()?;
    let (reader, writer) = attach(&lp, near, 65_536)?;
    let config = authority.client()?.config;
    // All in one piece: the reader gets more than the line.
    let mut session = ClientConnection::new(config, ServerName::try_from(SERVER)?)?;
    let mut hello = b"STARTTLS\n".to_vec();
    while session.wants_write() {
        session.write_tls(&mut hello)?;
    }
    far.write_all(&hello)?;
    let server = authority.server()?;
    let expected = hello.len() - 9;
    lp.run_until_complete(async move {
        ensure_eq!(reader.read_line().await?, b"STARTTLS\n", "the line");
        // Drivers may bring it in pieces.
        while reader.buffered() < expected {
            anyloop::sleep(ms(1)).await;
        }
        ensure_eq!(reader.buffered(), expected, "bytes read too early");
        let peer = thread::spawn(move || {
            far.set_nonblocking(false)?;
            session.writer().write_all(b"hello\n")?;
            while session.is_handshaking() {
                session.complete_io(&mut far)?;
            }
            let mut stream = tls::rustls::StreamOwned::new(session, far);
            let mut answer = [0; 6];
            stream.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        });
        writer.start_tls(server).await?;
        ensure_eq!(reader.read_line().await?, b"hello\n", "what came over TLS");
        writer.write("world\n");
        while !peer.is_finished() {
            anyloop::sleep(ms(1)).await;
        }
        ensure_eq!(join(peer)??, *b"world\n", "what the peer got");
        writer.close();
        Ok(())
    })?
}

pub(super) fn what_was_written_before_goes_ahead(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, mut far) = tcp_pair()?;
    let (reader, writer) = attach(&lp, near, 65_536)?;
    let plain = pattern(6_000_000);
    writer.write(&plain);
    let mark = writer.transport().get_write_buffer_limits().0;
    let server = authority.blocking_server()?;
    let client = authority.client()?;
    lp.run_until_complete(async move {
        let theirs = writer.clone();
        let starting = anyloop::create_task(async move { theirs.start_tls(client).await })?;
        for _ in 0..5 {
            yield_now().await;
        }
        // It drains first: nothing of TLS is queued behind that.
        let protocol = writer.transport().get_protocol();
        ensure!(protocol.downcast::<StreamReaderProtocol>().is_some(), "TLS is there already");
        ensure!(!starting.done(), "done with a peer that does not read");
        ensure!(writer.transport().get_write_buffer_size() > mark, "nothing is to be drained");
        let length = plain.len();
        let peer = thread::spawn(move || {
            far.set_nonblocking(false)?;
            let mut bytes = vec![0; length];
            far.read_exact(&mut bytes)?;
            let mut stream = server.accept(far)?;
            stream.write_all(b"hello\n")?;
            Ok::<_, std::io::Error>(bytes)
        });
        starting.await??;
        ensure_eq!(reader.read_line().await?, b"hello\n", "what came over TLS");
        ensure!(join(peer)?? == plain, "the peer got other bytes in the clear");
        writer.close();
        Ok(())
    })?
}

pub(super) fn refused_without_losing_a_byte(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let (near, mut far) = tcp_pair()?;
    let (reader, writer) = attach(&lp, near, 65_536)?;
    far.write_all(b"one\ntwo\n")?;
    let nameless = authority.plain_client()?;
    let client = authority.client()?;
    lp.run_until_complete(async move {
        ensure_eq!(reader.read_line().await?, b"one\n", "the first line");
        ensure_is!(writer.start_tls(nameless).await, Err(Error::InvalidArg(_)));
        ensure_eq!(reader.read_line().await?, b"two\n", "the second line");
        writer.write("still plain\n");
        far.set_nonblocking(false)?;
        let mut bytes = [0; 12];
        anyloop::sleep(ms(1)).await;
        far.read_exact(&mut bytes)?;
        ensure_eq!(bytes, *b"still plain\n", "what the peer got");
        // A peer that has ended its stream will not shake hands.
        TcpStream::shutdown(&far, std::net::Shutdown::Write)?;
        ensure_eq!(reader.read(1).await?, b"", "the end");
        let error = writer.start_tls(client).await.err();
        ensure_eq!(
            error.as_ref().map(Error::io_kind),
            Some(ErrorKind::ConnectionReset),
            "the error"
        );
        writer.close();
        Ok(())
    })?
}

pub(super) fn over_tls_from_the_beginning(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reports = Reports::of(&LoopRef::current()?);
        let authority = Authority::new()?;
        let (outer, inner) = (authority.server()?, authority.server()?);
        let server = tls::start_server("127.0.0.1:0", outer, move |reader, writer| {
            let inner = inner.clone();
            async move {
                reader.read_line().await?;
                writer.write("go on\n");
                writer.start_tls(inner).await?;
                let line = reader.read_line().await?;
                writer.write(&line);
                writer.close();
                writer.wait_closed().await
            }
        })
        .await?;
        let to = address(&server)?;
        let (reader, writer) = tls::open_connection(to, authority.client()?).await?;
        writer.write("STARTTLS\n");
        ensure_eq!(reader.read_line().await?, b"go on\n", "over one layer");
        writer.start_tls(authority.client()?).await?;
        writer.write("hello\n");
        ensure_eq!(reader.read_line().await?, b"hello\n", "over two layers");
        ensure_eq!(reader.read(1).await?, b"", "the end");
        writer.close();
        writer.wait_closed().await?;
        server.close();
        server.wait_closed().await?;
        reports.none()
    })
}
