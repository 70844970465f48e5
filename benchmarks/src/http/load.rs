//! The load generator of the HTTP suite: blocking, and it compares every byte but the date.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::servers::BODY;
use crate::child::Child;
use crate::lockstep::{Load, Work};

/// GET requests for bodies of one length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Get {
    pub(super) name: &'static str,
    /// Bytes per body.
    pub(super) size: usize,
    /// Connections that are open at the same time.
    pub(super) connections: usize,
    /// Whether each request has a connection of its own.
    pub(super) close: bool,
}

impl Work for Get {
    fn name(&self) -> &'static str {
        self.name
    }

    fn size(&self) -> usize {
        self.size
    }

    fn open(&self, server: &Child) -> io::Result<Box<dyn Load>> {
        let keep = if self.close { "close" } else { "keep-alive" };
        let mut client = Client {
            get: *self,
            address: server.address,
            request: format!(
                "GET /{} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: anyloop-benchmarks\r\n\
                 Accept: */*\r\nConnection: {keep}\r\n\r\n",
                self.size
            ),
            connections: Vec::new(),
            response: Vec::new(),
        };
        if !self.close {
            for _ in 0..self.connections {
                let connection = client.connect()?;
                client.connections.push(connection);
            }
        }
        Ok(Box::new(client))
    }
}

/// The connections to one server.
struct Client {
    get: Get,
    address: SocketAddr,
    request: String,
    connections: Vec<TcpStream>,
    response: Vec<u8>,
}

impl Client {
    fn connect(&self) -> io::Result<TcpStream> {
        let connection = TcpStream::connect(self.address)?;
        connection.set_nodelay(true)?;
        Ok(connection)
    }

    /// Reads the response to a request, and nothing behind it.
    fn receive(&mut self, mut connection: &TcpStream) -> io::Result<()> {
        self.response.resize(HEAD + self.get.size, 0);
        let mut received = 0;
        loop {
            let more = connection.read(&mut self.response[received..])?;
            received += more;
            let head = self.response[..received].windows(4).position(|four| four == b"\r\n\r\n");
            let Some(head) = head.filter(|_| more > 0) else {
                if more == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            };
            let (head, body) = self.response[..received].split_at(head + 4);
            if body.len() < self.get.size {
                continue;
            }
            if !head.starts_with(b"HTTP/1.1 200 OK\r\n") || *body != BODY[..self.get.size] {
                return Err(io::Error::other("the server answered with something else"));
            }
            return Ok(());
        }
    }
}

/// As much as the head of a response takes at most.
const HEAD: usize = 256;

impl Load for Client {
    fn round(&mut self) -> io::Result<usize> {
        if self.get.close {
            let mut connection = self.connect()?;
            connection.write_all(self.request.as_bytes())?;
            self.receive(&connection)?;
            // Until the server has closed, too.
            connection.read_to_end(&mut Vec::new())?;
            return Ok(1);
        }
        let connections = std::mem::take(&mut self.connections);
        for mut connection in &connections {
            connection.write_all(self.request.as_bytes())?;
        }
        for connection in &connections {
            self.receive(connection)?;
        }
        self.connections = connections;
        Ok(self.connections.len())
    }
}
