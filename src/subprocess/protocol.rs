//! The protocol under a [`Process`](super::Process): a stream protocol per pipe.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use anyloop_api::{
    Cancellable, Cancelled, Error, LoopFuture, Protocol, Result, SubprocessProtocol,
    SubprocessTransport, clear_waiter, set_waiter,
};

use crate::streams::{StreamReader, StreamReaderProtocol};

/// Hands what the loop says about each pipe to that pipe's stream.
pub(super) struct ProcessProtocol {
    limit: usize,
    pipes: RefCell<[Pipe; 3]>,
    /// Done once the child has ended.
    exited: LoopFuture<()>,
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
    pub(super) fn new(limit: usize, exited: LoopFuture<()>) -> Self {
        let (pipes, handed_out) = (RefCell::default(), Cell::new(false));
        Self { limit, pipes, exited, handed_out }
    }

    /// Waits until the child has ended.
    pub(super) fn exit(self: &Rc<Self>) -> Exit {
        Exit { protocol: self.clone(), exited: self.exited.clone() }
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
        if !self.handed_out.get() || !self.exited.done() {
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
            stream.mark_as_childs();
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
        self.exited.set_unless_done(Ok(()));
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

/// For dumps of what a task is suspended on. A cancellation drops the wait, which changes nothing.
impl Cancellable for ProcessProtocol {
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "the end of a child process".into()
    }
}

/// One of any number of waits for the end of a child: a cancellation concerns none of the others (SUB-05).
pub(super) struct Exit {
    protocol: Rc<ProcessProtocol>,
    exited: LoopFuture<()>,
}

impl Future for Exit {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self.exited.poll_done(cx, false);
        if polled.is_pending() {
            set_waiter(|| self.protocol.clone());
        }
        polled
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        clear_waiter(&self.protocol);
    }
}
