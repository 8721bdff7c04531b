//! What children write, as Storm's reader takes it, and as it comes back to them.

use crate::stage::{numbered, spec, through};
use crate::tools::{fixtures, has};

/// Texts of JSON that a child writes, and the value that arrives. Those of the numbers were found by asking Storm's
/// own reader.
const WRITTEN: [(&str, &str); 14] = [
    ("surrogate", "\"\u{fffd}\""),
    ("ctrl", "\"a\\tb\""),
    ("nan", "NaN"),
    ("inf", "-inf"),
    ("negzero", "0"),
    ("negzerof", "-0.0"),
    ("prec", "0.30000000000000004441"),
    ("bigfloat", "123456789012345678901234567890.5"),
    ("big63", "9223372036854775808"),
    ("big64", "18446744073709551616"),
    ("neg63", "-9223372036854775809"),
    ("e400", "inf"),
    ("exp", "100000.0"),
    ("dup", "{\"a\": 2}"),
];

#[test]
fn what_storm_takes_is_taken() {
    if !has(&["python3"]) {
        return;
    }
    for (what, expected) in WRITTEN {
        let (seen, report) =
            through(spec(&["python3", "edge.py", what], &fixtures(), &["v"]), numbered(1, |n| n as i64));
        assert_eq!(seen, [expected], "{what}: {:?}", report.components[1].last_error);
    }
    for (what, depth) in [("deep100", 100), ("deep200", 200), ("deep390", 390)] {
        let (seen, _) = through(spec(&["python3", "edge.py", what], &fixtures(), &["v"]), numbered(1, |n| n as i64));
        assert_eq!(seen, ["[".repeat(depth) + &"]".repeat(depth)], "{what}");
    }
}

#[test]
fn integers_of_any_size_go_to_a_child_and_come_back() {
    if !has(&["python3"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let spec = spec(&["python3", "plain.py", "none", place.path().to_str().unwrap(), "0"], &fixtures(), &["n"]);
    let large = |n: u64| squall::Value::integer(num_bigint::BigInt::from(1_u64 << 63) * n - 1);
    let (seen, _) = through(spec, numbered(4, large));
    assert_eq!(seen, ["-1", "18446744073709551615", "27670116110564327423", "9223372036854775807"]);
}
