//! What users may do with a child process.

use std::any::Any;

use anyloop_api::{Error, RawSubprocess, RawTransport, Result, Transport};

use super::{CLOSING, OVER, Process, spawn};
use crate::begin::Begin;

impl RawSubprocess for Process {
    fn get_pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn get_returncode(&self) -> Option<i32> {
        self.returncode.get()
    }

    fn get_pipe_transport(&self, fd: i32) -> Option<Transport> {
        let index = usize::try_from(fd).ok()?;
        let pipe = self.pipes.borrow().get(index)?.clone()?;
        Some(pipe.handle())
    }

    fn send_signal(&self, signal: i32) -> Result<()> {
        if self.has(OVER) {
            return Err(Error::ProcessGone(
                format!("send_signal: the child process {} is gone", self.pid).into(),
            ));
        }
        if self.returncode.get().is_some() {
            return spawn::signal(signal).map(drop);
        }
        self.signal(signal)
    }

    fn close(&self) {
        if self.has(CLOSING) {
            return;
        }
        self.set(CLOSING);
        let pipes = self.pipes.borrow().clone();
        for pipe in pipes.iter().flatten() {
            // What was not written yet would be for a child that is being killed.
            pipe.abort();
        }
        // One that has ended already is not signalled (SUB-12).
        self.look();
        if self.returncode.get().is_none() {
            let _ = self.signal(9);
        }
    }

    fn is_closing(&self) -> bool {
        self.has(CLOSING)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
