//! What a run did, as plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::engine::checkpoint::CheckpointReport;
use crate::engine::control::{Latencies, Phase};
use crate::engine::watch::Seen;
use crate::engine::wiring::Shared;
use crate::sys::cpu::{Machine, machine};
use crate::sys::sync::Arc;
use crate::task::metrics::{Counts, Injected, Latency, TaskMetrics, TaskState, Waits, latency};
use crate::task::reporter::Noted;
use crate::topology::plan::Kind;
use crate::topology::settings::Settings;

/// Percentiles of a latency in microseconds; exact counts, nothing sampled, resolution about 1 %. All 0 without
/// samples.
///
/// The data has every percentile, whatever the number of samples; what is shown to people should have
/// [`printable`](Self::printable) ones only.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LatencyReport {
    /// Number of samples.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// 99.99th percentile.
    pub p9999: f64,
    /// Largest sample.
    pub max: f64,
}

/// Samples that must lie beyond a percentile for it to be printed.
const SAMPLES_BEYOND_MIN: f64 = 100.0;

impl LatencyReport {
    /// Reads the percentiles off a histogram in nanoseconds.
    pub fn of(histogram: &Latency) -> Self {
        if histogram.is_empty() {
            return LatencyReport::default();
        }
        let us = |ns: u64| ns as f64 / 1_000.0;
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        LatencyReport {
            count: histogram.len(),
            mean: histogram.mean() / 1_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: us(histogram.max()),
        }
    }

    /// The percentiles by name, `None` where fewer than 100 samples lie beyond.
    pub fn printable(&self) -> [(&'static str, Option<f64>); 5] {
        let printable = |name, quantile: f64, us| {
            let beyond = self.count as f64 * (1.0 - quantile);
            (name, (beyond >= SAMPLES_BEYOND_MIN).then_some(us))
        };
        [
            printable("p50", 0.5, self.p50),
            printable("p90", 0.9, self.p90),
            printable("p99", 0.99, self.p99),
            printable("p99.9", 0.999, self.p999),
            printable("p99.99", 0.9999, self.p9999),
        ]
    }
}

/// The counters of one component while it runs, all its tasks together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentCounts {
    /// Its id.
    pub id: String,
    /// `spout` or `bolt`.
    pub kind: &'static str,
    /// The counters.
    #[serde(flatten)]
    pub counts: Counts,
    /// Open trees of a spout, open handles of a manual bolt.
    pub pending: u64,
    /// Its tasks that wait.
    pub waiting: Waiting,
    /// What one of its tasks says that it waits for, such as a process of its own.
    #[serde(skip)]
    pub waits_for: Option<String>,
}

impl ComponentCounts {
    /// Those of a component, from what its tasks have published.
    pub(crate) fn of(shared: &Shared, component: usize) -> Self {
        let plan = &shared.plan.components[component];
        let (mut counts, mut pending, mut waiting) = (Counts::default(), 0, Waiting::default());
        for metrics in &shared.metrics[component] {
            counts += metrics.counts();
            pending += metrics.pending();
            waiting.add(metrics.state(), metrics.waits());
        }
        let waits_for = shared.metrics[component].iter().find_map(|metrics| metrics.reported().waits_for());
        ComponentCounts { id: plan.id.clone(), kind: plan.kind.word(), counts, pending, waiting, waits_for }
    }
}

/// Tasks of a component that do not go on by themselves, by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// A lane to a consumer is full.
    pub blocked: usize,
    /// Spout tasks that have as many trees open as `max_spout_pending` allows.
    pub held_back: usize,
    /// Bolt tasks that do not take the input that is there, until what they have is done.
    pub unready: usize,
    /// Tasks whose instance has broken down and is to be built again.
    pub backing_off: usize,
    /// Tasks that have had all their input and wait for what is still open.
    pub finishing: usize,
}

