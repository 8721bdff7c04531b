//! What becomes of each key of a configuration of Storm.

use std::path::Path;

use serde_json::Value as Json;

use crate::error::Problem;
use crate::storm::conf::{Checked, Level, check};
use crate::storm::flux::read_file;
use crate::storm::yaml::{self, Content, Node, Place, Text};

/// One key.
pub(crate) struct Row {
    pub key: String,
    pub value: String,
    pub fate: &'static str,
    pub note: String,
}

impl Row {
    pub fn of(checked: &Checked) -> Self {
        let value = match &checked.value {
            Json::Null => "not set".to_owned(),
            value => value.to_string(),
        };
        Row { key: checked.key.clone(), value, fate: checked.fate.word(), note: checked.note.clone() }
    }
}

/// Reads a file in YAML or JSON. A file whose only key is `config`, as Storm's own tools write them, is unwrapped; of a
/// Flux file the `config` is taken.
pub(crate) fn read(path: &Path) -> (Vec<Row>, Vec<Problem>) {
    let name = path.display().to_string();
    let text = match read_file(path) {
        Ok(text) => text,
        Err(error) => return (Vec::new(), vec![Problem::new(name, format!("the file cannot be read: {error}"))]),
    };
    let root = yaml::parse(&Text::new(name.as_str(), text.as_str())).or_else(|problems| {
        // JSON that YAML does not take: with tabs, or with surrogates as escapes. Its places are not known.
        let place = Place { file: name.as_str().into(), line: 1, column: 1 };
        serde_json::from_str(&text).map(|json| Node::from_json(&json, &place)).map_err(|_| problems)
    });
    let root = match root {
        Ok(root) => root,
        Err(problems) => return (Vec::new(), problems),
    };
    let is_wrapped = match &root.content {
        Content::Map(entries) => {
            let is = |name: &str| root.get(name).is_some();
            is("config") && (entries.len() == 1 || is("spouts") || is("bolts") || is("name") || is("topologySource"))
        }
        _ => false,
    };
    let map = if is_wrapped { root.get("config").expect("it is there") } else { &root };
    let mut problems = Vec::new();
    let checked = check(map, Level::Topology, &mut problems);
    (checked.iter().map(Row::of).collect(), problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_json_and_flux_files_are_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let texts = [
            "topology.workers: 2\nmine: x\n",
            "{\n\t\"topology.workers\": 2,\n\t\"mine\": \"x\"\n}\n",
            "config:\n  topology.workers: 2\n  mine: x\n",
            "name: t\nconfig: {topology.workers: 2, mine: x}\nspouts: []\n",
        ];
        for text in texts {
            let path = folder.path().join("storm.yaml");
            std::fs::write(&path, text).unwrap();
            let (rows, problems) = read(&path);
            assert!(problems.is_empty(), "{text}: {problems:?}");
            let shown: Vec<(&str, &str, &str)> =
                rows.iter().map(|row| (row.key.as_str(), row.value.as_str(), row.fate)).collect();
            assert_eq!(
                shown,
                [("topology.workers", "2", "mapped"), ("mine", "\"x\"", "passed to components")],
                "{text}"
            );
        }
    }
}
