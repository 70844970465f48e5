//! A bare epoll loop drives a loop of each backend: `examples/embed.rs`.
#![cfg(all(target_os = "linux", feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

#[path = "../examples/embed.rs"]
#[allow(dead_code, unreachable_pub, reason = "the example's own main")]
mod embed;

use std::time::{Duration, Instant};

use anyloop::{EventLoopExt, Result};

on_every_backend! {
    fn the_host_keeps_its_own_pace_and_ours(backend) {
        let begin = Instant::now();
        let seen = embed::run(backend)?;
        assert_eq!(seen.answer, "driven by epoll");
        assert_eq!(seen.from_thread, "a thread was here");
        // Sleeps of 80 ms altogether, so as many ticks; nobody turns without need.
        assert!(begin.elapsed() >= Duration::from_millis(80), "{seen:?}");
        assert!(seen.ticks >= 4, "{seen:?}");
        assert!(seen.turns < 150, "turned in vain: {seen:?}");
        Ok(())
    }

    fn the_timeout_says_what_is_due(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        assert_eq!(lp.next_timeout(), None);
        let timer = lp.call_later(Duration::from_secs(60), || ())?;
        let timeout = lp.next_timeout().expect("a timer");
        assert!(timeout <= Duration::from_secs(60) && timeout > Duration::from_secs(50));
        timer.cancel();
        lp.call_soon(|| ())?;
        assert_eq!(lp.next_timeout(), Some(Duration::ZERO));
        lp.turn()?;
        assert_eq!(lp.next_timeout(), None);
        // Asked twice, it does not take its own preparation for a wake-up.
        assert_eq!(lp.next_timeout(), None);
        lp.remote().call_soon_threadsafe(|| ())?;
        assert_eq!(lp.next_timeout(), Some(Duration::ZERO));
        lp.turn()?;
        assert_eq!(lp.next_timeout(), None);
        // After being embedded it still runs by itself.
        let l2 = lp.clone();
        lp.call_later(Duration::from_millis(5), move || l2.stop())?;
        lp.run_forever()?;
        lp.close()?;
        assert_eq!(lp.next_timeout(), None);
        Ok(())
    }
}
