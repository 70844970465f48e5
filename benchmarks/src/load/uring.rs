//! The generator on io_uring: one system call per batch, so that it is rarely the bottleneck.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode};

use super::connection::Connection;
use super::pattern::Pattern;
use super::{Meter, PATIENCE, Phase, Target};
use crate::uring::{Buffers, Ring};

/// The ring of one load, its buffers, and its connections.
pub(crate) struct Generator {
    // First, so that it is gone before what its requests point to.
    ring: IoUring,
    state: State,
    receiving: bool,
}

struct State {
    buffers: Buffers,
    target: Target,
    pattern: Pattern,
    connections: Vec<Option<Connection>>,
    /// Messages under way.
    pending: usize,
    /// Buffers to recycle after the batch.
    spent: Vec<u16>,
}

impl Generator {
    /// Connects; for churn nothing is connected yet.
    pub(super) fn open(target: Target) -> io::Result<Self> {
        let scenario = target.scenario;
        let ring = Ring::build()?;
        let buffers = Buffers::register(&ring.submitter(), GROUP)?;
        let mut state = State {
            buffers,
            target,
            pattern: Pattern::new(&scenario),
            connections: (0..scenario.connections).map(|_| None).collect(),
            pending: 0,
            spent: Vec::new(),
        };
        if !scenario.churn {
            (0..scenario.connections).try_for_each(|index| state.connect(index))?;
        }
        Ok(Self { ring, state, receiving: false })
    }

    /// Runs until the meter says it is enough and every answer is there.
    pub(super) fn run(&mut self, meter: &mut Meter) -> io::Result<()> {
        let mut ring = Ring::new(&mut self.ring);
        let state = &mut self.state;
        if !self.receiving && !state.target.scenario.churn {
            (0..state.connections.len()).try_for_each(|index| state.receive(&mut ring, index))?;
            self.receiving = true;
        }
        for index in 0..state.connections.len() {
            state.begin(&mut ring, index, meter.now())?;
        }
        while state.pending > 0 {
            if state.target.spins {
                ring.enter(0)?;
            } else {
                ring.enter_within(PATIENCE)?;
            }
            meter.tick(!ring.is_empty())?;
            while let Some(completion) = ring.next() {
                state.completed(&mut ring, &completion, meter)?;
            }
            if !state.spent.is_empty() {
                state.spent.drain(..).for_each(|id| state.buffers.recycle(id));
                state.buffers.publish();
            }
        }
        // What has been queued for a later time, such as receives to begin again.
        ring.enter(0)
    }
}

impl State {
    fn connect(&mut self, index: usize) -> io::Result<()> {
        let socket = self.target.connect()?;
        self.connections[index] = Some(Connection::new(socket, self.pattern.start(index)));
        Ok(())
    }

    /// Starts a connection off: as many messages as it may have in flight.
    fn begin(&mut self, ring: &mut Ring<'_>, index: usize, now: u64) -> io::Result<()> {
        if self.target.scenario.churn {
            self.connect(index)?;
        }
        self.send(ring, index, self.target.scenario.in_flight, now)?;
        if self.target.scenario.churn {
            self.receive(ring, index)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        ring: &mut Ring<'_>,
        index: usize,
        messages: usize,
        now: u64,
    ) -> io::Result<()> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        connection.push(messages, self.target.scenario.size, now);
        self.pending += messages;
        let bytes = connection.outgoing(&self.pattern);
        let socket = Fd(connection.socket.as_raw_fd());
        let length = bytes.len();
        let send = opcode::Send::new(socket, bytes.as_ptr(), length as u32)
            .flags(libc::MSG_WAITALL)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(SEND);
        // SAFETY: the pattern never changes and lives until after the ring.
        unsafe { ring.push(&send)? };
        connection.sent(length, &self.pattern);
        Ok(())
    }

    /// Receives from now on, or once where the connection is closed after it: a request that is
    /// under way would keep the socket open.
    fn receive(&mut self, ring: &mut Ring<'_>, index: usize) -> io::Result<()> {
        let Some(connection) = &self.connections[index] else { return Ok(()) };
        let socket = Fd(connection.socket.as_raw_fd());
        let receive = if self.target.scenario.churn {
            let once = opcode::Recv::new(socket, std::ptr::null_mut(), 0).buf_group(GROUP);
            once.build().flags(Flags::BUFFER_SELECT)
        } else {
            opcode::RecvMulti::new(socket, GROUP).build()
        };
        // SAFETY: the request points to nothing; its buffers live until after the ring.
        unsafe { ring.push(&receive.user_data(index as u64)) }
    }

    fn completed(
        &mut self,
        ring: &mut Ring<'_>,
        completion: &cqueue::Entry,
        meter: &mut Meter,
    ) -> io::Result<()> {
        let result = completion.result();
        if completion.user_data() == SEND {
            return Err(io::Error::from_raw_os_error(-result.min(0)));
        }
        let index = completion.user_data() as usize;
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let mut complete = 0;
        if let Some(chunk) = self.buffers.received(completion) {
            let bytes = self.buffers.bytes(chunk.begin, chunk.length);
            let size = self.target.scenario.size;
            complete = connection.received(bytes, size, &self.pattern, meter)?;
            self.spent.extend(chunk.spent);
        }
        match result {
            0 => return Err(io::Error::other("the server closed a connection")),
            error if error < 0 && error != -libc::ENOBUFS => {
                return Err(io::Error::from_raw_os_error(-error));
            }
            _ => {}
        }
        self.pending -= complete;
        let draining = meter.phase == Phase::Draining;
        if complete > 0 && self.target.scenario.churn {
            self.connections[index] = None;
            return if draining { Ok(()) } else { self.begin(ring, index, meter.now()) };
        }
        if complete > 0 && !draining {
            self.send(ring, index, complete, meter.now())?;
        }
        if !cqueue::more(completion.flags()) {
            self.receive(ring, index)?;
        }
        Ok(())
    }
}

const GROUP: u16 = 0;
const SEND: u64 = u64::MAX;
