//! The report of a run as a file.

use std::path::Path;

use serde::Serialize;

use crate::connect::place_of;
use crate::engine::report::Report;
use crate::error::{Error, Result};
use crate::observe::WholeFile;

/// Where the report will go; found to be writable.
pub(super) struct ReportFile(WholeFile);

/// What the file holds: the report, and how the run ended.
#[derive(Serialize)]
struct Content<'a> {
    /// `completed`, or the named state in which the topology stopped.
    outcome: &'a str,
    /// Why it stopped in that state.
    error: Option<String>,
    #[serde(flatten)]
    report: &'a Report,
}

impl ReportFile {
    /// Finds out, before anything starts, whether the report can be written there.
    ///
    /// # Errors
    /// A usage error that says why it cannot.
    pub fn check(path: &Path) -> Result<Self> {
        WholeFile::check("--report", path).map(ReportFile)
    }

    /// The report replaces its file, so nothing else may be kept in it.
    ///
    /// # Errors
    /// A usage error, if this file is for something else.
    pub fn is_not(&self, option: &str, path: &Path) -> Result<()> {
        if place_of(self.0.path()).is_some_and(|place| place_of(path) == Some(place)) {
            let message = format!("is the same file as {option}, and would replace it at the end");
            return Err(Error::usage(format!("--report {}", self.0.path().display()), message));
        }
        Ok(())
    }

    /// Writes the report.
    ///
    /// # Errors
    /// The file could not be written; then what was there before still is.
    pub fn write(&self, report: &Report, outcome: &Result<()>) -> Result<()> {
        let state = outcome.as_ref().map_or_else(|error| error.state().unwrap_or("failed"), |()| "completed");
        let error = outcome.as_ref().err().map(ToString::to_string);
        let content = Content { outcome: state, error, report };
        let mut json = serde_json::to_vec_pretty(&content).map_err(|error| Error::io("the report", &error.into()))?;
        json.push(b'\n');
        self.0.write(&json)
    }
}
