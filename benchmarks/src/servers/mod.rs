//! The echo servers: the lines, the peers, and ours.
//!
//! A server is a row of [`all`]: a name and a function that gets a listening socket and serves
//! it until the process is killed. Every server answers with exactly the bytes it received, sets
//! `TCP_NODELAY`, and uses what its runtime's own documentation would use.

pub(crate) mod anyloop;
#[cfg(feature = "peers")]
mod compio;
pub(crate) mod epoll;
#[cfg(feature = "peers")]
mod glommio;
mod mio;
#[cfg(feature = "peers")]
mod monoio;
#[cfg(feature = "peers")]
mod smol;
pub(crate) mod tokio;
mod uring;

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};

use crate::{cores, http, machine, tls};

/// Serves a blocking listener with a task, or whatever corresponds, per connection.
///
/// The second argument is the buffer, in bytes, that a connection reads into where connections
/// have one of their own: what an author who knows the traffic would choose.
pub(crate) type Serve = fn(TcpListener, usize) -> io::Result<()>;

/// An echo server that can be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// Its name in tables and on the command line.
    pub(crate) name: &'static str,
    /// What it is to us.
    pub(crate) kind: Kind,
    /// Serves the listener; returns only with an error.
    pub(crate) serve: Serve,
}

/// What a server is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Written for this purpose on the bare kernel interface: the line to compare with.
    Line,
    /// Another runtime.
    Peer,
    /// One of our loops.
    Ours,
}

impl Server {
    const fn line(name: &'static str, serve: Serve) -> Self {
        Self { name, kind: Kind::Line, serve }
    }

    const fn ours(name: &'static str, serve: Serve) -> Self {
        Self { name, kind: Kind::Ours, serve }
    }

    const fn peer(name: &'static str, serve: Serve) -> Self {
        Self { name, kind: Kind::Peer, serve }
    }
}

/// Every server of this build, lines first.
pub(crate) fn all() -> Vec<Server> {
    vec![
        Server::line("epoll", epoll::serve),
        Server::line("uring", uring::serve),
        Server::line("mio", mio::serve),
        Server::ours("anyloop-uring", |l, _| anyloop::protocol("uring", l)),
        Server::ours("anyloop-uring-buffered", |l, _| anyloop::buffered("uring", l)),
        Server::ours("anyloop-uring-streams", |l, _| anyloop::streams("uring", l)),
        Server::ours("anyloop-uring-futures", |l, b| anyloop::futures("uring", l, b)),
        Server::ours("anyloop-uring-sock", |l, b| anyloop::sock("uring", l, b)),
        Server::ours("anyloop-mio", |l, _| anyloop::protocol("mio", l)),
        Server::ours("anyloop-mio-buffered", |l, _| anyloop::buffered("mio", l)),
        Server::ours("anyloop-mio-streams", |l, _| anyloop::streams("mio", l)),
        Server::ours("anyloop-mio-futures", |l, b| anyloop::futures("mio", l, b)),
        Server::ours("anyloop-mio-sock", |l, b| anyloop::sock("mio", l, b)),
        Server::ours("anyloop-polling", |l, _| anyloop::protocol("polling", l)),
        Server::ours("anyloop-polling-buffered", |l, _| anyloop::buffered("polling", l)),
        Server::ours("anyloop-polling-streams", |l, _| anyloop::streams("polling", l)),
        Server::ours("anyloop-polling-futures", |l, b| anyloop::futures("polling", l, b)),
        Server::ours("anyloop-polling-sock", |l, b| anyloop::sock("polling", l, b)),
        Server::peer("tokio", tokio::serve),
        #[cfg(feature = "peers")]
        Server::peer("smol", smol::serve),
        #[cfg(feature = "peers")]
        Server::peer("monoio", monoio::serve),
        #[cfg(feature = "peers")]
        Server::peer("monoio-legacy", monoio::serve_legacy),
        #[cfg(feature = "peers")]
        Server::peer("compio", compio::serve),
        #[cfg(feature = "peers")]
        Server::peer("glommio", glommio::serve),
    ]
}

/// Is the server `name`: listens, prints the port, serves until killed.
pub(crate) fn serve(name: &str, buffer: usize) -> io::Result<()> {
    die_with_parent()?;
    machine::pin(machine::choose_cpus()?.0)?;
    let echo = all().into_iter().map(|server| (server.name, server.serve));
    let mut known = echo.chain(tls::SERVERS).chain(http::SERVERS);
    if let Some((_, serve)) = known.find(|(known, _)| *known == name) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        ready(listener.local_addr()?.port())?;
        return serve(listener, buffer);
    }
    let unknown = || Err(io::Error::other(format!("no server is called {name}")));
    cores::serve(name, ready).unwrap_or_else(unknown)
}

/// Tells whoever started this process where it listens.
fn ready(port: u16) -> io::Result<()> {
    println!("{port}");
    io::stdout().flush()
}

/// The buffer of a connection that exchanges messages of `size` bytes.
pub(crate) fn buffer_for(size: usize) -> usize {
    size.clamp(4 << 10, 64 << 10)
}

/// Has the kernel kill this process when the one that started it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?)
}
