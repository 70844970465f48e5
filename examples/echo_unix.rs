//! An echo server on a local socket, until Ctrl-C. The path is removed at the end.
//!
//! ```text
//! ANYLOOP_BACKEND=uring cargo run --release --example echo_unix [PATH]
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "shared/exit.rs"]
mod exit;

use std::path::PathBuf;
use std::process::ExitCode;

use anyloop::{ExtraInfo, Result, StreamReader, StreamWriter, start_unix_server};

async fn echo(reader: StreamReader, writer: StreamWriter) -> Result<()> {
    if let Some(peer) = writer.get_extra_info("peercred").as_ref().and_then(ExtraInfo::credentials)
    {
        println!("a client: {peer:?}");
    }
    loop {
        let data = reader.read(64 * 1024).await?;
        if data.is_empty() {
            return Ok(());
        }
        writer.write_vec(data);
        writer.drain().await?;
    }
}

async fn serve(path: PathBuf) -> Result<()> {
    let server = start_unix_server(path.clone(), echo).await?;
    let backend = anyloop::get_running_loop()?.state().backend();
    println!("echo (local) on {}, backend {backend}", path.display());
    server.serve_forever().await
}

fn main() -> ExitCode {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let path = given.unwrap_or_else(|| std::env::temp_dir().join("anyloop-echo"));
    exit::exit(anyloop::run(serve(path)).and_then(|served| served))
}
