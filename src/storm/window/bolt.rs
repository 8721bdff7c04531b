//! [`Windowed`]: a bolt of windows. It holds the handles of its tuples and acks each when it leaves the window.

use std::sync::Arc;
use std::time::Duration;

use super::manager::{Listener, Window, Windows};
use super::settings::{Slide, WindowSettings};
use super::watermark::Watermarks;
use crate::error::{Failure, Problem};
use crate::storm::emitter::StreamDeclaration;
use crate::storm::native::emits::{Emits, TickTuples};
use crate::storm::registry::{Arguments, NativeBolt};
use crate::storm::tuple::StormTuple;
use crate::sys::clock::{Clock, wall_ns};
use crate::sys::mutation::{self, Mutation};
use crate::task::component::{ManualBolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::dynamic::Value;
use crate::task::held::{Anchor, Anchors, Tuple};
use crate::task::many::Many;
use crate::task::outlet::Outlet;

/// A window of tuples: `values`, `new_values`, `expired`, and where it begins and ends.
pub type TupleWindow<'a> = Window<'a, StormTuple, Held>;

/// The handle of a tuple in a window; none for a tick, which is in no tree.
pub type Held = Option<Anchor>;

/// What a windowed bolt does with a window.
pub trait WindowedBolt: 'static {
    /// A window is over and has tuples. What is emitted is anchored to all of them.
    ///
    /// # Errors
    /// All tuples of the window fail with it and leave: their spouts decide whether they come again.
    fn execute(&mut self, window: &TupleWindow<'_>, out: &mut WindowOutlet<'_>) -> Outcome;
}

impl<F: FnMut(&TupleWindow<'_>, &mut WindowOutlet<'_>) -> Outcome + 'static> WindowedBolt for F {
    fn execute(&mut self, window: &TupleWindow<'_>, out: &mut WindowOutlet<'_>) -> Outcome {
        self(window, out)
    }
}

/// Where a windowed bolt emits.
pub struct WindowOutlet<'a> {
    emits: &'a Emits,
    out: &'a mut Outlet<Many<StormTuple>>,
}

impl WindowOutlet<'_> {
    /// Emits on a port, anchored to all tuples of the window.
    pub fn emit(&mut self, port: usize, values: impl IntoIterator<Item = Value>) {
        self.out.emit_at(port, self.emits.tuple(port, values));
    }
}

/// Anchors to all tuples of a window.
struct AllOf<'a, 'w>(&'a TupleWindow<'w>);

impl Anchors for AllOf<'_, '_> {
    fn each(&self, mut visit: impl FnMut(&Anchor)) {
        self.0.handles().flatten().for_each(&mut visit);
    }
}

/// A native windowed bolt for Flux files: its streams (the one for late tuples is added), and a factory.
///
/// # Errors
/// What is wrong with the window's settings.
pub fn windowed<W: WindowedBolt>(
    args: &Arguments<'_>,
    streams: Vec<StreamDeclaration>,
    factory: impl Fn() -> W + Send + Sync + 'static,
) -> Result<NativeBolt, Problem> {
    let settings = WindowSettings::read(args)?;
    let mut streams = streams;
    let late_port = match &settings.late_stream {
        Some(name) => {
            streams.push(args.stream(name, &["late_tuple"])?);
            Some(streams.len() - 1)
        }
        None => None,
    };
    let own_ticks = args.conf.tick();
    let period = Timers::new(&settings, own_ticks).period();
    let pending = settings.held_back_by(args.conf);
    let (inputs, of_factory) = (args.inputs, streams.clone());
    let make = move || Windowed {
        late_port,
        timers: Timers::new(&settings, own_ticks),
        ticks: own_ticks.map(TickTuples::new),
        ..Windowed::new(factory(), &settings, &of_factory, inputs)
    };
    let bolt = NativeBolt::new(streams, make).warning(pending.map(|message| args.problem(message)));
    // The engine has one timer per component: this bolt's is the greatest that all its own are multiples of.
    Ok(match period {
        Some(period) => bolt.ticking(period),
        None => bolt,
    })
}

/// The periods that a bolt needs, counted in ticks of the engine.
#[derive(Clone, Debug, Default)]
struct Timers {
    slide_ms: Option<u64>,
    watermark_ms: Option<u64>,
    tick_ms: Option<u64>,
    ticks: u64,
}

