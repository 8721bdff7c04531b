//! The benches there are: what each measures, which flags it takes, its defaults, and how it is run.

use std::time::Duration;

use crate::bench::session::{Options, Session, Subject};
use crate::bench::{checkpoint, floor, hop, latency, multilang, saturate, scale, state, throughput};
use crate::error::{Problem, Result};
use crate::topology::settings::Guarantee;

/// One subcommand that measures.
pub(crate) struct Bench {
    pub name: &'static str,
    /// What it measures, in a line.
    pub about: &'static str,
    /// What it measures exactly, and how its rows are read.
    pub teaches: &'static str,
    /// Whether it can measure a topology of the program instead of built-in shapes.
    pub takes_topology: bool,
    /// Flags it has no use for, and why.
    refuses: &'static [(Flag, &'static str)],
    pub duration: Duration,
    pub warmup: Duration,
    pub repeat: usize,
    /// `None` until it is there.
    measure: Option<Measure>,
}

struct Measure {
    /// The time it will take under these options, warm-ups and all.
    expected: fn(&Options) -> Duration,
    run: fn(&mut Session, Option<&Subject<'_>>) -> Result<()>,
}

/// The flags that not every bench takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Rate,
    Executors,
    Guarantee,
    Wait,
    Input,
}

impl Flag {
    pub const ALL: [Flag; 5] = [Flag::Rate, Flag::Executors, Flag::Guarantee, Flag::Wait, Flag::Input];

