//! The report of a run as text: a table of the components, the complete latency, and what deserves a warning.

use std::fmt::Write as _;

use crate::engine::checkpoint::{CheckpointReport, Health};
use crate::engine::report::{ComponentReport, ErrorReport, LatencyReport, Report};
use crate::observe::table::{Align, Table};
use crate::observe::units::{grouped, percentile, size, time};
use crate::task::metrics::Counts;
use crate::topology::settings::Guarantee;
use crate::words::{counted, times};

/// The report as a person reads it at the end of a run.
pub fn to_text(report: &Report) -> String {
    let mut text = heading(report);
    text.push('\n');
    let _ = write!(text, "{}", components(&report.components));
    text.push('\n');
    if report.components.iter().any(|component| !component.errors.is_empty()) {
        let _ = writeln!(text, "{}", errors(&report.components));
    }
    match &report.checkpoints {
        // Barriers only: there are no trees.
        Some(checkpoints) if report.settings.guarantee == Guarantee::ExactlyOnce => {
            text.push_str(&checkpoints_text(checkpoints));
        }
        checkpoints => {
            text.push_str(&complete_latency(&report.complete_latency_us));
            checkpoints.iter().for_each(|checkpoints| text.push_str(&checkpoints_text(checkpoints)));
        }
    }
    text
}

fn checkpoints_text(checkpoints: &CheckpointReport) -> String {
    let mut text = format!("checkpoints: {} completed", grouped(checkpoints.completed));
    let us = |ns: u64| time(ns as f64 / 1_000.0);
    if checkpoints.completed > 0 {
        let ([p50, p99, max], [.., pause_p99, pause_max]) = (checkpoints.took_ns, checkpoints.pause_ns);
        let _ = write!(text, " (p50 {}, p99 {}, max {})", us(p50), us(p99), us(max));
        let _ = write!(text, ", longest pause of a task p99 {}, max {}", us(pause_p99), us(pause_max));
        let _ = write!(text, ", {} written", size(checkpoints.written_bytes));
    }
    if checkpoints.failed > 0 {
        let why = checkpoints.last_failure.as_deref().unwrap_or("unknown");
        let _ = write!(text, ", {} given up (last: {why})", grouped(checkpoints.failed));
    }
    if let Some(resumed) = checkpoints.resumed {
        let _ = write!(text, "; resumed from checkpoint {resumed}");
    }
    if checkpoints.step_backs > 0 {
        let took = us(checkpoints.last_recovery_ns);
        let again = if checkpoints.step_backs == 1 { "in" } else { "the last in" };
        let _ = write!(text, "; restarted {}, {again} {took}", times(checkpoints.step_backs));
    }
    if checkpoints.health == Health::Red {
        let _ = write!(text, "; {}", red_health(checkpoints));
    }
    text.push('\n');
    text
}

/// Says that the last good checkpoint is too old, and whom it waits for.
pub fn red_health(checkpoints: &CheckpointReport) -> String {
    let age = time(checkpoints.age_ns as f64 / 1_000.0);
    let waits_for = match &checkpoints.waits_for[..] {
        [] => String::new(),
        tasks => format!("; the one under way waits for {}", tasks.join(", ")),
    };
    format!("checkpoints do not keep up: the last good one is {age} old{waits_for}")
}

/// Why what failed did: a row for each component, input and kind of failure.
fn errors(components: &[ComponentReport]) -> Table {
    use Align::{Left, Right};
    let columns = [("failed in", Left), ("input", Left), ("kind", Left), ("count", Right), ("first", Left)];
    let mut table = Table::new(&[&columns[..], &[("the last error", Left)]].concat());
    for component in components {
        for error in &component.errors {
            let input = error.input.as_deref().unwrap_or("-");
            let (count, last) = (grouped(error.count), one_line(&error.last));
            table.row([&component.id, input, error.kind, &count, &error.first_at, &last]);
        }
    }
    table
}