impl Waiting {
    fn add(&mut self, state: TaskState, waits: Waits) {
        self.blocked += usize::from(waits.blocked);
        self.held_back += usize::from(waits.held_back && state == TaskState::Running);
        self.unready += usize::from(waits.unready);
        self.backing_off += usize::from(state == TaskState::BackingOff);
        self.finishing += usize::from(state == TaskState::Finishing);
    }
}

/// Why something in a component failed: all failures of one kind on one input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorReport {
    /// The stream on which the tuples came in, as `component.stream`; none for ticks, callbacks, held tuples, spouts.
    pub input: Option<String>,
    /// `retry`, `reject`, `fatal`, `timeout`, `dropped`, `panic` or `collateral`, the kinds of failures; or `reported`,
    /// what the component reported itself.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
    /// When the first and the last one happened, as RFC 3339 has it.
    pub first_at: String,
    /// See `first_at`.
    pub last_at: String,
    /// The last one's message, with the task where it arose.
    pub last: String,
}

impl ErrorReport {
    /// The failures that the tasks of a component have noted, those of most weight first.
    pub(crate) fn of(tasks: &[Arc<TaskMetrics>]) -> Vec<Self> {
        let mut all: Vec<Noted> = Vec::new();
        for noted in tasks.iter().flat_map(|metrics| metrics.reported().noted()) {
            match all.iter_mut().find(|other| other.is_same(&noted)) {
                Some(same) => same.add(&noted),
                None => all.push(noted),
            }
        }
        all.sort_by_key(|noted| std::cmp::Reverse(noted.count));
        let at = |wall_ns: i64| {
            let since = Duration::from_nanos(wall_ns.max(0) as u64);
            humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
        };
        let to_report = |noted: Noted| ErrorReport {
            input: tasks.first().and_then(|task| task.reported().reasons().input(noted.input)).map(str::to_owned),
            kind: noted.kind,
            count: noted.count,
            first_at: at(noted.first_wall_ns),
            last_at: at(noted.last_wall_ns),
            last: noted.last.to_string(),
        };
        all.into_iter().map(to_report).collect()
    }
}

/// What one component did, all its tasks together.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentReport {
    /// Its id.
    pub id: String,
    /// `spout` or `bolt`.
    pub kind: &'static str,
    /// Number of tasks.
    pub tasks: usize,
    /// The counters.
    #[serde(flatten)]
    pub counts: Counts,
    /// Open trees of a spout, open handles of a manual bolt.
    pub pending: u64,
    /// Tuples that came in and of which nothing is known any more: always 0, or squall has a bug. Compared at every
    /// checkpoint, at the end of every lane, and at the end.
    pub unaccounted: u64,
    /// Errors it reported that belong to no tuple.
    pub errors_reported: u64,
    /// The last error it reported or was rebuilt for.
    pub last_error: Option<String>,
    /// Why what failed in it did, by input and kind.
    pub errors: Vec<ErrorReport>,
    /// Tasks by state.
    pub states: BTreeMap<&'static str, usize>,
    /// Share of the tasks' time in turns, in percent.
    pub busy_percent: f64,
    /// Share of the tasks' time waiting for room downstream, in percent.
    pub blocked_percent: f64,
    /// The rest.
    pub idle_percent: f64,
    /// Time per input of a bolt (of a spout: absent), at turn resolution, in microseconds.
    pub execute_latency_us: LatencyReport,
}

/// What a run did, so far or in all.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the topology.
    pub topology: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Time since the start, in seconds.
    pub wall_s: f64,
    /// CPU time of the process since it started, in seconds.
    pub cpu_s: f64,
    /// Peak memory of the process.
    pub peak_rss_bytes: Option<u64>,
    /// The components in order of declaration.
    pub components: Vec<ComponentReport>,
    /// Time from a tracked emit to the completion of its tree, over all spouts.
    pub complete_latency_us: LatencyReport,
    /// Faults the topology injected into itself.
    pub injected: Injected,
    /// With checkpoints: what became of them.
    pub checkpoints: Option<CheckpointReport>,
    /// Times a task was found not to have returned for longer than the setting `stall_limit`.
    pub stalls: u64,
    /// Times nothing moved for seconds although something waited, and who held it up: as it is, or last was.
    pub standstills: u64,
    /// See `standstills`.
    pub held_up: Option<String>,
    /// Messages of the process that were left out of its log, because standard error was not read or was full.
    pub messages_lost: u64,
    /// The CPU of each executor, where it is pinned.
    pub executor_cpus: Vec<Option<usize>>,
    /// The settings of the run.
    pub settings: Settings,
    /// The machine of the run.
    pub machine: Machine,
}

