//! Endpoints, connections and transfers that come and go leave nothing behind.
//!
//! `ANYLOOP_CYCLES=10000 cargo test --test cycles` for more of them.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling", target_os = "linux"))]
#![allow(missing_docs, reason = "a test")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyloop::{
    DatagramEndpoint, DatagramProtocol, DatagramTransport, Error, EventLoopExt, LoopFuture,
    LoopRef, Result, SockAddr, StreamReader, StreamWriter, UnixBind, UnixConnect,
};

/// How often everything is opened and closed.
fn cycles() -> usize {
    std::env::var("ANYLOOP_CYCLES").map_or(100, |text| text.parse().expect("a number of cycles"))
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux shows descriptors").count()
}

/// In bytes.
fn resident_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux shows memory");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

/// Tells when the first datagram came, and when the endpoint was lost.
struct Mail {
    received: LoopFuture<Vec<u8>>,
    lost: LoopFuture<()>,
}

impl DatagramProtocol for Mail {
    fn datagram_received(&self, data: &[u8], _: Option<&SockAddr>) {
        self.received.set_unless_done(Ok(data.to_vec()));
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.lost.set_unless_done(Ok(()));
    }
}

async fn endpoint(at: DatagramEndpoint) -> Result<(DatagramTransport, Rc<Mail>)> {
    let lp = LoopRef::current()?;
    let mail = Rc::new(Mail { received: lp.create_future(), lost: lp.create_future() });
    let theirs = mail.clone();
    let opening = lp.create_datagram_endpoint(Rc::new(move || theirs.clone()), at);
    drop(lp);
    Ok((opening.await?.0, mail))
}

/// One datagram from a connected endpoint to another endpoint.
async fn datagram(server: DatagramEndpoint, to: Option<&Path>) -> Result<()> {
    let (server, at_server) = endpoint(server).await?;
    let remote = match (to, server.local_addr()) {
        (Some(path), _) => DatagramEndpoint::remote(path),
        (None, address) => DatagramEndpoint::remote(address.expect("an Internet address")),
    };
    let (client, at_client) = endpoint(remote).await?;
    client.sendto("datagram", None)?;
    assert_eq!(at_server.received.clone().await?, b"datagram");
    client.close();
    server.close();
    at_client.lost.clone().await?;
    at_server.lost.clone().await
}

/// A file from a local server to its client.
async fn transfer(path: &Path, file: Arc<File>) -> Result<()> {
    let serve = move |_: StreamReader, writer: StreamWriter| {
        let file = file.clone();
        async move {
            let sent = writer.sendfile(file).await?;
            assert_eq!(sent, 10_000);
            writer.close();
            writer.wait_closed().await
        }
    };
    let server = anyloop::start_unix_server(UnixBind::path(path), serve).await?;
    let (reader, writer) = anyloop::open_unix_connection(UnixConnect::path(path)).await?;
    assert_eq!(reader.read_to_end().await?.len(), 10_000);
    writer.close();
    writer.wait_closed().await?;
    server.close();
    server.wait_closed().await
}

async fn cycle(directory: &Path, file: &Arc<File>) -> Result<()> {
    datagram(DatagramEndpoint::local("127.0.0.1:0"), None).await?;
    let path = directory.join("datagrams");
    datagram(DatagramEndpoint::local(&*path), Some(&path)).await?;
    transfer(&directory.join("stream"), file.clone()).await?;
    // What fails opens nothing either.
    let missing = directory.join("missing");
    assert!(endpoint(DatagramEndpoint::remote(&*missing)).await.is_err());
    let refused = anyloop::open_unix_connection(UnixConnect::path(&missing)).await;
    assert!(refused.is_err());
    Ok(())
}

/// One test for all backends, so that nobody else opens descriptors meanwhile.
#[test]
fn descriptors_and_memory_stay_flat() {
    const SLACK: usize = 8 << 20;
    let name = format!("anyloop-cycles-{}", std::process::id());
    let directory: PathBuf = std::env::temp_dir().join(name);
    fs::create_dir(&directory).expect("a directory");
    let path = directory.join("file");
    let mut file = File::create(&path).expect("a file");
    file.write_all(&[b'x'; 10_000]).expect("room for a file");
    let file = Arc::new(File::open(&path).expect("the file"));
    for backend in ["mio", "uring", "polling"] {
        let (directory, file) = (directory.clone(), file.clone());
        support::mount(backend, move |backend| {
            let ran = anyloop::run_with(backend, async move {
                for _ in 0..20 {
                    cycle(&directory, &file).await?;
                }
                let before = (descriptors(), resident_memory());
                for _ in 0..cycles() {
                    cycle(&directory, &file).await?;
                }
                assert_eq!(descriptors(), before.0, "descriptors");
                let grown = resident_memory().saturating_sub(before.1);
                assert!(grown <= SLACK, "{backend}: the process has grown by {grown} bytes");
                Ok::<_, Error>(())
            });
            ran.and_then(|result| result).expect("no cycle fails");
        });
    }
    fs::remove_dir_all(&directory).expect("the directory is there");
}