/// The longest message in a table.
const MESSAGE_CHARS_MAX: usize = 200;

fn one_line(message: &str) -> String {
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MESSAGE_CHARS_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// The commonest of the errors that are asked for.
fn commonest(report: &Report, is_asked_for: impl Fn(&ErrorReport) -> bool) -> Option<String> {
    let errors = report.components.iter().flat_map(|component| &component.errors);
    let error = errors.filter(|error| is_asked_for(error)).max_by_key(|error| error.count)?;
    Some(format!("mostly ({}): {}", error.kind, one_line(&error.last)))
}

/// Says that nothing at all went well, with the commonest reason, if that is so.
pub fn nothing_succeeded(report: &Report) -> Option<String> {
    let sum = |kind: &str, of: fn(&Counts) -> u64| -> u64 {
        report.components.iter().filter(|component| component.kind == kind).map(|component| of(&component.counts)).sum()
    };
    let failed = |counts: &Counts| counts.failed + counts.errors;
    let (trees, trees_failed) = (sum("spout", |counts| counts.acked), sum("spout", |counts| counts.failed));
    // Without trees it is told from the bolts.
    let (inputs, inputs_failed) = (sum("bolt", |counts| counts.acked), sum("bolt", failed));
    let (what, count) = match () {
        () if trees == 0 && trees_failed > 0 => ("tree", trees_failed),
        () if inputs == 0 && inputs_failed > 0 => ("input", inputs_failed),
        () => return None,
    };
    let reason = commonest(report, |_| true).map_or_else(String::new, |reason| format!(", {reason}"));
    Some(format!("no tuple succeeded: {} failed and none was completed{reason}", counted(count, what)))
}

/// Says how many dead letters nobody took, and why the last were given up, if there are any.
pub fn untaken(report: &Report) -> Option<String> {
    let mut of_sources = Vec::new();
    let mut untaken = 0;
    for component in report.components.iter().filter(|component| component.counts.untaken > 0) {
        untaken += component.counts.untaken;
        of_sources.push(format!("{} of {}", grouped(component.counts.untaken), component.id));
    }
    // Nothing is given up for what happened to it because of another input.
    let is_cause = |error: &ErrorReport| error.kind != "collateral";
    let reason = commonest(report, is_cause).map_or_else(String::new, |reason| format!("; {reason}"));
    (untaken > 0).then(|| {
        format!(
            "inputs were given up and not kept: {}{reason}; a component that subscribes to the source's dead letters \
             keeps them, or a file (--dead-letters FILE)",
            of_sources.join(", ")
        )
    })
}

/// What a person should look into although the run ended well, one sentence each.
pub fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    for component in &report.components {
        let (id, counts) = (&component.id, &component.counts);
        if counts.dead_lettered > 0 {
            let letters = counted(counts.dead_lettered, "dead letter");
            let kept = if counts.untaken == 0 { ", kept in its dead-letter stream" } else { "" };
            warnings.push(format!("{id}: {letters}: values that were given up{kept}"));
        }
        if counts.dropped > 0 {
            let tuples = counted(counts.dropped, "held tuple");
            warnings.push(format!("{id}: {tuples} dropped without ack or fail, and so failed"));
        }
        if counts.timers_dropped > 0 {
            let timers = counted(counts.timers_dropped, "timer");
            warnings.push(format!(
                "{id}: {timers} dropped at the end of input, most likely before the time had come; to have timers fire \
                 then, declare them with at_end(AtEnd::Fire)"
            ));
        }
        if component.errors_reported > 0 {
            let errors = counted(component.errors_reported, "error");
            let last = component.last_error.as_deref().unwrap_or("unknown");
            warnings.push(format!("{id}: reported {errors}, the last: {last}"));
        }
        if counts.rebuilt > 0 {
            let times = times(counts.rebuilt);
            let last = component.last_error.as_deref().unwrap_or("unknown");
            warnings.push(format!("{id}: rebuilt {times}, the last error: {last}"));
        }
        if counts.errors > 0 {
            let errors = counted(counts.errors, "error");
            warnings.push(format!("{id}: {errors} outside of all tuples (in ticks, callbacks, the end)"));
        }
    }
    if report.stalls > 0 {
        let (times, limit) = (times(report.stalls), humantime::format_duration(report.settings.stall_limit));
        warnings.push(format!("{times} a task did not return within stall_limit ({limit}); the log names it"));
    }
    if report.standstills > 0 {
        let last = report.held_up.as_deref().unwrap_or("unknown");
        let times = times(report.standstills);
        warnings.push(format!("{times} nothing moved for seconds; the last: {last}"));
    }
    if report.messages_lost > 0 {
        let messages = counted(report.messages_lost, "message");
        warnings.push(format!("{messages} left out: standard error or standard output was not read, or was full"));
    }
    warnings
}

