//! placeholder
use crate::error::*;
use crate::task::component::*;
use crate::task::outlet::*;
use crate::task::payload::*;
#[allow(missing_docs)]
pub const REPLAYS_MAX_DEFAULT: u32 = 3;
#[allow(missing_docs)]
#[derive(Clone)]
pub struct DeadLetter<T> {
    pub value: T,
}
#[allow(missing_docs)]
pub struct Replaying<S: Source>(S, u32);
#[allow(missing_docs)]
impl<S: Source> Replaying<S> {
    pub fn new(s: S) -> Self {
        Self(s, 3)
    }
    pub fn max_replays(mut self, n: u32) -> Self {
        self.1 = n;
        self
    }
}
impl<S: Source> Spout for Replaying<S> {
    type Out = Ports<(S::Item, DeadLetter<S::Item>)>;
    type Id = u64;
    fn next(&mut self, _o: &mut SpoutOutlet<Self::Out, u64>) -> Result<Next, Failure> {
        match self.0.poll()? {
            Polled::Item { value, .. } => {
                _o.emit_tracked_on::<0>(0, value);
                Ok(Next::Emitted)
            }
            Polled::Finished => Ok(Next::Finished),
            Polled::Idle => Ok(Next::Idle),
            Polled::WakeAfter(d) => Ok(Next::WakeAfter(d)),
        }
    }
}
