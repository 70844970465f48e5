//! The protocol under a [`Process`](super::Process): a stream protocol per pipe.

use std::cell::RefCell;
use std::rc::Rc;

use anyloop_api::{Error, Protocol, SubprocessProtocol, SubprocessTransport};

use crate::streams::{StreamReader, StreamReaderProtocol};
use crate::sync::Event;

/// Hands what the loop says about each pipe to that pipe's stream.
pub(super) struct ProcessProtocol {
    limit: usize,
    pipes: RefCell<[Option<Rc<StreamReaderProtocol>>; 3]>,
    exited: Event,
}

impl ProcessProtocol {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, pipes: RefCell::default(), exited: Event::new() }
    }

    /// Set once the child has ended.
    pub(super) fn exited(&self) -> &Event {
        &self.exited
    }

    pub(super) fn pipe(&self, fd: i32) -> Option<Rc<StreamReaderProtocol>> {
        let index = usize::try_from(fd).ok()?;
        self.pipes.borrow().get(index)?.clone()
    }
}

impl SubprocessProtocol for ProcessProtocol {
    fn connection_made(&self, transport: SubprocessTransport) {
        for fd in 0..3 {
            let Some(pipe) = transport.get_pipe_transport(fd) else { continue };
            let Ok(reader) = StreamReader::new(self.limit) else { continue };
            let stream = StreamReaderProtocol::new(reader);
            stream.connection_made(pipe);
            self.pipes.borrow_mut()[fd as usize] = Some(stream);
        }
    }

    fn pipe_data_received(&self, fd: i32, data: &[u8]) {
        if let Some(stream) = self.pipe(fd) {
            stream.data_received(data);
        }
    }

    fn pipe_connection_lost(&self, fd: i32, error: Option<Error>) {
        if let Some(stream) = self.pipe(fd) {
            stream.connection_lost(error);
        }
    }

    fn process_exited(&self) {
        self.exited.set();
    }

    fn pause_writing(&self) {
        if let Some(stdin) = self.pipe(0) {
            stdin.pause_writing();
        }
    }

    fn resume_writing(&self) {
        if let Some(stdin) = self.pipe(0) {
            stdin.resume_writing();
        }
    }
}
