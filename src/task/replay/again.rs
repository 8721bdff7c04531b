//! Reading an item a second time: where a bolt has given it up, its source makes a dead letter of it, and has not kept
//! the value.

use crate::error::Failure;
use crate::sys::sync::Arc;
use crate::task::component::{Polled, Position, Source, SplitId};
use crate::task::context::SpoutContext;
use crate::task::lineage::GivenUp;

/// A second source of the same kind, opened when it is first needed and closed when nothing is left to read.
pub(super) struct ReadAgain<S> {
    factory: Arc<dyn Fn() -> S + Send + Sync>,
    context: Option<SpoutContext>,
    source: Option<S>,
    /// Where the source has been sent, until it has given the item.
    at: Option<(SplitId, Position)>,
}

impl<S: Source> ReadAgain<S> {
    pub fn new(factory: Arc<dyn Fn() -> S + Send + Sync>) -> Self {
        ReadAgain { factory, context: None, source: None, at: None }
    }

    pub fn set_context(&mut self, context: &SpoutContext) {
        self.context = Some(context.clone());
    }

    /// The item at this place; idle or later while the source has it not at hand. Asked again, it goes on waiting.
    ///
    /// # Errors
    /// The source cannot be opened, cannot go there, or fails.
    pub fn read(&mut self, split: &SplitId, position: Position) -> Result<Polled<S::Item>, Failure> {
        let source = match &mut self.source {
            Some(source) => source,
            none => {
                let mut source = (self.factory)();
                let mut context = self.context.clone().unwrap_or_else(SpoutContext::detached);
                source.open(&mut context)?;
                none.insert(source)
            }
        };
        let there = (split.clone(), position);
        if self.at.as_ref() != Some(&there) {
            let Some(replayable) = source.replayable() else {
                return Err(Failure::fatal("a source that could go to a position cannot any more"));
            };
            let others: Vec<SplitId> = replayable.positions().into_iter().map(|(split, _)| split).collect();
            replayable.revoke(&others);
            replayable.assign(&[(split.clone(), Some(position))])?;
            self.at = Some(there);
        }
        let polled = source.poll()?;
        if matches!(polled, Polled::Item { .. }) {
            self.at = None;
        }
        Ok(polled)
    }

    /// Nothing is left to read.
    pub fn rest(&mut self) {
        self.close();
    }

    pub fn close(&mut self) {
        self.at = None;
        if let Some(mut source) = self.source.take() {
            source.close();
        }
    }
}

/// What is said when an item that was given up is not where it was.
pub(super) fn gone(component: &str, given_up: &GivenUp) -> String {
    let GivenUp { place, error, .. } = given_up;
    let by = given_up.origin.as_ref().map_or_else(String::new, |origin| format!(" by {origin}"));
    format!(
        "the input at position {} of {component} was given up{by} ({error}) and cannot be read again to make a dead \
         letter of it: put the input back as it was, or start over (--fresh); the last checkpoint is kept",
        place.position
    )
}
