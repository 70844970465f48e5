//! Work that comes from other threads or goes to them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::measure::Effort;
use super::peer::{Peer, Signal, Waiting};
use super::runtime::{Post, Runtime};
use crate::machine;

/// Measures it.
pub(super) async fn run<R: Runtime>(effort: Effort) -> io::Result<()> {
    round_trip::<R>("round-trip-parked", Waiting::Parked, effort).await?;
    let (first, second) = machine::choose_cpus()?;
    if first != second {
        round_trip::<R>("round-trip-spinning", Waiting::Spinning, effort).await?;
    }
    wake_burst::<R>(effort).await?;
    if let Some(poster) = R::poster() {
        post_burst(poster, effort).await?;
    }
    blocking::<R>(effort).await
}

/// A request to another thread, and the wake-up that brings its answer.
async fn round_trip<R: Runtime>(name: &str, waiting: Waiting, effort: Effort) -> io::Result<()> {
    let answer = Arc::new(Signal::default());
    let answering = Arc::clone(&answer);
    let peer = Peer::start(waiting, move || answering.raise())?;
    effort
        .measure(name, ROUNDS, async || {
            for _ in 0..ROUNDS {
                let next = answer.count().wrapping_add(1);
                peer.ask();
                answer.reached(next).await;
            }
        })
        .await;
    Ok(())
}

/// Many tasks, each woken by another thread, one right after the other.
async fn wake_burst<R: Runtime>(effort: Effort) -> io::Result<()> {
    let signals: Arc<Vec<Signal>> = Arc::new((0..BURST).map(|_| Signal::default()).collect());
    let raised = Arc::clone(&signals);
    let peer = Peer::start(Waiting::Parked, move || raised.iter().for_each(Signal::raise))?;
    let round = Arc::new(AtomicU32::new(0));
    let all = Arc::new(Signal::default());
    effort
        .measure_prepared("wake-burst", BURST, async |clock| {
            let next = round.fetch_add(1, SeqCst).wrapping_add(1);
            let counted = Arc::new(AtomicU32::new(0));
            let finish = all.count().wrapping_add(1);
            let tasks: Vec<_> = (0..BURST as usize)
                .map(|index| {
                    let (signals, counted) = (Arc::clone(&signals), Arc::clone(&counted));
                    let all = Arc::clone(&all);
                    R::spawn(async move {
                        signals[index].reached(next).await;
                        if counted.fetch_add(1, SeqCst) + 1 == BURST {
                            all.raise();
                        }
                    })
                })
                .collect();
            // Every task has been polled once when one spawned after them has run.
            R::spawn(async {}).await;
            clock.start();
            peer.ask();
            all.reached(finish).await;
            clock.stop();
            for task in tasks {
                task.await;
            }
        })
        .await;
    Ok(())
}

/// Many callbacks posted by another thread, one right after the other.
async fn post_burst(poster: impl Post, effort: Effort) -> io::Result<()> {
    // Never freed: references that both threads count would be most of what is measured.
    let count: &'static AtomicU32 = Box::leak(Box::default());
    let all: &'static Signal = Box::leak(Box::default());
    // Waking the poster is not what is measured, if it can be spared.
    let (first, second) = machine::choose_cpus()?;
    let waiting = if first == second { Waiting::Parked } else { Waiting::Spinning };
    let peer = Peer::start(waiting, move || {
        for _ in 0..BURST {
            poster.post(move || {
                if count.fetch_add(1, SeqCst) + 1 == BURST {
                    all.raise();
                }
            });
        }
    })?;
    effort
        .measure("post-burst", BURST, async || {
            count.store(0, SeqCst);
            let finish = all.count().wrapping_add(1);
            peer.ask();
            all.reached(finish).await;
        })
        .await;
    Ok(())
}

/// Nothing at all, done by the pool for blocking calls.
async fn blocking<R: Runtime>(effort: Effort) -> io::Result<()> {
    // The pool's threads inherit their CPU from the one that starts them: the second one, as the
    // other peers.
    let (first, second) = machine::choose_cpus()?;
    machine::pin(second)?;
    R::unblock(|| ()).await;
    machine::pin(first)?;
    effort
        .measure("blocking", ROUNDS, async || {
            for _ in 0..ROUNDS {
                R::unblock(|| ()).await;
            }
        })
        .await;
    Ok(())
}

const ROUNDS: u32 = 100;
const BURST: u32 = 1000;
