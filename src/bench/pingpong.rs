//! Round trips, halved: how floors and hops are measured alike.
//!
//! One token goes to and fro between two sides. The first side reads the clock before it sends the token and again when
//! it has it back, two reads per round trip, and half the difference is one way. What it does with the figure lies
//! between two round trips and is in none of them; the clock's own cost, about one read per round trip, is.

use std::sync::OnceLock;
use std::time::Duration;

use crossbeam::channel;
use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::bench::pinned;
use crate::bench::row::histogram;
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;
use crate::sys::sync::{Arc, AtomicU64, Ordering};
use crate::sys::thread::{Thread, current, park};

/// One side of a connection that a token goes to and fro on.
pub(crate) trait Side: Send + 'static {
    /// Called first, on the thread that the side is used on.
    fn settle(&self) {}
    /// Sends a token; there is always room for one.
    fn send(&mut self, token: u64);
    /// Waits for a token.
    fn receive(&mut self) -> u64;
}

const TOKEN: u64 = 1;
const STOP: u64 = 2;

/// The times of one way in nanoseconds, between two threads pinned to two CPUs.
///
/// # Errors
/// When a thread cannot be started or pinned.
pub(crate) fn one_way<S: Side>(
    (here, there): (S, S),
    cpus: [CpuId; 2],
    warmup: Duration,
    length: Duration,
    clock: &Clock,
) -> Result<Histogram<u64>> {
    let clock = clock.clone();
    let ping = move || {
        let mut trips = RoundTrips::halved(clock, warmup, length);
        ping(here, &mut trips);
        trips.times
    };
    let (times, ()) = pinned::pair(cpus, ping, || pong(there))?;
    Ok(times)
}

fn ping(mut side: impl Side, trips: &mut RoundTrips) {
    side.settle();
    loop {
        trips.leave();
        side.send(TOKEN);
        side.receive();
        if trips.is_back() {
            break;
        }
    }
    side.send(STOP);
}

fn pong(mut side: impl Side) {
    side.settle();
    while side.receive() != STOP {
        side.send(TOKEN);
    }
}

/// The stop-watch of the side that sends first.
pub(crate) struct RoundTrips {
    clock: Clock,
    /// What a round trip's time is divided by.
    ways: u64,
    warmup_ns: u64,
    total_ns: u64,
    /// Of the first departure.
    start_ns: Option<u64>,
    left_ns: u64,
    pub times: Histogram<u64>,
}

impl RoundTrips {
    /// Counts halves of round trips for `length`, beginning `warmup` after the first departure.
    pub fn halved(clock: Clock, warmup: Duration, length: Duration) -> Self {
        let (warmup_ns, total_ns) = (warmup.as_nanos() as u64, (warmup + length).as_nanos() as u64);
        RoundTrips { clock, ways: 2, warmup_ns, total_ns, start_ns: None, left_ns: 0, times: histogram() }
    }

    /// The same for whole round trips.
    pub fn whole(clock: Clock, warmup: Duration, length: Duration) -> Self {
        RoundTrips { ways: 1, ..Self::halved(clock, warmup, length) }
    }

    /// The token leaves now.
    #[inline]
    pub fn leave(&mut self) {
        self.left_ns = self.clock.now_ns();
    }

    /// The token is back. True if the time is over.
    #[inline]
    pub fn is_back(&mut self) -> bool {
        let now_ns = self.clock.now_ns();
        let since_start_ns = now_ns - *self.start_ns.get_or_insert(self.left_ns);
        if since_start_ns >= self.warmup_ns {
            self.times.saturating_record((now_ns - self.left_ns) / self.ways);
        }
        since_start_ns >= self.total_ns
    }
}

/// A side of two raw rings, spinning.
pub(crate) struct Ring {
    to: Producer<u64>,
    from: Consumer<u64>,
}

/// As many as a lane holds unless told.
const CAPACITY: usize = 1_024;

