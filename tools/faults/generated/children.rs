//! Multilang children: this program, started again by a topology.

use std::fs;
use std::path::Path;

use squall::storm::child::{self, Setup};
use squall::storm::emitter::{Emitter, StreamDeclaration};
use squall::storm::shell::ShellSpec;
use squall::storm::tuple::StormTuple;
use squall::sys::random::mix;
use squall::task::many::Many;
use squall::topology::builder::TopologyBuilder;
use squall::topology::stream::Stream;
use squall::{Bolt, BoltContext, Outcome, Outlet, Value};

use super::REAL;
use super::draw::{Item, Spec};
use super::parts::Part;
use super::records;

/// Under which a child finds what it is: the topology's seed, its component, and where it notes its deaths.
const CHILD: &str = "SQUALL_FAULTS_CHILD";
/// A test's own standard output begins with words of its harness, so the protocol has another descriptor.
const SHELL: &str = "exec 3>&1 >/dev/null; exec \"$0\" \"$@\"";

/// A child process and what emits behind it.
pub fn declare(
    notes: &Path,
    t: &mut TopologyBuilder,
    id: &str,
    part: Part,
    tasks: usize,
    input: &Stream<Item>,
) -> Vec<Stream<Item>> {
    let spec = shell(notes, &part);
    let shown = spec.declared_streams().expect("one stream").iter().map(StreamDeclaration::shown).collect::<Vec<_>>();
    let child = t.bolt(format!("{id}x"), move || spec.bolt()).streams(shown).parallelism(tasks);
    let child = child.shuffle(input.via(records::records_of(id)));
    records::behind(t, id, part, tasks, &child.stream(0))
}

fn shell(notes: &Path, part: &Part) -> ShellSpec {
    let program = std::env::current_exe().expect("this program has a file").display().to_string();
    let own = std::env::args().skip(1).collect::<Vec<_>>();
    let shell = ["sh", "-c", SHELL].map(str::to_owned).into_iter();
    let mut spec = ShellSpec::new(shell.chain([program]).chain(own));
    let stream = records::stream();
    let fields = stream.fields.names().iter().map(ToString::to_string).collect();
    spec.streams = vec![(stream.name.to_string(), fields)];
    let what = format!("{}\n{}\n{}", part.spec.seed, part.number, notes.display());
    spec.environment.push((CHILD.to_owned(), what));
    spec
}

/// Is a child and ends the process, if the environment asks for it.
pub fn run_if_asked() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let fields: Vec<&str> = what.lines().collect();
    let &[seed, number, notes] = fields.as_slice() else { panic!("{CHILD}: {what:?}") };
    let spec = Spec::draw(seed.parse().expect("a seed"), &REAL);
    let (number, notes) = (number.parse().expect("a number"), notes.to_owned());
    let output = fs::File::options().write(true).open("/proc/self/fd/3").expect("the shell has opened it");
    let make = move |setup: &Setup| Child {
        spec: spec.clone(),
        number,
        notes: notes.clone(),
        streams: setup.streams.clone(),
        emitter: None,
    };
    match child::serve_bolt(std::io::stdin(), output, make) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

struct Child {
    spec: Spec,
    number: usize,
    notes: String,
    streams: Vec<StreamDeclaration>,
    emitter: Option<Emitter>,
}

/// One item in so many is one of which a child dies, once.
const DIES_ONE_IN: u64 = 60;
const DIED: i32 = 9;

impl Child {
    /// Of poison always; of some items once, whoever comes to them.
    fn dies(&self, item: &Item) -> bool {
        if self.spec.is_poison(self.number, item) {
            return true;
        }
        let dies = self.spec.components[self.number].troubles.panic > 0.0;
        if !dies || !mix(item.id ^ mix(self.number as u64 + 0xd1e5)).is_multiple_of(DIES_ONE_IN) {
            return false;
        }
        // Whoever makes the file is the one.
        let mark = format!("{}-died-{}-{:x}", self.notes, self.number, item.id);
        fs::File::options().write(true).create_new(true).open(mark).is_ok()
    }
}

impl Bolt for Child {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emitter = Some(Emitter::new(ctx.info(), &self.streams));
        Ok(())
    }

    fn execute(&mut self, tuple: StormTuple, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let item = records::item(tuple.values().first())?;
        if self.dies(&item) {
            std::process::exit(DIED);
        }
        let emitter = self.emitter.as_ref().expect("prepared");
        for (port, child) in self.spec.children(self.number, &item) {
            out.emit_at(0, emitter.tuple(0, [Value::from(port as i64), records::text(&child)]));
        }
        Ok(())
    }
}
