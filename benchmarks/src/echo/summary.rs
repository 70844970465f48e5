//! What the slices of the echo suite say, as tables, JSON and charts.

use std::time::Duration;

use serde_json::{Value, json};

use super::Sample;
use crate::machine::Calmness;
use crate::report::chart::{Bar, Curve, bars, curves};
use crate::report::{Section, markdown};
use crate::scenario::Scenario;
use crate::servers::Server;
use crate::stats::{Histogram, median, quantile, undisturbed};

/// All servers in all scenarios.
pub(super) struct Table {
    pub(super) servers: Vec<Server>,
    pub(super) against: usize,
    pub(super) columns: Vec<(Scenario, Vec<Summary>)>,
}

/// One server in one scenario.
pub(super) struct Summary {
    /// ns of server CPU per request: 20 % quantile over slices without steal.
    cpu: f64,
    /// Requests per second: 80 % quantile over slices without steal.
    rate: f64,
    /// The same two as medians over calm slices.
    calm_cpu: f64,
    calm_rate: f64,
    /// Share of the time the server and the generator were busy.
    server_busy: f64,
    load_busy: f64,
    latencies: Histogram,
    slices: usize,
    calm_slices: usize,
    trouble: Option<String>,
}

impl Summary {
    pub(super) fn new(samples: &[Sample], calmness: &Calmness, trouble: Option<String>) -> Self {
        let unstolen: Vec<&Sample> = samples.iter().filter(|sample| !sample.stolen).collect();
        // A machine that always loses time to its neighbours still gets figures.
        let kept = if unstolen.is_empty() { samples.iter().collect() } else { unstolen };
        let calm: Vec<&Sample> = kept
            .iter()
            .copied()
            .filter(|sample| sample.around.iter().all(|&reading| calmness.was_calm(reading)))
            .collect();
        let mut latencies = Histogram::new();
        kept.iter().for_each(|sample| latencies.merge(&sample.slice.latencies));
        Self {
            cpu: undisturbed(&map(&kept, cpu)),
            rate: quantile(&map(&kept, rate), 0.8),
            calm_cpu: median(&map(&calm, cpu)),
            calm_rate: median(&map(&calm, rate)),
            server_busy: median(&map(&kept, |s| share(s.slice.server_cpu, s.slice.elapsed))),
            load_busy: median(&map(&kept, |s| share(s.slice.load_cpu, s.slice.elapsed))),
            latencies,
            slices: samples.len(),
            calm_slices: calm.len(),
            trouble,
        }
    }

    /// Whether the server could have done more had it been asked to.
    fn limited_by_load(&self) -> bool {
        self.load_busy >= 0.98 && self.server_busy < 0.98
    }

    fn json(&self, server: &Server, scenario: &Scenario) -> Value {
        let latency = |share| self.latencies.quantile(share).as_nanos() as u64;
        json!({
            "scenario": scenario.name,
            "server": server.name,
            "cpu_ns_per_request": number(self.cpu),
            "requests_per_second": number(self.rate),
            "calm_median_cpu_ns_per_request": number(self.calm_cpu),
            "calm_median_requests_per_second": number(self.calm_rate),
            "server_busy": number(self.server_busy),
            "generator_busy": number(self.load_busy),
            "latency_ns": {
                "p50": latency(0.5), "p90": latency(0.9), "p99": latency(0.99), "p999": latency(0.999),
            },
            "slices": self.slices,
            "calm_slices": self.calm_slices,
            "trouble": self.trouble,
        })
    }
}

impl Table {
    /// The section of the report.
    pub(super) fn section(&self) -> Section {
        let line = self.servers[self.against].name;
        let mut text = String::new();
        let mut part = |title: String, cell: &dyn Fn(&Summary, &Summary) -> String| {
            text += &format!("### {title}\n\n{}\n", self.table(cell));
        };
        part(format!("CPU per request, ratio to {line} (lower is better)"), &|it, base| {
            markdown::fixed(it.cpu / base.cpu, 2)
        });
        part(format!("Requests per second, ratio to {line} (higher is better)"), &|it, base| {
            let mark = if it.limited_by_load() { "*" } else { "" };
            markdown::fixed(it.rate / base.rate, 2) + mark
        });
        part("CPU per request, ns, median of calm slices".into(), &|it, _| {
            markdown::fixed(it.calm_cpu, 0)
        });
        part("Requests per second, median of calm slices".into(), &|it, _| {
            markdown::fixed(it.calm_rate, 0)
        });
        part("Latency p50 / p99, µs".into(), &|it, _| {
            let micro = |share| it.latencies.quantile(share).as_nanos() as f64 / 1e3;
            format!("{:.0} / {:.0}", micro(0.5), micro(0.99))
        });
        text += &self.warnings();
        Section {
            name: "echo",
            title: "Echo",
            text,
            json: self
                .cells()
                .map(|(scenario, server, cell)| cell.json(server, scenario))
                .collect(),
            charts: self.charts(),
        }
    }

