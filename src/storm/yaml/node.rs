//! [`Node`]: a value of a YAML file and where it stands.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Number, Value as Json};

use crate::error::Problem;

/// A place in a file. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub place: Place,
    pub content: Content,
}

/// What a YAML node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(Vec<Node>),
    /// In the file's order, no key twice.
    Map(Vec<(Node, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

impl Node {
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.place.to_string(), message)
    }

    /// `expected WHAT, not` this.
    pub fn expected(&self, what: &str) -> Problem {
        self.problem(format!("expected {what}, not {}", self.shown()))
    }

    /// A value of JSON as if all of it stood at this place.
    pub fn from_json(json: &Json, place: &Place) -> Self {
        let node = |json: &Json| Node::from_json(json, place);
        let content = match json {
            Json::Null => Content::Null,
            Json::Bool(value) => Content::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Content::Int(whole),
                None => Content::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Content::Text(text.as_str().into()),
            Json::Array(values) => Content::List(values.iter().map(node).collect()),
            Json::Object(object) => {
                let key = |key: &str| Node { place: place.clone(), content: Content::Text(key.into()) };
                Content::Map(object.iter().map(|(name, value)| (key(name), node(value))).collect())
            }
        };
        Node { place: place.clone(), content }
    }

    /// Neither a list nor a map, nor nothing.
    pub fn is_scalar(&self) -> bool {
        !matches!(self.content, Content::Null | Content::List(_) | Content::Map(_))
    }

    pub fn as_text(&self) -> Option<&Arc<str>> {
        if let Content::Text(text) = &self.content { Some(text) } else { None }
    }

    /// The value of a key, if this is a map with it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|(name, _)| name.as_text().is_some_and(|name| &**name == key)).map(|(_, value)| value)
    }

    /// A number that JSON lacks, if there is one in it.
    pub fn not_finite(&self) -> Option<&Node> {
        match &self.content {
            Content::Float(value) => (!value.is_finite()).then_some(self),
            Content::List(values) => values.iter().find_map(Node::not_finite),
            Content::Map(entries) => {
                entries.iter().find_map(|(key, value)| key.not_finite().or_else(|| value.not_finite()))
            }
            _ => None,
        }
    }

    /// For error messages: short, on one line.
    pub fn shown(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Bool(value) => value.to_string(),
            Content::Int(value) => value.to_string(),
            Content::Float(value) => format!("{value:?}"),
            Content::Text(text) if text.chars().count() > 60 => {
                format!("{:?}...", text.chars().take(60).collect::<String>())
            }
            Content::Text(text) => format!("{text:?}"),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }

    /// As JSON: what components get of it. Keys that are no texts become their text; floats that JSON lacks null.
    pub fn to_json(&self) -> Json {
        match &self.content {
            Content::Null => Json::Null,
            Content::Bool(value) => Json::Bool(*value),
            Content::Int(value) => Json::from(*value),
            Content::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Content::Text(text) => Json::from(&**text),
            Content::List(values) => values.iter().map(Node::to_json).collect(),
            Content::Map(entries) => Json::Object(to_object(entries)),
        }
    }
}

fn to_object(entries: &[(Node, Node)]) -> JsonMap<String, Json> {
    let name = |key: &Node| match &key.content {
        Content::Text(text) => text.to_string(),
        _ => key.to_json().to_string(),
    };
    entries.iter().map(|(key, value)| (name(key), value.to_json())).collect()
}
