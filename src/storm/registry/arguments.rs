//! [`Arguments`]: what a file says about a component that is being made.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map as JsonMap, Value as Json};

use crate::error::Problem;
use crate::storm::conf::Conf;
use crate::storm::emitter::StreamDeclaration;

/// An argument, references followed.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A value as it stands in the file.
    Value(Json),
    /// Field names: an `org.apache.storm.tuple.Fields`.
    Fields(Vec<String>),
    /// A number of tuples: a `BaseWindowedBolt$Count`.
    Count(u64),
    /// A time in milliseconds: a `BaseWindowedBolt$Duration`.
    Millis(u64),
    /// Several of them that are not all plain values: `reflist`, or a list that holds objects. A list of plain values
    /// is a value.
    List(Vec<Argument>),
}

impl Argument {
    /// A list of these.
    pub(crate) fn list(all: Vec<Argument>) -> Self {
        let values: Option<Vec<Json>> = all
            .iter()
            .map(|argument| match argument {
                Argument::Value(value) => Some(value.clone()),
                _ => None,
            })
            .collect();
        values.map_or(Argument::List(all), |values| Argument::Value(Json::Array(values)))
    }

    /// For error messages.
    pub(crate) fn shown(&self) -> String {
        match self {
            Argument::Value(value) => value.to_string(),
            Argument::Fields(names) => format!("the fields {}", names.join(", ")),
            Argument::Count(count) => format!("a count of {count}"),
            Argument::Millis(millis) => format!("a time of {millis} ms"),
            Argument::List(all) => {
                format!("[{}]", all.iter().map(Argument::shown).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// An argument and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub argument: Argument,
    pub place: String,
}

/// A method call from `configMethods`.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub name: String,
    pub place: String,
    pub args: Vec<Placed>,
}

/// What a file says about a component: the arguments of its constructor by position, its properties by name, calls of
/// methods.
///
/// An argument is asked for by name and position: what a property of this name says, or else the constructor's argument
/// at the position. What nobody asks for is a mistake in the file, and is reported.
#[derive(Debug)]
pub struct Arguments<'a> {
    pub(crate) class: &'a str,
    pub(crate) place: String,
    pub(crate) positional: Vec<Placed>,
    pub(crate) named: Vec<(String, Placed)>,
    pub(crate) calls: Vec<Call>,
    pub(crate) conf: &'a Conf,
    pub(crate) resources: &'a Path,
    /// Number of streams that the component subscribes to.
    pub(crate) inputs: usize,
    pub(crate) asked: RefCell<Asked>,
}

/// What was asked for so far.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    names: BTreeSet<String>,
    positions: usize,
    calls: BTreeSet<String>,
}

impl Arguments<'_> {
    /// The class name that the file gives.
    pub fn class(&self) -> &str {
        self.class
    }

