//! The program that runs a drawn topology: this one, started again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use squall::sys::random::Random;
use squall::task::backoff::Backoff;
use squall::{Settings, Topology};

use super::draw::Spec;
use super::world::{Job, Real, World};
use super::{REAL, build, children, sinks};

/// Under which a process finds its command line, as lines.
pub const ARGUMENTS: &str = "SQUALL_FAULTS_PROGRAM";

/// Runs a drawn topology and ends the process, if the environment asks for it.
pub fn run_if_asked() {
    children::run_if_asked();
    let Ok(args) = std::env::var(ARGUMENTS) else { return };
    let args = std::iter::once("generated").chain(args.lines()).map(Into::into);
    std::process::exit(squall::cli::run_from(args, topology).into());
}

/// Runs a topology that is drawn from a seed
#[derive(clap::Args)]
struct Args {
    /// What it is drawn from
    #[arg(long)]
    topology_seed: u64,
    /// Of each component
    #[arg(long, value_delimiter = ',')]
    tasks: Vec<usize>,
    /// Where the sinks write
    #[arg(long)]
    out: PathBuf,
    /// What later processes have to know
    #[arg(long)]
    notes: PathBuf,
    /// How many processes there were before
    #[arg(long)]
    start: u64,
}

fn topology(args: &Args) -> squall::Result<Topology> {
    let spec = Arc::new(Spec::draw(args.topology_seed, &REAL));
    let failed = |what: &Path, error: std::io::Error| squall::Error::io(what.display().to_string(), &error);
    fs::create_dir_all(&args.out).map_err(|error| failed(&args.out, error))?;
    let notes = fs::read_to_string(&args.notes).unwrap_or_default();
    let file = fs::File::options().append(true).create(true).open(&args.notes);
    let mut file = file.map_err(|error| failed(&args.notes, error))?;
    // One write a line: whoever kills the process finds whole ones.
    let note =
        move |line: &str| file.write_all(format!("{line}\n").as_bytes()).expect("notes have a disk of their own");
    let real = Real { note: Box::new(note), threads: user_threads(args.topology_seed), started: Instant::now() };
    let world = World::real(spec.clone(), args.start, real, &notes);
    let sinks = |t: &mut _, id, part, tasks| sinks::declare(&args.out, t, id, part, tasks);
    let children =
        |t: &mut _, id: &str, part, tasks, input: &_| children::declare(&args.notes, t, id, part, tasks, input);
    let outside = build::Outside { sinks: &sinks, children: Some(&children) };
    build::build(&spec, &world, &args.tasks, outside, set)
}

/// Many failures in a second.
fn set(settings: &mut Settings) {
    let ms = Duration::from_millis;
    settings.restart_backoff = Backoff::new(ms(2), ms(50));
    settings.replay_backoff = Backoff::new(ms(2), ms(50));
    settings.rebuild_backoff = Backoff::new(ms(1), ms(50));
}

const THREADS: usize = 2;

/// Threads that settle what bolts hold, some of it at once, some of it after a while.
fn user_threads(seed: u64) -> mpsc::Sender<Job> {
    let (sender, receiver) = mpsc::channel::<Job>();
    let receiver = Arc::new(std::sync::Mutex::new(receiver));
    for number in 0..THREADS {
        let receiver = receiver.clone();
        let mut random = Random::new(seed).fork(number as u64);
        std::thread::spawn(move || {
            loop {
                let next = receiver.lock().expect("nothing panics under it").recv();
                let Ok(job) = next else { return };
                if random.chance(0.5) {
                    std::thread::sleep(Duration::from_micros(random.below(1_500)));
                }
                job();
            }
        });
    }
    sender
}
