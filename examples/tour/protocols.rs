//! Echo by protocols: callbacks on both sides.

use std::cell::{Cell, RefCell};

use anyloop::{Bind, Connect, Error, EventLoopExt, LoopFuture, Protocol, Transport};

use crate::Found;
use crate::bytes::{Bytes, amount};

#[path = "../shared/echo.rs"]
mod echo;

const CLIENTS: usize = 50;

/// Sends everything, checks what comes back, closes when it has all of it.
struct Client {
    amount: usize,
    sends: RefCell<Bytes>,
    expects: RefCell<Bytes>,
    received: Cell<usize>,
    right: Cell<bool>,
    transport: RefCell<Option<Transport>>,
    done: LoopFuture<Result<usize, String>>,
}

impl Client {
    fn new(number: usize, done: LoopFuture<Result<usize, String>>) -> Self {
        Self {
            amount: amount(number),
            sends: RefCell::new(Bytes::new(number)),
            expects: RefCell::new(Bytes::new(number)),
            received: Cell::new(0),
            right: Cell::new(true),
            transport: RefCell::default(),
            done,
        }
    }
}

impl Protocol for Client {
    fn connection_made(&self, transport: Transport) {
        let all = self.sends.borrow_mut().take(self.amount);
        let _ = transport.write_vec(all);
        *self.transport.borrow_mut() = Some(transport);
    }

    fn data_received(&self, data: &[u8]) {
        self.right.set(self.right.get() && self.expects.borrow_mut().check(data));
        self.received.set(self.received.get() + data.len());
        if self.received.get() >= self.amount
            && let Some(transport) = &*self.transport.borrow()
        {
            transport.close();
        }
    }

    fn connection_lost(&self, error: Option<Error>) {
        let received = self.received.get();
        let outcome = match error {
            Some(error) => Err(error.to_string()),
            None if !self.right.get() => Err("a byte came back changed".into()),
            None if received != self.amount => {
                Err(format!("{received} of {} bytes came back", self.amount))
            }
            None => Ok(received),
        };
        self.done.set_unless_done(Ok(outcome));
        self.transport.take();
    }
}

pub(crate) async fn run() -> Found {
    let lp = anyloop::get_running_loop()?;
    let server = lp.serve(echo::Echo::default, Bind::to("127.0.0.1", 0)).await?;
    let address = server.local_addr().ok_or("the server has no address")?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let done = lp.create_future();
        let told = done.clone();
        lp.connect(move || Client::new(number, told), Connect::from(address)).await?;
        clients.push(done);
    }
    let mut total = 0;
    for (number, client) in clients.into_iter().enumerate() {
        total += client.await?.map_err(|error| format!("client {number}: {error}"))?;
    }
    server.close();
    server.wait_closed().await?;
    Ok(format!("{CLIENTS} clients, {total} bytes there and back"))
}
