use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

fn canonical<K: Canonical + ?Sized>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_canonical(key, &mut bytes);
    bytes
}

#[track_caller]
fn golden<K: Canonical + ?Sized>(key: &K, bytes: &[u8], hash: u64) {
    assert_eq!(canonical(key), bytes);
    assert_eq!(key_hash(key), hash, "got {:#018x}", key_hash(key));
}

/// FROZEN. Snapshots hold key groups that follow from these numbers: a change here loses users' state. If this test
/// fails, the code is wrong, never the test.
#[test]
fn golden_vectors_hold() {
    golden(&(), b"", 0x2d06_8005_38d3_94c2);
    golden("", b"", 0x2d06_8005_38d3_94c2);
    golden("squall", b"squall", 0xff5f_2497_3033_f264);
    golden("Grüße", b"Gr\xc3\xbc\xc3\x9fe", 0xb40c_17e2_196d_97d8);
    golden(&Bytes::from_static(b"\x00\xff"), b"\x00\xff", 0xa99b_043a_346c_8bf3);
    golden(&[1u8, 2, 3], &[1, 2, 3], 0xebce_9b76_32ae_733b);
    golden(&true, &[1], 0xe12e_f9d2_eb86_ceeb);
    golden(&'€', &[0xac, 0x20, 0, 0], 0x1af0_28b0_4bf5_3e3d);
    golden(&0u8, &[0], 0xc44b_dff4_074e_ecdb);
    golden(&-2i8, &[0xfe], 0x6c19_7e51_b936_4ce3);
    golden(&0x0102u16, &[2, 1], 0x66e9_c4aa_7c53_ef78);
    golden(&-2i16, &[0xfe, 0xff], 0x00e7_cbba_5da9_e337);
    golden(&0x0102_0304u32, &[4, 3, 2, 1], 0xc738_ba38_6343_21a9);
    golden(&-2i32, &[0xfe, 0xff, 0xff, 0xff], 0x7016_8a72_e6d8_f6ab);
    golden(&1u64, &[1, 0, 0, 0, 0, 0, 0, 0], 0x2fbc_5935_64db_792e);
    golden(&1usize, &[1, 0, 0, 0, 0, 0, 0, 0], 0x2fbc_5935_64db_792e);
    golden(&i64::MIN, &[0, 0, 0, 0, 0, 0, 0, 0x80], 0x828f_2476_789a_0e5f);
    golden(&-1isize, &[0xff; 8], 0x5111_c7e4_7d78_4413);
    golden(&u128::MAX, &[0xff; 16], 0x722a_202f_07a4_b313);
    golden(&-1i128, &[0xff; 16], 0x722a_202f_07a4_b313);
    golden(&None::<u8>, &[0], 0xc44b_dff4_074e_ecdb);
    golden(&Some(7u8), &[1, 7], 0x869e_23d5_8dc6_2d16);
    golden(&Some("a"), b"\x01\x01\0\0\0\0\0\0\0a", 0x2852_e64f_bf44_7921);
    golden(&("ab", "c"), b"\x02\0\0\0\0\0\0\0ab\x01\0\0\0\0\0\0\0c", 0x642d_4deb_febf_33ae);
    golden(&("ab",), b"\x02\0\0\0\0\0\0\0ab", 0x1bb3_2589_efec_83e4);
    golden(&(1u8, true, 'x', [9u8], "z", ()), b"\x01\x01x\0\0\0\x09\x01\0\0\0\0\0\0\0z", 0x1f2d_ee87_b17c_1966);
    let long = "squall".repeat(100);
    assert_eq!(key_hash(long.as_str()), 0xffd9_f329_910b_60af, "got {:#018x}", key_hash(long.as_str()));
    assert_eq!(key_hash(&(long.as_str(), 1u8)), 0xba6a_19e0_e17a_9d26, "got {:#018x}", key_hash(&(long.as_str(), 1u8)));
}

/// FROZEN, for the same reason.
#[test]
fn golden_owners_hold() {
    let owners = |tasks| ["a", "b", "c", "squall", "storm", ""].map(|key| task_of_key(key_hash(key), tasks));
    let groups = ["a", "b", "c", "squall", "storm", ""].map(|key| key_group(key_hash(key), KEY_GROUPS_DEFAULT));
    assert_eq!(groups, [923, 349, 561, 1021, 553, 180]);
    assert_eq!(owners(1), [0; 6]);
    assert_eq!(owners(7), [6, 2, 3, 6, 3, 1]);
    assert_eq!(owners(1000), [901, 340, 547, 997, 540, 175]);
}

#[test]
fn owned_and_borrowed_forms_agree() {
    let hash = key_hash("storm");
    assert_eq!(hash, key_hash(&"storm".to_string()));
    assert_eq!(hash, key_hash(&Box::<str>::from("storm")));
    assert_eq!(hash, key_hash(&Arc::<str>::from("storm")));
    assert_eq!(hash, key_hash(&Cow::Borrowed("storm")));
    assert_eq!(hash, key_hash(b"storm".as_slice()));
    assert_eq!(hash, key_hash(&b"storm".to_vec()));
    assert_eq!(hash, key_hash(&Bytes::from_static(b"storm")));
    assert_eq!(hash, key_hash(&SmallVec::<[u8; 24]>::from_slice(b"storm")));
    assert_eq!(key_hash(&("storm", 1u8)), key_hash(&(String::from("storm"), &1u8)));
}