fn heading(report: &Report) -> String {
    let mut text = format!("{}: {} in {:.3} s", report.topology, report.settings.guarantee, report.wall_s);
    let _ = write!(text, ", {:.3} s of CPU time", report.cpu_s);
    if let Some(bytes) = report.peak_rss_bytes {
        let _ = write!(text, ", at most {} of memory", size(bytes));
    }
    let cpus = report.executor_cpus.iter().map(|cpu| cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string()));
    let cpus: Vec<_> = cpus.collect();
    let _ = writeln!(text, ", {} on CPU {}", counted(cpus.len() as u64, "executor"), cpus.join(", "));
    let injected = [(report.injected.fails, "fail"), (report.injected.panics, "panic")];
    let injected = injected.into_iter().filter(|(count, _)| *count > 0);
    let injected: Vec<_> = injected.map(|(count, what)| counted(count, what)).collect();
    if !injected.is_empty() {
        let _ = writeln!(text, "injected on purpose: {}", injected.join(", "));
    }
    text
}

fn components(components: &[ComponentReport]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("component", Left),
        ("tasks", Right),
        ("emitted", Right),
        ("executed", Right),
        ("acked", Right),
        ("failed", Right),
        ("replayed", Right),
        ("dead", Right),
        ("rebuilt", Right),
        ("busy", Right),
        ("idle", Right),
        ("blocked", Right),
        ("p50", Right),
        ("p99", Right),
        ("max", Right),
    ]);
    for component in components {
        let counts = &component.counts;
        let mut cells = vec![component.id.clone(), grouped(component.tasks as u64)];
        cells.extend([counts.emitted, counts.executed, counts.acked, counts.failed].map(grouped));
        cells.extend([counts.replayed, counts.dead_lettered, counts.rebuilt].map(grouped));
        let shares = [component.busy_percent, component.idle_percent, component.blocked_percent];
        cells.extend(shares.map(|percent| format!("{percent:.0} %")));
        let latency = &component.execute_latency_us;
        // A spout executes no inputs: its latency is the complete one.
        let max = if latency.count > 0 { time(latency.max) } else { "-".to_owned() };
        let [(_, p50), _, (_, p99), ..] = latency.printable();
        cells.extend([percentile(p50), percentile(p99), max]);
        table.row(cells);
    }
    table
}

fn complete_latency(latency: &LatencyReport) -> String {
    if latency.count == 0 {
        return "complete latency: no tree was completed\n".to_owned();
    }
    let mut text = format!("complete latency of {}:", counted(latency.count, "tree"));
    for (name, us) in latency.printable() {
        let _ = write!(text, "  {name} {}", percentile(us));
    }
    let _ = writeln!(text, "  max {}", time(latency.max));
    if latency.printable().iter().any(|(_, us)| us.is_none()) {
        text.push_str("(-: fewer than 100 samples beyond this percentile)\n");
    }
    text
}
