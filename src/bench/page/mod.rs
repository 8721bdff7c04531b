//! `report.html`: one file that needs no network, with every plot and every row.

mod plots;
mod svg;
#[cfg(test)]
mod tests;
mod ticks;

use std::fmt::Write as _;

use serde_json::Value;

use crate::bench::figure::{Fields, cell, heading};
use crate::bench::record::Record;
use crate::bench::{machine, table};
use crate::observe::Align;
use plots::Plots;
use svg::{Chart, escape};

const STYLE: &str = include_str!("page.css");

/// A part of the page: what it is called, how its charts are read, and how their files begin.
struct Section {
    title: &'static str,
    file: &'static str,
    teaches: &'static str,
    charts: Vec<Chart>,
}

fn sections(records: &[Record]) -> [Section; 4] {
    let plots = Plots::of(records);
    [
        Section {
            title: "Percentiles",
            file: "percentiles",
            teaches: "Each step to the right keeps ten times fewer events: at 99.9% one event in a thousand was slower than \
                      the curve. The grey area is the machine itself, hesitating with nothing of squall on it; the dashed \
                      curve is the yardstick, measured in turns with the rest. What lies on them cannot be squall's doing.",
            charts: plots.percentiles(),
        },
        Section {
            title: "Over time",
            file: "time",
            teaches: "One point per interval. A step or a slope that lasts means that something changed during the run; \
                      single peaks that the grey area shares are the machine's.",
            charts: plots.over_time(),
        },
        Section {
            title: "Against load",
            file: "load",
            teaches: "Latency stays flat until a queue begins to grow. Where the curves bend upwards the rate is no longer \
                      sustained.",
            charts: plots.load(),
        },
        Section {
            title: "Scaling",
            file: "scaling",
            teaches: "Cost as the work grows. A flat line is ideal; a cliff wants an explanation.",
            charts: plots.scaling(),
        },
    ]
}

/// Every chart as a file of its own: name and content.
pub(super) fn pictures(records: &[Record]) -> Vec<(String, String)> {
    let of_section = |section: Section| {
        let named = section.charts.into_iter().enumerate();
        named
            .map(move |(index, chart)| (format!("{}_{}.svg", section.file, index + 1), chart.file()))
            .collect::<Vec<_>>()
    };
    sections(records).into_iter().flat_map(of_section).collect()
}

/// The page.
pub(super) fn to_html(machine: &Fields, records: &[Record]) -> String {
    let text = |key: &str| escape(machine.get(key).and_then(Value::as_str).unwrap_or_default());
    let title = format!("squall bench {}", text("run"));
    let mut body = String::new();
    if let Some(line) = machine::disturbance(machine) {
        let _ = writeln!(body, "<p class=\"warning\">{}</p>", escape(&line));
    }
    let _ = writeln!(body, "<h1>{title}</h1>");
    let _ = writeln!(
        body,
        "<p class=\"soft\">{}, squall {}: <code>{}</code></p>",
        text("date"),
        text("squall"),
        text("command_line")
    );
    if machine.get("interrupted").and_then(Value::as_bool) == Some(true) {
        body.push_str("<p class=\"warning\">The run was interrupted: these are the rows measured until then.</p>\n");
    }
    for section in sections(records).iter().filter(|section| !section.charts.is_empty()) {
        let _ = writeln!(body, "<h2>{}</h2>\n<p>{}</p>\n<div class=\"charts\">", section.title, section.teaches);
        section.charts.iter().for_each(|chart| body.push_str(&chart.inline()));
        body.push_str("</div>\n");
    }
    tables(records, &mut body);
    machine_table(machine, &mut body);
    let chart_style = Chart::style();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{chart_style}{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn tables(records: &[Record], body: &mut String) {
    body.push_str(
        "<h2>Rows</h2>\n<p>Medians of the repeats; \u{b1} is how far the farthest repeat was from it. A dash \
                   stands for a percentile with fewer than 100 samples beyond it.</p>\n",
    );
    let mut last = String::new();
    for group in table::groups(records.iter().map(|record| &record.fields)) {
        if group.heading != last {
            let _ = writeln!(body, "<h3>{}</h3>", escape(&group.heading));
        }
        last = group.heading;
        let class = |align: Align| if align == Align::Right { " class=\"number\"" } else { "" };
        body.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
        for (name, align) in &group.columns {
            let _ = write!(body, "<th{}>{}</th>", class(*align), escape(name));
        }
        body.push_str("</tr></thead>\n<tbody>\n");
        for row in &group.rows {
            body.push_str("<tr>");
            for (text, (_, align)) in row.iter().zip(&group.columns) {
                let _ = write!(body, "<td{}>{}</td>", class(*align), escape(text));
            }
            body.push_str("</tr>\n");
        }
        body.push_str("</tbody></table></div>\n");
    }
}

fn machine_table(machine: &Fields, body: &mut String) {
    body.push_str("<h2>Machine</h2>\n<table class=\"machine\">\n<tbody>\n");
    for key in machine.keys().filter(|key| *key != "bench") {
        let _ = writeln!(body, "<tr><td>{}</td><td>{}</td></tr>", escape(&heading(key)), escape(&cell(machine, key)));
    }
    body.push_str("</tbody></table>\n");
}
