//! Which of Storm's ways are not squall's, of those that a file depends on.

use serde::Serialize;

use crate::storm::flux::{Flux, GroupingDef, What};

/// Something that is not as it was.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Difference {
    pub about: &'static str,
    /// How Storm has it, and how it is here.
    pub what: String,
    pub to_do: &'static str,
}

/// Those that this file may notice.
pub(super) fn differences(flux: &Flux) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut note = |applies: bool, about, what: &str, to_do| {
        if applies {
            all.push(Difference { about, what: what.to_owned(), to_do });
        }
    };
    let (definition, resolved) = (flux.definition(), flux.resolved());
    let conf = &resolved.conf;
    let groups = |wanted: fn(&GroupingDef) -> bool| definition.streams.iter().any(|stream| wanted(&stream.grouping));
    let is_balanced = conf.flag("topology.disable.loadaware.messaging") != Some(true);
    let sets = |key: &str| conf.get(key).is_some() || resolved.components.iter().any(|one| one.conf.get(key).is_some());
    note(
        is_balanced && groups(|grouping| matches!(grouping, GroupingDef::Shuffle | GroupingDef::LocalOrShuffle)),
        "shuffle",
        "Storm's shuffle prefers tasks with shorter queues; here it is plain round robin, and splits exactly evenly",
        "nothing, unless tasks of one component are of very different speed",
    );
    note(
        conf.whole("topology.workers").is_some_and(|workers| workers > 1),
        "workers",
        "Storm spreads tasks over worker processes, here all run in one; state in static variables is shared by all",
        "give the machine as many CPUs as the workers had together",
    );
    note(
        conf.ackers() == 0,
        "acking switched off",
        "Storm calls the spout's ack before emit returns; here it comes right after nextTuple has returned",
        "nothing, unless a spout relies on the ack within its emit",
    );
    note(
        conf.ackers() > 0 && conf.whole("topology.max.spout.pending").is_none(),
        "open trees",
        "Storm has no limit unless topology.max.spout.pending sets one; here it is 16384 for each spout task",
        "set it if the topology needs more",
    );
    note(
        conf.ackers() > 0,
        "a failing component",
        "in Storm an exception ends the worker and all its tasks; here the one task is built anew, and its tuple fails",
        "nothing, unless several components rely on being restarted together",
    );
    note(
        resolved.components.iter().any(|component| matches!(component.what, What::Shell(_))),
        "processes that die or hang",
        "in Storm the worker ends with them; here the one process is started anew and its tuples fail at once",
        "nothing",
    );
    note(
        sets("topology.tick.tuple.freq.secs"),
        "ticks",
        "in Storm a tick waits in the queue behind other tuples; here it is on time however much input is waiting",
        "nothing; for periods below a second there is topology.tick.tuple.freq.millis",
    );
    let is_windowed = |component: &crate::storm::flux::Component| {
        component.conf.get("topology.bolts.window.length.count").is_some()
            || component.conf.get("topology.bolts.window.length.duration.ms").is_some()
    };
    let calls = |name: &str| {
        let methods = definition.bolts.iter().flat_map(|bolt| &bolt.object.config_methods);
        methods.into_iter().any(|method| &*method.name.text == name)
    };
    note(
        resolved.components.iter().any(is_windowed) || calls("withWindow") || calls("withTumblingWindow"),
        "windows",
        "Storm calls windows by time on a thread of their own; here they run on the task's thread like all else",
        "nothing",
    );
    note(
        resolved.components.iter().any(|one| one.class.text.ends_with(".TestAggregatesCounter")),
        "TestAggregatesCounter",
        "Storm's emits unanchored; here what it emits belongs to the tree of its input",
        "nothing",
    );
    note(
        !definition.components.is_empty(),
        "references",
        "in Flux a ref to a component further down, or to none, is null; here it is found, or reported",
        "nothing",
    );
    all
}