    /// Its name on the command line, without the dashes.
    pub fn name(self) -> &'static str {
        match self {
            Flag::Rate => "rate",
            Flag::Executors => "executors",
            Flag::Guarantee => "guarantee",
            Flag::Wait => "wait",
            Flag::Input => "input",
        }
    }

    fn is_given(self, options: &Options) -> bool {
        match self {
            Flag::Rate => !options.rates.is_empty(),
            Flag::Executors => !options.executors.is_empty(),
            Flag::Guarantee => !options.guarantees.is_empty(),
            Flag::Wait => !options.waits.is_empty(),
            Flag::Input => options.input.is_some(),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A bench is registered by its `measure`.
static BENCHES: [Bench; 9] = [
    Bench {
        name: "floor",
        about: "What this machine can do at best, without squall",
        teaches: "\
Everything else is compared with these rows: hiccups of each CPU (a pinned thread that does nothing but read the \
clock), \
the cost of a clock read, one way through a raw ring across two CPUs and on one thread, a channel, park and unpark, a \
hand-written word count on one thread and on two, and the null engine: events through nothing but one thread, or \
two and a \
ring, at the rates that `latency` uses.

How to read it: no engine can be faster than the ring, and no tail can be better than the machine's hiccups. If the \
hiccups' \
p99.99 is a millisecond, so is everybody's.",
        takes_topology: false,
        refuses: &[
            (Flag::Executors, "nothing of the engine runs in it"),
            (Flag::Guarantee, "nothing of the engine runs in it"),
            (Flag::Wait, "nothing of the engine runs in it"),
        ],
        duration: SECOND.saturating_mul(2),
        warmup: MS.saturating_mul(20),
        repeat: 5,
        measure: Some(Measure { expected: floor::expected, run: floor::run }),
    },
    Bench {
        name: "hop",
        about: "One hop from spout to bolt: one way, and from emit to ack",
        teaches: "\
A spout and a bolt on one executor and on two, with and without acking: the time of one way, and of a whole tree \
from the \
emit to its ack at the spout. Each tuple waits for the one before, as in the raw ring that it is compared with.

How to read it: `cross` against the ring of the same run tells what the engine adds to a hop between CPUs, `same` \
what a \
hop costs within one executor.",
        takes_topology: false,
        refuses: &[
            (Flag::Rate, "it is a closed loop: each tuple waits for the one before"),
            (Flag::Executors, "it measures on one and on two by itself"),
            (Flag::Input, "it sends numbers, not text"),
        ],
        duration: SECOND,
        warmup: MS.saturating_mul(20),
        repeat: 5,
        measure: Some(Measure { expected: hop::expected, run: hop::run }),
    },
    Bench {
        name: "throughput",
        about: "How much goes through when nothing holds it back (closed loop)",
        teaches: "\
Word count on a text, over and over, as fast as it goes, per guarantee and per number of executors: lines and words a \
second, nanoseconds and CPU time per word, allocations per word (counted in runs of their own), peak memory. A \
topology of \
your own is measured by what its spouts emit.

How to read it: these are rates, not latencies: under full load every queue is full. See `latency` for those.",
        takes_topology: true,
        refuses: &[(Flag::Rate, "it goes as fast as it can; `latency` takes rates")],
        duration: SECOND.saturating_mul(5),
        warmup: MS.saturating_mul(200),
        repeat: 5,
        measure: Some(Measure { expected: throughput::expected, run: throughput::run }),
    },
    Bench {
        name: "latency",
        about: "How long events take at a fixed rate (open loop)",
        teaches: "\
Events come at a fixed rate whatever happens, each stamped with the time at which it was meant to come, through the \
shape \
of word count and through a chain that does nothing: to the end, and until the tree is acked. A pause of 100 ms \
therefore \
delays every event that was due in it, as it would for real users. Low rates show what the wait policy costs. The \
null engine \
runs in turns with squall and is the yardstick. A topology of your own gets a pacer in front of each spout.

How to read it: compare each row with the null engine's of the same rate and placement. A percentile needs 100 \
samples beyond \
it to mean something: p99.99 at 1,000 events a second takes 17 minutes.",
        takes_topology: true,
        refuses: &[],
        duration: SECOND.saturating_mul(5),
        warmup: MS.saturating_mul(50),
        repeat: 5,
        measure: Some(Measure { expected: latency::expected, run: latency::run }),
    },
    Bench {
        name: "saturate",
        about: "The highest rate without a growing backlog, and latency on the way there (open loop)",
        teaches: "\
Raises the rate until the backlog grows: the last rate that was sustained is the sustainable throughput in the \
sense of \
Karimov et al. (ICDE 2018). Then latency is measured at shares of it.

How to read it: run below the bend of the curve. What matters is the latency at the load you expect, not the \
highest rate.",
        takes_topology: true,
        refuses: &[],
        duration: SECOND.saturating_mul(5),
        warmup: MS.saturating_mul(50),
        repeat: 1,
        measure: Some(Measure { expected: saturate::expected, run: saturate::run }),
    },
    Bench {
        name: "scale",
        about: "What it costs as the work grows: depth, fan-out, tasks, keys, payload",
        teaches: "\
Chains of 1 to 64 bolts, fan-out 1 to 64, 2 to 1,000 tasks on the same executors, a thousand to ten million \
distinct keys, \
payloads of 8 B to 64 KiB: cost per hop or per tuple at each size.

How to read it: a flat curve is ideal. Keys outgrow the caches at some point, payloads the memory's bandwidth.",
        takes_topology: false,
        refuses: &[
            (Flag::Rate, "it is a closed loop"),
            (Flag::Input, "it makes its own input, of the size that is measured"),
        ],
        duration: MS.saturating_mul(250),
        warmup: MS.saturating_mul(20),
        repeat: 5,
        measure: Some(Measure { expected: scale::expected, run: scale::run }),
    },
    Bench {
        name: "state",
        about: "What keyed state costs beside a bare hash map, and stores beside a bare write and sync",
        teaches: "\
Without an engine, on one thread: reading, changing and writing a counter among a million keys, in turns with a bare \
hash map of the same keys; inserting up to ten million keys, each insertion timed; memory, freezing, encoding and \
restoring a million keys of 16 bytes with values of 100; and for each store appending 10,000 changed keys durably, in \
turns with a bare write and sync of the same bytes, and reading all back. Stores write to a folder of their own in \
the system's temporary folder, removed in the end.

How to read it: `ratio_to_map` is what state costs above the map. A write costs most where a checkpoint has frozen the \
entry, for it encodes the entry first. An append cannot be faster than its `bare_` figures.",
        takes_topology: false,
        refuses: &[
            (Flag::Rate, "it is a closed loop"),
            (Flag::Executors, "nothing of the engine runs in it"),
            (Flag::Guarantee, "nothing of the engine runs in it"),
            (Flag::Wait, "nothing of the engine runs in it"),
            (Flag::Input, "it makes its own keys"),
        ],
        duration: SECOND.saturating_mul(2),
        warmup: MS.saturating_mul(0),
        repeat: 5,
        measure: Some(Measure { expected: state::expected, run: state::run }),
    },
    Bench {
        name: "checkpoint",
        about: "What checkpoints cost the work they run beside",
        teaches: "\
A word count with its counts as keyed state, exactly once, on one executor: without checkpoints, and with one every \
second, 100 ms and 10 ms, in memory and in the log on this machine's disk (a folder of its own in the system's \
temporary folder, removed in the end). Then in open loop 100,000 events a second into a million keys of 100 bytes, \
without checkpoints and with one every 100 ms, in turns; and for each store the shortest interval at that rate of \
which none is given up. At last, with ten megabytes of state: from a start on a state directory to the first event, \
and from a failure until spouts emit again.

How to read it: `ratio_to_none` is the throughput that is left, from the same round; `pause_*_us` is the longest time \
that any task was kept from its work by one checkpoint; `given_up` must be 0 for an interval that can be sustained.",
        takes_topology: false,
        refuses: &[
            (Flag::Rate, "its open loop is at 100,000 events a second"),
            (Flag::Executors, "it measures on one"),
            (Flag::Guarantee, "checkpoints are measured under exactly-once"),
            (Flag::Wait, "nothing ever waits in it"),
        ],
        duration: SECOND.saturating_mul(5),
        warmup: MS.saturating_mul(100),
        repeat: 5,
        measure: Some(Measure { expected: checkpoint::expected, run: checkpoint::run }),
    },
    Bench {
        name: "multilang",
        about: "What squall adds to a bolt in a process of its own",
        teaches: "\
A child process in Python, and one in Node, that echoes every tuple and acks it: driven by a bare loop that writes to \
its pipe and reads from it, and as a bolt between a spout and a sink, in turns. The round trip of one tuple at a time, \
from the emit to the ack, and tuples a second with 100 under way.

How to read it: `ratio_to_bare_*` is what is left of the child's own speed. Most of the time is the child's. \
Round trips are measured with executors that spin, since one that sleeps until the child has answered is a wake-up \
later; tuples a second with adaptive ones, since one that spins takes a CPU from the child. --wait sets both.",
        takes_topology: false,
        refuses: &[
            (Flag::Rate, "it is a closed loop: a tuple waits for room in the window"),
            (Flag::Executors, "the bolt's work is done by its child"),
            (Flag::Guarantee, "it measures up to the ack"),
            (Flag::Input, "it sends numbers, not text"),
        ],
        duration: SECOND.saturating_mul(5),
        warmup: MS.saturating_mul(200),
        repeat: 5,
        measure: Some(Measure { expected: multilang::expected, run: multilang::run }),
    },
];

impl Bench {
    /// The benches that are there.
    pub fn all() -> impl Iterator<Item = &'static Bench> {
        BENCHES.iter().filter(|bench| bench.measure.is_some())
    }

    /// What the bench of this name measures, in a line.
    pub fn about_of(name: &str) -> &'static str {
        BENCHES.iter().find(|bench| bench.name == name).map_or("", |bench| bench.about)
    }

    /// Whether it has a use for this flag.
    pub fn takes(&self, flag: Flag) -> bool {
        self.refuses.iter().all(|(refused, _)| *refused != flag)
    }

    /// What is wrong with these options for this bench.
    pub fn problems(&self, options: &Options, has_topology: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (flag, why) in self.refuses.iter().filter(|(flag, _)| flag.is_given(options)) {
            let message = format!("`bench {}` does not take it: {why}", self.name);
            problems.push(Problem::new(format!("--{}", flag.name()), message));
        }
        if self.name == "hop" && options.guarantees.contains(&Guarantee::ExactlyOnce) {
            let message = "`bench hop` does not take it: its two ends are a cycle, and barriers exclude cycles";
            problems.push(Problem::new("--guarantee exactly-once", message));
        }
        if has_topology && self.takes(Flag::Input) && Flag::Input.is_given(options) {
            let message =
                "is the text of the built-in shapes; a topology of its own has options of its own for its input";
            problems.push(Problem::new("--input", message));
        }
        problems
    }

    /// The options with this bench's defaults where nothing was said.
    pub fn with_defaults(&self, mut options: Options) -> Options {
        options.duration.get_or_insert(self.duration);
        options.warmup.get_or_insert(self.warmup);
        options.repeat.get_or_insert(self.repeat);
        options
    }

    /// How long it will take with these options.
    pub fn expected(&self, options: &Options) -> Duration {
        (self.measure().expected)(&self.with_defaults(options.clone()))
    }

    pub(super) fn run(&self, session: &mut Session, subject: Option<&Subject<'_>>) -> Result<()> {
        (self.measure().run)(session, subject)
    }

    fn measure(&self) -> &Measure {
        self.measure.as_ref().expect("only benches that are there are given out")
    }
}

/// A time that need not be exact, such as `5.8s` or `1m 36s`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    if s < 9.95 {
        format!("{s:.1}s")
    } else {
        humantime::format_duration(Duration::from_secs(s.round() as u64)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_a_bench_has_no_use_for_is_refused_with_the_reason() {
        let floor = &BENCHES[0];
        let options =
            Options { executors: vec![1], rates: vec![5], input: Some("Cargo.toml".into()), ..Options::default() };
        let problems = floor.problems(&options, false);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].place, "--executors");
        assert!(problems[0].message.starts_with("`bench floor` does not take it: "));
        let latency = BENCHES.iter().find(|bench| bench.name == "latency").unwrap();
        assert!(latency.problems(&options, false).is_empty());
        assert_eq!(latency.problems(&options, true)[0].place, "--input");
    }

    #[test]
    fn defaults_fill_only_what_was_not_said() {
        let options = BENCHES[0].with_defaults(Options { repeat: Some(9), ..Options::default() });
        assert_eq!((options.repeat, options.duration), (Some(9), Some(BENCHES[0].duration)));
    }
}
