//! The growth suite: what an operation costs beside a thousand others, and beside a million.

mod connections;

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use crate::cli::Options;
use crate::micro::{self, TASKS, TIMERS};
use crate::report::chart::{Line, lines};
use crate::report::{Section, markdown};
use crate::servers::Kind;

/// What one runtime or server needs for one kind of thing.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    kind: Kind,
    /// How many there are, and the ns that an operation takes.
    points: Vec<(u32, f64)>,
}

impl Row {
    /// The cost beside the most, in terms of that beside the fewest.
    fn ratio(&self) -> f64 {
        match (self.points.first(), self.points.last()) {
            (Some(&(_, first)), Some(&(_, last))) => last / first,
            _ => f64::NAN,
        }
    }
}

/// One kind of thing, and all that were measured with it.
struct Chart {
    name: &'static str,
    title: &'static str,
    rows: Vec<Row>,
}

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let mut subjects = micro::select(options);
    subjects.retain(|subject| subject.grow.is_some());
    let found = micro::in_children("growth-child", &subjects, options)?;
    let columns: Vec<_> = subjects.into_iter().zip(found).collect();
    let in_process = |name: &'static str, title, counts: &[u32]| {
        let row = |(subject, found): &(micro::Subject, BTreeMap<String, f64>)| {
            let point = |&count: &u32| Some((count, *found.get(&format!("{name}-{count}"))?));
            let points = counts.iter().filter_map(point).collect();
            Row { name: subject.name, kind: subject.kind, points }
        };
        Chart { name, title, rows: columns.iter().map(row).collect() }
    };
    let charts = [
        in_process("timers", "Timer start + cancel, by the number of timers", &TIMERS),
        in_process("spawns", "Spawn + join, by the number of suspended tasks", &TASKS),
        in_process("steps", "A step of each task, by the number of tasks", &TASKS),
        Chart {
            name: "connections",
            title: "Server CPU per echo of 64 bytes, by the number of connections",
            rows: connections::run(options),
        },
    ];
    let text = charts.iter().map(Chart::text).collect::<Vec<_>>().join("\n");
    let json: Value = charts.iter().map(Chart::json).collect();
    Ok(Section {
        name: "growth",
        title: "Growth",
        text: format!(
            "ns per operation; in the last column, the most in terms of the fewest.\n\n{text}"
        ),
        json,
        charts: charts.iter().map(Chart::svg).collect(),
    })
}

impl Chart {
    fn text(&self) -> String {
        let counts: Vec<u32> = self
            .rows
            .iter()
            .map(|row| row.points.iter().map(|point| point.0).collect::<Vec<_>>())
            .max_by_key(Vec::len)
            .unwrap_or_default();
        let mut head: Vec<String> =
            counts.iter().map(|&count| markdown::fixed(count.into(), 0)).collect();
        head.push("ratio".to_owned());
        let rows = self.rows.iter().map(|row| {
            let cell = |count: &u32| {
                let point = row.points.iter().find(|point| point.0 == *count);
                markdown::fixed(point.map_or(f64::NAN, |point| point.1), 0)
            };
            let mut cells: Vec<String> = counts.iter().map(cell).collect();
            cells.push(markdown::fixed(row.ratio(), 2));
            (row.name.to_owned(), cells)
        });
        format!("{}:\n\n{}", self.title, markdown::table(head, rows.collect()))
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let points = row.points.iter().map(|(count, ns)| json!({ "count": count, "ns": ns }));
            json!({ "name": row.name, "points": points.collect::<Value>() })
        });
        json!({ "operation": self.name, "rows": rows.collect::<Value>() })
    }

    /// Every cost in terms of that beside the fewest.
    fn svg(&self) -> (String, String) {
        let line = |row: &Row| {
            let base = row.points.first().map_or(1.0, |point| point.1);
            let points = row.points.iter().map(|&(count, ns)| (f64::from(count), ns / base));
            Line { label: row.name.to_owned(), points: points.collect(), kind: row.kind }
        };
        let all: Vec<Line> = self.rows.iter().map(line).collect();
        (format!("growth-{}.svg", self.name), lines(&format!("{}, ratio", self.title), &all))
    }
}
