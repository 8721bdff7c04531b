//! The native components that Flux files can name: squall's own, and stand-ins for the Java classes that tests and
//! examples commonly use.
//!
//! | class | arguments, by property name or in this order | streams |
//! | --- | --- | --- |
//! | `squall.Lines` | `path` (`-`: standard input), `repeat` | `line`; what is given up as `dead_letters` |
//! | `squall.Words` | `words`, `count` (endless unless given), `per_second` | `word` |
//! | `squall.Numbers` | `count` (endless unless given), `per_second` | `number` |
//! | `squall.Split` | `field` (the first) | `word` |
//! | `squall.Count` | `field` (the first) | `FIELD`, `count` |
//! | `squall.CountAtEnd` | `field` (the first) | `FIELD`, `count`, when all input has ended |
//! | `squall.Sum` | `field` (the first) | `sum` |
//! | `squall.Filter` | `field`, and one of `equals`, `not_equals`, `contains`, `above`, `below`; `fields` | `fields` |
//! | `squall.Project` | `fields`; `as` | `fields`, renamed |
//! | `squall.Ticks` | | `seconds`, at every tick |
//! | `squall.Deal` | `to`: a component, `fields` | `fields`, to its tasks in turn, as a direct stream |
//! | `squall.Print` | `prefix` | |
//! | `squall.Log` | | |
//! | `squall.WriteLines` | `path`; `field` (the whole tuple) | |
//! | `squall.Ledger` | `account`, `amount` (the first two fields) | `account`, `balance` |
//! | `squall.Window` | `emit`: `count`, `sum` or `values`; `field` | `count`, `sum` or `values` |
//!
//! Stand-ins do what Storm's source does: `TestWordSpout` waits 100 ms before each word and emits untracked,
//! `TestWordCounter` emits an `Integer` count, `LogInfoBolt` logs at INFO.

mod each;
pub(crate) mod emits;
mod flow;
mod java;
mod lines;
mod oracle;
mod periodic;
mod sink;
#[cfg(test)]
mod tests;
mod window;

use crate::storm::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    lines::register(registry);
    flow::register(registry);
    sink::register(registry);
    window::register(registry);
    java::register(registry);
    oracle::register(registry);
}