#[test]
fn the_usual_key_types_are_keys() {
    fn key<K: Key>() {}
    key::<String>();
    key::<&'static str>();
    key::<SmallVec<[u8; 22]>>();
    key::<(Arc<str>, Option<u64>, [u8; 16], Bytes, char, ())>();
}

#[test]
fn each_task_owns_one_range_of_groups_and_sizes_differ_by_one_at_most() {
    for groups in [1, 2, 3, 64, 1000, KEY_GROUPS_DEFAULT] {
        for tasks in 1..=groups as usize {
            let mut sizes = vec![0usize; tasks];
            let mut last = 0;
            for group in 0..groups {
                let task = task_of_group(group, tasks, groups);
                assert!(task >= last);
                last = task;
                sizes[task] += 1;
            }
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(*least >= 1 && most - least <= 1, "{tasks} tasks, {groups} groups: {least} to {most}");
        }
    }
}

#[test]
fn the_group_comes_from_the_high_bits() {
    assert_eq!(key_group(u64::MAX, 1024), 1023);
    assert_eq!(key_group(u64::MAX >> 10, 1024), 0);
    assert_eq!(key_group(1 << 54, 1024), 1);
    assert_eq!(key_group(u64::MAX, u32::MAX), u32::MAX - 1);
}

/// Different values must differ in their bytes, and where bytes are the same the values are.
fn check_injective<K: Canonical + PartialEq + Debug>(a: &K, b: &K) -> Result<(), TestCaseError> {
    prop_assert_eq!(a == b, canonical(a) == canonical(b), "{:?} {:?}", a, b);
    Ok(())
}

/// Few characters and short strings, so that near misses and equal values are common.
fn text() -> impl Strategy<Value = String> {
    "[ab\\x00\\x01]{0,3}"
}

type Composite = (String, Vec<u8>, Option<String>, (u16, bool), Option<Option<u8>>, char);

fn composite() -> impl Strategy<Value = Composite> {
    let bytes = prop::collection::vec(0u8..2, 0..3);
    let option = prop::option::of(text());
    (
        text(),
        bytes,
        option,
        (0u16..2, any::<bool>()),
        prop::option::of(prop::option::of(0u8..2)),
        prop::char::range('a', 'b'),
    )
}

proptest! {
    #[test]
    fn distinct_composites_have_distinct_bytes(a in composite(), b in composite()) {
        check_injective(&a, &b)?;
    }

    #[test]
    fn distinct_texts_and_byte_strings_have_distinct_bytes(
        a in (text(), text(), text()),
        b in (text(), text(), text()),
    ) {
        check_injective(&a, &b)?;
        check_injective(&a.0, &b.0)?;
        check_injective(&Some(a.1), &Some(b.1))?;
    }

    /// No part is the beginning of another: what `write_part` promises.
    #[test]
    fn parts_delimit_themselves(a in composite(), b in composite()) {
        let part = |key: &Composite| { let mut out = Vec::new(); key.write_part(&mut out); out };
        prop_assert!(a == b || !part(&a).starts_with(&part(&b)));
    }

    /// Composite keys around the inline limit take both ways of hashing.
    #[test]
    fn the_hash_is_that_of_the_canonical_bytes(a in "[a-z]{0,300}", b in any::<u64>(), c in "[a-z]{0,150}") {
        let key = (a.as_str(), b, c.as_str());
        prop_assert_eq!(key_hash(&key), xxh3_64(&canonical(&key)));
        prop_assert_eq!(key_hash(&a), xxh3_64(a.as_bytes()));
        prop_assert_eq!(key_hash(&b), xxh3_64(&b.to_le_bytes()));
    }

    #[test]
    fn every_hash_has_a_task(hash in any::<u64>(), tasks in 1usize..5000, groups in 1u32..5000) {
        let group = key_group(hash, groups);
        prop_assert!(group < groups);
        prop_assert!(task_of_group(group, tasks, groups) < tasks);
        prop_assert!(task_of_key(hash, tasks) < tasks);
    }
}

/// FROZEN, for the same reason: the groups of keys of other types, and of other numbers of groups.
#[test]
fn golden_groups_hold() {
    let groups = |total| {
        [key_hash(&1u64), key_hash(&-2i32), key_hash(&("ab", "c")), key_hash(&[1u8, 2, 3]), key_hash(&'€')]
            .map(|hash| key_group(hash, total))
    };
    assert_eq!(groups(KEY_GROUPS_DEFAULT), [190, 448, 400, 943, 107]);
    assert_eq!(groups(1), [0; 5]);
    assert_eq!(groups(128), [23, 56, 50, 117, 13]);
    assert_eq!(groups(1000), [186, 437, 391, 921, 105]);
}
