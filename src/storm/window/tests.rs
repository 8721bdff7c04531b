//! The vectors of Storm's own tests.

use super::manager::{Listener, Window, Windows};
use super::settings::{Length, Slide, WindowSettings};
use super::watermark::Watermarks;
use crate::error::Failure;
use crate::task::component::Outcome;

/// Records what each activation had, and what expired with it.
#[derive(Default)]
struct Seen {
    windows: Vec<Vec<u32>>,
    new: Vec<Vec<u32>>,
    expired: Vec<Vec<u32>>,
    acked: Vec<u32>,
    spans: Vec<(Option<i64>, i64)>,
    /// Windows with this event fail, and what left with them.
    bad: Option<u32>,
    failed: Vec<u32>,
}

impl Listener<u32, u32> for Seen {
    fn expired(&mut self, handles: Vec<u32>) {
        self.acked.extend(handles);
    }

    fn failed(&mut self, handles: Vec<u32>, _: &Failure) {
        self.failed.extend(handles);
    }

    fn activated(&mut self, window: &Window<'_, u32, u32>) -> Outcome {
        self.windows.push(window.values().copied().collect());
        self.new.push(window.new_values().copied().collect());
        self.expired.push(window.expired.to_vec());
        self.spans.push((window.start_ms, window.end_ms));
        if window.values().any(|event| Some(*event) == self.bad) { Err(Failure::retry("bad")) } else { Ok(()) }
    }
}

struct Bench {
    windows: Windows<u32, u32>,
    seen: Seen,
}

impl Bench {
    fn new(length: Length, slide: Slide, event_time_lag_ms: Option<u64>) -> Self {
        let settings = WindowSettings {
            timestamp_field: event_time_lag_ms.map(|_| "ts".to_owned()),
            lag_ms: event_time_lag_ms.unwrap_or(0),
            ..WindowSettings::of_arrival(length, slide)
        };
        Bench { windows: Windows::new(&settings), seen: Seen::default() }
    }

    fn add(&mut self, events: &[(u32, i64)]) {
        for &(event, at_ms) in events {
            self.windows.add(event, event, at_ms, at_ms, &mut self.seen);
        }
    }

    /// The windows of one watermark.
    fn watermark(&mut self, at_ms: i64) -> Vec<Vec<u32>> {
        self.seen = Seen::default();
        self.windows.watermark(at_ms, &mut self.seen);
        self.seen.windows.clone()
    }
}

const FIRST: [(u32, i64); 3] = [(1, 603), (2, 605), (3, 607)];
const SECOND: [(u32, i64); 3] = [(4, 618), (5, 626), (6, 636)];

#[test]
fn event_time_windows_are_open_at_the_start_and_closed_at_the_end() {
    let mut bench = Bench::new(Length::Millis(20), Slide::Millis(10), Some(0));
    bench.add(&FIRST);
    // 610 is the first end after these, and 609 is not there yet. The check says none, but ends are tried from 0.
    assert!(bench.watermark(609).is_empty());
    bench.add(&SECOND);
    assert_eq!(bench.watermark(631), [vec![1, 2, 3], vec![1, 2, 3, 4], vec![4, 5]]);
    assert_eq!(bench.seen.spans, [(Some(590), 610), (Some(600), 620), (Some(610), 630)]);
    assert_eq!(bench.seen.expired, [vec![], vec![], vec![1, 2, 3]]);
    assert_eq!(bench.seen.acked, [1, 2, 3], "acked when evicted, not when processed");
    bench.add(&[(7, 825), (8, 826), (9, 827), (10, 839)]);
    assert_eq!(bench.watermark(834), [vec![5, 6], vec![6], vec![7, 8, 9]]);
    assert_eq!(bench.seen.expired, [vec![4], vec![5], vec![]]);
}

#[test]
fn by_number_and_slid_by_event_time() {
    let mut bench = Bench::new(Length::Count(3), Slide::Millis(10), Some(0));
    bench.add(&FIRST);
    bench.add(&SECOND);
    assert_eq!(bench.watermark(631), [[1, 2, 3], [2, 3, 4], [3, 4, 5]]);
    bench.add(&[(7, 665), (8, 666), (9, 667), (10, 679)]);
    assert_eq!(bench.watermark(674), [[4, 5, 6], [4, 5, 6], [4, 5, 6], [7, 8, 9]]);
}

#[test]
fn by_event_time_and_slid_by_number() {
    let mut bench = Bench::new(Length::Millis(20), Slide::Count(3), Some(0));
    bench.add(&[(1, 603), (2, 605), (3, 607), (4, 618), (5, 625), (6, 626), (7, 629), (8, 636)]);
    assert_eq!(bench.watermark(631), [vec![1, 2, 3], vec![3, 4, 5, 6]]);
}

const TEN: [(u32, i64); 10] =
    [(1, 10), (2, 10), (3, 11), (4, 12), (5, 12), (6, 12), (7, 12), (8, 13), (9, 14), (10, 15)];

