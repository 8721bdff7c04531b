//! The migration report: what of a Flux file runs here, how, and what to do about the rest.

mod differences;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use serde::Serialize;

use crate::error::Problem;
use crate::storm::conf::Fate;
use crate::storm::config_report::Row;
use crate::storm::flux::{Flux, FluxOptions, GroupingDef, What};
use crate::storm::registry::simple_name;
use differences::{Difference, differences};

/// How a part runs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// As a component of squall's, or of the program's own.
    Native,
    /// As a process of its own, unmodified.
    Multilang,
    /// Not at all, without a JVM.
    NeedsJvm,
    /// It is not part of the topology: no stream leads to it.
    LeftOut,
    /// Something is wrong with it.
    Broken,
}

/// A spout, bolt, grouping or object of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part {
    pub kind: &'static str,
    pub id: String,
    pub class: String,
    pub place: String,
    pub how: How,
    pub to_do: String,
}

/// A configuration key.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    pub key: String,
    pub value: String,
    pub fate: &'static str,
    pub note: String,
    /// It does not mean what it meant.
    pub changes: bool,
    /// The component that it is set for; none: the topology.
    pub component: Option<String>,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub file: String,
    pub topology: Option<String>,
    /// It runs as it is.
    pub runs: bool,
    pub parts: Vec<Part>,
    pub settings: Vec<Setting>,
    pub differences: Vec<Difference>,
    /// What is wrong with the file itself.
    pub mistakes: Vec<String>,
    /// What Flux would pass over in silence.
    pub warnings: Vec<String>,
}

/// Reads a file and reports.
pub(crate) fn report(path: &Path, options: &FluxOptions) -> Report {
    let flux = Flux::load(path, options);
    let mut report = of(&flux, path);
    // What only the whole topology shows: a report says nothing else than `validate` and `run`.
    if report.runs
        && let Err(error) = flux.topology()
    {
        report.runs = false;
        report.mistakes.extend(error.problems().iter().map(ToString::to_string));
    }
    report
}

fn of(flux: &Flux, path: &Path) -> Report {
    let shown = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    Report {
        file: path.display().to_string(),
        topology: flux.definition().name.as_ref().map(|name| name.text.to_string()),
        runs: flux.problems().is_empty(),
        parts: parts(flux),
        settings: settings(flux),
        differences: if flux.is_read() { differences(flux) } else { Vec::new() },
        mistakes: shown(flux.mistakes()),
        warnings: shown(flux.warnings().cloned().collect()),
    }
}

