//! Seed (o): echo over raw sockets; a hundred clients at once, a megabyte each.
//!
//! ```python
//! async def handle(loop, client):
//!     with client:
//!         while data := await loop.sock_recv(client, 65536):
//!             await loop.sock_sendall(client, data)
//!
//! async def serve(loop, listener):
//!     while True:
//!         client, address = await loop.sock_accept(listener)
//!         loop.create_task(handle(loop, client))
//!
//! async def ask(loop, address, payload):
//!     sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
//!     sock.setblocking(False)
//!     with sock:
//!         await loop.sock_connect(sock, address)
//!         sending = loop.create_task(loop.sock_sendall(sock, payload))
//!         answer = b""
//!         while len(answer) < len(payload):
//!             answer += await loop.sock_recv(sock, 65536)
//!         await sending
//!         return answer == payload
//!
//! async def main(loop):
//!     listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
//!     listener.setblocking(False)
//!     listener.bind(("127.0.0.1", 0))
//!     listener.listen(100)
//!     address = listener.getsockname()
//!     server = loop.create_task(serve(loop, listener))
//!     asking = [loop.create_task(ask(loop, address, bytes([n]) * 2**20)) for n in range(100)]
//!     right = sum([await task for task in asking])
//!     server.cancel()
//!     try:
//!         await server
//!     except asyncio.CancelledError:
//!         print(f"{right} right answers, server cancelled")
//!     listener.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::{Ipv4Addr, SocketAddr};

use anyloop::{
    Domain, Error, EventLoopExt, LoopRef, Result, Sock, SockAddr, Type, new_event_loop_with,
};

/// What there is to see.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// Clients that got back what they sent.
    pub(crate) right: usize,
    /// The accept loop ended by its cancellation.
    pub(crate) cancelled: bool,
    /// Somebody still answers at the address afterwards.
    pub(crate) answered_afterwards: bool,
    /// Tasks left over: this one.
    pub(crate) tasks: usize,
}

pub(crate) const CLIENTS: usize = 100;
const PAYLOAD: usize = 1 << 20;

async fn handle(lp: LoopRef, client: Sock) -> Result<()> {
    loop {
        let data = lp.sock_recv(&client, 65536).await?;
        if data.is_empty() {
            return Ok(());
        }
        lp.sock_sendall(&client, data).await.0?;
    }
}

async fn serve(lp: LoopRef, listener: Sock) -> Result<()> {
    loop {
        let (client, _address) = lp.sock_accept(&listener).await?;
        lp.create_task(handle(lp.clone(), client))?;
    }
}

async fn ask(lp: LoopRef, address: SocketAddr, payload: Vec<u8>) -> Result<bool> {
    let sock = Sock::open(Domain::IPV4, Type::STREAM)?;
    lp.sock_connect(&sock, address.into()).await?;
    let sending = lp.create_task(lp.sock_sendall(&sock, payload))?;
    let mut answer = Vec::with_capacity(PAYLOAD);
    while answer.len() < PAYLOAD {
        let data = lp.sock_recv(&sock, 65536).await?;
        if data.is_empty() {
            return Ok(false);
        }
        answer.extend(data);
    }
    let (sent, payload) = sending.await?;
    sent?;
    Ok(answer == payload)
}

async fn main_task(lp: LoopRef) -> Result<Observations> {
    let mut seen = Observations::default();
    let listener = Sock::open(Domain::IPV4, Type::STREAM)?;
    listener.socket().bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    listener.socket().listen(100)?;
    let address = listener.local_addr()?.as_socket();
    let address = address.ok_or_else(|| Error::usage("the listener has no address"))?;
    let server = lp.create_task(serve(lp.clone(), listener))?;
    let mut asking = Vec::new();
    for number in 0..CLIENTS {
        let payload = vec![number as u8; PAYLOAD];
        asking.push(lp.create_task(ask(lp.clone(), address, payload))?);
    }
    for task in asking {
        seen.right += usize::from(task.await??);
    }
    server.cancel();
    seen.cancelled = matches!(server.await, Err(Error::Cancelled(_)));
    // The task had the listener, so that is closed now.
    let late = Sock::open(Domain::IPV4, Type::STREAM)?;
    seen.answered_afterwards = lp.sock_connect(&late, address.into()).await.is_ok();
    while lp.all_tasks().len() > 1 {
        // The handlers see the end of their streams.
        anyloop::yield_now().await;
    }
    seen.tasks = lp.all_tasks().len();
    Ok(seen)
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let lp = new_event_loop_with(backend)?;
    let seen = lp.run_until_complete(main_task(lp.clone()))??;
    lp.close()?;
    Ok(seen)
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
