//! The directory with one safety taken out: the manifest before the data.

use super::*;

use crate::sys::mutation::{self, Mutation};

impl StateDirectory {
    /// Holds the data back until the manifest is written. The token for it comes from a copy of the disk.
    pub(super) fn append_too_late(&mut self, checkpoint: CheckpointId, deltas: &[Delta]) -> Result<Option<Written>> {
        if !mutation::is(Mutation::ManifestBeforeData) {
            return Ok(None);
        }
        let copy = self.disk.copy_of_simulated().expect("only a simulated disk is mutated");
        let mut twin = self.kind.open(&copy, &self.path.join(&self.folder), &self.options.store, &self.clock)?;
        self.held_back = Some((checkpoint, deltas.to_vec()));
        twin.append(checkpoint, deltas).map(Some)
    }

    pub(super) fn append_held_back(&mut self) -> Result<()> {
        let Some((checkpoint, deltas)) = self.held_back.take() else { return Ok(()) };
        let _token = self.store.append(checkpoint, &deltas)?;
        Ok(())
    }
}
