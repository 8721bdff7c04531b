//! Timers and times to live over restarts, of which each begins at time zero: as if the machine's clock were set back.

use std::time::Duration;

use super::driver::TestDriver;
use super::feeder::{Feeder, feeder};
use crate::engine::control::Phase;
use crate::state::{AtEnd, CurrentKey, StateVisitor, Timers, Ttl, ValueState};
use crate::sys::disk::simulated::Simulated;
use crate::sys::sync::{Arc, Mutex};
use crate::task::component::{KeyedBolt, Outcome};
use crate::task::keyed::Timer;
use crate::task::outlet::Outlet;
use crate::task::payload::Nothing;
use crate::topology::builder::TopologyBuilder;
use crate::topology::settings::Guarantee;

const SECOND: Duration = Duration::from_secs(1);

/// What a run has seen: of each input whether its value was still there, and the timers that fired.
#[derive(Default)]
struct Seen {
    alive: Vec<(u64, bool)>,
    fired: Vec<u64>,
    now_s: Vec<u64>,
}

/// A value lives for five seconds and has a timer after ten.
struct Sessions {
    last: ValueState<u64, u64>,
    timers: Timers<u64>,
    seen: Arc<Mutex<Seen>>,
}

impl KeyedBolt for Sessions {
    type Key = u64;
    type In = u64;
    type Out = Nothing;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.last);
        visit.state(&mut self.timers);
    }

    fn execute(&mut self, key: CurrentKey<u64>, n: u64, _: &mut Outlet<Nothing>) -> Outcome {
        let mut seen = self.seen.lock().unwrap();
        seen.alive.push((n, self.last.contains(&key)));
        seen.now_s.push(key.now_ns() / 1_000_000_000);
        if !self.last.contains(&key) {
            self.last.set(&key, n);
            self.timers.set(&key, 0, key.now_ns() + 10_000_000_000);
        }
        Ok(())
    }

    fn on_timer(&mut self, key: CurrentKey<u64>, _: Timer, _: &mut Outlet<Nothing>) -> Outcome {
        self.seen.lock().unwrap().fired.push(*key);
        Ok(())
    }
}

struct Run {
    driver: TestDriver,
    feeder: Feeder<u64>,
    seen: Arc<Mutex<Seen>>,
}

impl Run {
    fn start(disk: &Simulated) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let of_bolt = seen.clone();
        let (feeder, spout) = feeder::<u64>();
        let mut t = TopologyBuilder::new("sessions");
        let keys = t.spout("keys", spout);
        let sessions = move || Sessions {
            last: ValueState::new("last").ttl(Ttl::new(5 * SECOND)),
            timers: Timers::new("timers").at_end(AtEnd::Fire),
            seen: of_bolt.clone(),
        };
        t.bolt("sessions", sessions).fields(&keys, |key| key);
        t.guarantee(Guarantee::AtLeastOnce).settings(|s| {
            s.state_dir = Some("/state".into());
            s.checkpoint_interval = Some(SECOND);
        });
        let topology = t.build().unwrap();
        let settings = topology.resolve().unwrap().settings;
        let driver = TestDriver::start_on(topology, settings, 0, disk.clone()).unwrap();
        Run { driver, feeder, seen }
    }

    fn feed(&mut self, key: u64) {
        self.feeder.feed(key, key);
        self.driver.run_until_idle().unwrap();
    }

    fn advance(&mut self, seconds: u32) {
        self.driver.advance(seconds * SECOND).unwrap();
    }

    fn suspend(mut self) -> Seen {
        self.driver.suspend().unwrap();
        assert_eq!(self.driver.phase(), Phase::Stopped);
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

#[test]
fn what_has_expired_stays_expired_when_the_clock_is_set_back_over_a_restart() {
    let disk = Simulated::new(0);
    let mut first = Run::start(&disk);
    first.feed(1);
    first.advance(6);
    first.feed(2);
    let seen = first.suspend();
    assert_eq!((&seen.alive[..], &seen.now_s[..]), (&[(1, false), (2, false)][..], &[0, 6][..]));

    let mut second = Run::start(&disk);
    second.feed(2);
    second.feed(1);
    let seen = second.suspend();
    assert_eq!(seen.alive, [(2, true), (1, false)], "by the clock alone 1 would be there again");
    assert_eq!(seen.now_s, [6, 6], "time goes on");

    let mut third = Run::start(&disk);
    third.advance(6);
    third.feed(2);
    assert_eq!(third.suspend().alive, [(2, false)], "and what expires then does");
}

#[test]
fn a_suspend_fires_nothing_and_timers_wait_for_their_time_over_restarts() {
    let disk = Simulated::new(0);
    let mut first = Run::start(&disk);
    first.feed(1);
    first.advance(4);
    assert_eq!(first.suspend().fired, [0_u64; 0]);
    let mut second = Run::start(&disk);
    second.advance(4);
    assert_eq!(second.suspend().fired, [0_u64; 0], "eight seconds in all");
    let mut third = Run::start(&disk);
    third.advance(3);
    assert_eq!(third.suspend().fired, [1]);
    let mut fourth = Run::start(&disk);
    fourth.advance(20);
    assert_eq!(fourth.suspend().fired, [0_u64; 0], "once");
}