    /// A problem with the component, at its place.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(&self.place, message)
    }

    /// A key of the configuration: the component's, or else the topology's.
    pub fn configured(&self, key: &str) -> Option<&Json> {
        self.conf.get(key)
    }

    /// The whole configuration with Storm's defaults.
    pub fn configuration(&self) -> JsonMap<String, Json> {
        self.conf.for_components()
    }

    /// The folder that stands for the jar's `resources/`.
    pub fn resources(&self) -> &Path {
        self.resources
    }

    /// Number of arguments of the constructor.
    pub fn count(&self) -> usize {
        self.positional.len()
    }

    /// The first argument of the constructor, which may say what the others are; it is not asked for by this.
    pub(crate) fn first(&self) -> Option<&Argument> {
        self.positional.first().map(|placed| &placed.argument)
    }

    fn find(&self, name: &str, position: usize) -> Option<&Placed> {
        let mut asked = self.asked.borrow_mut();
        asked.names.insert(name.to_owned());
        // What has no position is a property only.
        if position != usize::MAX {
            asked.positions = asked.positions.max(position + 1);
        }
        let named = self.named.iter().rev().find(|(other, _)| other == name).map(|(_, placed)| placed);
        let is_null = |placed: &&Placed| placed.argument == Argument::Value(Json::Null);
        named.or_else(|| self.positional.get(position)).filter(|placed| !is_null(placed))
    }

    /// An argument, if it is there.
    pub fn get(&self, name: &str, position: usize) -> Option<&Argument> {
        self.find(name, position).map(|placed| &placed.argument)
    }

    fn read<T>(
        &self,
        (name, position): (&str, usize),
        expected: &str,
        read: impl FnOnce(&Argument) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(placed) = self.find(name, position) else { return Ok(None) };
        let value = read(&placed.argument);
        value.map(Some).ok_or_else(|| self.misfit(name, expected, placed))
    }

    /// What begins a message about arguments that no constructor of a class of Java's takes.
    fn no_such_constructor(&self) -> &'static str {
        if self.class.starts_with("squall.") { "" } else { "there is no such constructor: " }
    }

    /// What is said of an argument that is not what it should be; of a list, with its first element that is not.
    fn misfit(&self, name: &str, expected: &str, placed: &Placed) -> Problem {
        let is_named = self.named.iter().any(|(other, _)| other == name);
        let none = if is_named { "" } else { self.no_such_constructor() };
        let shown = placed.argument.shown();
        let mut message = format!("{none}expected {expected} for {name} of {}, not {shown}", self.class);
        let element = match &placed.argument {
            Argument::Value(Json::Array(values)) => values.iter().enumerate().find(|(_, value)| !value.is_string()),
            _ => None,
        };
        if let Some((at, value)) = element.filter(|_| expected.starts_with("a list of")) {
            let remedy = if value.is_number() || value.is_boolean() { ": put it in quotes" } else { "" };
            message.push_str(&format!("; element {} is {value}{remedy}", at + 1));
        }
        Problem::new(&placed.place, message)
    }

    /// An argument that is read by a function of the caller's, if it is there.
    ///
    /// # Errors
    /// `read` finds nothing in it; the problem says what was `expected`, and what is there.
    pub fn optional<T>(
        &self,
        name: &str,
        position: usize,
        expected: &str,
        read: impl FnOnce(&Argument) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        self.read((name, position), expected, read)
    }

    fn required<T>(&self, name: &str, position: usize, expected: &str, value: Option<T>) -> Result<T, Problem> {
        let how = match position {
            usize::MAX => "as a property".to_owned(),
            _ => format!("as a property, or as constructor argument {}", position + 1),
        };
        value.ok_or_else(|| self.problem(format!("{} needs {name}: {expected}, {how}", self.class)))
    }

    /// A text, if it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_text(&self, name: &str, position: usize) -> Result<Option<String>, Problem> {
        self.read((name, position), "a text", |argument| match argument {
            Argument::Value(Json::String(text)) => Some(text.clone()),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// It is missing, or something else.
    pub fn text(&self, name: &str, position: usize) -> Result<String, Problem> {
        let value = self.optional_text(name, position)?;
        self.required(name, position, "a text", value)
    }

    /// A whole number, if it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_whole(&self, name: &str, position: usize) -> Result<Option<i64>, Problem> {
        self.read((name, position), "a whole number", |argument| match argument {
            Argument::Value(value) => value.as_i64(),
            _ => None,
        })
    }

    /// A number that is not negative, or else this.
    ///
    /// # Errors
    /// It is something else.
    pub fn number_or(&self, name: &str, position: usize, otherwise: u64) -> Result<u64, Problem> {
        let value = self.read((name, position), "a whole number that is not negative", |argument| match argument {
            Argument::Value(value) => value.as_u64(),
            _ => None,
        })?;
        Ok(value.unwrap_or(otherwise))
    }

    /// A flag, if it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_flag(&self, name: &str, position: usize) -> Result<Option<bool>, Problem> {
        self.read((name, position), "true or false", |argument| match argument {
            Argument::Value(value) => value.as_bool(),
            _ => None,
        })
    }

    /// Names of fields, if they are there: a list of texts, one text, or a reference to a `Fields`.
    ///
    /// # Errors
    /// They are something else.
    pub fn optional_fields(&self, name: &str, position: usize) -> Result<Option<Vec<String>>, Problem> {
        self.read((name, position), "a list of field names", fields_of)
    }

    /// Names of fields.
    ///
    /// # Errors
    /// They are missing, or something else.
    pub fn fields(&self, name: &str, position: usize) -> Result<Vec<String>, Problem> {
        let value = self.optional_fields(name, position)?;
        self.required(name, position, "a list of field names", value)
    }

    /// A stream with these fields.
    ///
    /// # Errors
    /// A name occurs twice.
    pub fn stream<N: AsRef<str>>(&self, name: &str, fields: &[N]) -> Result<StreamDeclaration, Problem> {
        let fields: Vec<&str> = fields.iter().map(AsRef::as_ref).collect();
        StreamDeclaration::new(name, fields).map_err(|error| self.problem(error.to_string()))
    }

    /// The arguments of each call of a method in `configMethods`, in order.
    pub fn calls_of(&self, name: &'static str) -> Vec<Vec<Argument>> {
        let calls = self.calls(name);
        calls.map(|call| call.args.iter().map(|placed| placed.argument.clone()).collect()).collect()
    }

    /// The calls of a method, in order.
    pub(crate) fn calls<'s>(&'s self, name: &'static str) -> impl Iterator<Item = &'s Call> {
        self.asked.borrow_mut().calls.insert(name.to_owned());
        self.calls.iter().filter(move |call| call.name == name)
    }

    /// The arguments of a call of a method that takes so many.
    ///
    /// # Errors
    /// It is given another number of them.
    pub(crate) fn exactly<'c, const N: usize>(&self, call: &'c Call) -> Result<&'c [Placed; N], Problem> {
        let wrong = |_| {
            let (class, name, given) = (self.class, &call.name, call.args.len());
            Problem::new(&call.place, format!("{name} of {class} takes {N} arguments here, not {given}"))
        };
        call.args[..].try_into().map_err(wrong)
    }

    /// What the file says and nobody has asked for.
    pub(crate) fn unused(&self) -> Vec<Problem> {
        let asked = self.asked.borrow();
        let mut problems = Vec::new();
        let mut note = |place: &str, message: String| problems.push(Problem::new(place, message));
        for (name, placed) in &self.named {
            if !asked.names.contains(name) {
                let known: Vec<&str> = asked.names.iter().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                note(&placed.place, format!("{} has no property {name:?} here; it has: {known}", self.class));
            }
        }
        if let Some(first) = self.positional.get(asked.positions) {
            let none = self.no_such_constructor();
            let message = format!("{none}{} takes {} constructor arguments here", self.class, asked.positions);
            note(&first.place, format!("{message}, not {}", self.positional.len()));
        }
        for call in &self.calls {
            if !asked.calls.contains(&call.name) {
                note(&call.place, format!("{} has no method {:?} here", self.class, call.name));
            }
        }
        problems
    }
}

/// Names of fields, in any form in which Flux files give them.
pub(crate) fn fields_of(argument: &Argument) -> Option<Vec<String>> {
    match argument {
        Argument::Fields(names) => Some(names.clone()),
        Argument::Value(Json::String(name)) => Some(vec![name.clone()]),
        Argument::Value(Json::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}
