//! What the benches of whole topologies measure: built-in shapes, or a topology of the program.

use crate::bench::session::{Options, Subject, cpus};
use crate::bench::shapes::{Count, Counts, Lines, Setup, Word, chain, guarantee_key, split, swallow};
use crate::bench::text::{Text, words};
use crate::engine::placement::Placed;
use crate::error::Result;
use crate::sys::cpu::{Claim, CpuId, CpuRegister, usable_cpus};
use crate::sys::sync::Arc;
use crate::topology::Topology;
use crate::topology::settings::{Guarantee, WaitPolicy};

/// Bolts of the chain, its sink included.
const CHAIN_BOLTS: usize = 3;

/// A topology to measure.
pub(super) enum Target<'a> {
    /// Lines to words to counts. The counting tasks know every word of the text from the start, as after a long run: a
    /// map that still grows would have pauses of its own.
    WordCount { text: Text, known: Arc<Counts> },
    /// Lines through bolts that hand them on.
    Chain { text: Text },
    /// Of the program.
    Subject(&'a Subject<'a>),
}

/// How it is run. What is `None` is as the topology has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    pub executors: Option<usize>,
    pub guarantee: Option<Guarantee>,
    pub wait: Option<WaitPolicy>,
}

/// How it really is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effective {
    pub executors: usize,
    pub guarantee: Guarantee,
    pub wait: WaitPolicy,
}

impl<'a> Target<'a> {
    pub fn word_count(text: &Text) -> Self {
        let mut known = Counts::new();
        for word in words(&text.bytes) {
            *known.entry(Word::from_slice(word)).or_default() += 1;
        }
        Target::WordCount { text: text.clone(), known: Arc::new(known) }
    }

    /// Its name in rows.
    pub fn name(&self) -> &'a str {
        match self {
            Target::WordCount { .. } => "word_count",
            Target::Chain { .. } => "chain",
            Target::Subject(subject) => &subject.name,
        }
    }

    /// Builds it to be run in this manner.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn build(&self, manner: Manner) -> Result<Topology> {
        let setup = Setup {
            executors: manner.executors.unwrap_or(1),
            guarantee: manner.guarantee.unwrap_or_default(),
            wait: manner.wait.unwrap_or_default(),
        };
        match self {
            Target::WordCount { text, known } => word_count(text, known, &setup),
            Target::Chain { text } => {
                let (mut t, text) = (setup.builder("chain"), text.clone());
                let lines = t.spout("lines", move || Lines::endless(&text)).parallelism(setup.executors);
                let last = chain(&mut t, &lines, CHAIN_BOLTS - 1);
                t.bolt("sink", swallow).shuffle(&last);
                t.build()
            }
            Target::Subject(subject) => Ok(manner.apply((subject.build)()?)),
        }
    }
}

fn word_count(text: &Text, known: &Arc<Counts>, setup: &Setup) -> Result<Topology> {
    let mut t = setup.builder("word_count");
    let (text, known, tasks) = (text.clone(), Arc::clone(known), setup.executors);
    let lines = t.spout("lines", move || Lines::endless(&text)).parallelism(tasks);
    let words = t.bolt("split", split).parallelism(tasks).shuffle(&lines);
    t.bolt("count", move || Count::knowing(&known)).parallelism(tasks).fields(&words, |word: &Word| word);
    t.build()
}

impl Manner {
    /// Overrides what the topology's own settings say.
    fn apply(self, topology: Topology) -> Topology {
        topology.configure(|layers| {
            if let Some(executors) = self.executors {
                layers.set("--executors", "executors", &executors.to_string());
            }
            if let Some(guarantee) = self.guarantee {
                layers.set("--guarantee", "guarantee", &guarantee.to_string());
            }
            if let Some(wait) = self.wait {
                layers.set("--wait", "wait", &wait.to_string());
            }
        })
    }
}

impl Effective {
    /// What the settings of a topology come to on this machine.
    ///
    /// # Errors
    /// When the settings are invalid, or ask for what the machine does not have.
    pub fn of(topology: &Topology) -> Result<(Effective, Placed)> {
        let settings = topology.resolve()?.settings;
        let (_, placed) = topology.explain()?;
        let executors = placed.executors.len();
        Ok((Effective { executors, guarantee: settings.guarantee, wait: settings.wait }, placed))
    }

    /// For a row's label.
    pub fn text(&self) -> String {
        let executors = if self.executors == 1 { String::new() } else { format!(" on {} executors", self.executors) };
        format!("{} {}{executors}", guarantee_key(self.guarantee), self.wait)
    }
}

/// One or several values of an option, or `None` for "as it is" where none was given.
pub(super) fn each<T: Copy>(given: &[T], default: &[T]) -> Vec<Option<T>> {
    match (given, default) {
        ([], []) => vec![None],
        ([], some) | (some, _) => some.iter().copied().map(Some).collect(),
    }
}

/// Keeps topologies away from every CPU but the first so many that the options name. Where they name none, topologies
/// take the best ones by themselves.
pub(super) fn hold_others(options: &Options, executors: usize) -> Option<Claim> {
    if options.cpus.is_empty() {
        return None;
    }
    let own: Vec<CpuId> = cpus(options).into_iter().take(executors).collect();
    let others: Vec<CpuId> = usable_cpus().ids().iter().copied().filter(|cpu| !own.contains(cpu)).collect();
    Some(CpuRegister::global().claim(others.len(), &others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_of_the_program_is_run_as_told_or_as_it_is() {
        let text = Text::generated().in_lines_of(10);
        let build = || Target::Chain { text: text.clone() }.build(Manner::default());
        let subject = Subject { name: "mine".into(), build: &build };
        let target = Target::Subject(&subject);
        let effective = |manner| Effective::of(&target.build(manner).unwrap()).unwrap().0;
        let own = effective(Manner::default());
        assert_eq!((own.guarantee, own.wait), (Guarantee::AtLeastOnce, WaitPolicy::default()));
        let (guarantee, wait) = (Some(Guarantee::AtMostOnce), Some(WaitPolicy::Park));
        let told = effective(Manner { executors: Some(1), guarantee, wait });
        assert_eq!(told, Effective { executors: 1, guarantee: Guarantee::AtMostOnce, wait: WaitPolicy::Park });
        assert_eq!((target.name(), told.text().as_str()), ("mine", "at_most_once park"));
    }

    #[test]
    fn an_option_that_was_not_given_leaves_the_default_or_everything_as_it_is() {
        assert_eq!(each(&[1, 2], &[3]), [Some(1), Some(2)]);
        assert_eq!(each(&[], &[3]), [Some(3)]);
        assert_eq!(each::<u8>(&[], &[]), [None]);
    }
}
