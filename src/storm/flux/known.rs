//! The Java classes whose objects mean something to native components: fields, lengths of windows, times, lists, maps.

use serde_json::{Map as JsonMap, Value as Json};

use crate::error::Problem;
use crate::storm::flux::objects::json_of;
use crate::storm::registry::arguments::{Call, Placed, fields_of};
use crate::storm::registry::{Argument, current};

/// What the objects of a class are here.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Fields,
    Count,
    /// A length of a window by time.
    Length,
    Duration,
    List,
    Arrays,
    Map,
}

const KNOWN: [(&str, Kind); 14] = [
    ("org.apache.storm.tuple.Fields", Kind::Fields),
    ("org.apache.storm.topology.base.BaseWindowedBolt$Count", Kind::Count),
    ("org.apache.storm.topology.base.BaseWindowedBolt$Duration", Kind::Length),
    ("java.time.Duration", Kind::Duration),
    ("java.util.ArrayList", Kind::List),
    ("java.util.LinkedList", Kind::List),
    ("java.util.Vector", Kind::List),
    ("java.util.Arrays", Kind::Arrays),
    ("java.util.HashMap", Kind::Map),
    ("java.util.LinkedHashMap", Kind::Map),
    ("java.util.TreeMap", Kind::Map),
    ("java.util.Hashtable", Kind::Map),
    ("java.util.Properties", Kind::Map),
    ("java.util.concurrent.ConcurrentHashMap", Kind::Map),
];

fn kind_of(class: &str) -> Option<Kind> {
    let class = current(class);
    KNOWN.iter().find(|(known, _)| *known == class).map(|(_, kind)| *kind)
}

/// Whether objects of a class can be made without a JVM.
pub(super) fn is_known(class: &str) -> bool {
    kind_of(class).is_some()
}

/// An object as its constructor or factory makes it.
pub(super) fn construct(
    class: &str,
    place: &str,
    factory: Option<&str>,
    args: Vec<Placed>,
) -> Result<Argument, Problem> {
    let kind = kind_of(class).expect("only objects of known classes are made");
    let wrong = |expected: &str| {
        let by = factory.map_or_else(String::new, |factory| format!(", by its factory {factory}"));
        Problem::new(place, format!("{class} takes {expected}{by}"))
    };
    let millis =
        |number: Option<u64>, unit: Option<Unit>| number.zip(unit).and_then(|(number, unit)| unit.millis(number));
    match (kind, factory) {
        (Kind::Fields, None) => field_names(&args).map(Argument::Fields).ok_or_else(|| wrong("the names of fields")),
        (Kind::Count, None | Some("of")) => {
            one_whole(&args).map(Argument::Count).ok_or_else(|| wrong("one number of tuples"))
        }
        (Kind::Length, None) => {
            let made = match &args[..] {
                [number, unit] => {
                    millis(whole(number), json_of(&unit.argument).and_then(Json::as_str).and_then(unit_of))
                }
                _ => None,
            };
            made.map(Argument::Millis).ok_or_else(|| wrong("a number and a unit such as SECONDS"))
        }
        (Kind::Length, Some(factory)) => {
            let unit = if factory == "of" { Some(Unit(1, 1)) } else { unit_of(&factory.to_uppercase()) };
            let unit =
                unit.ok_or_else(|| wrong("a number, by its factories of, seconds, minutes, hours and days; not"))?;
            millis(one_whole(&args), Some(unit)).map(Argument::Millis).ok_or_else(|| wrong("one number"))
        }
        (Kind::Duration, Some(factory)) => {
            let unit = factory.strip_prefix("of").and_then(|unit| unit_of(&unit.to_uppercase()));
            let unit = unit.ok_or_else(|| wrong("a number, by factories such as ofSeconds and ofMillis; not"))?;
            millis(one_whole(&args), Some(unit)).map(Argument::Millis).ok_or_else(|| wrong("one number"))
        }
        (Kind::Duration, None) => Err(wrong("a number, by a factory such as ofSeconds")),
        (Kind::Arrays, Some("asList")) => {
            let [all] = &args[..] else { return Err(wrong("one list, as in Flux")) };
            elements(&all.argument).map(Argument::list).ok_or_else(|| wrong("one list, as in Flux"))
        }
        // A number is room for elements, of which there are none yet.
        (Kind::List, None) => match &args[..] {
            [] => Some(Argument::list(Vec::new())),
            [room] if whole(room).is_some() => Some(Argument::list(Vec::new())),
            [all] => elements(&all.argument).map(Argument::list),
            _ => None,
        }
        .ok_or_else(|| wrong("nothing, a number, or one list of what is in it")),
        (Kind::Map, None) => match &args[..] {
            [] => Some(Argument::Value(Json::Object(JsonMap::new()))),
            [room] if whole(room).is_some() => Some(Argument::Value(Json::Object(JsonMap::new()))),
            [all] => json_of(&all.argument).filter(|all| all.is_object()).cloned().map(Argument::Value),
            _ => None,
        }
        .ok_or_else(|| wrong("nothing, a number, or one map of what is in it")),
        (Kind::Arrays, None) => Err(wrong("one list, by its factory asList")),
        (_, Some(factory)) => Err(Problem::new(place, format!("{class} has no factory {factory} here"))),
    }
}

