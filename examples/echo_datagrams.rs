//! An echo server for UDP datagrams, until Ctrl-C.
//!
//! ```text
//! ANYLOOP_BACKEND=uring cargo run --release --example echo_datagrams [HOST:PORT]
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "shared/exit.rs"]
mod exit;

use std::cell::OnceCell;
use std::process::ExitCode;
use std::rc::Rc;

use anyloop::{
    DatagramEndpoint, DatagramProtocol, DatagramTransport, Error, LoopFuture, Result, SockAddr,
};
use anyloop::{EventLoopExt, get_running_loop};

/// Sends every datagram back to where it came from.
struct Echo {
    transport: OnceCell<DatagramTransport>,
    lost: LoopFuture<()>,
}

impl DatagramProtocol for Echo {
    fn connection_made(&self, transport: DatagramTransport) {
        let _ = self.transport.set(transport);
    }

    fn datagram_received(&self, data: &[u8], from: Option<&SockAddr>) {
        if let Some(transport) = self.transport.get() {
            // What cannot be sent comes to `error_received`.
            let _ = transport.sendto(data, from);
        }
    }

    fn error_received(&self, error: Error) {
        eprintln!("{error}");
    }

    fn connection_lost(&self, error: Option<Error>) {
        let _ = self.lost.set_unless_done(error.map_or(Ok(()), Err));
    }
}

async fn serve(address: String) -> Result<()> {
    let lp = get_running_loop()?;
    let lost = lp.create_future();
    let ended = lost.clone();
    let factory = move || -> Rc<dyn DatagramProtocol> {
        Rc::new(Echo { transport: OnceCell::new(), lost: ended.clone() })
    };
    let endpoint = DatagramEndpoint::local(address);
    let (transport, _) = lp.create_datagram_endpoint(Rc::new(factory), endpoint).await?;
    if let Some(bound) = transport.local_addr() {
        println!("echo (datagrams) on {bound}, backend {}", lp.state().backend());
    }
    lost.await
}

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    exit::exit(anyloop::run(serve(address)).and_then(|served| served))
}
