//! The shipped sinks, each as often as the draw has a sink.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[cfg(feature = "fjall")]
use squall::connect::UpsertTable;
use squall::connect::{AppendFile, AppendLines, FileSink, Transactional};
use squall::sys::random::mix;
use squall::task::snapshot::Checkpointed;
use squall::topology::builder::{BoltHandle, TopologyBuilder};
use squall::topology::component::Unkeyed;
use squall::{Bolt, BoltContext, Nothing, Outcome, Outlet, TaskInfo};

use super::draw::{At, Class, Item, Op, Spec};
use super::parts::Part;

/// What a drawn sink is for real.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Parts,
    Whole,
    Lines,
    /// At once, at least once.
    File,
    #[cfg(feature = "fjall")]
    Table,
}

impl Kind {
    pub const ALL: &[Kind] = &[
        Kind::Parts,
        Kind::Whole,
        Kind::Lines,
        Kind::File,
        #[cfg(feature = "fjall")]
        Kind::Table,
    ];

    pub fn of(spec: &Spec, number: usize) -> Self {
        let component = &spec.components[number];
        let dice = mix(spec.seed ^ mix(number as u64));
        match dice % 3 {
            #[cfg(feature = "fjall")]
            0 if component.op == Op::Plain => Kind::Table,
            _ if component.op == Op::Plain => Kind::File,
            0 if component.tasks == 1 => Kind::Whole,
            1 if component.tasks == 1 => Kind::Lines,
            _ => Kind::Parts,
        }
    }

    /// One task, at every start.
    pub fn is_single(self) -> bool {
        matches!(self, Kind::Whole | Kind::Lines)
    }

    fn path(self, out: &Path, number: usize) -> PathBuf {
        out.join(format!("c{number:02}.{self:?}"))
    }
}

pub fn declare(
    out: &Path,
    t: &mut TopologyBuilder,
    id: String,
    part: Part,
    tasks: usize,
) -> BoltHandle<Item, Nothing, Unkeyed> {
    let kind = Kind::of(&part.spec, part.number);
    let path = kind.path(out, part.number);
    part.world.hit(format!("{kind:?}"));
    let bolt = match kind {
        Kind::Parts => {
            let sink = FileSink::parts(path);
            t.bolt(id, move || Told::new(part.clone(), Transactional::new(sink.clone())))
        }
        Kind::Whole => {
            let sink = FileSink::whole(path);
            t.bolt(id, move || Told::new(part.clone(), Transactional::new(sink.clone())))
        }
        Kind::Lines => {
            let sink = AppendLines::new(path);
            t.bolt(id, move || Told::new(part.clone(), sink.clone()))
        }
        #[cfg(feature = "fjall")]
        Kind::Table => {
            // Not every bolt on the way emits the same in the same order when it is done again.
            let sink = UpsertTable::new(path).at_least_once();
            t.bolt(id, move || Told::new(part.clone(), sink.clone()))
        }
        Kind::File => {
            let sink = AppendFile::new(path);
            t.bolt(id, move || Told::new(part.clone(), sink.clone()))
        }
    };
    bolt.parallelism(tasks)
}

/// A sink of lines whose inputs are looked at on their way.
struct Told<B> {
    part: Part,
    info: Option<TaskInfo>,
    sink: B,
}

impl<B> Told<B> {
    fn new(part: Part, sink: B) -> Self {
        Told { part, info: None, sink }
    }
}

impl<B: Bolt<In = String, Out = Nothing>> Bolt for Told<B> {
    type In = Item;
    type Out = Nothing;

    fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
        self.info = Some(ctx.info().clone());
        self.sink.prepare(ctx)
    }

    fn execute(&mut self, item: Item, out: &mut Outlet<Nothing>) -> Outcome {
        let part = &self.part;
        part.world.came(part.number, self.info.as_ref().expect("prepared"), &item, false);
        part.strike(Some(&item), At::Item, out.now_ns())?;
        let kind = if item.class == Class::Tick { 't' } else { 'i' };
        self.sink.execute(format!("{kind} {:016x} {:016x}", item.root, item.id), out)
    }

    fn finish(&mut self, out: &mut Outlet<Nothing>) -> Outcome {
        self.sink.finish(out)
    }

    fn cleanup(&mut self) {
        self.sink.cleanup();
    }

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        self.sink.checkpointed()
    }
}

/// Items by sink and id, as `judge` wants them.
///
/// # Errors
/// A file cannot be read, or has a line that none of the sinks has written.
pub fn written(spec: &Spec, out: &Path) -> Result<BTreeMap<(usize, u64), u64>, String> {
    let mut written = BTreeMap::new();
    let sinks = (0..spec.components.len()).filter(|number| spec.components[*number].op.is_sink());
    for number in sinks {
        let kind = Kind::of(spec, number);
        for (place, line) in lines(kind, &kind.path(out, number))? {
            match id(&line) {
                Some(Some(id)) => *written.entry((number, id)).or_default() += 1,
                Some(None) => {}
                // Half of one, cut off by a kill or a full disk, comes again as a whole.
                None if kind == Kind::File => {}
                None => return Err(format!("{place}: not a line of ours: {line:?}")),
            }
        }
    }
    Ok(written)
}

/// Of an item; none inside: of a tick, which nobody counts.
fn id(line: &str) -> Option<Option<u64>> {
    let fields: Vec<&str> = line.split(' ').collect();
    let &[kind, root, id] = fields.as_slice() else { return None };
    if root.len() != 16 || id.len() != 16 {
        return None;
    }
    let id = u64::from_str_radix(id, 16).ok()?;
    match kind {
        "i" => Some(Some(id)),
        "t" => Some(None),
        _ => None,
    }
}

/// What is in a sink, each with where it is.
fn lines(kind: Kind, path: &Path) -> Result<Vec<(String, String)>, String> {
    #[cfg(feature = "fjall")]
    if kind == Kind::Table {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let place = path.display().to_string();
        let rows = UpsertTable::<String>::read(path).map_err(|error| error.to_string())?;
        return Ok(rows.into_iter().map(|(_, line)| (place.clone(), line)).collect());
    }
    let mut all = Vec::new();
    for path in files(kind, path)? {
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let place = path.display().to_string();
        all.extend(String::from_utf8_lossy(&bytes).lines().map(|line| (place.clone(), line.to_owned())));
    }
    Ok(all)
}

/// The visible ones.
fn files(kind: Kind, path: &Path) -> Result<Vec<PathBuf>, String> {
    if kind != Kind::Parts {
        return Ok(if path.exists() { vec![path.to_owned()] } else { Vec::new() });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("part-") {
            files.push(path);
        }
    }
    Ok(files)
}