    fn table(&self, cell: &dyn Fn(&Summary, &Summary) -> String) -> String {
        let head = self.columns.iter().map(|(scenario, _)| scenario.name.to_owned());
        let rows = self.servers.iter().enumerate().map(|(row, server)| {
            let cells = self.columns.iter().map(|(_, column)| {
                let it = &column[row];
                if it.slices == 0 { "–".to_owned() } else { cell(it, &column[self.against]) }
            });
            (server.name.to_owned(), cells.collect())
        });
        markdown::table(head.collect(), rows.collect())
    }

    fn cells(&self) -> impl Iterator<Item = (&Scenario, &Server, &Summary)> {
        self.columns.iter().flat_map(|(scenario, column)| {
            self.servers.iter().zip(column).map(move |(server, cell)| (scenario, server, cell))
        })
    }

    fn warnings(&self) -> String {
        let mut text = String::new();
        let limited: Vec<String> = self
            .cells()
            .filter(|(_, _, cell)| cell.limited_by_load())
            .map(|(scenario, server, _)| format!("{} {}", server.name, scenario.name))
            .collect();
        if !limited.is_empty() {
            text += &format!(
                "\\* The load generator was the bottleneck; compare CPU per request instead: {}.\n",
                limited.join(", ")
            );
        }
        let (slices, calm) = self
            .cells()
            .fold((0, 0), |sum, (_, _, cell)| (sum.0 + cell.slices, sum.1 + cell.calm_slices));
        text += &format!("{calm} of {slices} slices were calm.\n");
        for (scenario, server, cell) in self.cells() {
            if let Some(trouble) = &cell.trouble {
                text += &format!("{} failed in {}: {trouble}.\n", server.name, scenario.name);
            }
        }
        text
    }

    fn charts(&self) -> Vec<(String, String)> {
        let mut charts = Vec::new();
        for (scenario, column) in &self.columns {
            let measured = || self.servers.iter().zip(column).filter(|(_, cell)| cell.slices > 0);
            let cpu = measured().map(|(server, cell)| Bar {
                label: server.name.to_owned(),
                value: cell.cpu / 1e3,
                kind: server.kind,
            });
            let title = format!("{}: server CPU per request, µs", scenario.name);
            charts.push((
                format!("echo-{}.svg", scenario.name),
                bars(&title, &cpu.collect::<Vec<_>>()),
            ));
            let latency = measured().map(|(server, cell)| Curve {
                label: server.name.to_owned(),
                points: cell.latencies.cumulative(),
                kind: server.kind,
            });
            let title = format!("{}: share of requests answered within a time", scenario.name);
            let name = format!("latency-{}.svg", scenario.name);
            charts.push((name, curves(&title, &latency.collect::<Vec<_>>())));
        }
        charts
    }
}

fn map(samples: &[&Sample], value: impl Fn(&Sample) -> f64) -> Vec<f64> {
    let measured = samples.iter().filter(|sample| sample.slice.requests > 0);
    measured.map(|sample| value(sample)).collect()
}

fn cpu(sample: &Sample) -> f64 {
    sample.slice.server_cpu.as_nanos() as f64 / sample.slice.requests as f64
}

fn rate(sample: &Sample) -> f64 {
    sample.slice.requests as f64 / sample.slice.elapsed.as_secs_f64()
}

fn share(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64()
}

/// A number for JSON, which has no NaN.
fn number(value: f64) -> Value {
    if value.is_finite() { json!((value * 1e4).round() / 1e4) } else { Value::Null }
}