fn parts(flux: &Flux) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for component in &flux.resolved().components {
        let how = match (&component.what, component.is_used) {
            (What::NeedsJvm, _) => How::NeedsJvm,
            (What::Broken, _) => How::Broken,
            (_, false) => How::LeftOut,
            (What::Shell(_), _) => How::Multilang,
            (What::Spout(_) | What::Bolt(_), _) => How::Native,
        };
        let to_do = match (how, &component.what) {
            (How::Native, _) => "nothing".to_owned(),
            (How::Multilang, What::Shell(shell)) => format!("nothing; it is started as {}", shell.command.join(" ")),
            (How::NeedsJvm, _) if !component.is_used => "remove it: no stream leads to it".to_owned(),
            (How::LeftOut, _) => "remove it, or add the stream that is missing".to_owned(),
            (How::Broken, _) => "mend the file; see the mistakes".to_owned(),
            _ => java_to_do(&component.class.text, component.is_spout),
        };
        let place = component.class.place.to_string();
        let to_do = with_hint(flux, how, &place, to_do);
        parts.push(Part {
            kind: if component.is_spout { "spout" } else { "bolt" },
            id: component.id.text.to_string(),
            class: component.class.text.to_string(),
            place,
            how,
            to_do,
        });
    }
    let definition = flux.definition();
    let how_of = |place: &str| match flux.resolved().not_made.get(place) {
        Some(true) => How::NeedsJvm,
        Some(false) => How::Broken,
        None => How::Native,
    };
    let beans = definition.components.iter().map(|bean| ("object", &bean.id.text, &bean.object));
    let hooks = definition.worker_hooks.iter().map(|hook| ("worker hook", &hook.id.text, &hook.object));
    for (kind, id, object) in beans.chain(hooks) {
        let place = object.class.place.to_string();
        let how = how_of(&place);
        let to_do = match (how, kind) {
            (How::Native, _) => "nothing".to_owned(),
            (How::Broken, _) => "mend the file; see the mistakes".to_owned(),
            (_, "object") => "it goes with the component that it is made for".to_owned(),
            _ => "do the same in the program that starts the topology".to_owned(),
        };
        parts.push(Part { kind, id: id.to_string(), class: object.class.text.to_string(), place, how, to_do });
    }
    for stream in &definition.streams {
        let GroupingDef::Custom(object) = &stream.grouping else { continue };
        let place = object.class.place.to_string();
        let how = how_of(&place);
        let to_do = match how {
            How::NeedsJvm => "write it as a squall::Custom<StormTuple> and register it under this name",
            How::Broken => "mend the file; see the mistakes",
            _ => "nothing",
        };
        let to_do = with_hint(flux, how, &place, to_do.to_owned());
        let id = format!("{} -> {}", stream.from.text, stream.to.text);
        let class = object.class.text.to_string();
        parts.push(Part { kind: "grouping", id, class, place, how, to_do });
    }
    if let Some(source) = &definition.topology_source {
        parts.push(Part {
            kind: "topology source",
            id: "topologySource".to_owned(),
            class: source.class.text.to_string(),
            place: source.class.place.to_string(),
            how: How::NeedsJvm,
            to_do: "write what it builds as spouts, bolts and streams of a file".to_owned(),
        });
    }
    parts
}

/// What to do, with the class that may be meant in front.
fn with_hint(flux: &Flux, how: How, place: &str, to_do: String) -> String {
    let mut problems =
        flux.resolved().needs_jvm.iter().filter(|problem| how == How::NeedsJvm && problem.place == place);
    let hint = problems.find_map(|problem| Some(problem.message.split_once("; did you mean ")?.1));
    hint.map_or_else(|| to_do.clone(), |hint| format!("did you mean {hint} Else {to_do}"))
}

fn java_to_do(class: &str, is_spout: bool) -> String {
    let simple = simple_name(class);
    let known = [
        ("KafkaSpout", "read from Kafka by a multilang spout, or by a spout of your own, until there is a native one"),
        ("KafkaBolt", "write to Kafka by a multilang bolt, or by a bolt of your own, until there is a native one"),
        ("HdfsBolt", "squall.WriteLines writes to local files; or a bolt of your own"),
    ];
    if let Some((_, what)) = known.iter().find(|(name, _)| *name == simple) {
        return (*what).to_owned();
    }
    let (kind, trait_name) = if is_spout { ("spout", "Spout") } else { ("bolt", "Bolt") };
    format!("write it as a squall::{trait_name} and register it under this name, or as a multilang {kind}")
}

fn settings(flux: &Flux) -> Vec<Setting> {
    let definition = flux.definition();
    let of_topology = definition.config.iter().map(|checked| (checked, None));
    let vertices = definition.spouts.iter().chain(&definition.bolts);
    let of_components =
        vertices.flat_map(|vertex| vertex.config.iter().map(|checked| (checked, Some(vertex.id.text.to_string()))));
    let setting = |(checked, component): (&crate::storm::conf::Checked, Option<String>)| {
        let Row { key, value, fate, note } = Row::of(checked);
        let changes = matches!(checked.fate, Fate::Mapped | Fate::Accepted | Fate::Java) || checked.is_dropped;
        Setting { key, value, fate, note, changes, component }
    };
    of_topology.chain(of_components).map(setting).collect()
}

impl Report {
    /// As JSON, for programs.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("it holds texts and flags only") + "\n"
    }

    /// For people.
    pub fn to_text(&self) -> String {
        text::to_text(self)
    }
}
