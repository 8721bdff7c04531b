//! What every class name of a file is, and whether the parts fit together.

use std::path::Path;

use hashbrown::HashMap;
use serde_json::{Map as JsonMap, Value as Json};

use crate::error::Problem;
use crate::storm::conf::Conf;
use crate::storm::emitter::StreamDeclaration;
use crate::storm::flux::fields::nearest_class;
use crate::storm::flux::model::{Definition, Object, Vertex, Word};
use crate::storm::flux::objects::{Objects, is_known};
use crate::storm::flux::shell::{self, ShellDefinition, is_shell};
use crate::storm::flux::wiring::{self, Subscription};
use crate::storm::registry::{Arguments, GroupingFactory, NativeBolt, NativeSpout, Registry};

/// What a spout or bolt is.
pub(crate) enum What {
    Spout(NativeSpout),
    Bolt(NativeBolt),
    /// A process, made of its definition once all streams are known.
    Shell(ShellDefinition),
    /// Java, for which there is nothing here.
    NeedsJvm,
    /// Something is wrong with it; that is among the problems.
    Broken,
}

/// A spout or bolt, its class found.
pub(crate) struct Component {
    pub id: Word,
    pub class: Word,
    pub is_spout: bool,
    pub what: What,
    /// None if they are not known.
    pub streams: Option<Vec<StreamDeclaration>>,
    pub conf: Conf,
    pub tasks: u64,
    /// A bolt that no stream leads to is not part of the topology.
    pub is_used: bool,
}

/// Everything in a file that has been found out.
#[derive(Default)]
pub(crate) struct Resolved {
    pub conf: Conf,
    pub components: Vec<Component>,
    pub subscriptions: Vec<Subscription>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub needs_jvm: Vec<Problem>,
    /// The file's name.
    pub file: String,
}

/// Why a part of a file is not there.
pub(super) enum Obstacle {
    Wrong(Problem),
    Java(Problem),
}

impl From<Problem> for Obstacle {
    fn from(problem: Problem) -> Self {
        Obstacle::Wrong(problem)
    }
}

/// Resolves a file. Never fails: what is wrong is among its problems.
pub(super) fn resolve(definition: &Definition, file: &str, resources: &Path, registry: &Registry) -> Resolved {
    let mut resolved = Resolved { conf: Conf::new(&definition.config), file: file.to_owned(), ..Resolved::default() };
    if definition.name.is_none()
        && resolved.conf.text("topology.name").is_none()
        && definition.topology_source.is_none()
    {
        resolved.problems.push(Problem::new(file, "the topology needs a name: a text"));
    }
    let name = definition.name.as_ref().map(|name| name.text.to_string());
    if let Some(name) = name.or_else(|| resolved.conf.text("topology.name").map(str::to_owned)) {
        // As Storm makes it: the number of the topology on its cluster, and when it was submitted.
        let started_s = crate::sys::clock::wall_ns() / 1_000_000_000;
        resolved.conf.set("storm.id", format!("{name}-1-{started_s}"));
        resolved.conf.set("topology.name", name);
    }
    if definition.spouts.is_empty() && definition.topology_source.is_none() {
        resolved.problems.push(Problem::new(file, "the topology needs spouts: a list with at least one"));
    }
    let resolver = Resolver {
        objects: Objects::new(&definition.components),
        inputs: wiring::inputs(&definition.streams),
        resources,
        registry,
    };
    resolver.java_only(definition, &mut resolved);
    for (vertices, is_spout) in [(&definition.spouts, true), (&definition.bolts, false)] {
        for vertex in vertices {
            let component = resolver.component(vertex, is_spout, &mut resolved);
            resolved.components.push(component);
        }
    }
    resolver.unused(&mut resolved);
    resolved.subscriptions = wiring::subscriptions(&definition.streams, &resolver, &mut resolved);
    resolved
}

pub(super) struct Resolver<'d> {
    objects: Objects<'d>,
    /// Number of input streams by bolt.
    inputs: HashMap<&'d str, usize>,
    resources: &'d Path,
    registry: &'d Registry,
}

