//! Tasks, callbacks, and what they hand to each other.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;

use super::measure::Effort;
use super::peer::Signal;
use super::runtime::Executor;

/// Measures them.
pub(super) async fn run<E: Executor>(effort: Effort) {
    effort
        .measure("spawn-join-batch", BATCH, async || {
            let handles: Vec<_> =
                (0..BATCH).map(|number| E::spawn(async move { number })).collect();
            let mut sum = 0;
            for handle in handles {
                sum += handle.await;
            }
            assert_eq!(sum, BATCH * (BATCH - 1) / 2);
        })
        .await;
    effort
        .measure("spawn-join-serial", BATCH, async || {
            for number in 0..BATCH {
                assert_eq!(E::spawn(async move { number }).await, number);
            }
        })
        .await;
    if E::spawn_eagerly(async {}).is_some() {
        effort
            .measure("spawn-join-eager", BATCH, async || {
                for number in 0..BATCH {
                    if let Some(task) = E::spawn_eagerly(async move { number }) {
                        assert_eq!(task.await, number);
                    }
                }
            })
            .await;
    }
    call_soon::<E>(effort).await;
    effort
        .measure("yield-waker", BATCH, async || {
            for _ in 0..BATCH {
                yield_by_waker().await;
            }
        })
        .await;
    if E::yield_now().is_some() {
        effort
            .measure("yield-own", BATCH, async || {
                for _ in 0..BATCH {
                    if let Some(others) = E::yield_now() {
                        others.await;
                    }
                }
            })
            .await;
    }
    for (name, rounds) in [("one-shot", E::one_shot as fn(u32) -> _), ("queue", E::queue)] {
        if rounds(1).is_some() {
            effort
                .measure(name, BATCH, async || {
                    if let Some(rounds) = rounds(BATCH) {
                        rounds.await;
                    }
                })
                .await;
        }
    }
}

async fn call_soon<E: Executor>(effort: Effort) {
    let count = Arc::new(AtomicU32::new(0));
    let all = Arc::new(Signal::default());
    effort
        .measure("call-soon-batch", BATCH, async || {
            count.store(0, Relaxed);
            let finish = all.count().wrapping_add(1);
            for _ in 0..BATCH {
                let (count, all) = (Arc::clone(&count), Arc::clone(&all));
                E::call_soon(move || {
                    if count.fetch_add(1, Relaxed) + 1 == BATCH {
                        all.raise();
                    }
                });
            }
            all.reached(finish).await;
        })
        .await;
}

/// Wakes itself and lets others run first.
async fn yield_by_waker() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

const BATCH: u32 = 1000;
