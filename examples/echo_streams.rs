//! An echo server with streams, until Ctrl-C.
//!
//! ```text
//! ANYLOOP_BACKEND=uring cargo run --release --example echo_streams [HOST:PORT]
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "shared/exit.rs"]
mod exit;

use std::process::ExitCode;

use anyloop::{Result, StreamReader, StreamWriter};

async fn echo(reader: StreamReader, writer: StreamWriter) -> Result<()> {
    loop {
        let data = reader.read(64 * 1024).await?;
        if data.is_empty() {
            return Ok(());
        }
        writer.write_vec(data);
        writer.drain().await?;
    }
}

async fn serve(address: String) -> Result<()> {
    let server = anyloop::start_server(address, echo).await?;
    if let Some(bound) = server.local_addr() {
        let backend = anyloop::get_running_loop()?.state().backend();
        println!("echo (streams) on {bound}, backend {backend}");
    }
    server.serve_forever().await
}

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    exit::exit(anyloop::run(serve(address)).and_then(|served| served))
}
