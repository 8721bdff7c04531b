//! [`Windows`]: the events of a task, and when they are looked at.

use std::collections::{HashSet, VecDeque};

use super::policy::{Action, Context, Eviction, Trigger};
use super::settings::{Length, WindowSettings};
use crate::error::Failure;
use crate::task::component::Outcome;

/// Events between two compactions: what is too old leaves then, even if no window is over.
const COMPACT_EVERY: u32 = 100;

/// What a window is told and asked.
pub trait Listener<V, H> {
    /// These have left: nothing holds them any more.
    fn expired(&mut self, handles: Vec<H>);

    /// A window is over, and it has events. With an error its events leave, as [`failed`](Self::failed).
    ///
    /// # Errors
    /// What went wrong.
    fn activated(&mut self, window: &Window<'_, V, H>) -> Outcome;

    /// These have left because the window that they were in has failed.
    fn failed(&mut self, handles: Vec<H>, why: &Failure);
}

/// An event: a value that is shown, and a handle that is given back when it leaves.
#[derive(Debug)]
struct Event<V, H> {
    value: V,
    handle: H,
    at_ms: i64,
    number: u64,
}

/// The events of one activation.
#[derive(Debug)]
pub struct Window<'a, V, H> {
    queue: &'a VecDeque<Event<V, H>>,
    all: &'a [usize],
    new: &'a [usize],
    /// What has left since the last activation.
    pub expired: &'a [V],
    /// Where it begins, exclusively; none for a length by number.
    pub start_ms: Option<i64>,
    /// Where it ends, inclusively.
    pub end_ms: i64,
}

impl<'a, V, H> Window<'a, V, H> {
    /// All events, in order of arrival.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &'a V> {
        let queue = self.queue;
        self.all.iter().map(move |&position| &queue[position].value)
    }

    /// Those that were not in the window before.
    pub fn new_values(&self) -> impl ExactSizeIterator<Item = &'a V> {
        let queue = self.queue;
        self.new.iter().map(move |&position| &queue[position].value)
    }

    /// The handles of all events.
    pub fn handles(&self) -> impl ExactSizeIterator<Item = &'a H> {
        let queue = self.queue;
        self.all.iter().map(move |&position| &queue[position].handle)
    }
}

/// The windows of one task. Knows no clock: whoever has one says what time it is.
///
/// Memory grows with the events that no window has let go of.
#[derive(Debug)]
pub struct Windows<V, H> {
    queue: VecDeque<Event<V, H>>,
    expired: Vec<V>,
    previous: HashSet<u64>,
    since_compaction: u32,
    next_number: u64,
    length_ms: Option<i64>,
    eviction: Eviction,
    trigger: Trigger,
}

impl<V: Clone, H> Windows<V, H> {
    /// Windows without events.
    pub fn new(settings: &WindowSettings) -> Self {
        let is_event_time = settings.is_event_time();
        let length_ms = match settings.length {
            Length::Millis(millis) => Some(millis as i64),
            Length::Count(_) => None,
        };
        Windows {
            queue: VecDeque::new(),
            expired: Vec::new(),
            previous: HashSet::new(),
            since_compaction: 0,
            next_number: 0,
            length_ms,
            eviction: Eviction::new(settings.length, is_event_time.then_some(settings.lag_ms as i64)),
            trigger: Trigger::new(settings.slide, is_event_time),
        }
    }

    /// Events that are held.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// An event of this time has come; without event time that is now.
    pub fn add(&mut self, value: V, handle: H, at_ms: i64, now_ms: i64, listener: &mut impl Listener<V, H>) {
        self.queue.push_back(Event { value, handle, at_ms, number: self.next_number });
        self.next_number += 1;
        self.eviction.track();
        if let Trigger::Count { every, current } = &mut self.trigger {
            *current += 1;
            if *current >= *every {
                self.activate(Context { reference_ms: now_ms, ..Context::default() }, now_ms, listener);
            }
        }
        self.compact(now_ms, listener);
    }

    /// The timer of a slide by time of arrival has come.
    pub fn timer(&mut self, now_ms: i64, listener: &mut impl Listener<V, H>) {
        let Trigger::Time { every_ms } = self.trigger else { return };
        // What comes in this very millisecond belongs to the next window.
        let context = Context { reference_ms: now_ms - 1, sliding_ms: Some(every_ms), ..Context::default() };
        self.activate(context, now_ms, listener);
    }

    /// Event time has come this far.
    pub fn watermark(&mut self, watermark_ms: i64, listener: &mut impl Listener<V, H>) {
        match self.trigger {
            Trigger::EventTime { every_ms, next_end_ms } => {
                let next_end_ms = self.ends_up_to(watermark_ms, every_ms, next_end_ms, listener);
                self.trigger = Trigger::EventTime { every_ms, next_end_ms };
            }
            Trigger::EventCount { every, last_ms } => {
                for end_ms in self.counted_ends(last_ms, watermark_ms, every) {
                    let context = Context { reference_ms: end_ms, sliding_count: Some(every), ..Context::default() };
                    self.activate(context, watermark_ms, listener);
                    self.trigger = Trigger::EventCount { every, last_ms: end_ms };
                }
            }
            Trigger::Count { .. } | Trigger::Time { .. } => return,
        }
        self.compact(watermark_ms, listener);
    }

