//! The protocol without processes: framing, messages, values, in pieces of any size and with anything in them.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::framing::{BadOutput, Incoming, NoMessage, Serializer, shorten};
use super::json;
use super::protocol::{Delivered, Emit, FromChild, decode, encode};
use super::value::{Read, Written, WrittenAll};
use crate::task::TaskId;
use crate::task::dynamic::Value;

const BOTH: [Serializer; 2] = [Serializer::Json, Serializer::MsgPack];

/// Gives out bytes in pieces of the given sizes, one after another and again.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].max(1).min(into.len()).min(self.bytes.len());
        self.turn += 1;
        let (piece, rest) = self.bytes.split_at(size);
        into[..size].copy_from_slice(piece);
        self.bytes = rest;
        Ok(size)
    }
}

/// All messages in these bytes, and how they end.
fn messages(bytes: &[u8], sizes: &[usize], serializer: Serializer) -> (Vec<Vec<u8>>, NoMessage) {
    let mut incoming = Incoming::new(Pieces { bytes, sizes: sizes.to_vec(), turn: 0 }, serializer).at_most(1_000_000);
    let mut all = Vec::new();
    loop {
        match incoming.next() {
            Ok(message) => all.push(message.to_vec()),
            Err(end) => return (all, end),
        }
    }
}

fn json_of(text: &str) -> Result<FromChild, BadOutput> {
    decode(text.as_bytes(), Serializer::Json)
}

#[test]
fn a_message_may_span_lines_and_ends_with_a_line_that_says_so() {
    let text = b"{\"command\":\n\"sync\"}\nend\n[1]\r\nend\r\n\nend\nend\n";
    for size in [1, 2, 7, 1_000] {
        let (all, end) = messages(text, &[size], Serializer::Json);
        let shown: Vec<_> = all.iter().map(|message| String::from_utf8_lossy(message)).collect();
        assert_eq!(shown, ["{\"command\":\n\"sync\"}", "[1]\r", "", ""], "in pieces of {size}");
        assert!(matches!(end, NoMessage::End));
    }
}

#[test]
fn half_a_message_and_one_that_is_too_long_are_shown_shortened() {
    let (_, end) = messages(b"{}\nend\n{\"command\": \"em", &[5], Serializer::Json);
    let NoMessage::Bad(bad) = end else { panic!("{end:?}") };
    assert_eq!(bad.to_string(), "its output ended in the middle of a message: {\"command\": \"em");
    let (_, end) = messages(&[0x92, 0x01], &[1], Serializer::MsgPack);
    assert!(matches!(end, NoMessage::Bad(_)));

    let long = vec![b'x'; 1_200_000];
    for serializer in BOTH {
        let start: &[u8] = if serializer == Serializer::Json { b"" } else { &[0xdb, 0xff, 0xff, 0xff, 0xff] };
        let (all, end) = messages(&[start, &long].concat(), &[usize::MAX], serializer);
        let NoMessage::Bad(bad) = end else { panic!("{end:?}") };
        assert!(all.is_empty() && bad.what.contains("more than 1000000 bytes (topology.multilang.message.max.bytes)"));
        assert!(bad.shown.len() < 1_000 && bad.shown.contains("bytes)"), "{}", bad.shown);
    }
    assert_eq!(shorten("short\n".as_bytes()), "short");
}

