//! The files that HdrHistogram's tools open: interval logs (`.hlog`) and percentile files (`.hgrm`).

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};

use crate::bench::row::Interval;

/// The maximum of an interval is written in milliseconds, as the tools expect; the histograms are in nanoseconds.
const MAX_DIVISOR: f64 = 1e6;
/// Percentile files are in microseconds.
const PERCENTILE_DIVISOR: f64 = 1e3;
/// Lines of a percentile file per halving of the distance to 100 %, as the tools write them by default.
const TICKS_PER_HALF: u32 = 5;

/// An interval log of one row. Times in it count from `began`.
///
/// Its lines carry no tag: the tools skip tagged lines unless told otherwise.
pub(super) fn interval_log(label: &str, began: SystemTime, intervals: &[Interval]) -> io::Result<Vec<u8>> {
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("[squall bench: {label}]"))
        .add_comment("[Values are nanoseconds, an interval's maximum is in milliseconds]")
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(MAX_DIVISOR)
        .begin_log_with(&mut log, &mut serializer)?;
    let mut in_order: Vec<&Interval> = intervals.iter().collect();
    in_order.sort_by_key(|interval| interval.start);
    for Interval { start, length, histogram } in in_order {
        writer.write_histogram(histogram, *start, *length, None).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
        })?;
    }
    Ok(log)
}

/// One interval that stands for the whole of a row that was not measured over time.
pub(super) fn whole(histogram: &Histogram<u64>, start: Duration, end: Duration) -> Interval {
    Interval { start, length: end.saturating_sub(start), histogram: histogram.clone() }
}

/// The percentile distribution of one row, in microseconds.
pub(super) fn percentiles(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count = 0;
    let us = |ns: f64| ns / PERCENTILE_DIVISOR;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (us(step.value_iterated_to() as f64), step.quantile_iterated_to());
        let _ = write!(text, "{value:12.3} {quantile:2.12} {count:10}");
        let _ = if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation, max) = (us(histogram.mean()), us(histogram.stdev()), us(histogram.max() as f64));
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let (buckets, sub_buckets) = (histogram.buckets(), 2 * 10_u32.pow(histogram.sigfig().into()));
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {:12}]", sub_buckets.next_power_of_two());
    text
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::bench::row::histogram;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut one = histogram();
        values.into_iter().for_each(|value| one.record(value).unwrap());
        one
    }

    #[test]
    fn an_interval_log_is_read_back_by_the_library_s_own_reader() {
        let interval = |at, histogram| Interval {
            start: Duration::from_millis(at),
            length: Duration::from_millis(500),
            histogram,
        };
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let late_first = [interval(1_500, of([7_000_000])), interval(1_000, of(1..=1_000))];
        let log = interval_log("chain 100/s", began, &late_first).unwrap();

        let text = std::str::from_utf8(&log).unwrap();
        assert!(text.starts_with("#[Histogram log format version 1.3]\n#[squall bench: chain 100/s]\n"), "{text}");
        assert!(text.contains("\n1.500,0.500,7.000,"), "the maximum in ms: {text}");

        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            match entry.unwrap() {
                LogEntry::Interval(interval) => {
                    use base64::Engine as _;
                    let bytes = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram());
                    let read: Histogram<u64> = Deserializer::new().deserialize(&mut &*bytes.unwrap()).unwrap();
                    assert!(interval.tag().is_none());
                    found.push((interval.start_timestamp().as_millis(), read));
                }
                LogEntry::StartTime(at) | LogEntry::BaseTime(at) => assert_eq!(at.as_secs(), 1_700_000_000),
            }
        }
        assert_eq!(found, [(1_000, of(1..=1_000)), (1_500, of([7_000_000]))]);
    }

    #[test]
    fn a_percentile_file_has_the_classic_columns_and_footer() {
        let text = percentiles(&of([1_000, 2_000, 2_000, 40_000]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!((lines[1], lines[2]), ("", "       1.000 0.000000000000          1           1.00"));
        let last = lines.len() - 4;
        assert_eq!(lines[last], "      40.031 1.000000000000          4");
        assert_eq!(lines[last + 1], "#[Mean    =       11.254, StdDeviation   =       16.611]");
        assert_eq!(lines[last + 2], "#[Max     =       40.031, Total count    =            4]");
        assert_eq!(lines[last + 3], "#[Buckets =           32, SubBuckets     =         2048]");
    }
}
