//! Following references: from the objects of a file to the arguments of a component.

use std::cell::{Cell, RefCell};

use serde_json::Value as Json;

use crate::error::Problem;
use crate::storm::flux::fields::nearest;
use crate::storm::flux::known::{self, is_known};
use crate::storm::flux::model::{Arg, Bean, ConfigMethod, Definition, GroupingDef, Object, Word};
use crate::storm::flux::resolve::{Obstacle, needs_jvm};
use crate::storm::registry::Argument;
use crate::storm::registry::arguments::{Call, Placed};
use crate::storm::yaml::{Content, Node};

/// The objects of a file, evaluated when they are referred to.
pub(super) struct Objects<'d> {
    beans: &'d [Bean],
    /// Ids on the way to the one that is evaluated.
    open: RefCell<Vec<String>>,
    /// References followed so far.
    followed: Cell<usize>,
}

/// Objects that refer to objects, one inside the other.
const DEPTH_MAX: usize = 64;
/// References that are followed: an object is made anew for each that leads to it.
const FOLLOWED_MAX: usize = 100_000;

impl<'d> Objects<'d> {
    pub fn new(beans: &'d [Bean]) -> Self {
        Objects { beans, open: RefCell::default(), followed: Cell::default() }
    }

    pub fn all(&self, args: &[Arg]) -> Result<Vec<Placed>, Obstacle> {
        args.iter().map(|arg| self.one(arg)).collect()
    }

    pub fn calls(&self, object: &Object) -> Result<Vec<Call>, Obstacle> {
        let call = |method: &ConfigMethod| {
            let (name, place) = (method.name.text.to_string(), method.name.place.to_string());
            Ok(Call { name, place, args: self.all(&method.args)? })
        };
        object.config_methods.iter().map(call).collect()
    }

    pub fn properties(&self, object: &Object) -> Result<Vec<(String, Placed)>, Obstacle> {
        let properties = object.properties.iter();
        properties.map(|property| Ok((property.name.text.to_string(), self.one(&property.value)?))).collect()
    }

    fn one(&self, arg: &Arg) -> Result<Placed, Obstacle> {
        let place = arg.place().to_string();
        let argument = match arg {
            Arg::Value(node) => match node.not_finite() {
                Some(number) => return Err(number.expected("a number that is finite").into()),
                None => Argument::Value(node.to_json()),
            },
            Arg::Ref(id) => self.referred(id)?,
            Arg::RefList(_, ids) => {
                let all: Result<_, Obstacle> = ids.iter().map(|id| self.referred(id)).collect();
                Argument::list(all?)
            }
        };
        Ok(Placed { argument, place })
    }

    fn referred(&self, id: &Word) -> Result<Argument, Obstacle> {
        let Some(bean) = self.beans.iter().find(|bean| bean.id.text == id.text) else {
            return Err(self.missing(id).into());
        };
        if self.open.borrow().iter().any(|open| **open == *id.text) {
            let message = format!("the component {:?} refers to itself", id.text);
            return Err(Problem::new(id.place.to_string(), message).into());
        }
        self.followed.set(self.followed.get() + 1);
        if self.open.borrow().len() == DEPTH_MAX || self.followed.get() > FOLLOWED_MAX {
            let message = format!("objects refer deeper than {DEPTH_MAX}, or to more than {FOLLOWED_MAX} in all");
            return Err(Problem::new(id.place.to_string(), message).into());
        }
        self.make(bean)
    }

    fn missing(&self, id: &Word) -> Problem {
        let near = nearest(&id.text, self.beans.iter().map(|bean| &*bean.id.text));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        Problem::new(id.place.to_string(), format!("there is no component {:?}{hint}", id.text))
    }

    /// An object of a file, if it is of one of the known classes.
    pub fn make(&self, bean: &Bean) -> Result<Argument, Obstacle> {
        let object = &bean.object;
        if !is_known(&object.class.text) {
            return Err(Obstacle::Java(needs_jvm(&format!("component {:?}", bean.id.text), &object.class, "")));
        }
        self.open.borrow_mut().push(bean.id.text.to_string());
        let made = self.made(object);
        self.open.borrow_mut().pop();
        made
    }

    fn made(&self, object: &Object) -> Result<Argument, Obstacle> {
        let factory = object.used_factory().map(|factory| &*factory.text);
        let args = self.all(if factory.is_some() { &object.factory_args } else { &object.constructor_args })?;
        let place = object.class.place.to_string();
        let made = known::construct(&object.class.text, &place, factory, args)?;
        if let Some((name, placed)) = self.properties(object)?.into_iter().next() {
            let message = format!("{} has no property {name:?} here", object.class.text);
            return Err(Problem::new(placed.place, message).into());
        }
        Ok(known::configure(&object.class.text, made, self.calls(object)?)?)
    }

    /// Whether everything that the objects of a file refer to is there, also where it is Java's business.
    pub fn check_references(&self, definition: &Definition, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
        for object in objects_of(definition) {
            for arg in object.args() {
                match arg {
                    Arg::Ref(id) => problems.extend(self.check(id)),
                    Arg::RefList(_, ids) => problems.extend(ids.iter().filter_map(|id| self.check(id))),
                    Arg::Value(node) => nested_references(node, warnings),
                }
            }
        }
    }

    fn check(&self, id: &Word) -> Option<Problem> {
        let is_there = self.beans.iter().any(|bean| bean.id.text == id.text);
        (!is_there).then(|| self.missing(id))
    }
}

/// Every object of a file.
pub(super) fn objects_of(definition: &Definition) -> impl Iterator<Item = &Object> {
    let groupings = definition.streams.iter().filter_map(|stream| match &stream.grouping {
        GroupingDef::Custom(object) => Some(&**object),
        _ => None,
    });
    let beans = definition.components.iter().chain(&definition.worker_hooks).map(|bean| &bean.object);
    let vertices = definition.spouts.iter().chain(&definition.bolts).map(|vertex| &vertex.object);
    beans.chain(vertices).chain(groupings).chain(&definition.topology_source)
}

/// What looks like a reference and is none, since it does not stand directly among arguments.
fn nested_references(node: &Node, warnings: &mut Vec<Problem>) {
    match &node.content {
        Content::List(values) => values.iter().for_each(|value| nested_references(value, warnings)),
        Content::Map(entries) => {
            if let [(key, _)] = &entries[..]
                && let Some(word) = key.as_text().filter(|key| ["ref", "reflist"].contains(&&***key))
            {
                let message = format!(
                    "{word} refers to nothing here, as in Flux: it does so directly in a list of arguments; for a list \
                     of objects there is reflist, for a property ref in the place of value"
                );
                warnings.push(node.problem(message));
            }
            entries.iter().for_each(|(_, value)| nested_references(value, warnings));
        }
        _ => {}
    }
}

/// A value as it is in JSON, if it is one.
pub(super) fn json_of(argument: &Argument) -> Option<&Json> {
    match argument {
        Argument::Value(value) => Some(value),
        _ => None,
    }
}
