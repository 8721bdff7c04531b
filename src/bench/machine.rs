//! The machine a report was made on, and what else went on there meanwhile.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::bench::row::Row;
use crate::observe::units::{size, three_digits};
use crate::sys::clock::{Clock, wall_ns};
use crate::sys::cpu::{self, CpuId, CpuTimes, Machine};
use crate::sys::thread;

/// A machine is disturbed if the hypervisor took more than this share of the run's time on the usable CPUs,
const STOLEN_PERCENT_MAX: f64 = 1.0;
/// or if all other processes and the kernel used more than this share of it.
const OTHERS_PERCENT_MAX: f64 = 5.0;

/// Watches the machine from the beginning of a run to its end. It looks at both ends only and disturbs nothing.
pub(super) struct Watch {
    began: SystemTime,
    clock: Clock,
    start: Seen,
    pinning: Pinning,
}

/// What the counters said at one moment.
#[derive(Clone, Copy, Default)]
struct Seen {
    everybody: Option<CpuTimes>,
    own: Duration,
    load: Option<f64>,
}

/// Whether a thread that pins itself gets what it asks for.
struct Pinning {
    cpus: Vec<CpuId>,
    /// One entry for each CPU that was not given.
    refusals: Vec<String>,
}

impl Watch {
    /// Begins; tries every one of these CPUs for whether a thread can be pinned to it.
    pub fn begin(cpus: Vec<CpuId>) -> Self {
        let began = UNIX_EPOCH + Duration::from_nanos(wall_ns().max(0).unsigned_abs());
        Watch { began, clock: Clock::real(), pinning: Pinning::try_out(cpus), start: Seen::now() }
    }

    /// When the run began.
    pub fn began(&self) -> SystemTime {
        self.began
    }

    /// The row that stands first in every report.
    pub fn row(&self, run: &str, command_line: &str, is_interrupted: bool) -> Row {
        let wall = Duration::from_nanos(self.clock.now_ns());
        let shares = Shares::between(self.start, Seen::now(), wall, cpu::usable_cpus().ids().len());
        let why = shares.disturbance();
        let mut row = Row::new("machine", "machine")
            .with("run", run)
            .with("squall", env!("CARGO_PKG_VERSION"))
            .with("date", humantime::format_rfc3339_seconds(self.began).to_string())
            .with("command_line", command_line);
        row.fields.extend(fields_of(&cpu::machine()));
        row.with("cpus", self.pinning.cpus.iter().map(|cpu| cpu.0).collect::<Vec<_>>())
            .with("pinned", self.pinning.refusals.is_empty())
            .with("pinning", self.pinning.to_string())
            .with("run_s", wall.as_secs_f64())
            .with("load_before", self.start.load)
            .with("load_after", Seen::now().load)
            .with("others_s", shares.others_s)
            .with("others_percent", shares.percent(shares.others_s))
            .with("stolen_s", shares.stolen_s)
            .with("stolen_percent", shares.percent(shares.stolen_s))
            .with("interrupted", is_interrupted)
            .with("disturbed", why.is_some())
            .with("disturbed_why", why)
    }
}

impl Seen {
    fn now() -> Self {
        Seen { everybody: cpu::usable_cpu_times(), own: cpu::process_cpu_time(), load: cpu::load_average() }
    }
}

impl Pinning {
    fn try_out(cpus: Vec<CpuId>) -> Self {
        let tried = cpus.clone();
        // A thread of its own: pins are inherited, and this one starts those that will be measured.
        let trial = thread::spawn_named("squall-pin-trial", move || {
            let mut refusals = Vec::new();
            for cpu in tried {
                match cpu::pin_current_thread(cpu) {
                    Ok(pinned) if pinned.holds() => {}
                    Ok(pinned) => refusals.push(pinned.to_string()),
                    Err(error) => refusals.push(error.to_string()),
                }
            }
            refusals
        });
        let refusals = match trial.map(|trial| trial.join()) {
            Ok(Ok(refusals)) => refusals,
            Ok(Err(_)) => vec!["the trial panicked".to_owned()],
            Err(error) => vec![format!("the trial could not be started: {error}")],
        };
        Pinning { cpus, refusals }
    }
}

impl std::fmt::Display for Pinning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.refusals.is_empty() { f.write_str("holds") } else { f.write_str(&self.refusals.join("; ")) }
    }
}

/// How much of the run's time on the usable CPUs went elsewhere; `None` where the system does not say.
struct Shares {
    others_s: Option<f64>,
    stolen_s: Option<f64>,
    /// The run's length times the number of CPUs.
    total_s: f64,
}

impl Shares {
    fn between(start: Seen, end: Seen, wall: Duration, cpus: usize) -> Self {
        let both = start.everybody.zip(end.everybody);
        let others = both.map(|(start_of_all, end_of_all)| {
            // The kernel counts ticks, this process is counted exactly: the difference may come out below zero.
            let busy = end_of_all.busy.saturating_sub(start_of_all.busy);
            busy.saturating_sub(end.own.saturating_sub(start.own)).as_secs_f64()
        });
        let stolen = both.map(|(start, end)| end.stolen.saturating_sub(start.stolen).as_secs_f64());
        Shares { others_s: others, stolen_s: stolen, total_s: wall.as_secs_f64() * cpus as f64 }
    }

