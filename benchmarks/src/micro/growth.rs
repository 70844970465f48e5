//! The same operation beside more and more timers and tasks.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use super::measure::Effort;
use super::peer::Signal;
use super::runtime::Runtime;
use super::timers::{arm, minutes};

/// How many timers there are.
pub(crate) const TIMERS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// How many tasks there are.
pub(crate) const TASKS: [u32; 3] = [1_000, 10_000, 100_000];
/// A smoke run leaves out what is larger.
const SMOKE: u32 = 10_000;

/// Measures it; the figures are called `timers-1000` and so on.
pub(super) async fn run<R: Runtime>(effort: Effort, smoke: bool) {
    let fits = |count: &u32| !smoke || *count <= SMOKE;
    let mut live = Vec::new();
    for count in TIMERS.into_iter().filter(fits) {
        for number in live.len() as u32..count {
            let mut timer = Box::pin(R::sleep(minutes(number)));
            arm(timer.as_mut()).await;
            live.push(timer);
        }
        let mut number = count;
        effort
            .measure(&format!("timers-{count}"), BATCH, async || {
                for _ in 0..BATCH {
                    number = number.wrapping_add(1);
                    arm(pin!(R::sleep(minutes(number)))).await;
                }
            })
            .await;
    }
    drop(live);
    for count in TASKS.into_iter().filter(fits) {
        tasks::<R>(effort, count).await;
    }
}

/// Beside `count` suspended tasks: another one is spawned and joined; and all of them take a step.
async fn tasks<R: Runtime>(effort: Effort, count: u32) {
    let signals: Arc<Vec<Signal>> = Arc::new((0..count).map(|_| Signal::default()).collect());
    let (stepped, all) = (Arc::new(AtomicU32::new(0)), Arc::new(Signal::default()));
    let over = Arc::new(AtomicBool::new(false));
    let handles: Vec<_> = (0..count as usize)
        .map(|index| {
            let (signals, stepped) = (Arc::clone(&signals), Arc::clone(&stepped));
            let (all, over) = (Arc::clone(&all), Arc::clone(&over));
            R::spawn(async move {
                let mut round = 0_u32;
                while !over.load(SeqCst) {
                    if stepped.fetch_add(1, SeqCst) + 1 == count {
                        all.raise();
                    }
                    round = round.wrapping_add(1);
                    signals[index].reached(round).await;
                }
            })
        })
        .collect();
    all.reached(1).await;
    effort
        .measure(&format!("spawns-{count}"), BATCH, async || {
            let handles: Vec<_> =
                (0..BATCH).map(|number| R::spawn(async move { number })).collect();
            for handle in handles {
                handle.await;
            }
        })
        .await;
    effort
        .measure(&format!("steps-{count}"), count, async || {
            stepped.store(0, SeqCst);
            let next = all.count().wrapping_add(1);
            signals.iter().for_each(Signal::raise);
            all.reached(next).await;
        })
        .await;
    over.store(true, SeqCst);
    signals.iter().for_each(Signal::raise);
    for handle in handles {
        handle.await;
    }
}

const BATCH: u32 = 1000;
