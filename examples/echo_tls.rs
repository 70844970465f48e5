//! An echo server over TLS, until Ctrl-C.
//!
//! ```text
//! ANYLOOP_BACKEND=uring cargo run --release --example echo_tls [HOST:PORT [CHAIN.pem KEY.pem]]
//! openssl s_client -connect 127.0.0.1:8443
//! ```
//!
//! Without files it makes itself a certificate for localhost, anew for each run.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "shared/exit.rs"]
mod exit;

use std::process::ExitCode;

use anyloop::tls::rustls::pki_types::pem::PemObject;
use anyloop::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use anyloop::tls::{self, ServerTls, Session};
use anyloop::{Error, Result, StreamReader, StreamWriter};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8443".into());
    let files = arguments.next().zip(arguments.next());
    let serving = anyloop::run(async move {
        let tls = match files {
            Some((chain, key)) => from_files(&chain, &key)?,
            None => self_signed()?,
        };
        serve(address, tls).await
    });
    exit::exit(serving.and_then(|served| served))
}

async fn serve(address: String, tls: ServerTls) -> Result<()> {
    let server = tls::start_server(address, tls, echo).await?;
    if let Some(bound) = server.local_addr() {
        let backend = anyloop::get_running_loop()?.state().backend();
        println!("echo (TLS) on {bound}, backend {backend}");
    }
    server.serve_forever().await
}

/// The callback runs as a task of its own for every connection, once the handshake is done.
async fn echo(reader: StreamReader, writer: StreamWriter) -> Result<()> {
    if let Some(session) = Session::of(&writer.transport()) {
        println!("{session:?}");
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

fn from_files(chain: &str, key: &str) -> Result<ServerTls> {
    let chain = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect);
    let key = PrivateKeyDer::from_pem_file(key).map_err(Error::from_user)?;
    ServerTls::with_certificate(chain.map_err(Error::from_user)?, key)
}

/// Nobody trusts it but who is told to.
fn self_signed() -> Result<ServerTls> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(Error::from_user)?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    ServerTls::with_certificate(vec![made.cert.der().clone()], key)
}