impl Timers {
    fn new(settings: &WindowSettings, tick: Option<Duration>) -> Self {
        let slide_ms = match settings.slide {
            Slide::Millis(millis) if !settings.is_event_time() => Some(millis),
            _ => None,
        };
        let watermark_ms = settings.is_event_time().then_some(settings.watermark_interval_ms);
        Timers { slide_ms, watermark_ms, tick_ms: tick.map(|period| period.as_millis() as u64), ticks: 0 }
    }

    fn period_ms(&self) -> Option<u64> {
        let periods = [self.slide_ms, self.watermark_ms, self.tick_ms];
        periods.into_iter().flatten().reduce(greatest_common_divisor)
    }

    fn period(&self) -> Option<Duration> {
        self.period_ms().map(Duration::from_millis)
    }

    /// Counts one tick of the engine, and tells for each timer whether it is due.
    fn count(&mut self) -> [bool; 3] {
        self.ticks += 1;
        let period_ms = self.period_ms().unwrap_or(1);
        let passed_ms = self.ticks * period_ms;
        [self.slide_ms, self.watermark_ms, self.tick_ms]
            .map(|timer| timer.is_some_and(|timer_ms| passed_ms.is_multiple_of(timer_ms)))
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// A bolt that keeps its tuples in windows.
///
/// Held tuples are open trees: a spout with fewer pending trees than a window needs would stand still, so that is
/// refused when the bolt is made, or warned of where it depends on how fast tuples come. When all input has ended, the
/// last window stays open, as in Storm: what is in it is in no further activation, and is neither acked nor failed.
pub struct Windowed<W> {
    bolt: W,
    windows: Windows<StormTuple, Held>,
    watermarks: Watermarks<(Arc<str>, Arc<str>)>,
    settings: WindowSettings,
    late_port: Option<usize>,
    timers: Timers,
    ticks: Option<TickTuples>,
    emits: Emits,
    clock: Clock,
    /// What the wall clock said when the bolt's own said 0.
    clock_base_ms: i64,
    failed: Outcome,
}

/// Passes activations on to the bolt, and acks what leaves.
struct Telling<'a, W> {
    bolt: &'a mut W,
    emits: &'a Emits,
    out: &'a mut Outlet<Many<StormTuple>>,
    failed: &'a mut Outcome,
}

impl<W: WindowedBolt> Listener<StormTuple, Held> for Telling<'_, W> {
    fn expired(&mut self, handles: Vec<Held>) {
        handles.into_iter().flatten().for_each(Anchor::ack);
    }

    fn activated(&mut self, window: &TupleWindow<'_>) -> Outcome {
        let mut anchored = self.out.anchored(AllOf(window));
        self.bolt.execute(window, &mut WindowOutlet { emits: self.emits, out: &mut anchored })
    }

    fn failed(&mut self, handles: Vec<Held>, why: &Failure) {
        handles.into_iter().flatten().for_each(|anchor| match mutation::is_off(Mutation::WindowFailureAcked) {
            true => anchor.ack(),
            false => anchor.fail(why.clone()),
        });
        if self.failed.is_ok() {
            *self.failed = Err(why.clone());
        }
    }
}

impl<W: WindowedBolt> Windowed<W> {
    /// A bolt with these windows that emits on these streams and subscribes to so many, for a topology in Rust. It has
    /// to tick every [`tick_period`](Self::tick_period). Late tuples are logged and acked.
    ///
    /// ```
    /// use squall::storm::emitter::StreamDeclaration;
    /// use squall::storm::window::{Length, Slide, TupleWindow, WindowOutlet, WindowSettings, Windowed};
    ///
    /// let settings = WindowSettings::of_arrival(Length::Millis(500), Slide::Millis(500));
    /// let streams = [StreamDeclaration::new("default", ["count"])?];
    /// let count = |window: &TupleWindow<'_>, out: &mut WindowOutlet<'_>| {
    ///     out.emit(0, [(window.values().len() as i64).into()]);
    ///     Ok(())
    /// };
    /// let bolt = Windowed::new(count, &settings, &streams, 1);
    /// assert_eq!(bolt.tick_period(), Some(std::time::Duration::from_millis(500)));
    /// # Ok::<(), squall::task::dynamic::RecordError>(())
    /// ```
    pub fn new(bolt: W, settings: &WindowSettings, streams: &[StreamDeclaration], inputs: usize) -> Self {
        Windowed {
            bolt,
            windows: Windows::new(settings),
            watermarks: Watermarks::new(inputs, settings.lag_ms as i64),
            timers: Timers::new(settings, None),
            settings: settings.clone(),
            late_port: None,
            ticks: None,
            emits: Emits::new(streams),
            clock: Clock::real(),
            clock_base_ms: 0,
            failed: Ok(()),
        }
    }

