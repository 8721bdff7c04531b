//! What a JVM says.

use num_bigint::BigInt;

use super::JavaValue::{self, *};
use super::*;
use crate::storm::grouping::fields_index;
use crate::task::dynamic::Value;

fn text(text: &str) -> JavaValue {
    JavaValue::text(text)
}

fn big(digits: &str) -> JavaValue {
    Big(digits.parse().unwrap())
}

fn map(puts: Vec<(JavaValue, JavaValue)>) -> JavaValue {
    JavaValue::map(puts)
}

/// `Arrays.deepHashCode` of the selected values, computed on a JVM.
fn vectors() -> Vec<(Vec<JavaValue>, i32)> {
    vec![
        (vec![text("nathan")], -1052620301),
        (vec![text("bob")], 97748),
        (vec![text("joey")], 3267800),
        (vec![text("")], 31),
        (vec![Null], 31),
        (vec![text("na\u{ef}ve")], 104710506),
        (vec![Long(1)], 32),
        (vec![Long(-1)], 31),
        (vec![Int(-1)], 30),
        (vec![Long(1 << 32)], 32),
        (vec![Double(1.0)], 1072693279),
        (vec![Bool(true)], 1262),
        (vec![Bool(false)], 1268),
        (vec![text("a"), Long(1)], 3969),
        (vec![Bytes(vec![97])], 159),
        (vec![Bytes(vec![0, 128, 255])], 25853),
        (vec![List(vec![Int(1), Int(2)])], 1025),
        (vec![Long(i64::MIN)], -2147483617),
        (vec![Long(i64::MAX)], -2147483617),
        (vec![Int(i32::MIN)], -2147483617),
        (vec![Byte(-128)], -97),
        (vec![Short(-32768)], -32737),
        (vec![Char(0xd800)], 55327),
        (vec![Double(-0.0)], -2147483617),
        (vec![Double(0.0)], 31),
        (vec![Double(f64::NAN)], 2146959391),
        (vec![Double(f64::from_bits(0xfff8_0000_0000_0001))], 2146959391),
        (vec![Double(f64::INFINITY)], 2146435103),
        (vec![Double(-1.5e300)], -1740524745),
        (vec![Double(f64::from_bits(1))], 32),
        (vec![Float(-0.0)], -2147483617),
        (vec![Float(f32::NAN)], 2143289375),
        (vec![Float(f32::from_bits(0xffc0_0001))], 2143289375),
        (vec![Float(0.1)], 1036831980),
        (vec![Float(f32::NEG_INFINITY)], -8388577),
        (vec![big("0")], 31),
        (vec![big("1")], 32),
        (vec![big("-1")], 30),
        (vec![big("4294967295")], 30),
        (vec![big("4294967296")], 62),
        (vec![big("-4294967296")], 0),
        (vec![big("123456789012345678901234567890")], 1915528856),
        (vec![big("-123456789012345678901234567890")], -1915528794),
        (vec![big("9223372036854775808")], -2147483617),
        (vec![big("-9223372036854775809")], -2147483618),
        (vec![text("\u{1f600}")], 1772930),
        (vec![String(vec![0xd83d])], 55388),
        (vec![String(vec![0xde00, 0xd83d, 0x61])], 56331747),
        (vec![List(vec![])], 32),
        (vec![List(vec![Null, List(vec![Long(-1)])])], 1023),
        (vec![map(vec![])], 31),
        (vec![map(vec![(text("a"), Int(1)), (text("b"), Long(2)), (Null, List(vec![text("x")]))])], 374),
        (
            vec![map(vec![
                (text("a"), Int(1)),
                (text("a"), Int(2)),
                (Int(1), text("i")),
                (Long(1), text("l")),
                (Double(f64::NAN), map(vec![(text("a"), Int(1)), (text("b"), Long(2)), (Null, List(vec![text("x")]))])),
            ])],
            2146960046,
        ),
        (vec![], 1),
    ]
}

#[test]
fn hashes_are_those_of_java() {
    for (values, expected) in vectors() {
        assert_eq!(array_hash(values.iter().map(JavaValue::java_hash)), expected, "{values:?}");
    }
}

