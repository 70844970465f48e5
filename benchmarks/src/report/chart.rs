//! Charts as SVG: horizontal bars and latency curves, readable on light and on dark pages.

use std::time::Duration;

use crate::servers::Kind;

/// One bar.
#[derive(Debug)]
pub(crate) struct Bar {
    /// What it stands for.
    pub(crate) label: String,
    /// How long it is.
    pub(crate) value: f64,
    /// Decides its colour.
    pub(crate) kind: Kind,
}

/// One curve of a cumulative distribution.
#[derive(Debug)]
pub(crate) struct Curve {
    /// What it stands for.
    pub(crate) label: String,
    /// Durations and the share at or below them.
    pub(crate) points: Vec<(Duration, f64)>,
    /// Decides its weight.
    pub(crate) kind: Kind,
}

/// How something develops.
#[derive(Debug)]
pub(crate) struct Line {
    /// What it stands for.
    pub(crate) label: String,
    /// Growing numbers, and the value at each.
    pub(crate) points: Vec<(f64, f64)>,
    /// Decides its weight.
    pub(crate) kind: Kind,
}

/// Lines over a logarithmic axis of numbers, from zero.
pub(crate) fn lines(title: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (low, high) =
        points().fold((f64::MAX, 0.0_f64), |(low, high), p| (low.min(p.0), high.max(p.0)));
    let top = points().fold(0.0_f64, |top, point| top.max(point.1)).ceil().max(1.0);
    if low >= high {
        return page(title, TOP, "");
    }
    let x = |number: f64| {
        40.0 + (number.log10() - low.log10()) / (high.log10() - low.log10()) * (WIDTH - 230.0)
    };
    let y = |value: f64| TOP + (1.0 - value / top) * HEIGHT;
    let mut body = String::new();
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let y = y(value);
        body += &format!(
            "<line x1=\"40\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#8885\"/>\n\
             <text x=\"34\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n",
            WIDTH - 190.0,
            y + 4.0,
        );
    }
    let mut numbers: Vec<f64> = points().map(|point| point.0).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    for number in numbers {
        body += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            x(number),
            TOP + HEIGHT + 16.0,
            super::markdown::fixed(number, 0),
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let points =
            line.points.iter().map(|&(number, value)| format!("{:.1},{:.1}", x(number), y(value)));
        body += &polyline(index, &line.label, line.kind, points.collect(), WIDTH - 178.0);
    }
    let height = (TOP + HEIGHT + 30.0).max(TOP + 24.0 + lines.len() as f64 * 16.0);
    page(title, height, &body)
}

/// A line and its entry in the legend at `legend`.
fn polyline(index: usize, label: &str, kind: Kind, points: Vec<String>, legend: f64) -> String {
    // The golden angle keeps neighbours apart however many there are.
    let colour = format!("hsl({:.0} 55% 48%)", (index as f64 * 137.508) % 360.0);
    let (label, y) = (escape(label), TOP + 12.0 + index as f64 * 16.0);
    let dash = if kind == Kind::Line { " stroke-dasharray=\"5 3\"" } else { "" };
    format!(
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"{dash} points=\"{}\"/>\n\
         <text x=\"{legend:.0}\" y=\"{y:.1}\" style=\"fill:{colour}\">{label}</text>\n",
        points.join(" "),
    )
}

/// Horizontal bars, shortest first.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    let mut sorted: Vec<&Bar> = bars.iter().filter(|bar| bar.value.is_finite()).collect();
    sorted.sort_by(|a, b| a.value.total_cmp(&b.value));
    let longest = sorted.last().map_or(1.0, |bar| bar.value).max(f64::MIN_POSITIVE);
    let mut body = String::new();
    for (row, bar) in sorted.iter().enumerate() {
        let y = TOP + row as f64 * ROW;
        let length = bar.value / longest * (WIDTH - LEFT - 90.0);
        let (label, colour, value) = (escape(&bar.label), colour(bar.kind), bar.value);
        body += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n\
             <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            LEFT - 8.0,
            y + 13.0,
            y,
            ROW - 6.0,
            LEFT + length + 6.0,
            y + 13.0,
            short(value),
        );
    }
    page(title, TOP + sorted.len() as f64 * ROW + 8.0, &body)
}

/// Cumulative distributions over a logarithmic time axis.
pub(crate) fn curves(title: &str, curves: &[Curve]) -> String {
    let times = || curves.iter().flat_map(|curve| &curve.points).map(|point| nanoseconds(point.0));
    let (low, high) = times().fold((f64::MAX, 0.0_f64), |(low, high), t| (low.min(t), high.max(t)));
    if low >= high {
        return page(title, TOP, "");
    }
    let (low, high) = (low.log10(), high.log10());
    let x = |time: f64| 40.0 + (time.log10() - low) / (high - low) * (WIDTH - 190.0);
    let y = |share: f64| TOP + (1.0 - share) * HEIGHT;
    let mut body = String::new();
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let y = y(share);
        body += &format!(
            "<line x1=\"40\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#8885\"/>\n\
             <text x=\"34\" y=\"{:.1}\" text-anchor=\"end\">{share}</text>\n",
            WIDTH - 150.0,
            y + 4.0,
        );
    }
    for power in (low.ceil() as i32)..=(high.floor() as i32) {
        let time = 10_f64.powi(power);
        let (x, bottom) = (x(time), TOP + HEIGHT);
        body += &format!(
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#8885\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            bottom + 16.0,
            unit(time),
        );
    }
    for (index, curve) in curves.iter().enumerate() {
        let points = thinned(curve.points.iter().map(|&(t, share)| (x(nanoseconds(t)), y(share))));
        let points = points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
        body += &polyline(index, &curve.label, curve.kind, points.collect(), WIDTH - 138.0);
    }
    let height = (TOP + HEIGHT + 30.0).max(TOP + 24.0 + curves.len() as f64 * 16.0);
    page(title, height, &body)
}

/// Leaves out points that nobody could tell from the one before.
fn thinned(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut left_out = None;
    for (x, y) in points {
        let near = kept.last().is_some_and(|last| (last.0 - x).abs().max((last.1 - y).abs()) < 2.0);
        left_out = near.then_some((x, y));
        if !near {
            kept.push((x, y));
        }
    }
    kept.extend(left_out);
    kept
}

fn page(title: &str, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         width=\"{WIDTH}\" height=\"{height:.0}\">\n\
         <style>text{{font:12px system-ui,sans-serif;fill:#777}}</style>\n\
         <text x=\"12\" y=\"22\" style=\"font-size:15px;font-weight:600\">{}</text>\n{body}</svg>\n",
        escape(title)
    )
}

const fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Line => "#999999",
        Kind::Peer => "#4878a8",
        Kind::Ours => "#c0504d",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// A power of ten of nanoseconds with its unit.
fn unit(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.0} µs", n / 1e3),
        n if n < 1e9 => format!("{:.0} ms", n / 1e6),
        n => format!("{:.0} s", n / 1e9),
    }
}

/// A value with about three digits.
fn short(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    super::markdown::fixed(value, decimals)
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 170.0;
const TOP: f64 = 38.0;
const ROW: f64 = 22.0;