impl Report {
    /// Tuples of which nothing is known any more, over all components; see [`ComponentReport::unaccounted`].
    pub fn unaccounted(&self) -> u64 {
        self.components.iter().map(|component| component.unaccounted).sum()
    }
}

pub(crate) fn report(
    shared: &Shared,
    phase: Phase,
    wall: Duration,
    latencies: &Latencies,
    executor_cpus: Vec<Option<usize>>,
    seen: &Seen,
) -> Report {
    let mut complete = latency();
    let components = shared.plan.components.iter().enumerate().map(|(index, plan)| {
        let mut counts = Counts::default();
        let (mut pending, mut unaccounted) = (0, 0);
        let (mut errors_reported, mut last_error) = (0, None);
        let mut states = BTreeMap::new();
        for metrics in &shared.metrics[index] {
            counts += metrics.counts();
            pending += metrics.pending();
            unaccounted += metrics.unaccounted();
            errors_reported += metrics.errors_reported();
            last_error = metrics.last_error().or(last_error);
            *states.entry(state_name(metrics.state())).or_insert(0) += 1;
        }
        let mut execute = latency();
        for (task, histogram) in latencies.iter().filter(|(task, _)| task.component == index) {
            debug_assert!(task.index < plan.tasks.len());
            let into = if plan.kind == Kind::Spout { &mut complete } else { &mut execute };
            into.add(histogram).expect("all latency histograms have the same bounds");
        }
        let task_ns = wall.as_nanos() as f64 * plan.tasks.len() as f64;
        let percent = |ns: u64| if task_ns > 0.0 { (ns as f64 / task_ns * 100.0).min(100.0) } else { 0.0 };
        let busy_percent = percent(counts.busy_ns);
        // A task that waits for room also has turns, for its other inputs and its acks: those count as busy.
        let blocked_percent = percent(counts.blocked_ns).min(100.0 - busy_percent);
        ComponentReport {
            id: plan.id.clone(),
            kind: plan.kind.word(),
            tasks: plan.tasks.len(),
            counts,
            pending,
            unaccounted,
            errors_reported,
            last_error,
            errors: ErrorReport::of(&shared.metrics[index]),
            states,
            busy_percent,
            blocked_percent,
            idle_percent: (100.0 - busy_percent - blocked_percent).max(0.0),
            execute_latency_us: LatencyReport::of(&execute),
        }
    });
    let components: Vec<ComponentReport> = components.collect();
    let (standstills, held_up) = seen.standstills();
    Report {
        topology: shared.plan.name.clone(),
        phase,
        wall_s: wall.as_secs_f64(),
        cpu_s: crate::sys::cpu::process_cpu_time().as_secs_f64(),
        peak_rss_bytes: crate::sys::cpu::peak_rss_bytes(),
        components,
        complete_latency_us: LatencyReport::of(&complete),
        injected: shared.topology.injected(),
        checkpoints: shared.checkpointing.as_ref().map(|checkpointing| checkpointing.stats.report()),
        stalls: seen.stalls(),
        standstills,
        held_up,
        messages_lost: crate::sys::output::lost(),
        executor_cpus,
        settings: shared.settings.clone(),
        machine: machine(),
    }
}

fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::New => "new",
        TaskState::Running => "running",
        TaskState::BackingOff => "backing_off",
        TaskState::Finishing => "finishing",
        TaskState::Done => "done",
    }
}
