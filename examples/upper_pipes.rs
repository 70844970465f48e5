//! Upper-cases lines from standard input to standard output, which have to be pipes (or sockets, or
//! terminals): a filter for the middle of a pipeline.
//!
//! ```text
//! echo hello | ANYLOOP_BACKEND=uring cargo run --release --example upper_pipes | cat
//! ```

#[path = "shared/exit.rs"]
mod exit;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;

use anyloop::{
    DEFAULT_LIMIT, Error, Result, StreamReader, StreamReaderProtocol, StreamWriter,
    get_running_loop,
};

/// A reader over standard input, and a writer over standard output.
async fn standard_streams() -> Result<(StreamReader, StreamWriter)> {
    let dup =
        |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().map_err(|error| Error::os("dup", error));
    let lp = get_running_loop()?;

    let reader = StreamReader::new(DEFAULT_LIMIT)?;
    let protocol = StreamReaderProtocol::new(reader.clone());
    let factory = Rc::new(move || protocol.clone().into());
    lp.connect_read_pipe(factory, dup(&std::io::stdin())?).await?;

    let protocol = StreamReaderProtocol::new(StreamReader::new(DEFAULT_LIMIT)?);
    let theirs = protocol.clone();
    let factory = Rc::new(move || theirs.clone().into());
    let (transport, _) = lp.connect_write_pipe(factory, dup(&std::io::stdout())?).await?;
    Ok((reader, StreamWriter::new(transport, protocol)))
}

async fn upper() -> Result<()> {
    let (reader, writer) = standard_streams().await?;
    while let Some(line) = reader.next_line().await? {
        writer.write(line.to_ascii_uppercase());
        writer.drain().await?;
    }
    writer.close();
    writer.wait_closed().await
}

fn main() -> ExitCode {
    exit::exit(anyloop::run(upper()).and_then(|ended| ended))
}
