//! The generator on epoll.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use super::connection::Connection;
use super::pattern::Pattern;
use super::{Meter, Phase, Plan, Slice};
use crate::scenario::Scenario;

/// The connections of one scenario to one server.
pub(crate) struct Load {
    address: SocketAddr,
    scenario: Scenario,
    pattern: Pattern,
    poller: OwnedFd,
    connections: Vec<Option<Connection>>,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    /// Messages under way.
    pending: usize,
}

impl Load {
    /// Connects; for churn nothing is connected yet.
    pub(crate) fn open(address: SocketAddr, scenario: &Scenario) -> io::Result<Self> {
        let mut load = Self {
            address,
            scenario: *scenario,
            pattern: Pattern::new(scenario),
            poller: epoll::create(CreateFlags::CLOEXEC)?,
            connections: (0..scenario.connections).map(|_| None).collect(),
            events: Vec::with_capacity(256),
            buffer: vec![0; 256 << 10],
            pending: 0,
        };
        if !scenario.churn {
            (0..scenario.connections).try_for_each(|index| load.connect(index))?;
        }
        Ok(load)
    }

    /// Puts load on the server for one slice and reports on it.
    pub(crate) fn run(
        &mut self,
        plan: Plan,
        server_cpu: &dyn Fn() -> Duration,
    ) -> io::Result<Slice> {
        let mut meter = Meter::new(plan, server_cpu);
        for index in 0..self.connections.len() {
            self.begin(index, meter.now())?;
        }
        while self.pending > 0 {
            self.events.clear();
            match epoll::wait(&self.poller, spare_capacity(&mut self.events), Some(&PATIENCE)) {
                Ok(0) => return Err(io::Error::other("the server stopped answering")),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            meter.tick();
            for index in 0..self.events.len() {
                self.ready(self.events[index].data.u64() as usize, &mut meter)?;
            }
        }
        Ok(meter.slice)
    }

    /// Starts a connection off: as many messages as it may have in flight.
    fn begin(&mut self, index: usize, now: u64) -> io::Result<()> {
        if self.scenario.churn {
            self.connect(index)?;
        }
        if let Some(connection) = &mut self.connections[index] {
            connection.push(self.scenario.in_flight, self.scenario.size, now);
            self.pending += self.scenario.in_flight;
            flush(connection, &self.pattern)?;
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Blocking, but on loopback the handshake is over when the call returns.
        connect(&socket, &self.address)?;
        set_tcp_nodelay(&socket, true)?;
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.poller, socket.as_fd(), EventData::new_u64(index as u64), interest)?;
        self.connections[index] = Some(Connection::new(socket, self.pattern.start(index)));
        Ok(())
    }

    /// Moves what can be moved on one connection.
    fn ready(&mut self, index: usize, meter: &mut Meter<'_>) -> io::Result<()> {
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
            let complete = connection.received(bytes, self.scenario.size, &self.pattern, meter)?;
            self.pending -= complete;
            if complete > 0 && self.scenario.churn {
                self.connections[index] = None;
                if meter.phase != Phase::Draining {
                    self.begin(index, meter.now())?;
                }
                return Ok(());
            }
            if complete > 0 && meter.phase != Phase::Draining {
                connection.push(complete, self.scenario.size, meter.now());
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

/// How long a server may be silent before the run is given up.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
