//! Echo by streams: a task for each connection on both sides.

use anyloop::{
    Error, Result, StreamReader, StreamWriter, create_task, open_connection, start_server,
};

use crate::Found;
use crate::bytes::{Bytes, amount};

const CLIENTS: usize = 50;
const PIECE: usize = 10_000;

async fn echo(reader: StreamReader, writer: StreamWriter) -> Result<()> {
    let mut data = vec![0; 16 * 1024];
    loop {
        let count = reader.read_into(&mut data).await?;
        if count == 0 {
            return Ok(());
        }
        writer.write(&data[..count]);
        writer.drain().await?;
    }
}

/// One task sends, this one checks what comes back; then the sender half-closes and we see the end.
async fn client(number: usize, address: std::net::SocketAddr) -> Result<usize> {
    let (reader, writer) = open_connection(address).await?;
    let sending = writer.clone();
    let sender = create_task(async move {
        let mut bytes = Bytes::new(number);
        let mut left = amount(number);
        while left > 0 {
            let piece = left.min(PIECE);
            sending.write_vec(bytes.take(piece));
            sending.drain().await?;
            left -= piece;
        }
        sending.write_eof()
    })?;
    let mut expected = Bytes::new(number);
    let mut received = 0;
    loop {
        let data = reader.read(PIECE).await?;
        if data.is_empty() {
            break;
        }
        if !expected.check(&data) {
            return Err(Error::usage("a byte came back changed"));
        }
        received += data.len();
    }
    sender.await??;
    writer.close();
    writer.wait_closed().await?;
    if received == amount(number) {
        Ok(received)
    } else {
        Err(Error::usage(format!("{received} of {} bytes came back", amount(number))))
    }
}

pub(crate) async fn run() -> Found {
    let server = start_server("127.0.0.1:0", echo).await?;
    let address = server.local_addr().ok_or("the server has no address")?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(create_task(client(number, address))?);
    }
    let mut total = 0;
    for (number, client) in clients.into_iter().enumerate() {
        total += client.await?.map_err(|error| format!("client {number}: {error}"))?;
    }
    server.close();
    server.wait_closed().await?;
    Ok(format!("{CLIENTS} clients, {total} bytes there and back"))
}
