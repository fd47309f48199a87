//! What the benchmarks say: one row for each target, as a table for people or as JSON.
//! Every case returns rows; `main` prints them.
//! It must never judge by anything but the figures that it prints.

use serde_json::{Value, json};

use crate::process::Cost;
use crate::stats::{median, ms, p95};

/// One line of the table.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) case: String,
    /// The kernel's floor, built as gcc builds by default.
    pub(crate) floor: Option<Figure>,
    /// The same, linked statically.
    pub(crate) floor_static: Option<Figure>,
    /// Our plugins.
    pub(crate) ours: Option<Figure>,
    /// The reference plugins.
    pub(crate) reference: Option<Figure>,
    /// What is held against the target.
    pub(crate) measured: String,
    /// The target.
    pub(crate) target: &'static str,
    /// Whether it is met; absent where there is no target.
    pub(crate) met: Option<bool>,
}

/// One side's samples of one case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    p50: f64,
    p95: Option<f64>,
    processor: Option<f64>,
    unit: &'static str,
}

impl Figure {
    /// Times in milliseconds.
    pub(crate) fn of(costs: &[Cost]) -> Figure {
        let wall = walls(costs);
        let processor: Vec<f64> = costs.iter().map(|cost| ms(cost.processor)).collect();
        Figure {
            p50: median(&wall),
            p95: Some(p95(&wall)),
            processor: Some(median(&processor)),
            unit: "ms",
        }
    }

    /// One number in a unit of its own.
    pub(crate) fn number(value: f64, unit: &'static str) -> Figure {
        Figure {
            p50: value,
            p95: None,
            processor: None,
            unit,
        }
    }

    fn text(self) -> String {
        let mut text = format!("{:.2}", self.p50);
        if let Some(processor) = self.processor {
            text += &format!(" ({processor:.2})");
        }
        if self.unit != "ms" {
            text += " ";
            text += self.unit;
        }
        text
    }

    fn json(self) -> Value {
        json!({
            "p50": self.p50, "p95": self.p95, "processor_p50": self.processor, "unit": self.unit,
        })
    }
}

/// Wall times in milliseconds.
pub(crate) fn walls(costs: &[Cost]) -> Vec<f64> {
    costs.iter().map(|cost| ms(cost.wall)).collect()
}

/// The table in Markdown, columns aligned.
pub(crate) fn table(rows: &[Row]) -> String {
    const HEAD: [&str; 8] = [
        "case",
        "floor",
        "floor, static",
        "ours",
        "reference",
        "measured",
        "target",
        "met",
    ];
    let cell = |figure: Option<Figure>| figure.map_or_else(String::new, Figure::text);
    let mut lines = vec![HEAD.map(str::to_owned)];
    for row in rows {
        let verdict = row.met.map_or("", |met| if met { "yes" } else { "NO" });
        lines.push([
            row.case.clone(),
            cell(row.floor),
            cell(row.floor_static),
            cell(row.ours),
            cell(row.reference),
            row.measured.clone(),
            row.target.to_owned(),
            verdict.to_owned(),
        ]);
    }
    let widths: [usize; 8] = std::array::from_fn(|column| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or_default()
    });
    lines.insert(1, widths.map(|width| "-".repeat(width)));
    let mut text = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(widths) {
            text += &format!("| {cell:width$} ");
        }
        text += "|\n";
    }
    text
}

/// The rows as one JSON array.
pub(crate) fn json(rows: &[Row]) -> Value {
    let one = |row: &Row| {
        json!({
            "case": row.case,
            "floor": row.floor.map(Figure::json),
            "floor_static": row.floor_static.map(Figure::json),
            "ours": row.ours.map(Figure::json),
            "reference": row.reference.map(Figure::json),
            "measured": row.measured,
            "target": row.target,
            "met": row.met,
        })
    };
    rows.iter().map(one).collect()
}
