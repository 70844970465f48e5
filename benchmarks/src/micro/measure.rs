//! Taking samples.

use std::time::{Duration, Instant};

use crate::stats::median;

/// How much time a measurement may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Samples are taken until this is over.
    time: Duration,
    /// At least so many, whatever they take.
    least: usize,
    /// How many timers fire.
    pub(crate) timers: u32,
}

impl Effort {
    /// Enough for stable medians, or for knowing that everything works.
    pub(crate) fn new(smoke: bool) -> Self {
        if smoke {
            Self { time: Duration::from_millis(5), least: 3, timers: 100 }
        } else {
            Self { time: Duration::from_millis(200), least: 11, timers: 2_000 }
        }
    }

    /// Prints the median time of one of the `operations` that each call of `sample` performs.
    pub(crate) async fn measure(self, name: &str, operations: u32, mut sample: impl AsyncFnMut()) {
        self.measure_prepared(name, operations, async |clock| {
            clock.start();
            sample().await;
            clock.stop();
        })
        .await;
    }

    /// As [`measure`](Self::measure), but the sample says when its clock runs.
    pub(crate) async fn measure_prepared(
        self,
        name: &str,
        operations: u32,
        mut sample: impl AsyncFnMut(&mut Clock),
    ) {
        let mut clock = Clock { started: Instant::now(), elapsed: Duration::ZERO };
        sample(&mut clock).await;
        let begin = Instant::now();
        let mut times = Vec::new();
        while times.len() < self.least || begin.elapsed() < self.time {
            sample(&mut clock).await;
            times.push(clock.elapsed.as_nanos() as f64 / f64::from(operations));
        }
        print(name, median(&times));
    }
}

/// The clock of a sample.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    elapsed: Duration,
}

impl Clock {
    /// What follows counts.
    pub(crate) fn start(&mut self) {
        self.started = Instant::now();
    }

    /// What follows does not count any more.
    pub(crate) fn stop(&mut self) {
        self.elapsed = self.started.elapsed();
    }
}

/// Prints a figure for the parent.
pub(crate) fn print(name: &str, nanoseconds: f64) {
    println!("{name} {nanoseconds:.1}");
}
