//! A whole loop over the driver under test: echo, with more bytes than any buffer holds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyloop_api::{
    AnyProtocol, Bind, Connect, Error, EventLoopExt, LoopConfig, LoopFuture, LoopRef, Protocol,
    Result, Transport,
};

use crate::BaseLoop;
use crate::driver::Driver;

const CLIENTS: usize = 20;
/// More than the buffers of a loopback connection, so that both sides have to wait for each other.
const LENGTH: usize = 3 << 20;

pub(super) fn run(driver: impl Driver) {
    let lp = BaseLoop::open(driver, &LoopConfig::default()).expect("a loop");
    lp.run_until_complete(session(lp.clone())).expect("a run").expect("no error");
    lp.close().expect("close");
}

async fn session(lp: LoopRef) -> Result<()> {
    let factory = Rc::new(|| AnyProtocol::plain(Echo::default()));
    let server = lp.create_server(factory, Bind::to("127.0.0.1", 0)).await?;
    let address = server.local_addr().expect("it listens");
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let done = lp.create_future();
        let client = {
            let done = done.clone();
            Rc::new(move || AnyProtocol::plain(Client::new(number, done.clone())))
        };
        // The last one has much to say, the others little.
        let to = Connect::to(address.ip().to_string(), address.port());
        lp.create_connection(client, to).await?;
        clients.push(done);
    }
    for client in clients {
        client.await?;
    }
    server.close();

    // Answers from other threads, which find the loop asleep or about to be.
    for number in 0..100 {
        assert_eq!(lp.run_in_executor(None, move || number)?.await?, number);
    }
    Ok(())
}

/// Sends back what comes, and does not read on while the answer is stuck.
#[derive(Default)]
struct Echo(RefCell<Option<Transport>>);

impl Echo {
    fn transport(&self) -> Transport {
        self.0.borrow().clone().expect("connected")
    }
}

impl Protocol for Echo {
    fn connection_made(&self, transport: Transport) {
        self.0.replace(Some(transport));
    }

    fn data_received(&self, data: &[u8]) {
        self.transport().write(data).expect("an open connection");
    }

    fn pause_writing(&self) {
        self.transport().pause_reading();
    }

    fn resume_writing(&self) {
        self.transport().resume_reading();
    }

    fn connection_lost(&self, _error: Option<Error>) {
        self.0.replace(None);
    }
}

/// Sends a pattern and an end, and compares what comes back.
struct Client {
    number: usize,
    length: usize,
    seen: Cell<usize>,
    done: LoopFuture<()>,
}

impl Client {
    fn new(number: usize, done: LoopFuture<()>) -> Self {
        let length = if number + 1 == CLIENTS { LENGTH } else { 1 + number * 997 };
        Self { number, length, seen: Cell::new(0), done }
    }

    fn byte(&self, position: usize) -> u8 {
        ((position ^ (position >> 11)) + self.number) as u8
    }
}

impl Protocol for Client {
    fn connection_made(&self, transport: Transport) {
        let data: Vec<u8> = (0..self.length).map(|position| self.byte(position)).collect();
        transport.write_vec(data).expect("an open connection");
        transport.write_eof().expect("an open connection");
    }

    fn data_received(&self, data: &[u8]) {
        let start = self.seen.get();
        let matches = (start..).zip(data).all(|(position, byte)| *byte == self.byte(position));
        assert!(matches, "client {}: wrong bytes after {start}", self.number);
        self.seen.set(start + data.len());
    }

    fn connection_lost(&self, error: Option<Error>) {
        let result = match error {
            Some(error) => self.done.set_exception(error),
            None if self.seen.get() != self.length => self.done.set_exception(Error::failed(
                format!("client {}: {} of {} bytes", self.number, self.seen.get(), self.length),
            )),
            None => self.done.set_result(()),
        };
        result.expect("lost once");
    }
}
