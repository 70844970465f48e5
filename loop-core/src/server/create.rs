//! `create_server`: resolves, binds everything or nothing, and begins to serve.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use anyloop_api::{Bind, Error, EventLoop, ProtocolFactory, RawServer, Report, Result, Server};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::unix::SocketFile;
use super::{Listener, ServerState};
use crate::base::BaseLoop;
use crate::connect::{adopt, open};
use crate::sockets;

const NAME: &str = "create_server";

/// `create_server`.
pub(crate) async fn create_server(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    mut at: Bind,
) -> Result<Server> {
    if let Some(error) = at.malformed.take() {
        return Err(error.within(NAME));
    }
    drop(open(&base, NAME)?);
    let sockets = match (at.sock.take(), at.has_address) {
        (Some(_), true) => {
            return Err(Error::invalid_arg(
                "create_server: host/port and a socket can not be given at the same time",
            ));
        }
        (None, false) => {
            return Err(Error::invalid_arg("create_server: neither host/port nor a socket given"));
        }
        (Some(fd), false) => vec![adopt(fd, NAME)?],
        (None, true) => bind_all(&base, &at).await?,
    };
    let plan = Plan { sockets, backlog: at.backlog, start_serving: at.start_serving, file: None };
    begin(base, factory, plan, NAME).await
}

/// What is left to do when the sockets are bound.
pub(super) struct Plan {
    pub(super) sockets: Vec<Socket>,
    pub(super) backlog: u32,
    pub(super) start_serving: bool,
    pub(super) file: Option<SocketFile>,
}

/// Makes the server, and begins to serve.
pub(super) async fn begin(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    plan: Plan,
    operation: &'static str,
) -> Result<Server> {
    let start_serving = plan.start_serving;
    let server = make(&open(&base, operation)?, factory, plan)?;
    if start_serving {
        // As in asyncio, one iteration passes, so that the listener is armed when we return.
        let unclaimed = Unclaimed(Some(server.clone()));
        anyloop_api::yield_now().await;
        unclaimed.claim();
    }
    Ok(Server::new(server))
}

/// Closes the server of a call that was cancelled meanwhile.
struct Unclaimed(Option<Rc<ServerState>>);

impl Unclaimed {
    fn claim(mut self) {
        self.0 = None;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(server) = self.0.take() {
            server.close();
        }
    }
}

fn make(base: &Rc<BaseLoop>, factory: ProtocolFactory, plan: Plan) -> Result<Rc<ServerState>> {
    let server = Rc::new_cyclic(|this| ServerState {
        this: this.clone(),
        base: base.weak(),
        factory: RefCell::new(Some(factory)),
        context: Default::default(),
        backlog: plan.backlog,
        file: plan.file.into(),
        listeners: Default::default(),
        clients: Default::default(),
        beginning: Default::default(),
        serving: Default::default(),
        closed: Default::default(),
        waiters: Default::default(),
        forever: Default::default(),
    });
    let listen = || {
        for socket in plan.sockets {
            let listener = Listener::open(&server, socket)?;
            server.listeners.borrow_mut().push(listener);
        }
        if plan.start_serving { server.start_serving() } else { Ok(()) }
    };
    if let Err(error) = listen() {
        server.close();
        return Err(error);
    }
    Ok(server)
}

/// Binds every distinct address; on failure none stays bound (SRV-07).
async fn bind_all(base: &Weak<BaseLoop>, at: &Bind) -> Result<Vec<Socket>> {
    let hosts: Vec<Option<String>> =
        if at.hosts.is_empty() { vec![None] } else { at.hosts.iter().cloned().map(Some).collect() };
    let mut addresses = Vec::new();
    for host in hosts {
        let resolving = open(base, NAME)?.resolve(host, at.port.clone(), at.family);
        for address in resolving.await? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    let mut sockets = Vec::new();
    let mut missing = Vec::new();
    for address in addresses {
        match bind_one(address, at) {
            Ok(socket) => sockets.push(socket),
            Err(Refusal::Unavailable(error)) => missing.push(error),
            Err(Refusal::Failed(error)) => return Err(error),
        }
    }
    if sockets.is_empty() {
        return Err(missing.into_iter().next().unwrap_or_else(|| {
            Error::os("create_server: no address to bind", io::ErrorKind::AddrNotAvailable.into())
        }));
    }
    // Fine as long as another one works (SRV-08). That the whole family is missing goes without saying.
    for error in missing {
        if error.raw_os_error() == Some(Errno::ADDRNOTAVAIL.raw_os_error())
            && let Some(base) = base.upgrade()
        {
            let report = Report::warning("a server does without an address").exception(error);
            base.call_exception_handler(report);
        }
    }
    Ok(sockets)
}

enum Refusal {
    /// No such family or address on this machine.
    Unavailable(Error),
    Failed(Error),
}

fn bind_one(address: SocketAddr, at: &Bind) -> std::result::Result<Socket, Refusal> {
    let fail = |operation: &str, error: io::Error| {
        let absent = [Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT, Errno::ADDRNOTAVAIL];
        let absent = Errno::from_io_error(&error).is_some_and(|errno| absent.contains(&errno));
        let error = Error::os(format!("create_server: {operation} {address}"), error);
        if absent { Refusal::Unavailable(error) } else { Refusal::Failed(error) }
    };
    let socket = sockets::open(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(|error| fail("a socket for", error))?;
    let options = || {
        if at.reuse_address {
            socket.set_reuse_address(true)?;
        }
        if at.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if at.keep_alive {
            socket.set_keepalive(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Inherited by the connections on Linux (TR-38).
        socket.set_tcp_nodelay(true)
    };
    options().map_err(|error| fail("setting options for", error))?;
    socket.bind(&address.into()).map_err(|error| fail("binding", error))?;
    Ok(socket)
}