    fn percent(&self, part_s: Option<f64>) -> Option<f64> {
        part_s.filter(|_| self.total_s > 0.0).map(|part_s| 100.0 * part_s / self.total_s)
    }

    /// Why the run's figures are to be doubted, if they are.
    fn disturbance(&self) -> Option<String> {
        let limits = [
            (self.percent(self.stolen_s), STOLEN_PERCENT_MAX, "stolen by the hypervisor"),
            (self.percent(self.others_s), OTHERS_PERCENT_MAX, "used by other processes and the kernel"),
        ];
        let beyond = limits.into_iter().filter_map(|(percent, limit, what)| {
            let percent = percent.filter(|&percent| percent > limit)?;
            Some(format!("{percent:.1} % of the CPU time was {what} (more than {limit} %)"))
        });
        let reasons: Vec<String> = beyond.collect();
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }
}

fn fields_of(machine: &Machine) -> Map<String, Value> {
    match serde_json::to_value(machine) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("a machine is a struct of numbers and texts"),
    }
}

/// What the first line of a report says if the machine was disturbed.
pub(super) fn disturbance(machine: &Map<String, Value>) -> Option<String> {
    let why = machine.get("disturbed_why")?.as_str()?;
    Some(format!("disturbed machine: {why}; repeat on a quiet one before you believe small differences"))
}

/// The machine in a few lines of text.
pub(super) fn to_text(machine: &Map<String, Value>) -> String {
    let text = |key: &str| match machine.get(key) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "unknown".to_owned(),
        Some(other) => other.to_string(),
    };
    let percent = |key: &str| match machine.get(key).and_then(Value::as_f64) {
        Some(percent) => format!("{} %", three_digits(percent)),
        None => "unknown".to_owned(),
    };
    let memory = machine.get("memory_bytes").and_then(Value::as_u64).map_or_else(|| "unknown".to_owned(), size);
    let cpus: Vec<String> =
        machine.get("cpus").and_then(Value::as_array).into_iter().flatten().map(Value::to_string).collect();
    format!(
        "{}, {} of {} CPUs usable, governor {}, {}, {memory} of memory\nCPUs {} in this order, pinning {}; meanwhile \
         others used {}, {} was stolen, load average {} to {}\nsquall {}, {}: {}\n",
        text("cpu_model"),
        text("cpus_usable"),
        text("cpus_online"),
        text("governor"),
        text("kernel"),
        cpus.join(", "),
        text("pinning"),
        percent("others_percent"),
        percent("stolen_percent"),
        text("load_before"),
        text("load_after"),
        text("squall"),
        text("date"),
        text("command_line"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(busy_ms: u64, stolen_ms: u64, own_ms: u64) -> Seen {
        let ms = Duration::from_millis;
        let everybody = Some(CpuTimes { busy: ms(busy_ms), stolen: ms(stolen_ms) });
        Seen { everybody, own: ms(own_ms), load: None }
    }

    fn why(start: Seen, end: Seen) -> Option<String> {
        Shares::between(start, end, Duration::from_secs(10), 2).disturbance()
    }

    #[test]
    fn a_machine_is_disturbed_by_what_others_use_and_by_what_is_stolen() {
        // Of 20 s of CPU time this process used 12.
        assert_eq!(why(seen(5_000, 70, 100), seen(17_900, 250, 12_100)), None);
        let stolen = why(seen(0, 0, 0), seen(12_000, 210, 12_000)).unwrap();
        assert!(stolen.starts_with("1.1 %") || stolen.starts_with("1.0 %"), "{stolen}");
        assert!(stolen.contains("stolen by the hypervisor (more than 1 %)"), "{stolen}");
        let both = why(seen(0, 0, 0), seen(14_000, 1_000, 12_000)).unwrap();
        assert!(
            both.contains("5.0 % of the CPU time was stolen") && both.contains(", 10.0 % of the CPU time was used")
        );
        assert_eq!(why(Seen::default(), Seen::default()), None, "unknown is not disturbed");
    }

    #[test]
    fn the_machine_row_has_every_key_and_says_so_first_if_it_was_disturbed() {
        let row = Watch::begin(cpu::usable_cpus().preferred()).row("hop", "squall bench hop", false);
        for key in "bench run squall date command_line cpu_model cpus_online cpus_usable kernel governor memory_bytes \
                    cpus pinned pinning run_s load_before load_after others_s others_percent stolen_s stolen_percent \
                    interrupted disturbed disturbed_why"
            .split_ascii_whitespace()
        {
            assert!(row.fields.contains_key(key), "no {key}");
        }
        assert!(to_text(&row.fields).contains("squall bench hop"));
        let disturbed = row.with("disturbed_why", "9 % of it was stolen");
        assert!(disturbance(&disturbed.fields).unwrap().starts_with("disturbed machine: 9 % of it was stolen"));
    }

    #[test]
    fn a_cpu_that_cannot_be_had_is_named() {
        let pinning = Pinning::try_out(vec![CpuId(1_000)]);
        assert!(pinning.to_string().contains("cannot pin to CPU 1000"), "{pinning}");
    }
}