    /// Gives everything back, with no further activation.
    pub fn clear(&mut self) -> Vec<H> {
        self.previous.clear();
        self.queue.drain(..).map(|event| event.handle).collect()
    }

    /// Activates for every end up to the watermark, jumping over ends without events. Returns the next one.
    fn ends_up_to(
        &mut self,
        watermark_ms: i64,
        every_ms: i64,
        mut end_ms: i64,
        listener: &mut impl Listener<V, H>,
    ) -> i64 {
        while end_ms <= watermark_ms {
            let current_count = self.queue.iter().filter(|event| event.at_ms <= end_ms).count() as i64;
            let context = Context { reference_ms: end_ms, current_count: Some(current_count), ..Context::default() };
            if self.activate(context, watermark_ms, listener) {
                end_ms += every_ms;
                continue;
            }
            let between = self.queue.iter().filter(|event| event.at_ms > end_ms && event.at_ms <= watermark_ms);
            match between.map(|event| event.at_ms).min() {
                Some(earliest_ms) => end_ms = next_multiple(earliest_ms, every_ms),
                None => break,
            }
        }
        end_ms
    }

    /// The times at which every so many-th event was met, in order of arrival.
    fn counted_ends(&self, after_ms: i64, up_to_ms: i64, every: i64) -> Vec<i64> {
        let (mut ends, mut count, mut highest_ms) = (Vec::new(), 0, i64::MIN);
        for event in self.queue.iter().filter(|event| event.at_ms > after_ms && event.at_ms <= up_to_ms) {
            highest_ms = highest_ms.max(event.at_ms);
            count += 1;
            if count % every == 0 {
                ends.push(highest_ms);
            }
        }
        ends
    }

    /// Looks at the events; tells the listener if there are any in the window. What has left is forgotten if not.
    fn activate(&mut self, context: Context, now_ms: i64, listener: &mut impl Listener<V, H>) -> bool {
        self.eviction.set(context);
        let all = self.scan(true, now_ms, listener);
        let expired = std::mem::take(&mut self.expired);
        let is_new = |&&position: &&usize| !self.previous.contains(&self.queue[position].number);
        let new: Vec<usize> = all.iter().filter(is_new).copied().collect();
        self.previous = all.iter().map(|&position| self.queue[position].number).collect();
        if !all.is_empty() {
            let end_ms = self.eviction.reference_ms().expect("it was just set");
            let start_ms = self.length_ms.map(|length_ms| end_ms - length_ms);
            let (queue, new, expired) = (&self.queue, &new[..], &expired[..]);
            if let Err(failure) = listener.activated(&Window { queue, all: &all, new, expired, start_ms, end_ms }) {
                listener.failed(self.remove(&all), &failure);
            }
        }
        if let Trigger::Count { current, .. } = &mut self.trigger {
            *current = 0;
        }
        !all.is_empty()
    }

    /// Removes the events at these positions, which ascend.
    fn remove(&mut self, positions: &[usize]) -> Vec<H> {
        let (mut removed, mut kept) = (Vec::new(), VecDeque::new());
        for (position, event) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            match positions.binary_search(&position) {
                Ok(_) => removed.push(event.handle),
                Err(_) => kept.push_back(event),
            }
        }
        self.queue = kept;
        self.eviction.untrack(removed.len());
        removed
    }

    /// Removes what is too old; if everything is to be looked at, also tells where the window's events are.
    fn scan(&mut self, is_full: bool, now_ms: i64, listener: &mut impl Listener<V, H>) -> Vec<usize> {
        let (mut left, mut inside, mut position) = (Vec::new(), Vec::new(), 0);
        while let Some(event) = self.queue.get(position) {
            match self.eviction.evict(event.at_ms, now_ms) {
                Action::Expire => {
                    let event = self.queue.remove(position).expect("it is there");
                    self.expired.push(event.value);
                    left.push(event.handle);
                    continue;
                }
                Action::Stop => break,
                _ if !is_full => break,
                Action::Process => inside.push(position),
                Action::Keep => {}
            }
            position += 1;
        }
        self.since_compaction = 0;
        if !left.is_empty() {
            listener.expired(left);
        }
        inside
    }

    fn compact(&mut self, now_ms: i64, listener: &mut impl Listener<V, H>) {
        self.since_compaction += 1;
        if self.since_compaction >= COMPACT_EVERY {
            self.scan(false, now_ms, listener);
        }
    }
}

/// The first multiple that is not before a time.
fn next_multiple(at_ms: i64, every_ms: i64) -> i64 {
    match at_ms % every_ms {
        0 => at_ms,
        rest => at_ms + (every_ms - rest),
    }
}
