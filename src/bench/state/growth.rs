//! Inserting keys: each insertion is timed, since what matters is the longest.

use crate::bench::row::{Row, Unit, histogram};
use crate::bench::session::Session;
use crate::bench::state::{bound, current, encode};
use crate::bench::timing::Timing;
use crate::state::AnyState;
use crate::state::delta::Delta;

const KEYS_MAX: u64 = 10_000_000;
/// Keys between two checkpoints, which go on as they would.
const KEYS_PER_CHECKPOINT: u64 = 100_000;

pub(super) fn run(session: &mut Session, timing: &Timing) {
    let most = timing.slice * timing.repeat as u32;
    session.step("insert", most);
    let mut state = bound::<u64, u64>();
    let mut delta = Delta::default();
    let mut each = histogram();
    let began_ns = session.clock.now_ns();
    let mut keys = 0;
    // In short runs, as far as it gets; a run of a few seconds gets to the end.
    while keys < KEYS_MAX && (keys == 0 || u128::from(session.clock.now_ns() - began_ns) < 4 * most.as_nanos()) {
        for key in keys..keys + KEYS_PER_CHECKPOINT {
            let key = current(key);
            let start_ns = session.clock.now_ns();
            state.set(&key, 0);
            each.saturating_record(session.clock.now_ns() - start_ns);
        }
        keys += KEYS_PER_CHECKPOINT;
        state.freeze();
        encode(&mut state, &mut delta).expect("counters can be encoded");
        delta.clear();
    }
    let row = Row::new("state", format!("insert up to {keys} keys")).with("row", "insert").with("keys", keys);
    session.row(row.distributions("", Unit::Us, &[each]));
}