#[test]
fn fields_grouping_takes_the_floor_modulus() {
    let rows: [(JavaValue, [usize; 5]); 6] = [
        (text("nathan"), [1, 1, 3, 2, 3]),
        (text("joey"), [0, 2, 0, 4, 0]),
        (text("na\u{ef}ve"), [0, 0, 2, 5, 2]),
        (Int(-1), [0, 0, 2, 2, 6]),
        (Long(-1), [1, 1, 3, 3, 7]),
        (Long(i64::MIN), [1, 2, 3, 1, 7]),
    ];
    for (value, expected) in rows {
        let indices = [2, 3, 4, 7, 8].map(|tasks| fields_index(std::slice::from_ref(&value), tasks));
        assert_eq!(indices, expected, "{value:?}");
    }
}

/// A tuple's value is hashed as the Java value in its place would be.
#[test]
fn values_of_tuples_hash_like_their_java_counterparts() {
    let pairs = [
        (Value::Null, Null),
        (true.into(), Bool(true)),
        (Value::Int32(-1), Int(-1)),
        (Value::Int(-1), Long(-1)),
        (Value::Int(1 << 32), Long(1 << 32)),
        ((-0.0).into(), Double(-0.0)),
        ("na\u{ef}ve \u{1f600}".into(), text("na\u{ef}ve \u{1f600}")),
        (vec![0u8, 128, 255].into(), Bytes(vec![0, 128, 255])),
        (Value::integer(BigInt::from(1_u64 << 63)), Big(BigInt::from(1_u64 << 63))),
        (Value::text_of_units(&[0xd83e]), JavaValue::String(vec![0xd83e])),
        (Value::list([Value::Null, Value::Int32(7)]), List(vec![Null, Int(7)])),
        (
            Value::map([("a", Value::Int32(1)), ("b", "x".into())]),
            map(vec![(text("a"), Int(1)), (text("b"), text("x"))]),
        ),
    ];
    for (value, java) in pairs {
        assert_eq!(value_hash(&value), java.java_hash(), "{value}");
    }
    // Found with `new BigDecimal(text).hashCode()`.
    let decimals = [
        ("1.50", 4652),
        ("-123456789012345678901234567890.5", -1_113_278_081),
        ("0.30000000000000004441", -102_111_225),
    ];
    for (text, hash) in decimals {
        assert_eq!(value_hash(&Value::Decimal(std::sync::Arc::new(text.parse().unwrap()))), hash, "{text}");
    }
}

#[test]
fn random_numbers_are_those_of_java() {
    let bounds = [1, 2, 3, 5, 7, 8, 1000, (1 << 30) + 1, i32::MAX];
    let rows: [(i64, [i32; 9]); 5] = [
        (0, [0, 1, 1, 2, 4, 2, 491, 251269761, 1283218719]),
        (42, [0, 0, 0, 4, 5, 7, 505, 196118093, 1939977182]),
        (-1, [0, 0, 0, 4, 6, 4, 477, 857465478, 1774177765]),
        (140737488355328, [0, 0, 2, 3, 3, 6, 667, 209476895, 604591030]),
        (i64::MIN, [0, 1, 1, 2, 4, 2, 491, 251269761, 1283218719]),
    ];
    for (seed, expected) in rows {
        let mut random = JavaRandom::new(seed);
        assert_eq!(bounds.map(|bound| random.next_int(bound)), expected, "seed {seed}");
    }
}

#[test]
fn doubles_have_the_text_that_java_gives_them() {
    let rows = [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (1.5, "1.5"),
        (-2.25, "-2.25"),
        (1.0e7, "1.0E7"),
        (9999999.5, "9999999.5"),
        (0.001, "0.001"),
        (9.99e-4, "9.99E-4"),
        (1.0e21, "1.0E21"),
        (1.234e-5, "1.234E-5"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (1.23456789125e8, "1.23456789125E8"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
        (100.0, "100.0"),
    ];
    for (value, expected) in rows {
        assert_eq!(double_text(value), expected);
    }
}

#[test]
fn a_map_keeps_the_last_value_of_a_key() {
    let entries = [(Double(f64::NAN), Int(1)), (Double(-f64::NAN), Int(2)), (Int(1), Int(3)), (Long(1), Int(4))];
    let expected = [(Double(f64::NAN), Int(2)), (Int(1), Int(3)), (Long(1), Int(4))];
    assert_eq!(JavaValue::map(entries), JavaValue::map(expected.clone()));
    assert_ne!(JavaValue::map(expected), JavaValue::map([]));
}
