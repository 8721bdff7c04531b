//! The baseline: what every case may cost, in a file that a person can read and a review can see change.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

const HEAD: &str = "\
# What the engine takes per tuple. The gate (cargo bench --bench gate) fails when a case takes more instructions than
# this by over margin_percent, or allocates more. Written by tools/check --update-gate; see benches/NOTES.md.
";

/// The contents of `benches/gate/baseline.toml`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Instructions are compared only where compiler and target are these.
    pub toolchain: String,
    pub margin_percent: f64,
    pub cases: BTreeMap<String, Expected>,
}

/// What one case may cost per tuple.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub instructions: f64,
    pub allocations: f64,
}

/// What one case costs per tuple; no instructions where they cannot be compared.
pub struct Cost {
    pub instructions: Option<f64>,
    pub allocations: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(instructions) = self.instructions {
            write!(f, "{instructions:.2} instructions, ")?;
        }
        write!(f, "{:.4} allocations per tuple", self.allocations)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Within,
    Better,
    Worse,
}

impl Baseline {
    /// The baseline in this file.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::read_if_there(path)?
            .ok_or_else(|| format!("{}: there is none: tools/check --update-gate", path.display()))
    }

    /// A new one for this toolchain, without cases, and with the margin of the one in this file, if there is one.
    pub fn renew(path: &Path, toolchain: String) -> Result<Self, String> {
        let margin_percent = Self::read_if_there(path)?.map_or(3.0, |old| old.margin_percent);
        Ok(Baseline { toolchain, margin_percent, cases: BTreeMap::new() })
    }

    fn read_if_there(path: &Path) -> Result<Option<Self>, String> {
        let place = |what: String| format!("{}: {what}", path.display());
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let mend = |error| place(format!("{error}\nmend it, or remove it and run tools/check --update-gate"));
                toml::from_str(&text).map(Some).map_err(mend)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(place(error.to_string())),
        }
    }

    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        std::fs::write(path, format!("{HEAD}{text}")).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// From here on a case may cost this much.
    pub fn set(&mut self, case: &str, cost: &Cost) {
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        let instructions = rounded(cost.instructions.unwrap_or_default());
        self.cases.insert(case.to_owned(), Expected { instructions, allocations: rounded(cost.allocations) });
    }

    /// Compares what a case costs with what it may cost.
    pub fn judge(&self, case: &str, cost: &Cost) -> Result<(Verdict, Expected), String> {
        let missing = || format!("the baseline has no case {case}: tools/check --update-gate");
        let expected = *self.cases.get(case).ok_or_else(missing)?;
        let margin = self.margin_percent / 100.0;
        let ratio = cost.instructions.map_or(1.0, |now| now / expected.instructions);
        // Half a unit of the last place that is written.
        let allocates_more = cost.allocations > expected.allocations + 0.005;
        let verdict = match ratio {
            _ if allocates_more => Verdict::Worse,
            ratio if ratio > 1.0 + margin => Verdict::Worse,
            ratio if ratio < 1.0 - margin => Verdict::Better,
            _ => Verdict::Within,
        };
        Ok((verdict, expected))
    }
}
