//! From the parser's events to a tree of nodes.

use std::borrow::Cow;

use hashbrown::HashMap;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::node::{Content, Node, Place};
use super::scalar;
use super::source::{Replacement, Text};
use super::surrogates::Hidden;
use crate::error::Problem;

/// Nodes of one file, those of repeated aliases included.
const NODES_MAX: usize = 1_000_000;
const DEPTH_MAX: usize = 64;

/// The tree of a file that holds one document; an empty file is null.
///
/// # Errors
/// The first thing that is not YAML; or everything else that is wrong: keys given twice, unknown aliases, what is
/// larger or deeper than any file of this kind should be.
pub(crate) fn parse(text: &Text) -> Result<Node, Vec<Problem>> {
    let hidden = Hidden::hide(&text.text);
    let (shown, hidden) = match &hidden {
        Some((shown, hidden)) => (shown, Some(*hidden)),
        None => (&text.text, None),
    };
    let mut build =
        Build { text, hidden, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None, problems: Vec::new() };
    for event in Parser::new_from_str(shown) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let place = text.place(error.marker().line().saturating_sub(1), error.marker().col());
                let message = format!("this is not YAML: {}{}", error.info(), replaced_on(text, &place));
                return Err(vec![Problem::new(place.to_string(), message)]);
            }
        };
        if let Err(problem) = build.event(event, span) {
            build.problems.push(problem);
            return Err(build.problems);
        }
    }
    if !build.problems.is_empty() {
        return Err(build.problems);
    }
    Ok(build.root.unwrap_or_else(|| Node { place: text.place(0, 0), content: Content::Null }))
}

/// What has come into a line by `${}`: what the parser stumbles over may not be in the file itself.
fn replaced_on(text: &Text, place: &Place) -> String {
    let all = text.replacements.iter().filter(|replacement| replacement.place.line == place.line);
    let told = all.map(|replacement| {
        let Replacement { reference, value, source, .. } = replacement;
        let value: String = value.chars().take(60).collect();
        format!("; here {reference} stands for {value:?}, {source}")
    });
    told.collect()
}

struct Build<'t> {
    text: &'t Text,
    /// How surrogates are hidden in what the parser sees.
    hidden: Option<Hidden>,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
    problems: Vec<Problem>,
}

/// A list or map whose end has not come yet.
struct Open {
    anchor: usize,
    node: Node,
    /// Of a map: the key whose value is next.
    key: Option<Node>,
    /// How many nodes there were before it.
    nodes_before: usize,
}

impl Build<'_> {
    fn place(&self, span: Span) -> Place {
        self.text.place(span.start.line().saturating_sub(1), span.start.col())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let shown = match self.hidden.map_or(Ok(Cow::Borrowed(&*text)), |hidden| hidden.shown(&text)) {
                    Ok(shown) => shown,
                    Err(alone) => {
                        let message = format!("\\u{alone:04x} is half of a character, and the other half is missing");
                        return Err(Problem::new(place.to_string(), message));
                    }
                };
                let content = self.scalar(&shown, style, tag.as_deref(), &place);
                self.nodes += 1;
                self.finish(Node { place, content }, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.open(Content::List(Vec::new()), anchor, place),
            Event::MappingStart(anchor, _) => self.open(Content::Map(Vec::new()), anchor, place),
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.stack.pop().expect("the parser closes what it opened");
                let size = self.nodes - open.nodes_before;
                let node = merged(open.node, &mut self.problems);
                self.finish(node, open.anchor, size)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(Problem::new(place.to_string(), "this alias stands inside what it refers to"));
                };
                let size = *size;
                self.nodes += size;
                if self.nodes > NODES_MAX {
                    return Err(self.too_large(&place));
                }
                let node = Node { place, ..node.clone() };
                self.finish(node, 0, size)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Problem::new(place.to_string(), "expected one document, and a second one begins here"))
            }
            _ => Ok(()),
        }
    }

    fn too_large(&self, place: &Place) -> Problem {
        Problem::new(place.to_string(), format!("the file holds more than {NODES_MAX} values"))
    }

    fn open(&mut self, content: Content, anchor: usize, place: Place) -> Result<(), Problem> {
        if self.stack.len() == DEPTH_MAX {
            return Err(Problem::new(place.to_string(), format!("nested deeper than {DEPTH_MAX}")));
        }
        let nodes_before = self.nodes;
        self.nodes += 1;
        self.stack.push(Open { anchor, node: Node { place, content }, key: None, nodes_before });
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Problem> {
        if self.nodes > NODES_MAX {
            return Err(self.too_large(&node.place));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.content {
            Content::List(values) => values.push(node),
            Content::Map(entries) => match open.key.take() {
                None => open.key = Some(node),
                Some(key) => entries.push((key, node)),
            },
            _ => unreachable!("only lists and maps are opened"),
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: &Place) -> Content {
        let as_text = || Content::Text(text.into());
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain { scalar::resolve(text) } else { as_text() };
        };
        let wanted = match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
            (true, "str") => Some(as_text()),
            (true, "int") => scalar::int(text),
            (true, "float") => {
                let whole = |content| match content {
                    Content::Int(value) => Some(Content::Float(value as f64)),
                    _ => None,
                };
                scalar::float(text).or_else(|| scalar::int(text).and_then(whole))
            }
            (true, "bool" | "null") => Some(scalar::resolve(text)),
            (false, "") if tag.handle == "!" => Some(as_text()),
            _ => {
                let message = format!("the tag {}{} is not supported", tag.handle, tag.suffix);
                self.problems.push(Problem::new(place.to_string(), message));
                return as_text();
            }
        };
        wanted.unwrap_or_else(|| {
            let message = format!("expected what its tag !!{} says, not {text:?}", tag.suffix);
            self.problems.push(Problem::new(place.to_string(), message));
            as_text()
        })
    }
}

/// Finds keys given twice, and does what `<<` asks for.
fn merged(mut node: Node, problems: &mut Vec<Problem>) -> Node {
    let Content::Map(entries) = &mut node.content else { return node };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut merges = Vec::new();
    let mut own: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
    for (key, value) in entries.drain(..) {
        if key.as_text().is_some_and(|key| &**key == "<<") {
            merges.push(value);
            continue;
        }
        let name = name_of(&key);
        match seen.get(&name) {
            Some(&first) => {
                let first: &Node = &own[first].0;
                problems.push(key.problem(format!("{} is given twice, first at {}", key.shown(), first.place)));
            }
            None => {
                seen.insert(name, own.len());
                own.push((key, value));
            }
        }
    }
    for merge in merges {
        let sources = match merge.content {
            Content::List(sources) => sources,
            _ => vec![merge],
        };
        for source in sources {
            match source.content {
                Content::Map(entries) => own.extend(entries.into_iter().filter(|(key, _)| {
                    let is_new = !seen.contains_key(&name_of(key));
                    if is_new {
                        seen.insert(name_of(key), usize::MAX);
                    }
                    is_new
                })),
                _ => problems.push(source.expected("a map, or a list of maps, after <<")),
            }
        }
    }
    *entries = own;
    node
}

/// Tells `1` from `"1"`.
fn name_of(key: &Node) -> String {
    match &key.content {
        Content::Text(text) => text.to_string(),
        other => format!("{:?}", other_kind(other)),
    }
}

fn other_kind(content: &Content) -> String {
    let node = Node { place: Place { file: "".into(), line: 0, column: 0 }, content: content.clone() };
    format!("\u{0}{}", node.to_json())
}
