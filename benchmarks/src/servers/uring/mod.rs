//! The bare io_uring server: the line to compare with.
//!
//! One `io_uring_enter` per batch. Multishot accept into direct descriptors, multishot receive
//! into a small incremental buffer ring, and answers sent straight from that ring by requests
//! whose success is silent. Only what a slow peer does not take at once is copied.

mod connection;

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Fixed};
use io_uring::{cqueue, opcode};
use rustix::net::sockopt::set_tcp_nodelay;

use crate::machine;
use crate::uring::{Buffers, Ring};
use connection::{Connection, Pending};

/// Serves the listener.
pub(crate) fn serve(listener: TcpListener, _buffer: usize) -> io::Result<()> {
    // Accepted sockets inherit it, and a direct descriptor has no `setsockopt` of its own.
    set_tcp_nodelay(&listener, true)?;
    let mut ring = Ring::build()?;
    let ring = Ring::new(&mut ring);
    let slots = machine::descriptor_limit().min(16_384) as u32;
    ring.submitter().register_files_sparse(slots)?;
    let buffers = Buffers::register(ring.submitter(), GROUP)?;
    let connections = Vec::new();
    let mut server =
        Server { ring, listener, buffers, connections, outbox: Vec::new(), spent: Vec::new() };
    server.accept()?;
    loop {
        server.iterate()?;
    }
}

struct Server<'a> {
    ring: Ring<'a>,
    listener: TcpListener,
    buffers: Buffers,
    connections: Vec<Connection>,
    /// Connections with something to do after the completions of this batch.
    outbox: Vec<u32>,
    /// Buffers whose last bytes are sent by the next enter.
    spent: Vec<u16>,
}

impl Server<'_> {
    /// Submits, waits, and handles a batch.
    fn iterate(&mut self) -> io::Result<()> {
        self.ring.enter(1)?;
        let sent_from = std::mem::take(&mut self.spent);
        while let Some(completion) = self.ring.next() {
            let (kind, slot) = (completion.user_data() >> 32, completion.user_data() as u32);
            match kind {
                ACCEPT => self.accepted(&completion)?,
                RECEIVE => self.received(slot, &completion)?,
                SEND => self.send_failed(slot, &completion),
                _ => self.rest_sent(slot, &completion),
            }
        }
        // Every send of the last batch is over by now: it went out in full without a word, or
        // its failure was among the completions and the rest has been copied.
        if !sent_from.is_empty() {
            sent_from.into_iter().for_each(|id| self.buffers.recycle(id));
            self.buffers.publish();
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.drain(..).try_for_each(|slot| self.flush(slot))?;
        self.outbox = outbox;
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd()));
        self.push(&accept.allocate_file_index(true).build().user_data(ACCEPT << 32))
    }

    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        if let Ok(slot) = u32::try_from(completion.result()) {
            let index = slot as usize;
            if index >= self.connections.len() {
                self.connections.resize_with(index + 1, Connection::default);
            }
            self.connections[index] = Connection::accepted();
            self.receive(slot)?;
        }
        if !cqueue::more(completion.flags()) {
            self.accept()?;
        }
        Ok(())
    }

    fn receive(&mut self, slot: u32) -> io::Result<()> {
        let receive = opcode::RecvMulti::new(Fixed(slot), GROUP).build();
        self.push(&receive.user_data(RECEIVE << 32 | u64::from(slot)))
    }

    fn received(&mut self, slot: u32, completion: &cqueue::Entry) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        if let Some(chunk) = self.buffers.received(completion) {
            if let Some(id) = chunk.spent {
                self.spent.push(id);
            }
            if chunk.length > 0 {
                if connection.idle() {
                    self.outbox.push(slot);
                }
                connection.echo(chunk, &self.buffers);
            }
        }
        if !cqueue::more(completion.flags()) {
            // Out of buffers, or out of room for completions: go on in the next batch.
            if completion.result() > 0 || completion.result() == -libc::ENOBUFS {
                return self.receive(slot);
            }
            if connection.idle() {
                self.outbox.push(slot);
            }
            connection.ended = true;
        }
        Ok(())
    }

    /// Sends what a connection has to say, and closes it if it is through.
    fn flush(&mut self, slot: u32) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        let named = u64::from(slot);
        match connection.take(&self.buffers) {
            Pending::Nothing => {}
            Pending::InBuffers { begin, length } => {
                let bytes = self.buffers.bytes(begin, length);
                let send = opcode::Send::new(Fixed(slot), bytes.as_ptr(), length as u32)
                    .flags(NOW_OR_NEVER)
                    .build()
                    .flags(Flags::SKIP_SUCCESS);
                self.push(&send.user_data(SEND << 32 | named))?;
            }
            Pending::Copied { address, length } => {
                let send = opcode::Send::new(Fixed(slot), address, length as u32)
                    .flags(libc::MSG_WAITALL)
                    .build();
                self.push(&send.user_data(SEND_REST << 32 | named))?;
            }
        }
        let connection = &mut self.connections[slot as usize];
        if connection.through() {
            connection.open = false;
            let close = opcode::Close::new(Fixed(slot)).build().flags(Flags::SKIP_SUCCESS);
            self.push(&close.user_data(CLOSE << 32))?;
        }
        Ok(())
    }

    /// A send that was not to wait could not do all of it.
    fn send_failed(&mut self, slot: u32, completion: &cqueue::Entry) {
        let connection = &mut self.connections[slot as usize];
        if connection.idle() {
            self.outbox.push(slot);
        }
        connection.retreat(completion.result(), &self.buffers);
    }

    /// A send from copied bytes has come to its end.
    fn rest_sent(&mut self, slot: u32, completion: &cqueue::Entry) {
        let connection = &mut self.connections[slot as usize];
        if connection.open {
            if connection.idle() {
                self.outbox.push(slot);
            }
            connection.copied_sent(completion.result());
        }
    }

    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        // SAFETY: requests point into the buffers, which live as long as the server and are not
        // recycled before the sends of a batch are over, or into the copied bytes of a connection,
        // which are left alone until the completion.
        unsafe { self.ring.push(entry) }
    }
}

/// Fails at once rather than wait for room, and fails rather than send only a part.
const NOW_OR_NEVER: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL;
const GROUP: u16 = 0;
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const SEND_REST: u64 = 3;
const CLOSE: u64 = 4;
