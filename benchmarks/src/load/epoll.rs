//! The generator on epoll, for machines without io_uring.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::connection::Connection;
use super::pattern::Pattern;
use super::{Meter, PATIENCE, Phase, Target};
use crate::pages::Pages;

/// The poller of one load and its connections.
pub(crate) struct Generator {
    target: Target,
    pattern: Pattern,
    poller: OwnedFd,
    connections: Vec<Option<Connection>>,
    events: Vec<epoll::Event>,
    buffer: Pages,
    /// Messages under way.
    pending: usize,
}

impl Generator {
    /// Connects; for churn nothing is connected yet.
    pub(super) fn open(target: Target) -> io::Result<Self> {
        let scenario = target.scenario;
        let mut generator = Self {
            target,
            pattern: Pattern::new(&scenario),
            poller: epoll::create(CreateFlags::CLOEXEC)?,
            connections: (0..scenario.connections).map(|_| None).collect(),
            events: Vec::with_capacity(256),
            buffer: Pages::new(64 << 10),
            pending: 0,
        };
        if !scenario.churn {
            (0..scenario.connections).try_for_each(|index| generator.connect(index))?;
        }
        Ok(generator)
    }

    /// Runs until the meter says it is enough and every answer is there.
    pub(super) fn run(&mut self, meter: &mut Meter) -> io::Result<()> {
        let patience = if self.target.spins { Duration::ZERO } else { PATIENCE };
        let patience =
            Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        for index in 0..self.connections.len() {
            self.begin(index, meter.now())?;
        }
        while self.pending > 0 {
            self.events.clear();
            match epoll::wait(&self.poller, spare_capacity(&mut self.events), Some(&patience)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            meter.tick(!self.events.is_empty())?;
            for index in 0..self.events.len() {
                self.ready(self.events[index].data.u64() as usize, meter)?;
            }
        }
        Ok(())
    }

    /// Starts a connection off: as many messages as it may have in flight.
    fn begin(&mut self, index: usize, now: u64) -> io::Result<()> {
        if self.target.scenario.churn {
            self.connect(index)?;
        }
        if let Some(connection) = &mut self.connections[index] {
            connection.push(self.target.scenario.in_flight, self.target.scenario.size, now);
            self.pending += self.target.scenario.in_flight;
            flush(connection, &self.pattern)?;
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let socket = self.target.connect()?;
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.poller, socket.as_fd(), EventData::new_u64(index as u64), interest)?;
        self.connections[index] = Some(Connection::new(socket, self.pattern.start(index)));
        Ok(())
    }

    /// Moves what can be moved on one connection.
    fn ready(&mut self, index: usize, meter: &mut Meter) -> io::Result<()> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        flush(connection, &self.pattern)?;
        loop {
            let length = match recv(&connection.socket, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::Error::other("the server closed a connection")),
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let bytes = &self.buffer[..length];
            let complete =
                connection.received(bytes, self.target.scenario.size, &self.pattern, meter)?;
            self.pending -= complete;
            if complete > 0 && self.target.scenario.churn {
                self.connections[index] = None;
                if meter.phase != Phase::Draining {
                    self.begin(index, meter.now())?;
                }
                return Ok(());
            }
            if complete > 0 && meter.phase != Phase::Draining {
                connection.push(complete, self.target.scenario.size, meter.now());
                self.pending += complete;
                flush(connection, &self.pattern)?;
            }
            if length < self.buffer.len() {
                return Ok(());
            }
        }
    }
}

/// Sends until everything has left or the socket is full.
fn flush(connection: &mut Connection, pattern: &Pattern) -> io::Result<()> {
    loop {
        let bytes = connection.outgoing(pattern);
        if bytes.is_empty() {
            return Ok(());
        }
        match send(&connection.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(length) => connection.sent(length, pattern),
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