    /// How often the engine has to tick it; none if its windows go by number of arrivals.
    pub fn tick_period(&self) -> Option<Duration> {
        self.timers.period()
    }

    fn now_ms(&self) -> i64 {
        self.clock_base_ms + (self.clock.now_ns() / 1_000_000) as i64
    }

    /// Does something with the windows; the first failure of the bolt is its outcome.
    fn with_windows(
        &mut self,
        out: &mut Outlet<Many<StormTuple>>,
        act: impl FnOnce(&mut Windows<StormTuple, Held>, &mut Telling<'_, W>),
    ) -> Outcome {
        let (bolt, emits, failed) = (&mut self.bolt, &self.emits, &mut self.failed);
        act(&mut self.windows, &mut Telling { bolt, emits, out, failed });
        std::mem::replace(&mut self.failed, Ok(()))
    }

    fn late(&mut self, tuple: Tuple<StormTuple>, out: &mut Outlet<Many<StormTuple>>) {
        match self.late_port {
            Some(port) => {
                let late = self.emits.tuple(port, [described(&tuple)]);
                out.anchored(&tuple).emit_at(port, late);
            }
            None => tracing::info!("a late tuple, which is not processed: {}", *tuple),
        }
        tuple.ack();
    }
}

/// A late tuple as a value.
fn described(tuple: &StormTuple) -> Value {
    Value::map([
        ("sourceComponent", tuple.source().component.clone().into()),
        ("sourceStreamId", tuple.source().stream.clone().into()),
        ("sourceTask", Value::Int32(tuple.task())),
        ("values", Value::list(tuple.values().iter().cloned())),
    ])
}

fn event_time(tuple: &StormTuple, field: &str) -> Result<i64, Failure> {
    let value = tuple.get(field).map_err(|error| Failure::reject(format!("{tuple}: {error}")))?;
    value.as_i64().ok_or_else(|| Failure::reject(format!("{tuple}: expected a time in milliseconds in {field}")))
}

impl<W: WindowedBolt> ManualBolt for Windowed<W> {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emits.prepare(ctx.info());
        self.clock = ctx.clock().clone();
        let now_ms = (self.clock.now_ns() / 1_000_000) as i64;
        self.clock_base_ms = if self.clock.is_virtual() { 0 } else { wall_ns() / 1_000_000 - now_ms };
        Ok(())
    }

    fn execute(&mut self, tuple: Tuple<StormTuple>, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let now_ms = self.now_ms();
        let mut at_ms = now_ms;
        if let Some(field) = &self.settings.timestamp_field {
            at_ms = match event_time(&tuple, field) {
                Ok(at_ms) => at_ms,
                // It is this tuple's failure, and nobody else's.
                Err(failure) => {
                    tuple.fail(failure);
                    return Ok(());
                }
            };
            let source = tuple.source();
            if !self.watermarks.track(&(source.component.clone(), source.stream.clone()), at_ms) {
                self.late(tuple, out);
                return Ok(());
            }
        }
        let (value, anchor) = tuple.split();
        self.with_windows(out, |windows, listener| windows.add(value, Some(anchor), at_ms, now_ms, listener))
    }

    fn tick(&mut self, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let [slide, watermark, tick] = self.timers.count();
        let now_ms = self.now_ms();
        if slide {
            self.with_windows(out, |windows, listener| windows.timer(now_ms, listener))?;
        }
        if watermark && let Some(watermark_ms) = self.watermarks.advance() {
            self.with_windows(out, |windows, listener| windows.watermark(watermark_ms, listener))?;
        }
        // A tick tuple is in no tree, and by event time has no time: Storm fails there.
        if tick
            && !self.settings.is_event_time()
            && let Some(ticks) = &self.ticks
        {
            let tuple = ticks.tuple();
            self.with_windows(out, |windows, listener| {
                windows.add(tuple, None, now_ms, now_ms, listener);
            })?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Outlet<Many<StormTuple>>) -> Outcome {
        // A source that commits what is acked reads them again when it is started anew.
        self.windows.clear().into_iter().flatten().for_each(|anchor| anchor.fail(Failure::left_open()));
        Ok(())
    }
}
