//! The other way round: a squall bolt or spout as the child process of a real Storm worker, so that a topology can move
//! component by component. On Storm's side it is a `ShellBolt` or `ShellSpout` (in a Flux file a `FluxShellBolt` or
//! `FluxShellSpout`) whose command is your program.
//!
//! ```no_run
//! use squall::storm::child;
//! use squall::storm::emitter::Emitter;
//! use squall::storm::tuple::StormTuple;
//! use squall::task::many::Many;
//! use squall::{Bolt, BoltContext, Outcome, Outlet};
//!
//! struct Split {
//!     streams: Vec<squall::storm::emitter::StreamDeclaration>,
//!     emitter: Option<Emitter>,
//! }
//!
//! impl Bolt for Split {
//!     type In = StormTuple;
//!     type Out = Many<StormTuple>;
//!     fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
//!         self.emitter = Some(Emitter::new(ctx.info(), &self.streams));
//!         Ok(())
//!     }
//!     fn execute(&mut self, tuple: StormTuple, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
//!         let emitter = self.emitter.as_ref().expect("prepared");
//!         let line = tuple.get("line")?.as_str().unwrap_or_default();
//!         line.split(' ').for_each(|word| out.emit_at(0, emitter.tuple(0, [word.into()])));
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> squall::Result<()> {
//!     child::run_bolt(|setup| Split { streams: setup.streams.clone(), emitter: None })
//! }
//! ```
//!
//! The component runs in a topology of its own: one executor, which Storm's tuples enter and whose outputs and acks
//! are written to standard output. So it is prepared, anchored, acked, failed and ended as anywhere else, and a bolt
//! is rebuilt after a panic; a spout's failure ends the process, and Storm starts it anew; Storm's ticks arrive as
//! calls of `tick`. What differs: the tasks it is told of by `ctx.info()` and by `emit_to_at` are those of this small
//! topology (Storm's are in [`Setup::context`]); direct emits are not supported; a spout's time-outs are Storm's.
//! Nothing but the protocol may be written to standard output; log to standard error.

mod bolt;
mod parent;
mod spout;

use crate::topology::builder::TopologyBuilder;

pub use bolt::{run_bolt, run_manual_bolt, serve_bolt, serve_manual_bolt};
pub use parent::Setup;
pub use spout::{run_spout, serve_spout};

/// What a component runs in.
fn topology() -> TopologyBuilder {
    let mut t = TopologyBuilder::new("storm-child");
    t.settings(|settings| {
        settings.executors = Some(1);
        settings.message_timeouts_enabled = false;
        // The worker bounds what is under way.
        settings.max_spout_pending = 1 << 20;
    });
    t
}
