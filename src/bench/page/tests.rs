//! A report of made-up rows. To look at it, name a folder in `SQUALL_TEST_REPORT` and open `report.html` there.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde_json::json;

use super::*;
use crate::bench::row::{Interval, Row, Unit, histogram};
use crate::sys::random::Random;

/// Samples with a body around `median_ns` and a tail that reaches about `worst_ns`.
fn samples(random: &mut Random, count: u64, median_ns: f64, worst_ns: f64) -> Histogram<u64> {
    let mut samples = histogram();
    for _ in 0..count {
        let unit = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let body = median_ns * (0.7 + 0.6 * unit);
        let beyond = (1.0 / (1.0 - unit).max(1e-7)).log10();
        let tail = if beyond > 2.0 { (worst_ns / median_ns).powf((beyond - 2.0) / 4.0) } else { 1.0 };
        samples.record((body * tail) as u64).unwrap();
    }
    samples
}

/// A row with ten intervals, the fifth of which has a pause of the machine in it.
fn over_time(row: Row, unit: Unit, random: &mut Random, median_ns: f64, worst_ns: f64) -> Row {
    let mut all = histogram();
    let mut intervals = Vec::new();
    for index in 0..10 {
        let mut histogram = samples(random, 20_000, median_ns, worst_ns / 4.0);
        if index == 4 {
            (0..40).for_each(|step| histogram.record(worst_ns as u64 * step / 40).unwrap());
        }
        all.add(&histogram).unwrap();
        let (start, length) = (Duration::from_millis(2_000 + index * 500), Duration::from_millis(500));
        intervals.push(Interval { start, length, histogram });
    }
    let mut row = row.distribution("", unit, &all);
    row.intervals = intervals;
    row
}

fn rows() -> Vec<Row> {
    let mut random = Random::new(7);
    let random = &mut random;
    let hiccups = Row::new("floor", "hiccups CPU 1").with("row", "hiccups").with("cpu", 1);
    let mut rows = vec![over_time(hiccups, Unit::Ns, random, 40.0, 900_000.0)];
    for (name, median) in [("ring_cross_cpu", 57.0), ("ring_same_thread", 3.0), ("crossbeam_cross_cpu", 160.0)] {
        let repeats: Vec<_> =
            (0..5).map(|step| samples(random, 5_000, median + f64::from(step), median * 40.0)).collect();
        rows.push(Row::new("floor", name).with("row", name).distributions("", Unit::Ns, &repeats));
    }
    rows.push(Row::new("floor", "clock_read").with("row", "clock_read").repeated("ns", &[9.9, 10.1, 10.3]));
    for rate in [1_000_u64, 10_000, 100_000] {
        let null = format!("null one_thread {rate}/s");
        let row = Row::new("latency", &null).with("shape", "null").with("placement", "one_thread").with("rate", rate);
        rows.push(over_time(row, Unit::Us, random, 60.0, 800_000.0));
        for (shape, guarantee, median) in [
            ("chain", "at_most_once", 900.0),
            ("chain", "at_least_once", 1_300.0),
            ("word_count", "at_least_once", 2_100.0),
        ] {
            let row = Row::new("latency", format!("{shape} {guarantee} {rate}/s"))
                .with("shape", shape)
                .with("guarantee", guarantee)
                .with("rate", rate);
            let mut row = over_time(row, Unit::Us, random, median, 1_100_000.0);
            row.yardstick = Some(null.clone());
            rows.push(row);
        }
    }
    for (step, load) in
        [50_000_u64, 100_000, 200_000, 300_000, 400_000, 450_000, 480_000, 500_000].into_iter().enumerate()
    {
        let row = Row::new("saturate", format!("word_count at_least_once {load}/s"))
            .with("shape", "word_count")
            .with("series", "word_count, at least once")
            .with("load", load)
            .with("sustained", step < 7);
        let worst = 200_000.0 * 1.3_f64.powi(step as i32);
        let median = if step < 6 { 2_000.0 } else { 2_000.0 * 8.0_f64.powi(step as i32 - 5) };
        rows.push(row.distribution("", Unit::Us, &samples(random, 200_000, median, worst.max(median * 30.0))));
    }
    for (series, base) in [("at most once", 9.0), ("at least once", 14.0)] {
        for depth in [1, 2, 4, 8, 16, 32, 64] {
            let figures = [0.97, 1.0, 1.05].map(|spread| spread * base * (1.0 + f64::from(depth) / 400.0));
            rows.push(
                Row::new("scale", format!("depth {depth} {series}"))
                    .with("series", series)
                    .with("chart", "depth of a chain")
                    .with("x_name", "bolts in the chain")
                    .with("x", depth)
                    .repeated("ns_per_hop", &figures),
            );
        }
    }
    rows
}

fn report() -> (Fields, Vec<Record>) {
    let machine = json!({"bench": "machine", "run": "latency", "squall": "0.1.0", "date": "2026-01-02T03:04:05Z",
        "command_line": "squall bench latency --rate 1000,10000 <&>", "cpu_model": "Frog 9000", "cpus_usable": 2,
        "disturbed": true, "disturbed_why": "1.7 % of the CPU time was stolen by the hypervisor (more than 1 %)"});
    let record = |row: Row| Record::of(&row, SystemTime::UNIX_EPOCH, Default::default()).unwrap();
    (machine.as_object().unwrap().clone(), rows().into_iter().map(record).collect())
}

#[test]
fn the_page_has_every_curve_and_needs_nothing_from_elsewhere() {
    let (machine, records) = report();
    let page = to_html(&machine, &records);
    if let Some(folder) = std::env::var_os("SQUALL_TEST_REPORT") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("report.html"), &page).unwrap();
        pictures(&records).into_iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
    }
    for foreign in ["http", "<script", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
    // One chart of floor and one of saturate, three of latency with a yardstick each; nine rows over time; load; scaling.
    assert_eq!(page.matches("<svg").count(), 5 + 9 + 1 + 1);
    assert_eq!(page.matches("class=\"yardstick\"").count(), 2 * 3, "a curve and a swatch");
    assert_eq!(page.matches("class=\"under\"").count(), 2 * (5 + 9), "hiccups under every percentile and time curve");
    for text in ["against null one_thread 1000/s", ">99.99%<", ">10 µs<", "bolts in the chain", "depth of a chain"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.contains("&lt;&amp;&gt;") && !page.contains("<&>"));
    let banner = page.find("disturbed machine: 1.7 %").unwrap();
    assert!(banner < page.find("<h1>").unwrap(), "it comes first");
}

#[test]
fn every_picture_is_a_file_that_stands_alone() {
    let (_, records) = report();
    let pictures = pictures(&records);
    assert_eq!(pictures.len(), 16);
    assert_eq!(pictures[0].0, "percentiles_1.svg");
    for (name, text) in pictures {
        assert!(text.starts_with("<svg xmlns=") && text.contains("<style>"), "{name}");
        assert_eq!(text.matches("<g").count(), text.matches("</g>").count());
    }
}

#[test]
fn a_report_without_histograms_or_rows_is_still_a_page() {
    let (machine, _) = report();
    let page = to_html(&machine, &[]);
    assert!(page.ends_with("</html>\n") && !page.contains("<svg"));
}