#[test]
fn every_command_of_a_child_is_understood() {
    assert_eq!(json_of(r#"{"pid": 12}"#), Ok(FromChild::Pid(12)));
    assert_eq!(json_of(r#"{"command":"sync"}"#), Ok(FromChild::Sync));
    assert_eq!(json_of(r#"{"command":"ack","id":"7"}"#), Ok(FromChild::Ack("7".into())));
    assert_eq!(
        json_of(r#"{"command":"fail","id":{"a":[1]}}"#),
        Ok(FromChild::Fail(Value::map([("a", Value::list([Value::Int32(1)]))])))
    );
    let log = |message: &str, level| Ok(FromChild::Log { message: message.into(), level });
    assert_eq!(json_of(r#"{"command":"log","msg":"m"}"#), log("m", 2));
    assert_eq!(json_of(r#"{"command":"log","msg":{"a":1},"level":4}"#), log("{\"a\":1}", 4));
    assert_eq!(json_of(r#"{"command":"error","msg":"\u00e9\/"}"#), Ok(FromChild::Error("é/".into())));
    let metrics = FromChild::Metrics { name: "n".into(), params: "3".into() };
    assert_eq!(json_of(r#"{"command":"metrics","name":"n","params":3}"#), Ok(metrics));

    let emit = |values: Vec<Value>| Emit {
        stream: "default".into(),
        values,
        anchors: vec![],
        id: None,
        to: None,
        need_task_ids: true,
    };
    let plain = r#"{"command":"emit","tuple":["a"],"stream":null,"task":0,"anchors":null,"unknown":[{}]}"#;
    assert_eq!(json_of(plain), Ok(FromChild::Emit(emit(vec!["a".into()]))));
    let full =
        r#"{"command":"emit","tuple":[],"stream":"s","task":3,"anchors":["1","2"],"id":5,"need_task_ids":false}"#;
    let expected = Emit {
        stream: "s".into(),
        anchors: vec!["1".into(), "2".into()],
        id: Some(Value::Int32(5)),
        to: Some(TaskId(3)),
        need_task_ids: false,
        ..emit(vec![])
    };
    assert_eq!(json_of(full), Ok(FromChild::Emit(expected)));
    let single = Emit { anchors: vec!["-12".into()], ..emit(vec![]) };
    assert_eq!(json_of(r#"{"command":"emit","tuple":[],"anchors":"-12"}"#), Ok(FromChild::Emit(single)));
}

#[test]
fn what_is_no_message_is_named_and_shown() {
    let refused = |text: &str| json_of(text).unwrap_err().to_string();
    assert!(refused("hello").starts_with("not a message in JSON (expected a value at byte 0)"), "{}", refused("hello"));
    assert!(refused("hello").ends_with(": hello"));
    assert!(refused("").contains("not a message in JSON"));
    assert!(refused("[1]").contains("not a message in JSON"));
    assert!(refused("{}").starts_with("a message without `command`"));
    assert!(refused(r#"{"command":"dance"}"#).starts_with("unknown command `dance`"));
    assert!(refused(r#"{"command":"ack"}"#).starts_with("`ack` without `id`"));
    assert!(refused(r#"{"command":"emit"}"#).starts_with("`emit` without `tuple`"));
    assert!(refused(r#"{"command":"emit","tuple":"text"}"#).starts_with("`tuple` must be a list, not a string"));
    assert!(refused(r#"{"command":"emit","tuple":[],"need_task_ids":1}"#).contains("true or false, not an int"));
    assert!(refused(r#"{"command":"emit","tuple":[],"anchors":[[]]}"#).contains("a tuple's id, or a list of them"));
    assert!(refused(r#"{"command":"emit","tuple":[],"task":-1}"#).starts_with("there is no task -1"));
}

#[test]
fn numbers_are_typed_as_storm_types_them() {
    let value = |text: &str| json::read(text.as_bytes()).unwrap();
    assert_eq!(value("2147483647"), Value::Int32(i32::MAX));
    assert_eq!(value("-2147483648"), Value::Int32(i32::MIN));
    assert_eq!(value("2147483648"), Value::Int(1 << 31));
    assert_eq!(value("1.0"), Value::Float(1.0));
    assert_eq!(value("1e2"), Value::Float(100.0));
    let text = |value: Value| serde_json::to_string(&Written(&value)).unwrap();
    assert_eq!(text(1.0.into()), "1.0");
    assert_eq!(text(f64::NAN.into()), "null");
    // Every digit goes back, and a single surrogate as what it came as.
    for exact in ["18446744073709551617", "-9223372036854775809", "0.30000000000000004441", r#""\u0061\ud83e""#] {
        assert_eq!(text(value(exact)), exact);
    }
    assert_eq!(text(vec![0_u8, 127, 128, 255].into()), "[0,127,-128,-1]");
}

#[test]
fn messagepack_has_no_larger_integers_than_64_bits() {
    let back = |text: &str| {
        let mut bytes = Vec::new();
        encode(&Written(&json::read(text.as_bytes()).unwrap()), Serializer::MsgPack, &mut bytes);
        rmp_serde::from_slice::<Read>(&bytes).unwrap().0.to_string()
    };
    assert_eq!(back("18446744073709551615"), "18446744073709551615");
    assert_eq!(back("18446744073709551616"), "\"18446744073709551616\"");
    assert_eq!(back("0.30000000000000004441"), "0.30000000000000004");
    assert_eq!(back(r#""a\ud83e""#), "\"a\u{fffd}\"");
}

#[test]
fn the_level_of_a_log_message_may_be_a_word() {
    let level = |level: &str| match json_of(&format!(r#"{{"command":"log","msg":"m","level":{level}}}"#)) {
        Ok(FromChild::Log { level, .. }) => level,
        other => panic!("{other:?}"),
    };
    let all = ["0", "\"INFO\"", "\"warning\"", "\" Error\"", "\"1\"", "\"loud\"", "null", "[]", "3.0"].map(level);
    assert_eq!(all, [0, 2, 3, 4, 1, 2, 2, 2, 2]);
}

#[test]
fn the_first_bytes_tell_another_serializer() {
    let begins = |text: &[u8]| BOTH.map(|serializer| serializer.may_begin_with(text));
    assert_eq!(begins(b" \n{\"pid\": 1}"), [true, false]);
    assert_eq!(begins(b"\x81\xa3pid\x01"), [false, true]);
    assert_eq!(begins(b"WARNING: x"), [false, false]);
}

#[test]
fn a_delivery_looks_as_storm_s_does() {
    let (values, mut text) = ([Value::from("snow"), Value::Int32(3), Value::Null], Vec::new());
    let tuple = WrittenAll(&values);
    encode(&Delivered { id: "-69", comp: Some("1"), stream: "s", task: 9, tuple }, Serializer::Json, &mut text);
    let expected = "{\"id\":\"-69\",\"comp\":\"1\",\"stream\":\"s\",\"task\":9,\"tuple\":[\"snow\",3,null]}\nend\n";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

/// What children write, rightly and wrongly.
fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/multilang/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Whatever a child writes, in whatever pieces: messages or an error, the same in all pieces, and never a panic.
fn take(bytes: &[u8], sizes: &[usize], serializer: Serializer) -> Result<(), TestCaseError> {
    let (whole, whole_end) = messages(bytes, &[usize::MAX], serializer);
    let (pieces, pieces_end) = messages(bytes, sizes, serializer);
    prop_assert_eq!(&whole, &pieces);
    prop_assert_eq!(format!("{whole_end:?}"), format!("{pieces_end:?}"));
    for message in &whole {
        let _ = decode(message, serializer);
    }
    Ok(())
}

#[test]
fn the_corpus_is_taken_as_it_is() {
    for bytes in corpus() {
        BOTH.iter().for_each(|serializer| take(&bytes, &[1, 3], *serializer).unwrap());
    }
}

/// Any JSON without integers that no `Value` has.
fn any_json() -> impl Strategy<Value = Json> {
    let text = "[a-z\n\"\\\\é😀]{0,6}";
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        (-1e300..1e300).prop_map(Json::from),
        text.prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((text, inner), 0..4).prop_map(|entries| Json::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in(
        values in prop::collection::vec(any_json(), 0..5),
        sizes in prop::collection::vec(1..40_usize, 1..6),
        msgpack in any::<bool>(),
    ) {
        let serializer = BOTH[usize::from(msgpack)];
        let mut bytes = Vec::new();
        values.iter().for_each(|value| encode(value, serializer, &mut bytes));
        let (all, end) = messages(&bytes, &sizes, serializer);
        prop_assert!(matches!(end, NoMessage::End));
        let read: Vec<Json> = all.iter().map(|message| match serializer {
            Serializer::Json => serde_json::from_slice(message).unwrap(),
            Serializer::MsgPack => rmp_serde::from_slice(message).unwrap(),
        }).collect();
        prop_assert_eq!(read, values);
    }

    #[test]
    fn values_survive_the_way_there_and_back(value in any_json(), msgpack in any::<bool>()) {
        let mut bytes = Vec::new();
        let (read, back);
        if msgpack {
            encode(&value, Serializer::MsgPack, &mut bytes);
            Read(read) = rmp_serde::from_slice(&bytes).unwrap();
            bytes.clear();
            encode(&Written(&read), Serializer::MsgPack, &mut bytes);
            Read(back) = rmp_serde::from_slice(&bytes).unwrap();
        } else {
            read = json::read(value.to_string().as_bytes()).unwrap();
            encode(&Written(&read), Serializer::Json, &mut bytes);
            back = json::read(&bytes[..bytes.len() - 5]).unwrap();
        }
        prop_assert_eq!(back, read);
    }

    #[test]
    fn the_corpus_is_taken_in_any_pieces_with_anything_changed(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..8),
        sizes in prop::collection::vec(1..50_usize, 1..5),
        msgpack in any::<bool>(),
    ) {
        let mut bytes = file.get(&corpus()).clone();
        for (at, byte, change) in changes {
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => {
                    bytes.remove(at);
                }
                _ => {}
            }
        }
        take(&bytes, &sizes, BOTH[usize::from(msgpack)])?;
    }

    #[test]
    fn any_bytes_are_taken_the_same_way_in_any_pieces(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "(\\{\"command\":\"(emit|ack|sync|log)\"[,:\\[\\]\"0-9a-z ]{0,20}\\}?|\n|end|end\n|\nend\n|[0-9]{1,3}){0,9}"
                .prop_map(String::into_bytes),
        ],
        sizes in prop::collection::vec(1..50_usize, 1..5),
        msgpack in any::<bool>(),
    ) {
        take(&bytes, &sizes, BOTH[usize::from(msgpack)])?;
    }

    #[test]
    fn any_object_with_a_command_is_a_message_or_refused(
        command in "emit|ack|fail|log|error|metrics|sync|x",
        fields in prop::collection::vec(
            ("id|stream|task|tuple|anchors|need_task_ids|msg|level|name|params|pid|x", any_json()), 0..6),
    ) {
        let mut object: serde_json::Map<String, Json> = fields.into_iter().collect();
        object.insert("command".into(), command.into());
        let text = Json::Object(object).to_string();
        let _ = decode(text.as_bytes(), Serializer::Json);
    }
}
