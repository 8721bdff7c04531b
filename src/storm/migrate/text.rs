//! The report for people.

use std::fmt::Write as _;

use super::{How, Part, Report};

pub(super) fn to_text(report: &Report) -> String {
    let mut text = String::new();
    let name = report.topology.as_deref().unwrap_or("a topology without a name");
    let verdict = match (report.runs, report.mistakes.is_empty()) {
        (true, _) => "runs here as it is",
        (false, true) => "does not run here yet: parts of it need the JVM",
        (false, false) => "does not run here yet: the file has mistakes",
    };
    // Writing to a text never fails.
    let _ = writeln!(text, "{}: {name} {verdict}", report.file);
    let titles = [
        (How::Native, "Runs natively"),
        (How::Multilang, "Runs as a process, unmodified"),
        (How::NeedsJvm, "Needs the JVM"),
        (How::LeftOut, "Left out"),
        (How::Broken, "Cannot be told"),
    ];
    for (how, title) in titles {
        let parts: Vec<&Part> = report.parts.iter().filter(|part| part.how == how).collect();
        if !parts.is_empty() {
            let _ = writeln!(text, "\n{title}:");
            for part in parts {
                let Part { kind, id, class, place, to_do, .. } = part;
                let _ = writeln!(text, "  {kind} {id}: {class} ({place})");
                if to_do != "nothing" {
                    let _ = writeln!(text, "    to do: {to_do}");
                }
            }
        }
    }
    let changed: Vec<_> = report.settings.iter().filter(|setting| setting.changes).collect();
    if !changed.is_empty() {
        let _ = writeln!(text, "\nConfiguration keys that change their meaning:");
        for setting in changed {
            let whose = setting.component.as_ref().map_or_else(String::new, |id| format!(" of {id}"));
            let _ = writeln!(text, "  {}{whose} = {}: {}; {}", setting.key, setting.value, setting.fate, setting.note);
        }
    }
    if !report.differences.is_empty() {
        let _ = writeln!(text, "\nWhat is not as in Storm:");
        for difference in &report.differences {
            let _ = writeln!(text, "  {}: {}\n    to do: {}", difference.about, difference.what, difference.to_do);
        }
    }
    for (title, lines) in [("Mistakes", &report.mistakes), ("Warnings", &report.warnings)] {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{title}:");
            lines.iter().for_each(|line| {
                let _ = writeln!(text, "  {line}");
            });
        }
    }
    text
}