impl Resolver<'_> {
    /// What is in the file besides spouts, bolts and streams, and is Java.
    fn java_only(&self, definition: &Definition, resolved: &mut Resolved) {
        let mut note = |what: String, class: &Word| resolved.needs_jvm.push(needs_jvm(&what, class, ""));
        for bean in definition.components.iter().filter(|bean| !is_known(&bean.object.class.text)) {
            note(format!("component {:?}", bean.id.text), &bean.object.class);
        }
        for hook in &definition.worker_hooks {
            note(format!("worker hook {:?}", hook.id.text), &hook.object.class);
        }
        if let Some(source) = &definition.topology_source {
            note("topologySource".to_owned(), &source.class);
        }
    }

    fn component(&self, vertex: &Vertex, is_spout: bool, resolved: &mut Resolved) -> Component {
        let mut conf = resolved.conf.over(&vertex.config);
        if let Some(tasks) = vertex.tasks {
            conf.set("topology.tasks", tasks);
        }
        let mut component = Component {
            id: vertex.id.clone(),
            class: vertex.object.class.clone(),
            is_spout,
            what: What::Broken,
            streams: None,
            tasks: 1,
            is_used: is_spout || self.inputs.contains_key(&*vertex.id.text),
            conf,
        };
        let class = &*vertex.object.class.text;
        let is_native = match is_spout {
            true => self.registry.find_spout(class).is_some(),
            false => self.registry.find_bolt(class).is_some(),
        };
        if is_native || is_shell(class) {
            match self.make(vertex, &mut component, &mut resolved.problems) {
                Ok(()) => {}
                Err(Obstacle::Wrong(problem)) => resolved.problems.push(problem),
                Err(Obstacle::Java(problem)) => {
                    component.what = What::NeedsJvm;
                    resolved.needs_jvm.push(problem);
                }
            }
        } else {
            component.what = What::NeedsJvm;
            let word = if is_spout { "spout" } else { "bolt" };
            let what = format!("{word} {:?}", vertex.id.text);
            resolved.needs_jvm.push(needs_jvm(&what, &vertex.object.class, &self.hint(class, is_spout)));
        }
        component.tasks = component.conf.tasks(vertex.parallelism).max(1);
        component
    }

    fn make(&self, vertex: &Vertex, component: &mut Component, problems: &mut Vec<Problem>) -> Result<(), Obstacle> {
        let inputs = self.inputs.get(&*vertex.id.text).copied().unwrap_or(0);
        let conf = component.conf.clone();
        let args = self.arguments(&vertex.object, &conf, inputs)?;
        let class = &*vertex.object.class.text;
        let (what, streams) = if is_shell(class) {
            lay_under(&mut component.conf, &shell::own_conf(&args)?, vertex);
            let definition = shell::define(&args, &component.conf)?;
            let streams = definition.streams.clone();
            (What::Shell(definition), streams)
        } else if let (true, Some(make)) = (component.is_spout, self.registry.find_spout(class)) {
            let spout = make(&args)?;
            lay_under(&mut component.conf, &spout.conf, vertex);
            let streams = spout.streams.clone();
            (What::Spout(spout), streams)
        } else {
            let bolt = self.registry.find_bolt(class).expect("it was found before")(&args)?;
            lay_under(&mut component.conf, &bolt.conf, vertex);
            let streams = bolt.streams.clone();
            (What::Bolt(bolt), streams)
        };
        problems.extend(args.unused());
        (component.what, component.streams) = (what, Some(streams));
        Ok(())
    }

    fn arguments<'a>(&'a self, object: &'a Object, conf: &'a Conf, inputs: usize) -> Result<Arguments<'a>, Obstacle> {
        let place = object.class.place.to_string();
        if let Some(factory) = &object.factory
            && object.constructor_args.is_empty()
        {
            let message = format!("the factory method {:?} of {} needs the JVM", factory.text, object.class.text);
            return Err(Obstacle::Java(Problem::new(factory.place.to_string(), message)));
        }
        Ok(Arguments {
            class: &object.class.text,
            place,
            positional: self.objects.all(&object.constructor_args)?,
            named: self.objects.properties(object)?,
            calls: self.objects.calls(object)?,
            conf,
            resources: self.resources,
            inputs,
            asked: Default::default(),
        })
    }

    /// A grouping of the user's own, or of Storm's.
    pub fn grouping(&self, object: &Object, conf: &Conf) -> Result<GroupingFactory, Obstacle> {
        let class = &*object.class.text;
        let Some(make) = self.registry.find_grouping(class) else {
            return Err(Obstacle::Java(needs_jvm("the grouping", &object.class, &self.hint(class, false))));
        };
        let args = self.arguments(object, conf, 0)?;
        let made = make(&args)?;
        args.unused().into_iter().next().map_or(Ok(made), |unused| Err(unused.into()))
    }

    /// The fields that a partial key grouping is given.
    pub fn partial_key_fields(&self, object: &Object, conf: &Conf) -> Result<Option<Vec<String>>, Obstacle> {
        let args = self.arguments(object, conf, 0)?;
        let fields = args.optional_fields("fields", 0)?;
        args.unused().into_iter().next().map_or(Ok(fields), |unused| Err(unused.into()))
    }

    fn hint(&self, class: &str, is_spout: bool) -> String {
        let other = match is_spout {
            true if self.registry.find_bolt(class).is_some() => "; a bolt has this name, not a spout",
            false if self.registry.find_spout(class).is_some() => "; a spout has this name, not a bolt",
            _ => {
                let near = nearest_class(class, self.registry.names());
                return near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            }
        };
        other.to_owned()
    }

    /// Bolts that no stream leads to, which Flux leaves out without a word.
    fn unused(&self, resolved: &mut Resolved) {
        let unused = resolved.components.iter().filter(|component| !component.is_used);
        let warnings: Vec<Problem> = unused
            .map(|component| {
                let message = format!("the bolt {:?} is left out: no stream leads to it", component.id.text);
                Problem::new(component.id.place.to_string(), message)
            })
            .collect();
        resolved.warnings.extend(warnings);
    }
}

/// A component's own keys stand between the topology's and those that the file gives it.
fn lay_under(conf: &mut Conf, own: &JsonMap<String, Json>, vertex: &Vertex) {
    for (key, value) in own {
        let is_given = vertex.config.iter().any(|given| given.key == *key && !given.is_dropped)
            || (key == "topology.tasks" && vertex.tasks.is_some());
        if !is_given {
            conf.set(key, value.clone());
        }
    }
}

/// What is said of all that is Java.
pub(super) fn needs_jvm(what: &str, class: &Word, hint: &str) -> Problem {
    let message = format!("{what} needs the JVM: there is no native {}{hint}", class.text);
    Problem::new(class.place.to_string(), message)
}
