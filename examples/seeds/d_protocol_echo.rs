//! Seed (d): echo by protocols; the client stops the loop when its connection is lost.
//!
//! ```python
//! class EchoServer(asyncio.Protocol):
//!     def connection_made(self, transport):
//!         self.transport = transport
//!     def data_received(self, data):
//!         self.transport.write(data)
//!         self.transport.close()
//!
//! class EchoClient(asyncio.Protocol):
//!     def __init__(self, message, loop):
//!         self.message = message
//!         self.loop = loop
//!     def connection_made(self, transport):
//!         transport.write(self.message.encode())
//!     def data_received(self, data):
//!         print("got", data.decode())
//!     def connection_lost(self, exc):
//!         self.loop.stop()
//!
//! loop = asyncio.new_event_loop()
//! server = loop.run_until_complete(loop.create_server(EchoServer, "127.0.0.1", 0))
//! address = server.sockets[0].getsockname()
//! coro = loop.create_connection(lambda: EchoClient("Hello World!", loop), *address)
//! loop.run_until_complete(coro)
//! loop.run_forever()
//! server.close()
//! loop.run_until_complete(server.wait_closed())
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use anyloop::{
    Bind, Connect, Error, EventLoopExt, LoopRef, Protocol, Result, Transport, new_event_loop_with,
};

/// What there is to see: the callbacks of each side, in order.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    pub(crate) server: Vec<String>,
    pub(crate) client: Vec<String>,
}

type Log = Rc<RefCell<Vec<String>>>;

struct EchoServer {
    transport: OnceCell<Transport>,
    log: Log,
}

impl Protocol for EchoServer {
    fn connection_made(&self, transport: Transport) {
        self.log.borrow_mut().push("connection_made".into());
        let _ = self.transport.set(transport);
    }

    fn data_received(&self, data: &[u8]) {
        self.log.borrow_mut().push(format!("data_received {}", String::from_utf8_lossy(data)));
        if let Some(transport) = self.transport.get() {
            let _ = transport.write(data);
            transport.close();
        }
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.log.borrow_mut().push(format!("connection_lost {error:?}"));
    }
}

struct EchoClient {
    message: &'static str,
    lp: LoopRef,
    log: Log,
}

impl Protocol for EchoClient {
    fn connection_made(&self, transport: Transport) {
        self.log.borrow_mut().push("connection_made".into());
        let _ = transport.write(self.message);
    }

    fn data_received(&self, data: &[u8]) {
        println!("got {}", String::from_utf8_lossy(data));
        self.log.borrow_mut().push(format!("data_received {}", String::from_utf8_lossy(data)));
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.log.borrow_mut().push(format!("connection_lost {error:?}"));
        self.lp.stop();
    }
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let (at_server, at_client) = (Log::default(), Log::default());

    let lp = new_event_loop_with(backend)?;
    let log = at_server.clone();
    let factory = move || EchoServer { transport: OnceCell::new(), log: log.clone() };
    let server = lp.run_until_complete(lp.serve(factory, Bind::to("127.0.0.1", 0)))??;
    let address = server.local_addr().ok_or_else(|| Error::usage("the server has no address"))?;
    let (l2, log) = (lp.clone(), at_client.clone());
    let client = move || EchoClient { message: "Hello World!", lp: l2, log };
    let connecting = lp.connect(client, Connect::from(address));
    lp.run_until_complete(connecting)??;
    lp.run_forever()?;
    server.close();
    lp.run_until_complete(async move { server.wait_closed().await })??;
    lp.close()?;

    Ok(Observations { server: at_server.take(), client: at_client.take() })
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
