//! What a windowed bolt is told: length, slide, event time.

use crate::error::Problem;
use crate::storm::conf::Conf;
use crate::storm::registry::{Argument, Arguments};

/// How much a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many events.
    Count(u64),
    /// What came, or happened, within so many milliseconds.
    Millis(u64),
}

/// How far one window is from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slide {
    /// So many events.
    Count(u64),
    /// So many milliseconds.
    Millis(u64),
}

/// Windows of one bolt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSettings {
    /// How much a window holds.
    pub length: Length,
    /// How far one is from the next.
    pub slide: Slide,
    /// The field with the event time in milliseconds; none for the time of arrival.
    pub timestamp_field: Option<String>,
    /// How late an event may come, by event time.
    pub lag_ms: u64,
    /// How often a watermark is worked out.
    pub watermark_interval_ms: u64,
    /// The stream on which later ones are emitted.
    pub late_stream: Option<String>,
}

const LENGTH_COUNT: &str = "topology.bolts.window.length.count";
const LENGTH_MS: &str = "topology.bolts.window.length.duration.ms";
const SLIDE_COUNT: &str = "topology.bolts.window.sliding.interval.count";
const SLIDE_MS: &str = "topology.bolts.window.sliding.interval.duration.ms";

/// squall's limit of open trees of a spout task where Storm has none.
const MAX_SPOUT_PENDING_DEFAULT: u64 = 16_384;

impl WindowSettings {
    /// Windows by the time of arrival.
    pub fn of_arrival(length: Length, slide: Slide) -> Self {
        WindowSettings {
            length,
            slide,
            timestamp_field: None,
            lag_ms: 0,
            watermark_interval_ms: 1_000,
            late_stream: None,
        }
    }

    /// From the methods that a file calls (`withWindow`, `withTumblingWindow`, `withTimestampField`, `withLag`,
    /// `withWatermarkInterval`, `withLateTupleStream`) and from the configuration. What Storm would find wrong when the
    /// bolt is prepared is found here.
    ///
    /// # Errors
    /// With what is wrong or missing.
    pub fn read(args: &Arguments<'_>) -> Result<Self, Problem> {
        let mut conf = args.conf.clone();
        for (method, keys) in METHODS {
            for call in args.calls(method) {
                let wrong = |expected: &str| Problem::new(&call.place, format!("{method} takes {expected}"));
                if call.args.len() > keys.len() || call.args.is_empty() {
                    return Err(wrong(&format!("1 to {} arguments", keys.len())));
                }
                for (placed, &key) in call.args.iter().zip(*keys) {
                    set(&mut conf, method, key, &placed.argument).ok_or_else(|| {
                        Problem::new(&placed.place, format!("{method} does not take {}", placed.argument.shown()))
                    })?;
                }
            }
        }
        Self::of(&conf).map_err(|message| args.problem(message))
    }

    /// From a configuration alone.
    pub(crate) fn of(conf: &Conf) -> Result<Self, String> {
        let positive = |key: &str| match conf.whole(key) {
            Some(0) => Err(format!("{key} must be above 0")),
            value => Ok(value),
        };
        let length = match (positive(LENGTH_COUNT)?, positive(LENGTH_MS)?) {
            (Some(count), _) => Length::Count(count),
            (None, Some(millis)) => Length::Millis(millis),
            (None, None) => return Err("the window's length is missing: call withWindow or withTumblingWindow".into()),
        };
        let slide = match (positive(SLIDE_COUNT)?, positive(SLIDE_MS)?) {
            (Some(count), _) => Slide::Count(count),
            (None, Some(millis)) => Slide::Millis(millis),
            (None, None) => Slide::Count(1),
        };
        let text = |key: &str| conf.text(key).map(str::to_owned);
        let settings = WindowSettings {
            length,
            slide,
            timestamp_field: text("topology.bolts.tuple.timestamp.field.name"),
            lag_ms: conf.whole("topology.bolts.tuple.timestamp.max.lag.ms").unwrap_or(0),
            watermark_interval_ms: positive("topology.bolts.watermark.event.interval.ms")?.unwrap_or(1_000),
            late_stream: text("topology.bolts.late.tuple.stream"),
        };
        if settings.late_stream.is_some() && settings.timestamp_field.is_none() {
            return Err("a stream for late tuples needs an event time: call withTimestampField".to_owned());
        }
        settings.fits(conf)?;
        Ok(settings)
    }

