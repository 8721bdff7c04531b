//! What every class name of a file is, and whether the parts fit together.

use std::path::Path;

use hashbrown::HashMap;
use serde_json::{Map as JsonMap, Value as Json};

use crate::error::Problem;
use crate::storm::conf::Conf;
use crate::storm::emitter::StreamDeclaration;
use crate::storm::flux::fields::nearest_class;
use crate::storm::flux::model::{Definition, Object, Vertex, Word};
use crate::storm::flux::objects::{Objects, objects_of};
use crate::storm::flux::shell::{self, ShellDefinition};
use crate::storm::flux::system::SystemSubscription;
use crate::storm::flux::wiring::{self, PARTIAL_KEY, Subscription};
use crate::storm::registry::{Arguments, GroupingFactory, NativeBolt, NativeSpout, Registry, simple_name};

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
    /// To streams of Storm's own.
    pub system_subscriptions: Vec<SystemSubscription>,
    /// Where class names stand of which no object could be made, and whether that is because of Java.
    pub not_made: HashMap<String, bool>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub needs_jvm: Vec<Problem>,
    /// The file's name.
    pub file: String,
}

impl Resolved {
    /// Notes why there is no object of a class, and that there is none.
    pub(super) fn obstacle(&mut self, class: &Word, obstacle: Obstacle) {
        let is_java = matches!(obstacle, Obstacle::Java(_));
        match obstacle {
            Obstacle::Wrong(problem) => self.problems.push(problem),
            Obstacle::Java(problem) => self.needs_jvm.push(problem),
        }
        self.not_made.insert(class.place.to_string(), is_java);
    }
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
    if let Some(source) = &definition.topology_source
        && !(definition.spouts.is_empty() && definition.bolts.is_empty() && definition.streams.is_empty())
    {
        let message = "topologySource excludes spouts, bolts and streams: remove one or the other";
        resolved.problems.push(Problem::new(source.class.place.to_string(), message));
    }
    let resolver = Resolver {
        objects: Objects::new(&definition.components),
        inputs: wiring::inputs(&definition.streams),
        resources,
        registry,
    };
    resolver.objects.check_references(definition, &mut resolved.problems, &mut resolved.warnings);
    objects_of(definition).for_each(|object| resolved.warnings.extend(unused_makers(object)));
    resolver.beside_components(definition, &mut resolved);
    for (vertices, is_spout) in [(&definition.spouts, true), (&definition.bolts, false)] {
        for vertex in vertices {
            let component = resolver.component(vertex, is_spout, &mut resolved);
            resolved.components.push(component);
        }
    }
    resolver.unused(&mut resolved);
    wiring::subscribe_all(&definition.streams, &resolver, &mut resolved);
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
    /// What is in the file besides spouts, bolts and streams: objects, made also if nothing refers to them, as in Flux.
    fn beside_components(&self, definition: &Definition, resolved: &mut Resolved) {
        for bean in &definition.components {
            if let Err(obstacle) = self.objects.make(bean) {
                resolved.obstacle(&bean.object.class, obstacle);
            }
        }
        let mut note = |what: String, class: &Word| {
            resolved.obstacle(class, Obstacle::Java(needs_jvm(&what, class, "")));
        };
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
        for dropped in vertex.config.iter().filter(|entry| entry.is_dropped && entry.key.starts_with("topology.")) {
            let message = format!("{} has no effect here: {}", dropped.key, dropped.note);
            resolved.warnings.push(Problem::new(dropped.place.to_string(), message));
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
        let made = match self.is_here(class, is_spout) {
            true => self.make(vertex, &mut component, &mut resolved.problems),
            false => Err(self.not_here(vertex, is_spout)),
        };
        if let Err(obstacle) = made {
            component.what = match obstacle {
                Obstacle::Wrong(_) => What::Broken,
                Obstacle::Java(_) => What::NeedsJvm,
            };
            resolved.obstacle(&vertex.object.class, obstacle);
        }
        if let What::Bolt(bolt) = &component.what {
            resolved.warnings.extend_from_slice(&bolt.warnings);
        }
        component.tasks = component.conf.tasks(vertex.parallelism).max(1);
        component
    }

    /// Whether there are spouts, or else bolts, of this class.
    fn is_here(&self, class: &str, is_spout: bool) -> bool {
        shell::is_shell(class, is_spout)
            || match is_spout {
                true => self.registry.find_spout(class).is_some(),
                false => self.registry.find_bolt(class).is_some(),
            }
    }

    /// What is said of a spout or bolt whose class is not here.
    fn not_here(&self, vertex: &Vertex, is_spout: bool) -> Obstacle {
        let class = &vertex.object.class;
        let [word, other] = if is_spout { ["spout", "bolt"] } else { ["bolt", "spout"] };
        let (what, hint) = (format!("{word} {:?}", vertex.id.text), self.hint(&class.text, is_spout));
        if self.is_here(&class.text, !is_spout) {
            let message = format!("expected a {word} for {:?}; {} is a {other}{hint}", vertex.id.text, class.text);
            return Obstacle::Wrong(Problem::new(class.place.to_string(), message));
        }
        Obstacle::Java(needs_jvm(&what, class, &hint))
    }

    fn make(&self, vertex: &Vertex, component: &mut Component, problems: &mut Vec<Problem>) -> Result<(), Obstacle> {
        let inputs = self.inputs.get(&*vertex.id.text).copied().unwrap_or(0);
        let conf = component.conf.clone();
        let args = self.arguments(&vertex.object, &conf, inputs)?;
        let class = &*vertex.object.class.text;
        let (what, streams) = if shell::is_shell(class, component.is_spout) {
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
        if let Some(factory) = object.used_factory() {
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
            let near = nearest_class(class, self.registry.grouping_names().chain([PARTIAL_KEY]));
            return Err(Obstacle::Java(needs_jvm("the grouping", &object.class, &did_you_mean(near))));
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

    /// The class that may be meant, and the one of the same name that is of the other kind.
    fn hint(&self, class: &str, is_spout: bool) -> String {
        let spouts = || self.registry.spout_names().chain(shell::names(true));
        let bolts = || self.registry.bolt_names().chain(shell::names(false));
        let (near, namesake) = match is_spout {
            true => (nearest_class(class, spouts()), same_class(class, bolts())),
            false => (nearest_class(class, bolts()), same_class(class, spouts())),
        };
        let mut hint = did_you_mean(near);
        if let Some(namesake) = namesake.filter(|namesake| *namesake != class) {
            let other = if is_spout { "bolt" } else { "spout" };
            hint.push_str(&format!(" ({namesake} is a {other})"));
        }
        hint
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

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

/// The class of this name in another package.
fn same_class<'a>(class: &str, mut known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.find(|known| simple_name(known) == simple_name(class))
}

/// Ways to make an object that are not gone, as in Flux.
fn unused_makers(object: &Object) -> Vec<Problem> {
    let mut warnings = Vec::new();
    if let Some(factory) = object.factory.as_ref().filter(|_| object.used_factory().is_none()) {
        let message = "the factory is not called, as in Flux: there are constructorArgs";
        warnings.push(Problem::new(factory.place.to_string(), message));
    }
    if let Some(first) = object.factory_args.first().filter(|_| object.used_factory().is_none()) {
        let message = "factoryArgs mean nothing, as in Flux: no factory is called";
        warnings.push(Problem::new(first.place().to_string(), message));
    }
    warnings
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
