//! What is left when a session has ended: rows on standard output and in the files that the options name.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::Value;

use crate::bench::figure::Fields;
use crate::bench::machine::{self, Watch};
use crate::bench::record::Record;
use crate::bench::session::Options;
use crate::bench::{page, table};
use crate::error::{Error, Problem, Result};
use crate::observe::{Steps, WholeFile, note, print};

/// Where `--json` means standard output.
const STANDARD_OUTPUT: &str = "-";

/// Where a report goes; found to be writable.
#[derive(Default)]
pub(crate) struct Outputs {
    json: Option<Json>,
    folder: Option<PathBuf>,
}

enum Json {
    StandardOutput,
    File(WholeFile),
}

impl Outputs {
    /// Finds out, before anything is measured, whether the files that these options name can be written.
    ///
    /// # Errors
    /// A usage error with everything that cannot.
    pub fn check(options: &Options) -> Result<Self> {
        let (mut outputs, mut problems) = (Outputs::default(), Vec::new());
        match &options.json {
            Some(path) if path.as_os_str() == STANDARD_OUTPUT => outputs.json = Some(Json::StandardOutput),
            Some(path) => match WholeFile::check("--json", path) {
                Ok(file) => outputs.json = Some(Json::File(file)),
                Err(error) => problems.extend_from_slice(error.problems()),
            },
            None => {}
        }
        if options.json.is_some() && options.json == options.out {
            problems.push(Problem::new("--out", "names what --json names: one is a file, the other a folder"));
        } else if let Some(folder) = &options.out {
            let created = fs::create_dir_all(folder);
            match created.map_err(|error| error.to_string()).and_then(|()| writable(folder.join(ROWS))) {
                Ok(()) => outputs.folder = Some(folder.clone()),
                Err(message) => {
                    problems.push(Problem::new(
                        format!("--out {}", folder.display()),
                        format!("no folder to write to: {message}"),
                    ));
                }
            }
        }
        if problems.is_empty() { Ok(outputs) } else { Err(Error::invalid(problems)) }
    }
}

fn writable(path: PathBuf) -> Result<(), String> {
    WholeFile::check("--out", &path).map(drop).map_err(|error| error.problems()[0].message.clone())
}

/// The files of a folder that are not about one row.
const ROWS: &str = "rows.jsonl";
const PAGE: &str = "report.html";

/// A report in the making.
pub(super) struct Report {
    pub bench: &'static str,
    pub command_line: String,
    pub outputs: Outputs,
    pub watch: Watch,
    pub steps: Steps,
    pub records: Vec<Record>,
}

impl Report {
    /// Writes everything.
    ///
    /// # Errors
    /// Something could not be written; the rest was.
    pub fn write(self, is_interrupted: bool) -> Result<()> {
        let Report { bench, command_line, outputs, watch, steps, records } = self;
        drop(steps);
        let machine = watch.row(bench, &command_line, is_interrupted).fields;
        let lines = json_lines(&machine, &records);
        let shown = match &outputs.json {
            Some(Json::StandardOutput) => print(&lines),
            _ => print(to_text(&machine, &records)),
        };
        let in_file = match &outputs.json {
            Some(Json::File(file)) => file.write(lines.as_bytes()),
            _ => Ok(()),
        };
        let in_folder = outputs.folder.map_or(Ok(()), |folder| {
            write_folder(&folder, &lines, &machine, &records).map_err(|error| {
                Error::io(format!("the report could not be written to {}", folder.display()), &error)
            })?;
            note(format_args!("report: {}", folder.join(PAGE).display()));
            Ok(())
        });
        shown.and(in_file).and(in_folder)
    }
}

fn json_lines(machine: &Fields, records: &[Record]) -> String {
    let rows = std::iter::once(machine).chain(records.iter().map(|record| &record.fields));
    rows.map(|fields| format!("{}\n", Value::Object(fields.clone()))).collect()
}

/// What people read: whether to believe it, the rows, the machine.
fn to_text(machine: &Fields, records: &[Record]) -> String {
    let warning = machine::disturbance(machine).map(|line| line + "\n").unwrap_or_default();
    let tables = table::to_text(records.iter().map(|record| &record.fields));
    format!("{warning}{}{tables}", machine::to_text(machine))
}

fn write_folder(folder: &std::path::Path, lines: &str, machine: &Fields, records: &[Record]) -> io::Result<()> {
    fs::write(folder.join(ROWS), lines)?;
    for record in records {
        if let Some(drawn) = &record.drawn {
            let name = record.file_name();
            fs::write(folder.join(format!("{name}.hlog")), &drawn.interval_log)?;
            fs::write(folder.join(format!("{name}.hgrm")), &drawn.percentiles)?;
        }
    }
    for (name, picture) in page::pictures(records) {
        fs::write(folder.join(name), picture)?;
    }
    fs::write(folder.join(PAGE), page::to_html(machine, records))
}
