//! Timers: what it costs to start and cancel one, and to let one fire, and how late it is.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::measure::{Effort, print};
use super::runtime::Runtime;
use crate::stats::{median, quantile};

/// Measures them.
pub(super) async fn run<R: Runtime>(effort: Effort) {
    start_and_cancel::<R>("timer-cancel-serial", effort).await;
    let mut live = Vec::new();
    for number in 0..10_000_u32 {
        let mut timer = Box::pin(R::sleep(minutes(number)));
        arm(timer.as_mut()).await;
        live.push(timer);
    }
    start_and_cancel::<R>("timer-cancel-10k", effort).await;
    drop(live);
    fire::<R>(effort).await;
    fire_together::<R>(effort).await;
}

async fn start_and_cancel<R: Runtime>(name: &str, effort: Effort) {
    let mut number = 0_u32;
    effort
        .measure(name, BATCH, async || {
            for _ in 0..BATCH {
                number = number.wrapping_add(1);
                arm(pin!(R::sleep(minutes(number)))).await;
            }
        })
        .await;
}

/// Lets timers fire, each at a moment of its own.
async fn fire<R: Runtime>(effort: Effort) {
    let lateness = Arc::new(Mutex::new(Vec::with_capacity(effort.timers as usize)));
    let begin = Instant::now() + Duration::from_millis(20);
    for number in 0..effort.timers {
        // Spread evenly, started in disorder.
        let place = (number * 7919) % effort.timers;
        let due = begin + Duration::from_micros(100) * place;
        let lateness = Arc::clone(&lateness);
        R::call_later(due.saturating_duration_since(Instant::now()), move || {
            let late = due.elapsed().as_nanos() as f64;
            lateness.lock().expect("nothing panicked").push(late);
        });
    }
    // Their tasks begin before this one comes back.
    R::sleep(Duration::from_millis(5)).await;
    let cpu = process_cpu();
    let fired = || lateness.lock().expect("nothing panicked").len() as u32;
    while fired() < effort.timers {
        R::sleep(Duration::from_millis(50)).await;
    }
    let cpu = process_cpu() - cpu;
    print("timer-fired-cpu", cpu.as_nanos() as f64 / f64::from(effort.timers));
    let lateness = lateness.lock().expect("nothing panicked").clone();
    print("timer-late-p50", quantile(&lateness, 0.5));
    print("timer-late-p99", quantile(&lateness, 0.99));
}

/// Lets timers fire, all at the same moment: what one costs beside the sleep before it.
async fn fire_together<R: Runtime>(effort: Effort) {
    let mut costs = Vec::new();
    for _ in 0..SAMPLES {
        let fired = Arc::new(AtomicU32::new(0));
        let due = Instant::now() + Duration::from_millis(20);
        for _ in 0..effort.timers {
            let fired = Arc::clone(&fired);
            R::call_later(due.saturating_duration_since(Instant::now()), move || {
                fired.fetch_add(1, Relaxed);
            });
        }
        R::sleep(Duration::from_millis(5)).await;
        let cpu = process_cpu();
        while fired.load(Relaxed) < effort.timers {
            R::sleep(Duration::from_millis(25)).await;
        }
        costs.push((process_cpu() - cpu).as_nanos() as f64 / f64::from(effort.timers));
    }
    print("timer-fired-together", median(&costs));
}

/// Arms a timer: its first poll.
pub(super) async fn arm(mut timer: Pin<&mut impl Future<Output = ()>>) {
    poll_fn(|context| {
        assert!(timer.as_mut().poll(context).is_pending(), "it is not due for minutes");
        Poll::Ready(())
    })
    .await;
}

/// A delay between one minute and about two hours.
pub(super) fn minutes(number: u32) -> Duration {
    Duration::from_millis(60_000 + u64::from(number.wrapping_mul(2_654_435_761) >> 9))
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const BATCH: u32 = 1000;
const SAMPLES: u32 = 7;
