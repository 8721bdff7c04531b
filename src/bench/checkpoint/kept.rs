//! The topology of the open loop and of recovery: events into keyed state of 100 bytes a key.

use std::time::Duration;

use crate::bench::working_folder::WorkingFolder;
use crate::connect::Generator;
use crate::error::Result;
use crate::state::key::{KEY_GROUPS_DEFAULT, key_hash};
use crate::state::store::kind::StoreKind;
use crate::state::{CurrentKey, StateVisitor, ValueState};
use crate::sys::random::mix;
use crate::task::component::{KeyedBolt, Outcome};
use crate::task::outlet::Outlet;
use crate::task::payload::Nothing;
use crate::topology::Topology;
use crate::topology::builder::TopologyBuilder;
use crate::topology::settings::Guarantee;

pub(super) const VALUE_BYTES: usize = 100;

/// What is kept, and how.
pub(super) struct Kept<'a> {
    pub keys: u64,
    /// Keys that are there from the first event on.
    pub fill: u64,
    pub store: StoreKind,
    pub interval: Duration,
    /// Where the state goes, in a folder `state`, unless the store is memory.
    pub folder: &'a WorkingFolder,
}

impl Kept<'_> {
    /// Calls `after` with each event that is kept.
    ///
    /// # Errors
    /// None that would not be one of this bench.
    pub fn topology(&self, after: impl FnMut(u64) -> Outcome + Clone + Send + Sync + 'static) -> Result<Topology> {
        let mut t = TopologyBuilder::new("kept");
        let events = t.source("events", || Generator::endless(|n| n));
        let (keys, fill) = (self.keys, self.fill);
        t.bolt("keep", move || Keep { values: ValueState::new("values"), fill, after: after.clone() })
            .fields_by(&events, move |event| mix(*event) % keys);
        let state = self.folder.path().join("state").display().to_string();
        let (store, interval) = (self.store, self.interval);
        t.settings(move |settings| {
            settings.executors = Some(1);
            settings.guarantee = Guarantee::ExactlyOnce;
            settings.checkpoint_interval = Some(interval);
            if store != StoreKind::Memory {
                settings.store = store;
                settings.state_dir = Some(state);
            }
        });
        t.build()
    }
}

struct Keep<F> {
    values: ValueState<u64, Vec<u8>>,
    fill: u64,
    after: F,
}

impl<F: FnMut(u64) -> Outcome + Send + 'static> KeyedBolt for Keep<F> {
    type Key = u64;
    type In = u64;
    type Out = Nothing;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.values);
    }

    fn execute(&mut self, key: CurrentKey<u64>, event: u64, _: &mut Outlet<Nothing>) -> Outcome {
        for other in 0..std::mem::take(&mut self.fill) {
            let other = CurrentKey::of_hashed(other, key_hash(&other), KEY_GROUPS_DEFAULT, key.now_ns());
            self.values.set(&other, vec![0; VALUE_BYTES]);
        }
        self.values.get_or_insert_with(&key, || vec![0; VALUE_BYTES])[0] = event as u8;
        (self.after)(event)
    }
}
