//! More receives than buffers, where a buffer is one message.

use std::time::Duration;

use crate::common::{PATIENCE, Rig, key, pair, say};
use anyloop_core::driver::Event;

/// All find no buffer at first; those that are armed next have nothing to receive.
fn idle_streams_keep_nobody_from_receiving() {
    for (words, buffers) in [("no-incremental", 64), ("buffers=1,no-incremental", 1)] {
        let mut rig = Rig::words(words);
        let mut ends = Vec::new();
        for slot in 0..2 * buffers + 1 {
            let (ours, mut peer) = pair();
            let idle = (buffers..2 * buffers).contains(&slot);
            if !idle {
                say(&mut peer, b"hello");
            }
            rig.recv_start(&ours, key(slot));
            ends.push((ours, peer));
        }
        let mut received = 0;
        while received < 5 * (buffers as usize + 1) {
            assert!(rig.poll(PATIENCE) > 0, "{words}: {received} bytes, and then a sleep");
            for event in rig.events.drain(..) {
                if let Event::Data { chunk, .. } = event {
                    received += chunk.len();
                }
            }
        }
        assert_eq!(rig.poll(Duration::ZERO), 0);
    }
}

trials! {
    idle_streams_keep_nobody_from_receiving,
}
