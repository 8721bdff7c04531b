//! Times to live: when a value was last refreshed, and when that is too long ago.

use std::time::Duration;

/// Stamps are as coarse as this part of the time to live: so a value that is refreshed by reading it is a change to be
/// written that seldom.
const STAMPS_PER_TTL: u64 = 16;

/// What refreshes a value with a time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// Making or changing it.
    #[default]
    OnWrite,
    /// Reading it, too. A read is then a change at most 16 times per time to live.
    OnRead,
}

/// How long a value lives after it was last refreshed: at least this long, and at most a sixteenth longer.
///
/// A value that has expired is never returned. It is removed when it is next asked for, or by the engine in the
/// background, until the bolt's last call. The time that counts is that of [`CurrentKey::now_ns`](super::CurrentKey::now_ns):
/// it goes on while the program is down, and never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    lives_ns: u64,
    refresh: Refresh,
    is_reported: bool,
}

impl Ttl {
    /// A time to live that writes refresh, and no report of what has expired.
    ///
    /// # Panics
    /// If the time is zero.
    pub fn new(lives: Duration) -> Self {
        assert!(
            !lives.is_zero(),
            "a time to live of zero would let nothing live; leave it out to keep values for ever"
        );
        let lives_ns = u64::try_from(lives.as_nanos()).unwrap_or(u64::MAX);
        Ttl { lives_ns, refresh: Refresh::default(), is_reported: false }
    }

    /// What refreshes a value.
    pub fn refresh(mut self, refresh: Refresh) -> Self {
        self.refresh = refresh;
        self
    }

    /// Has the bolt's `on_evict` called for each value that expires, once, with the value still readable. At the end of
    /// input for all that has expired by then; what expires after the bolt's last call is not reported.
    pub fn report_evictions(mut self) -> Self {
        self.is_reported = true;
        self
    }
}

/// What a time to live says of a value's stamp, which is when it was last refreshed.
#[derive(Debug)]
pub(super) struct Stamps {
    ttl: Ttl,
    tick_ns: u64,
}

impl Stamps {
    pub(super) fn new(ttl: Ttl) -> Self {
        Stamps { ttl, tick_ns: (ttl.lives_ns / STAMPS_PER_TTL).max(1) }
    }

    pub(super) fn is_reported(&self) -> bool {
        self.ttl.is_reported
    }

    pub(super) fn is_expired(&self, stamp_ns: u64, now_ns: u64) -> bool {
        now_ns >= stamp_ns.saturating_add(self.tick_ns).saturating_add(self.ttl.lives_ns)
    }

    /// The stamp of what is refreshed now.
    pub(super) fn at(&self, now_ns: u64) -> u64 {
        now_ns - now_ns % self.tick_ns
    }

    /// True if reading the value now changes its stamp. A clock that went back changes none.
    pub(super) fn read_refreshes(&self, stamp_ns: u64, now_ns: u64) -> bool {
        self.ttl.refresh == Refresh::OnRead && self.at(now_ns) > stamp_ns
    }
}
