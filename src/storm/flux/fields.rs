//! Taking maps of a YAML file apart, noting everything that is not as it should be.

use crate::error::Problem;
use crate::storm::flux::model::Word;
use crate::storm::registry::simple_name;
use crate::storm::yaml::{Content, Node};

/// The members of a map of which each may be asked for; what nobody may ask for is a problem.
pub(super) struct Members<'n> {
    pub node: &'n Node,
    what: &'static str,
}

/// The map that a node is, with only these members. Nothing, and a problem, if it is none.
pub(super) fn members<'n>(
    node: &'n Node,
    what: &'static str,
    known: &[&str],
    problems: &mut Vec<Problem>,
) -> Option<Members<'n>> {
    let Content::Map(entries) = &node.content else {
        problems.push(node.expected(&format!("{what}: a map with {}", listed(known))));
        return None;
    };
    for (key, _) in entries {
        let name = key.as_text().map_or("", |text| text);
        if !known.contains(&name) {
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("expected {}", listed(known)),
            };
            problems.push(key.problem(format!("{what} has no {}; {hint}", key.shown())));
        }
    }
    Some(Members { node, what })
}

impl<'n> Members<'n> {
    /// A member that is there and not null.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.node.get(name).filter(|node| node.content != Content::Null)
    }

    /// A text that must be there.
    pub fn word(&self, name: &str, problems: &mut Vec<Problem>) -> Option<Word> {
        match self.get(name) {
            Some(node) => word(node, problems),
            None => {
                problems.push(self.node.problem(format!("{} needs {name}: a text", self.what)));
                None
            }
        }
    }

    /// A text that may be there.
    pub fn optional_word(&self, name: &str, problems: &mut Vec<Problem>) -> Option<Word> {
        word(self.get(name)?, problems)
    }

    /// The elements of a list that may be there.
    pub fn list(&self, name: &str, problems: &mut Vec<Problem>) -> &'n [Node] {
        match self.get(name).map(|node| (node, &node.content)) {
            None => &[],
            Some((_, Content::List(values))) => values,
            Some((node, _)) => {
                problems.push(node.expected(&format!("a list for {name}")));
                &[]
            }
        }
    }

    /// A flag that may be there.
    pub fn flag(&self, name: &str, problems: &mut Vec<Problem>) -> bool {
        match self.get(name).map(|node| (node, &node.content)) {
            None => false,
            Some((_, Content::Bool(flag))) => *flag,
            Some((node, _)) => {
                problems.push(node.expected(&format!("true or false for {name}")));
                false
            }
        }
    }

    /// A whole number that may be there.
    pub fn whole(&self, name: &str, problems: &mut Vec<Problem>) -> Option<(i64, &'n Node)> {
        let node = self.get(name)?;
        match node.content {
            Content::Int(number) => Some((number, node)),
            Content::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Some((number as i64, node)),
            _ => {
                problems.push(node.expected(&format!("a whole number for {name}")));
                None
            }
        }
    }
}

/// A text; a number or flag that stands in its place is taken as it is written.
pub(super) fn word(node: &Node, problems: &mut Vec<Problem>) -> Option<Word> {
    let text = match &node.content {
        Content::Text(text) => text.clone(),
        Content::Int(_) | Content::Bool(_) => node.shown().into(),
        _ => {
            problems.push(node.expected("a text"));
            return None;
        }
    };
    Some(Word { text, place: node.place.clone() })
}

/// The most similar name, if one is similar.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let of_case = |text: &str| text.to_lowercase();
    let scored = known.into_iter().map(|other| (strsim::jaro_winkler(&of_case(name), &of_case(other)), other));
    scored.filter(|(score, _)| *score > 0.85).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, other)| other)
}

/// The class whose own name, without its package, is most similar.
pub(crate) fn nearest_class<'a>(class: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &str| strsim::normalized_levenshtein(simple_name(class), simple_name(other));
    let scored = known.into_iter().map(|other| (likeness(other), other));
    scored.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, other)| other)
}

/// `a, b and c`.
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => one.as_ref().to_owned(),
        [others @ .., last] => {
            let others: Vec<&str> = others.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", others.join(", "), last.as_ref())
        }
    }
}
