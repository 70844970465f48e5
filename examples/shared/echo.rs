//! An echo server as a protocol: used by several examples.

use std::cell::OnceCell;

use anyloop::{Protocol, Transport};

/// Sends back what it receives. A peer that sends but does not read is not read from either.
#[derive(Default)]
pub(crate) struct Echo {
    transport: OnceCell<Transport>,
}

impl Echo {
    fn with(&self, f: impl FnOnce(&Transport)) {
        if let Some(transport) = self.transport.get() {
            f(transport);
        }
    }
}

impl Protocol for Echo {
    fn connection_made(&self, transport: Transport) {
        let _ = self.transport.set(transport);
    }

    fn data_received(&self, data: &[u8]) {
        // Fails only after `write_eof`, which nobody calls here.
        self.with(|transport| drop(transport.write(data)));
    }

    fn pause_writing(&self) {
        self.with(Transport::pause_reading);
    }

    fn resume_writing(&self) {
        self.with(Transport::resume_reading);
    }
}
