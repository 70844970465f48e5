//! The protocol under a [`Process`](super::Process): a stream protocol per pipe.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use anyloop_api::{Error, Protocol, SubprocessProtocol, SubprocessTransport};

use crate::streams::{StreamReader, StreamReaderProtocol};
use crate::sync::Event;

/// Hands what the loop says about each pipe to that pipe's stream.
pub(super) struct ProcessProtocol {
    limit: usize,
    pipes: RefCell<[Pipe; 3]>,
    exited: Event,
    handed_out: Cell<bool>,
}

/// The stream of one pipe.
#[derive(Default)]
struct Pipe {
    stream: Weak<StreamReaderProtocol>,
    /// While somebody may still come for it.
    kept: Option<Rc<StreamReaderProtocol>>,
}

impl ProcessProtocol {
    pub(super) fn new(limit: usize) -> Self {
        let (pipes, handed_out) = (RefCell::default(), Cell::new(false));
        Self { limit, pipes, exited: Event::new(), handed_out }
    }

    /// Set once the child has ended.
    pub(super) fn exited(&self) -> &Event {
        &self.exited
    }

    pub(super) fn pipe(&self, fd: i32) -> Option<Rc<StreamReaderProtocol>> {
        let index = usize::try_from(fd).ok()?;
        self.pipes.borrow().get(index)?.stream.upgrade()
    }

    /// Who started the child has the streams now.
    pub(super) fn hand_out(&self) {
        self.handed_out.set(true);
        self.let_go();
    }

    /// The loop keeps the pipes of a child that runs. What a dead one has left behind is for those who have a
    /// handle; without one nobody would ever end a pipe that is paused.
    fn let_go(&self) {
        if !self.handed_out.get() || !self.exited.is_set() {
            return;
        }
        let outputs = {
            let [_, out, err] = &mut *self.pipes.borrow_mut();
            [out.kept.take(), err.kept.take()]
        };
        for stream in outputs.iter().flatten() {
            stream.close_with_last_reader();
        }
    }
}

impl SubprocessProtocol for ProcessProtocol {
    fn connection_made(&self, transport: SubprocessTransport) {
        for fd in 0..3 {
            let Some(pipe) = transport.get_pipe_transport(fd) else { continue };
            let Ok(reader) = StreamReader::new(self.limit) else { continue };
            let stream = StreamReaderProtocol::new(reader);
            stream.connection_made(pipe);
            self.pipes.borrow_mut()[fd as usize] =
                Pipe { stream: Rc::downgrade(&stream), kept: Some(stream) };
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
        self.let_go();
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
