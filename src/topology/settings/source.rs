//! Reading TOML text and command-line assignments into entries that still know where they stood.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::UserValue;
use super::layers::Provenance;

/// A value that some layer gives to a key; whether the key exists is not known yet.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub path: Vec<String>,
    pub value: UserValue,
    pub origin: Provenance,
}

/// What could be read, and what could not with the reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub entries: Vec<Entry>,
    pub unreadable: Vec<(Provenance, String)>,
}

impl Source {
    /// The entries of a TOML text; every syntax error if there are any, and then no entries.
    pub(super) fn toml(text: &str, name: &str) -> Source {
        let line_ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let origin = |span: Range<usize>| {
            let line = line_ends.partition_point(|end| *end < span.start) + 1;
            Provenance::File { path: name.to_owned(), line }
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut source = Source::default();
        if errors.is_empty() {
            source.collect_table(&mut Vec::new(), table.get_ref(), &origin);
        }
        for error in errors {
            let origin = origin(error.span().unwrap_or(0..0));
            source.unreadable.push((origin, error.message().to_owned()));
        }
        source
    }

    /// One key and its value, each as text. A value that is not TOML, such as `30s`, is taken as text.
    pub(super) fn assignment(key: &str, value_text: &str, origin: &Provenance) -> Source {
        let mut source = Source::default();
        let Some(mut path) = key_path(key) else {
            source.unreadable.push((origin.clone(), format!("{key:?} is not a key")));
            return source;
        };
        match DeValue::parse(value_text.trim()) {
            Ok(value) => source.collect(&mut path, value.get_ref(), origin.clone(), &|_| origin.clone()),
            Err(_) => source.entries.push(Entry { path, value: value_text.into(), origin: origin.clone() }),
        }
        source
    }

    fn collect_table(
        &mut self,
        path: &mut Vec<String>,
        table: &DeTable<'_>,
        origin_of: &dyn Fn(Range<usize>) -> Provenance,
    ) {
        for (key, value) in table.iter() {
            path.push(key.get_ref().to_string());
            self.collect(path, value.get_ref(), origin_of(key.span()), origin_of);
            path.pop();
        }
    }

    /// Tables are paths; everything else is a value.
    fn collect(
        &mut self,
        path: &mut Vec<String>,
        value: &DeValue<'_>,
        origin: Provenance,
        origin_of: &dyn Fn(Range<usize>) -> Provenance,
    ) {
        if let DeValue::Table(table) = value {
            return self.collect_table(path, table, origin_of);
        }
        match convert(value) {
            Ok(value) => self.entries.push(Entry { path: path.clone(), value, origin }),
            Err(message) => {
                self.unreadable.push((origin, format!("{}: {message}", super::name::path_text(path))));
            }
        }
    }
}

fn convert(value: &DeValue<'_>) -> Result<UserValue, String> {
    Ok(match value {
        DeValue::Boolean(flag) => UserValue::Bool(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(UserValue::Integer)
            .map_err(|_| format!("{number} does not fit into 64 bits"))?,
        DeValue::Float(number) => {
            UserValue::Float(number.as_str().parse().map_err(|_| format!("{number} is not a number"))?)
        }
        DeValue::String(text) => UserValue::Text(text.to_string()),
        DeValue::Datetime(date) => UserValue::Text(date.to_string()),
        DeValue::Array(values) => {
            UserValue::List(values.iter().map(|value| convert(value.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.get_ref().to_string(), convert(value.get_ref())?)));
            UserValue::Table(entries.collect::<Result<_, String>>()?)
        }
    })
}

/// The segments of a dotted key with TOML's rules for quotes; `None` if the text is anything but one key.
fn key_path(key: &str) -> Option<Vec<String>> {
    if key.contains(['\n', '\r']) {
        return None;
    }
    let text = format!("{key} = 0");
    let document = DeTable::parse(&text).ok()?;
    let mut path = Vec::new();
    let mut table = document.get_ref();
    loop {
        let mut entries = table.iter();
        let (segment, value) = entries.next()?;
        if entries.next().is_some() {
            return None;
        }
        path.push(segment.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(path),
            _ => return None,
        }
    }
}
