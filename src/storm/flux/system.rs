//! Streams that Storm adds to every topology, as far as a bolt may subscribe to them: ticks above all.
//!
//! A tick does not come by a subscription: under Storm every task whose configuration has a period gets its own,
//! whoever subscribes to `__tick` of `__system`. So a subscription is taken, is among the bolt's sources, and brings
//! nothing by itself; but it makes the bolt part of the topology, which may be all that it is for.

use std::sync::Arc;

use crate::error::Problem;
use crate::storm::emitter::StreamDeclaration;
use crate::storm::flux::fields::listed;
use crate::storm::flux::model::StreamDef;
use crate::storm::flux::resolve::Component;
use crate::storm::flux::wiring::Wired;
use crate::storm::tuple::{SYSTEM_COMPONENT, TICK_STREAM};
use crate::storm::yaml::Place;

/// A stream on which every component could tell of itself. None ever does, under Storm either.
pub(super) const SILENT_STREAM: &str = "__system";

/// A subscription to a stream of Storm's own.
pub(crate) struct SystemSubscription {
    pub from: Arc<str>,
    pub stream: StreamDeclaration,
    pub to: usize,
    pub grouping: Wired,
    pub place: Place,
}

/// The stream of Storm's own that is meant; nothing if it is one of the topology's.
///
/// # Errors
/// There is none of this name, or its tuples are about what squall does not have.
pub(super) fn look_up(stream: &StreamDef) -> Option<Result<StreamDeclaration, Problem>> {
    const OF_SYSTEM: [(&str, &[&str]); 4] = [
        (TICK_STREAM, &["rate_secs"]),
        ("__metrics_tick", &["interval"]),
        ("__flush", &[]),
        (SILENT_STREAM, &["event"]),
    ];
    let (from, name) = (&*stream.from.text, &*stream.stream.text);
    let declared = |fields: &[&str]| {
        Ok(StreamDeclaration::new(name, fields.iter().copied()).expect("no name of a field occurs twice"))
    };
    let is_traffic = ["__ack_init", "__ack_ack", "__ack_fail", "__ack_reset_timeout", "__metrics", "__eventlog"];
    let is_of_storm = from == "__acker" || from == "__eventlogger" || from.starts_with("__metrics_");
    if is_of_storm || is_traffic.contains(&name) {
        let message = format!(
            "the stream {name:?} of {from:?} carries what Storm tells its ackers, metrics consumers and event loggers; \
             here nothing would ever come on it: remove this stream"
        );
        return Some(Err(Problem::new(stream.place.to_string(), message)));
    }
    match OF_SYSTEM.iter().find(|(known, _)| *known == name) {
        Some((_, fields)) if from == SYSTEM_COMPONENT => Some(declared(fields)),
        None if from == SYSTEM_COMPONENT => {
            let known = listed(&OF_SYSTEM.map(|(name, _)| name));
            let message = format!("{from:?} has no stream {name:?}; its streams: {known}");
            Some(Err(Problem::new(stream.stream.place.to_string(), message)))
        }
        Some((SILENT_STREAM, fields)) => Some(declared(fields)),
        _ => None,
    }
}

/// What to say if nothing will come.
pub(super) fn warning(stream: &StreamDef, to: &Component) -> Option<Problem> {
    let message = match &*stream.stream.text {
        TICK_STREAM if to.conf.tick().is_some() => return None,
        TICK_STREAM => {
            format!("no tick will come to {:?}: topology.tick.tuple.freq.secs is not set for it", to.id.text)
        }
        name => format!("nothing ever comes on the stream {name:?} of {:?}, as under Storm", stream.from.text),
    };
    Some(Problem::new(stream.place.to_string(), message))
}
