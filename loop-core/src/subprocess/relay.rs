//! Between a child's pipe and the child's protocol.

use std::rc::Weak;

use anyloop_api::{Protocol, SubprocessProtocol};

use super::Process;

/// The protocol of one pipe, unless it is given another: hands everything on to the child's but the end, which
/// concerns the child in any case.
pub(super) struct PipeRelay {
    pub(super) process: Weak<Process>,
    pub(super) number: i32,
}

impl PipeRelay {
    fn relay(&self, f: impl FnOnce(&dyn SubprocessProtocol)) {
        let protocol = self.process.upgrade().and_then(|process| process.voice.protocol());
        if let Some(protocol) = protocol {
            f(&*protocol);
        }
    }
}

/// Panics are the pipe's to catch, which they end.
impl Protocol for PipeRelay {
    fn data_received(&self, data: &[u8]) {
        self.relay(|protocol| protocol.pipe_data_received(self.number, data));
    }

    fn pause_writing(&self) {
        self.relay(|protocol| protocol.pause_writing());
    }

    fn resume_writing(&self) {
        self.relay(|protocol| protocol.resume_writing());
    }
}