impl Ring {
    /// Both sides.
    pub fn pair() -> (Ring, Ring) {
        let ((to_there, from_here), (to_here, from_there)) = (RingBuffer::new(CAPACITY), RingBuffer::new(CAPACITY));
        (Ring { to: to_there, from: from_there }, Ring { to: to_here, from: from_here })
    }
}

impl Side for Ring {
    #[inline]
    fn send(&mut self, token: u64) {
        self.to.push(token).expect("a ring of one token has room");
    }

    #[inline]
    fn receive(&mut self) -> u64 {
        loop {
            if let Ok(token) = self.from.pop() {
                return token;
            }
        }
    }
}

/// A side of two bounded crossbeam channels, spinning.
pub(crate) struct Channel {
    to: channel::Sender<u64>,
    from: channel::Receiver<u64>,
}

impl Channel {
    /// Both sides.
    pub fn pair() -> (Channel, Channel) {
        let ((to_there, from_here), (to_here, from_there)) = (channel::bounded(CAPACITY), channel::bounded(CAPACITY));
        (Channel { to: to_there, from: from_there }, Channel { to: to_here, from: from_here })
    }
}

impl Side for Channel {
    #[inline]
    fn send(&mut self, token: u64) {
        self.to.try_send(token).expect("a channel of one token has room, and its other end lives");
    }

    #[inline]
    fn receive(&mut self) -> u64 {
        loop {
            if let Ok(token) = self.from.try_recv() {
                return token;
            }
        }
    }
}

/// A side that sleeps until the other wakes it.
pub(crate) struct Parking {
    seats: Arc<[Seat; 2]>,
    own: usize,
}

#[derive(Default)]
struct Seat {
    thread: OnceLock<Thread>,
    /// The token that is there; 0 for none.
    token: AtomicU64,
}

impl Parking {
    /// Both sides.
    pub fn pair() -> (Parking, Parking) {
        let seats = Arc::new(<[Seat; 2]>::default());
        (Parking { seats: seats.clone(), own: 0 }, Parking { seats, own: 1 })
    }
}

impl Side for Parking {
    fn settle(&self) {
        self.seats[self.own].thread.get_or_init(current);
    }

    fn send(&mut self, token: u64) {
        let other = &self.seats[1 - self.own];
        other.token.store(token, Ordering::Release);
        other.thread.wait().unpark();
    }

    fn receive(&mut self) -> u64 {
        loop {
            match self.seats[self.own].token.swap(0, Ordering::Acquire) {
                0 => park(),
                token => return token,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cpu::usable_cpus;

    const TIME: Duration = Duration::from_millis(2);

    fn measured<S: Side>(sides: (S, S)) -> Histogram<u64> {
        let cpus = usable_cpus().preferred();
        one_way(sides, [cpus[0], cpus[cpus.len() - 1]], TIME, TIME, &Clock::real()).unwrap()
    }

    #[test]
    fn a_token_goes_to_and_fro_on_every_connection() {
        // Two that spin may have one CPU only: then each round trip takes two turns of the system's scheduler.
        for one_way in [measured(Ring::pair()), measured(Channel::pair()), measured(Parking::pair())] {
            assert!(!one_way.is_empty() && one_way.min() > 0);
        }
    }

    #[test]
    fn half_of_a_round_trip_counts_once_the_warm_up_is_over() {
        let clock = Clock::virtual_at_zero();
        let mut trips = RoundTrips::halved(clock.clone(), Duration::from_nanos(250), Duration::from_nanos(200));
        let mut trip = |left_ns, back_ns| {
            clock.advance_to(left_ns);
            trips.leave();
            clock.advance_to(back_ns);
            let is_over = trips.is_back();
            (trips.times.len(), is_over)
        };
        assert_eq!(trip(1_000, 1_100), (0, false), "the time begins at the first departure");
        assert_eq!(trip(1_200, 1_300), (1, false));
        assert_eq!(trip(1_390, 1_510), (2, true));
        assert_eq!((trips.times.min(), trips.times.max()), (50, 60));
    }
}