#[test]
fn by_number_and_slid_by_number_in_event_time() {
    let mut bench = Bench::new(Length::Count(2), Slide::Count(2), Some(0));
    bench.add(&TEN);
    assert_eq!(bench.watermark(20), [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]);
    let mut bench = Bench::new(Length::Count(5), Slide::Count(2), Some(0));
    bench.add(&TEN);
    let expected: [&[u32]; 5] = [&[1, 2], &[1, 2, 3, 4], &[2, 3, 4, 5, 6], &[4, 5, 6, 7, 8], &[6, 7, 8, 9, 10]];
    assert_eq!(bench.watermark(20), expected);
}

#[test]
fn a_lag_lets_events_out_of_order_in() {
    let mut bench = Bench::new(Length::Millis(20), Slide::Millis(10), Some(5));
    bench.add(&[(1, 603), (2, 605), (3, 607), (4, 618), (5, 626), (6, 632), (7, 629), (8, 636)]);
    assert_eq!(bench.watermark(631), [vec![1, 2, 3], vec![1, 2, 3, 4], vec![4, 5, 7]]);
}

#[test]
fn by_number_at_arrival() {
    let mut bench = Bench::new(Length::Count(3), Slide::Count(3), None);
    let events: Vec<(u32, i64)> = (1..=6).map(|number| (number, 0)).collect();
    bench.add(&events);
    assert_eq!(bench.seen.windows, [[1, 2, 3], [4, 5, 6]]);
    assert_eq!(bench.seen.expired, [vec![], vec![1, 2, 3]]);
    let mut bench = Bench::new(Length::Count(5), Slide::Count(3), None);
    let events: Vec<(u32, i64)> = (1..=9).map(|number| (number, 0)).collect();
    bench.add(&events);
    let expected: [&[u32]; 3] = [&[1, 2, 3], &[2, 3, 4, 5, 6], &[5, 6, 7, 8, 9]];
    assert_eq!(bench.seen.windows, expected);
    assert_eq!(bench.seen.new, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]);
}

#[test]
fn a_late_timer_neither_loses_nor_repeats_anything() {
    let mut bench = Bench::new(Length::Millis(100), Slide::Millis(100), None);
    bench.add(&[(1, 1_000), (2, 1_050)]);
    bench.windows.timer(1_100, &mut bench.seen);
    bench.add(&[(3, 1_100), (4, 1_190), (5, 1_230)]);
    bench.windows.timer(1_240, &mut bench.seen);
    bench.add(&[(6, 1_250)]);
    bench.windows.timer(1_300, &mut bench.seen);
    assert_eq!(bench.seen.windows, [vec![1, 2], vec![3, 4, 5], vec![6]]);
}

#[test]
fn an_empty_window_is_not_told_and_forgets_what_expired() {
    let mut bench = Bench::new(Length::Millis(10), Slide::Millis(10), None);
    bench.add(&[(1, 1_000)]);
    bench.windows.timer(1_010, &mut bench.seen);
    bench.windows.timer(1_020, &mut bench.seen);
    bench.add(&[(2, 1_025)]);
    bench.windows.timer(1_030, &mut bench.seen);
    assert_eq!(bench.seen.windows, [[1], [2]]);
    assert_eq!(bench.seen.expired, [[0; 0]; 2]);
    assert_eq!(bench.seen.acked, [1]);
}

#[test]
fn old_events_leave_every_hundred_arrivals_and_show_as_expired_later() {
    let mut bench = Bench::new(Length::Count(10), Slide::Millis(1_000), None);
    let events: Vec<(u32, i64)> = (0..100).map(|number| (number, 0)).collect();
    bench.add(&events);
    assert_eq!(bench.seen.acked.len(), 90);
    bench.windows.timer(1_000, &mut bench.seen);
    assert_eq!(bench.seen.expired[0].len(), 90);
    assert_eq!(bench.seen.windows[0].len(), 10);
}

#[test]
fn a_watermark_is_the_lowest_of_the_streams_less_the_lag() {
    let mut watermarks = Watermarks::new(1, 5);
    assert!(watermarks.track(&"s1", 100) && watermarks.track(&"s1", 110));
    assert_eq!(watermarks.advance(), Some(105));
    assert!(!watermarks.track(&"s1", 104));
    assert_eq!(watermarks.advance(), None);
    assert!(watermarks.track(&"s1", 105) && watermarks.track(&"s1", 106) && watermarks.track(&"s1", 115));
    assert_eq!(watermarks.advance(), Some(110));

    let mut watermarks = Watermarks::new(2, 5);
    watermarks.track(&"s1", 100);
    watermarks.track(&"s1", 110);
    assert_eq!(watermarks.advance(), None, "the other stream is silent");
    watermarks.track(&"s2", 95);
    watermarks.track(&"s2", 98);
    assert_eq!(watermarks.advance(), Some(93));
}

#[test]
fn the_events_of_a_window_that_fails_leave_it_and_only_those() {
    let mut bench = Bench::new(Length::Count(3), Slide::Count(2), None);
    bench.seen.bad = Some(3);
    bench.add(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]);
    assert_eq!(bench.seen.windows, [vec![1, 2], vec![2, 3, 4], vec![5, 6]]);
    assert_eq!((&bench.seen.acked[..], &bench.seen.failed[..]), (&[1][..], &[2, 3, 4][..]));
    assert_eq!(bench.windows.len(), 2);
}
