//! Bolts at which a topology ends: print, log, write.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, access};

use crate::connect::{folder_of, place_of};
use crate::error::{Failure, Problem};
use crate::state::store::CheckpointId;
use crate::storm::native::each::{each, value_of};
use crate::storm::native::emits::shown;
use crate::storm::registry::{Arguments, NativeBolt, Registry};
use crate::storm::tuple::StormTuple;
use crate::sys::sync::Mutex;
use crate::task::component::{Bolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::many::Many;
use crate::task::outlet::Outlet;
use crate::task::snapshot::{Checkpointed, OwnSnapshot};

pub(super) fn register(registry: &mut Registry) {
    registry.bolt("squall.Print", print);
    registry.bolt("squall.Log", log);
    registry.bolt("squall.WriteLines", write_lines);
}

/// A tuple's values, separated by tabs.
fn line(tuple: &StormTuple) -> String {
    tuple.values().iter().map(shown).collect::<Vec<_>>().join("\t")
}

fn print(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let prefix: Arc<str> = args.optional_text("prefix", 0)?.unwrap_or_default().into();
    each(args, &[], move || {
        let prefix = prefix.clone();
        move |tuple, _| {
            if !tuple.is_tick() {
                // A pipe that nobody reads is no reason to fail tuples for ever.
                let printed = writeln!(io::stdout().lock(), "{prefix}{}", line(tuple));
                printed.map_err(|error| Failure::fatal(format!("standard output: {error}")))?;
            }
            Ok(())
        }
    })
}

/// As Storm's `LogInfoBolt`.
pub(super) fn log(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    each(args, &[], || {
        |tuple, _| {
            tracing::info!(target: "squall::storm::log", "{tuple}");
            Ok(())
        }
    })
}

/// `System.out.println(tuple)`.
pub(super) fn print_tuple(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    each(args, &[], || {
        |tuple, _| {
            let printed = writeln!(io::stdout().lock(), "{tuple}");
            printed.map_err(|error| Failure::fatal(format!("standard output: {error}")))
        }
    })
}

/// The file that all tasks of a component write to.
type Shared = Arc<Mutex<Option<BufWriter<File>>>>;

fn write_lines(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let path: Arc<PathBuf> = Arc::new(args.text("path", 0)?.into());
    writable(&path).map_err(|why| args.problem(format!("{} {why}", path.display())))?;
    let field: Option<Arc<str>> = args.optional_text("field", 1)?.map(Arc::from);
    let file: Shared = Arc::default();
    Ok(NativeBolt::new([], move || WriteLines { path: path.clone(), field: field.clone(), file: file.clone() }))
}

/// Whether a file can be begun at a path, as far as that can be told without touching anything.
fn writable(path: &Path) -> Result<(), String> {
    let cannot = |error: &dyn Display| Err(format!("cannot be written: {error}"));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err("is a directory; give a file".to_owned()),
        // Opening a pipe may wait for its reader.
        Ok(found) if !found.is_file() => Ok(()),
        Ok(_) => File::options().append(true).open(path).map(drop).or_else(|error| cannot(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder_of(path);
            if !folder.is_dir() {
                return Err(format!("cannot be written: there is no folder {}", folder.display()));
            }
            access(folder, Access::WRITE_OK | Access::EXEC_OK).or_else(|error| cannot(&error))
        }
        Err(error) => cannot(&error),
    }
}

/// Appends a line for each tuple to a file that it begins anew. What a tuple wrote is with the operating system once
/// the topology has ended.
struct WriteLines {
    path: Arc<PathBuf>,
    field: Option<Arc<str>>,
    file: Shared,
}

impl Bolt for WriteLines {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, _: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if file.is_none() {
            let created = File::create(&*self.path)
                .map_err(|error| Failure::fatal(format!("{}: {error}", self.path.display())))?;
            *file = Some(BufWriter::new(created));
        }
        Ok(())
    }

    fn execute(&mut self, tuple: StormTuple, _: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let text = match &self.field {
            Some(field) => shown(value_of(&tuple, Some(field))?),
            None => line(&tuple),
        };
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let file = file.as_mut().expect("it was opened before");
        Ok(writeln!(file, "{text}")?)
    }

    fn cleanup(&mut self) {
        if let Err(error) = self.flush() {
            tracing::error!("{}: {error}", self.path.display());
        }
    }

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        Some(self)
    }
}

impl WriteLines {
    fn flush(&self) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Checkpointed for WriteLines {
    fn snapshot(&mut self, _: CheckpointId) -> Result<OwnSnapshot, Failure> {
        self.flush()?;
        Ok(OwnSnapshot::default())
    }

    fn place(&self) -> Option<String> {
        place_of(&self.path)
    }
}
