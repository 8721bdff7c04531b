//! Following references: from the objects of a file to the arguments of a component.

use std::cell::RefCell;

use serde_json::Value as Json;

use crate::error::Problem;
use crate::storm::flux::fields::nearest;
use crate::storm::flux::model::{Arg, Bean, Object};
use crate::storm::registry::arguments::{Call, Placed};
use crate::storm::registry::{Argument, current};
use crate::storm::yaml::Place;

/// The objects of a file, evaluated when they are referred to.
pub(super) struct Objects<'d> {
    beans: &'d [Bean],
    /// Ids on the way to the one that is evaluated.
    open: RefCell<Vec<String>>,
}

/// Classes whose objects mean something to native components.
const KNOWN: [&str; 6] = [
    "org.apache.storm.tuple.Fields",
    "org.apache.storm.topology.base.BaseWindowedBolt$Count",
    "org.apache.storm.topology.base.BaseWindowedBolt$Duration",
    "java.time.Duration",
    "java.util.ArrayList",
    "java.util.Arrays",
];

/// Whether objects of a class can be made without a JVM.
pub(super) fn is_known(class: &str) -> bool {
    KNOWN.contains(&&*current(class))
}

impl<'d> Objects<'d> {
    pub fn new(beans: &'d [Bean]) -> Self {
        Objects { beans, open: RefCell::default() }
    }

    pub fn all(&self, args: &[Arg]) -> Result<Vec<Placed>, Problem> {
        args.iter().map(|arg| self.one(arg)).collect()
    }

    pub fn calls(&self, object: &Object) -> Result<Vec<Call>, Problem> {
        let call = |method: &crate::storm::flux::model::ConfigMethod| {
            let (name, place) = (method.name.text.to_string(), method.name.place.to_string());
            Ok(Call { name, place, args: self.all(&method.args)? })
        };
        object.config_methods.iter().map(call).collect()
    }

    pub fn properties(&self, object: &Object) -> Result<Vec<(String, Placed)>, Problem> {
        let properties = object.properties.iter();
        properties.map(|property| Ok((property.name.text.to_string(), self.one(&property.value)?))).collect()
    }

    pub fn one(&self, arg: &Arg) -> Result<Placed, Problem> {
        let place = arg.place().to_string();
        let argument = match arg {
            Arg::Value(node) => Argument::Value(node.to_json()),
            Arg::Ref(id) => self.referred(&id.text, &id.place)?,
            Arg::RefList(_, ids) => {
                let all: Result<_, Problem> = ids.iter().map(|id| self.referred(&id.text, &id.place)).collect();
                Argument::List(all?)
            }
        };
        Ok(Placed { argument, place })
    }

    fn referred(&self, id: &str, place: &Place) -> Result<Argument, Problem> {
        let Some(bean) = self.beans.iter().find(|bean| &*bean.id.text == id) else {
            let near = nearest(id, self.beans.iter().map(|bean| &*bean.id.text));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            return Err(Problem::new(place.to_string(), format!("there is no component {id:?}{hint}")));
        };
        if self.open.borrow().iter().any(|open| open == id) {
            return Err(Problem::new(place.to_string(), format!("the component {id:?} refers to itself")));
        }
        self.open.borrow_mut().push(id.to_owned());
        let made = self.make(&bean.object);
        self.open.borrow_mut().pop();
        made
    }

    /// An object of one of the known classes.
    pub fn make(&self, object: &Object) -> Result<Argument, Problem> {
        let class = current(&object.class.text);
        let factory = object.factory.as_ref().map(|factory| &*factory.text);
        let args = if factory.is_some() { &object.factory_args } else { &object.constructor_args };
        let args = self.all(args)?;
        let place = object.class.place.to_string();
        let wrong = |expected: &str| Problem::new(&place, format!("{} takes {expected}", object.class.text));
        match (class.rsplit('.').next().unwrap_or_default(), factory) {
            ("Fields", None) => field_names(&args).map(Argument::Fields).ok_or_else(|| wrong("the names of fields")),
            ("BaseWindowedBolt$Count", None | Some("of")) => {
                whole(&args, 0).map(Argument::Count).ok_or_else(|| wrong("one number of tuples"))
            }
            ("BaseWindowedBolt$Duration", None) => {
                let unit = args.get(1).and_then(|unit| match &unit.argument {
                    Argument::Value(Json::String(unit)) => unit_millis(unit),
                    _ => None,
                });
                let millis = whole(&args, 0).zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
                millis.map(Argument::Millis).ok_or_else(|| wrong("a number and a unit such as SECONDS"))
            }
            (_, Some("asList")) => Ok(Argument::List(args.into_iter().map(|placed| placed.argument).collect())),
            ("ArrayList", None) => Ok(Argument::List(args.into_iter().map(|placed| placed.argument).collect())),
            (_, Some(factory)) => {
                let name = factory.strip_prefix("of").unwrap_or(factory).to_uppercase();
                let unit = if name.is_empty() { Some(1) } else { unit_millis(&name) };
                let millis = whole(&args, 0).zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
                millis.map(Argument::Millis).ok_or_else(|| wrong("a number, by a factory such as seconds"))
            }
            _ => Err(wrong("what only a JVM can make")),
        }
    }
}

/// Names as several arguments, or as one list.
fn field_names(args: &[Placed]) -> Option<Vec<String>> {
    if let [Placed { argument, .. }] = args {
        return crate::storm::registry::arguments::fields_of(argument);
    }
    args.iter()
        .map(|placed| match &placed.argument {
            Argument::Value(Json::String(name)) => Some(name.clone()),
            _ => None,
        })
        .collect()
}

fn whole(args: &[Placed], position: usize) -> Option<u64> {
    match &args.get(position)?.argument {
        Argument::Value(value) => value.as_u64(),
        _ => None,
    }
}

/// A unit of time in milliseconds, by its name in Java.
fn unit_millis(name: &str) -> Option<u64> {
    Some(match name {
        "MILLISECONDS" | "MILLIS" => 1,
        "SECONDS" => 1_000,
        "MINUTES" => 60_000,
        "HOURS" => 3_600_000,
        "DAYS" => 86_400_000,
        _ => return None,
    })
}
