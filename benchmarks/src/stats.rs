//! Quantiles, and a histogram for latencies.

use std::time::Duration;

/// The value below which `share` of `values` lie, interpolated; NaN for none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share * last as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64)
}

/// The 20 % quantile of costs: a disturbance only ever makes them larger. NaN for none.
pub(crate) fn undisturbed(costs: &[f64]) -> f64 {
    quantile(costs, 0.2)
}

/// The middle of `values`; NaN for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Counts of durations in buckets of about 1.6 % width, from 1 ns to about 18 s.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Counts one duration, given in nanoseconds.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds).min(BUCKETS - 1)] += 1;
        self.total += 1;
    }

    /// Adds the counts of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The duration that `share` of what was recorded does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = ((share * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(index));
            }
        }
        Duration::ZERO
    }

    /// Points (duration, share at or below it) for drawing.
    pub(crate) fn cumulative(&self) -> Vec<(Duration, f64)> {
        let mut seen = 0;
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled
            .map(|(index, &count)| {
                seen += count;
                (Duration::from_nanos(upper_bound(index)), seen as f64 / self.total as f64)
            })
            .collect()
    }
}

/// Which bucket a duration falls into: exact below `SUB`, then `SUB` buckets per power of two.
fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < SUB {
        return nanoseconds as usize;
    }
    let shift = nanoseconds.ilog2() - SUB.ilog2();
    ((u64::from(shift) << SUB.ilog2()) + (nanoseconds >> shift)) as usize
}

/// The largest duration that falls into the bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    ((bucket % SUB + SUB + 1) << shift) - 1
}

/// Buckets per power of two.
const SUB: u64 = 64;
const BUCKETS: usize = 30 * SUB as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&[0.0, 10.0], 0.2), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn buckets_are_contiguous_and_tight() {
        for nanoseconds in (0..100_000).chain([1 << 30, (1 << 33) + 12_345]) {
            let bound = upper_bound(bucket(nanoseconds));
            assert!(bound >= nanoseconds, "{nanoseconds} is above its bucket");
            assert!(bound as f64 <= nanoseconds as f64 * 1.016 + 1.0, "{nanoseconds} is far below");
        }
    }

    #[test]
    fn a_histogram_knows_its_quantiles() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|microseconds| histogram.record(microseconds * 1000));
        let median = histogram.quantile(0.5).as_nanos() as f64;
        assert!((median / 500_000.0 - 1.0).abs() < 0.02);
        let whole = histogram.cumulative();
        assert_eq!(whole.last().map(|point| point.1), Some(1.0));
    }
}
