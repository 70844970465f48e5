//! An echo server as a protocol, until Ctrl-C.
//!
//! ```text
//! ANYLOOP_BACKEND=uring cargo run --release --example echo_protocol [HOST:PORT]
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "shared/echo.rs"]
mod echo;
#[path = "shared/exit.rs"]
mod exit;

use std::process::ExitCode;

use anyloop::{EventLoopExt, Result};

async fn serve(address: String) -> Result<()> {
    let lp = anyloop::get_running_loop()?;
    let server = lp.serve(echo::Echo::default, address).await?;
    if let Some(bound) = server.local_addr() {
        println!("echo (protocol) on {bound}, backend {}", lp.state().backend());
    }
    server.serve_forever().await
}

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    exit::exit(anyloop::run(serve(address)).and_then(|served| served))
}