/// The object after the methods that a file has called on it.
pub(super) fn configure(class: &str, made: Argument, calls: Vec<Call>) -> Result<Argument, Problem> {
    if calls.is_empty() {
        return Ok(made);
    }
    match kind_of(class) {
        Some(Kind::List) => {
            let mut list = elements(&made).expect("a list has been made");
            calls.into_iter().try_for_each(|call| of_list(class, &mut list, call))?;
            Ok(Argument::list(list))
        }
        Some(Kind::Map) => {
            let Argument::Value(Json::Object(mut map)) = made else { unreachable!("a map has been made") };
            calls.into_iter().try_for_each(|call| of_map(class, &mut map, call))?;
            Ok(Argument::Value(Json::Object(map)))
        }
        _ => {
            let call = &calls[0];
            Err(Problem::new(&call.place, format!("{class} has no method {:?} here", call.name)))
        }
    }
}

/// A call of a method of a list.
fn of_list(class: &str, list: &mut Vec<Argument>, call: Call) -> Result<(), Problem> {
    let Call { name, place, args } = call;
    let position = |placed: &Placed, end: usize| {
        let at = whole(placed).and_then(|at| usize::try_from(at).ok()).filter(|at| *at < end);
        at.ok_or_else(|| Problem::new(&placed.place, format!("expected a position below {end}, where the list ends")))
    };
    let several = |placed: &Placed| {
        let expected = || Problem::new(&placed.place, format!("expected a list for {name} of {class}"));
        elements(&placed.argument).ok_or_else(expected)
    };
    not_null(&args)?;
    match (&*name, &args[..]) {
        ("add" | "addLast" | "addElement", [element]) => list.push(element.argument.clone()),
        ("addFirst", [element]) => list.insert(0, element.argument.clone()),
        ("add", [at, element]) => list.insert(position(at, list.len() + 1)?, element.argument.clone()),
        ("set", [at, element]) => {
            let at = position(at, list.len())?;
            list[at] = element.argument.clone();
        }
        ("addAll", [all]) => list.extend(several(all)?),
        ("addAll", [at, all]) => {
            let at = position(at, list.len() + 1)?;
            list.splice(at..at, several(all)?);
        }
        ("clear", []) => list.clear(),
        _ => return Err(not_carried_out(class, &name, &place, args.len(), "add, addAll, set and clear")),
    }
    Ok(())
}

/// A call of a method of a map.
fn of_map(class: &str, map: &mut JsonMap<String, Json>, call: Call) -> Result<(), Problem> {
    let Call { name, place, args } = call;
    let value = |placed: &Placed| {
        let expected = || Problem::new(&placed.place, format!("expected a value for {name} of {class}, not an object"));
        json_of(&placed.argument).cloned().ok_or_else(expected)
    };
    not_null(&args)?;
    match (&*name, &args[..]) {
        ("put" | "setProperty", [key, given]) => {
            let key = match value(key)? {
                Json::String(key) => key,
                other => other.to_string(),
            };
            map.insert(key, value(given)?);
        }
        ("putAll", [all]) => match value(all)? {
            Json::Object(all) => map.extend(all),
            _ => return Err(Problem::new(&args[0].place, format!("expected a map for {name} of {class}"))),
        },
        ("clear", []) => map.clear(),
        _ => return Err(not_carried_out(class, &name, &place, args.len(), "put, putAll and clear")),
    }
    Ok(())
}

fn not_null(args: &[Placed]) -> Result<(), Problem> {
    match args.iter().find(|placed| placed.argument == Argument::Value(Json::Null)) {
        Some(placed) => Err(Problem::new(&placed.place, "Flux takes no null for an argument of a method")),
        None => Ok(()),
    }
}

fn not_carried_out(class: &str, method: &str, place: &str, args: usize, known: &str) -> Problem {
    let message = format!("{method} of {class} with {args} arguments cannot be carried out here; {known} can");
    Problem::new(place, message)
}

/// The elements of a list.
fn elements(argument: &Argument) -> Option<Vec<Argument>> {
    match argument {
        Argument::List(all) => Some(all.clone()),
        Argument::Value(Json::Array(values)) => Some(values.iter().cloned().map(Argument::Value).collect()),
        _ => None,
    }
}

/// Names as several arguments, or as one list.
fn field_names(args: &[Placed]) -> Option<Vec<String>> {
    match args {
        [] => None,
        [all] => fields_of(&all.argument),
        several => several.iter().map(|name| Some(json_of(&name.argument)?.as_str()?.to_owned())).collect(),
    }
}

fn whole(placed: &Placed) -> Option<u64> {
    json_of(&placed.argument).and_then(Json::as_u64)
}

fn one_whole(args: &[Placed]) -> Option<u64> {
    if let [number] = args { whole(number) } else { None }
}

/// A unit of time: so many milliseconds, divided by so many.
#[derive(Clone, Copy)]
struct Unit(u64, u64);

impl Unit {
    fn millis(self, number: u64) -> Option<u64> {
        number.checked_mul(self.0).map(|number| number / self.1)
    }
}

/// A unit by its name in Java.
fn unit_of(name: &str) -> Option<Unit> {
    Some(match name {
        "NANOSECONDS" | "NANOS" => Unit(1, 1_000_000),
        "MICROSECONDS" => Unit(1, 1_000),
        "MILLISECONDS" | "MILLIS" => Unit(1, 1),
        "SECONDS" => Unit(1_000, 1),
        "MINUTES" => Unit(60_000, 1),
        "HOURS" => Unit(3_600_000, 1),
        "DAYS" => Unit(86_400_000, 1),
        _ => return None,
    })
}