    /// Tuples are acked when they leave the window: what stays longer than trees live would fail.
    fn fits(&self, conf: &Conf) -> Result<(), String> {
        let (mut millis, mut count) = (0, 0);
        match self.length {
            Length::Millis(length) => millis += length,
            Length::Count(length) => count += length,
        }
        match self.slide {
            Slide::Millis(slide) => millis += slide,
            Slide::Count(slide) => count += slide,
        }
        // Storm's default slide of one tuple is not counted.
        if conf.get(SLIDE_COUNT).is_none() && matches!(self.slide, Slide::Count(_)) {
            count -= 1;
        }
        let timeout_ms = conf.whole("topology.message.timeout.secs").unwrap_or(30) * 1_000;
        if conf.flag("topology.enable.message.timeouts") != Some(false) && millis > timeout_ms {
            return Err(format!(
                "the window's length and slide of {millis} ms together exceed topology.message.timeout.secs, \
                 {timeout_ms} ms"
            ));
        }
        match conf.whole("topology.max.spout.pending") {
            Some(pending) if count > pending => Err(format!(
                "the window's length and slide of {count} tuples together exceed topology.max.spout.pending, {pending}"
            )),
            _ => Ok(()),
        }
    }

    /// Whether the spouts' limit of open trees may hold the windows up, as far as that shows before the start: their
    /// tuples' trees stay open.
    pub(crate) fn held_back_by(&self, conf: &Conf) -> Option<String> {
        if conf.ackers() == 0 {
            return None;
        }
        match (self.length, conf.whole("topology.max.spout.pending")) {
            (Length::Millis(length_ms), Some(pending)) => {
                let what_then = match self.is_event_time() {
                    true => "no more come, so that event time stands still, and the topology with it",
                    false => "no more come until the window is over",
                };
                Some(format!(
                    "a window holds what comes in {length_ms} ms, and topology.max.spout.pending lets a spout task \
                     have {pending} tuples under way, which it has while they are in a window: when there are so \
                     many, {what_then}; set it above what comes in the time of length, slide and lag together, or \
                     leave it out"
                ))
            }
            (Length::Count(count), None) if count > MAX_SPOUT_PENDING_DEFAULT => Some(format!(
                "a window holds {count} tuples, and a spout task has at most {MAX_SPOUT_PENDING_DEFAULT} under way \
                 unless told otherwise, where Storm has no limit: set topology.max.spout.pending to length and slide \
                 together or more"
            )),
            _ => None,
        }
    }

    /// True if windows go by event time.
    pub fn is_event_time(&self) -> bool {
        self.timestamp_field.is_some()
    }
}

/// Which methods there are, and what their arguments set.
const METHODS: &[(&str, &[&str])] = &[
    ("withWindow", &["length", "slide"]),
    ("withTumblingWindow", &["both"]),
    ("withTimestampField", &["topology.bolts.tuple.timestamp.field.name"]),
    ("withLag", &["topology.bolts.tuple.timestamp.max.lag.ms"]),
    ("withWatermarkInterval", &["topology.bolts.watermark.event.interval.ms"]),
    ("withLateTupleStream", &["topology.bolts.late.tuple.stream"]),
];

fn set(conf: &mut Conf, method: &str, key: &str, argument: &Argument) -> Option<()> {
    let text = |argument: &Argument| match argument {
        Argument::Value(value) => value.as_str().map(str::to_owned),
        _ => None,
    };
    let millis = |argument: &Argument| match argument {
        Argument::Millis(millis) => Some(*millis),
        Argument::Value(value) => value.as_u64(),
        _ => None,
    };
    match (key, argument) {
        ("length", Argument::Count(count)) => conf.set(LENGTH_COUNT, *count),
        ("length", Argument::Millis(millis)) => conf.set(LENGTH_MS, *millis),
        ("slide", Argument::Count(count)) => conf.set(SLIDE_COUNT, *count),
        ("slide", Argument::Millis(millis)) => conf.set(SLIDE_MS, *millis),
        ("both", argument) => {
            set(conf, method, "length", argument)?;
            set(conf, method, "slide", argument)?;
        }
        ("length" | "slide", _) => return None,
        _ if matches!(method, "withLag" | "withWatermarkInterval") => conf.set(key, millis(argument)?),
        _ => conf.set(key, text(argument)?),
    }
    Some(())
}
