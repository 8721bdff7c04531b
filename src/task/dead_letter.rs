//! Values that were given up, and how they are written down for people and for another try.

use std::any::Any;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::error::{FailureKind, Origin};
use crate::sys::sync::Arc;
use crate::task::dynamic::Record;

/// The name of a source's stream of them.
pub(crate) const STREAM: &str = "dead_letters";

/// A value that was given up, with everything needed to find out why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<T> {
    /// The value as the source gave it.
    pub value: T,
    /// The value's position in its split, as its source counts: a byte offset, an index.
    pub id: u64,
    /// The component and task that failed it last, where known: a deadline that passed has none.
    pub origin: Option<Origin>,
    /// The last failure's message.
    pub error: String,
    /// The last failure's kind.
    pub kind: FailureKind,
    /// How often the value was emitted; under exactly-once, how often it is known to have been tried.
    pub attempts: u32,
    /// When it failed first, in nanoseconds since the epoch.
    pub first_failed_ns: u64,
    /// When it failed last, in nanoseconds since the epoch.
    pub last_failed_ns: u64,
}

/// What a value looks like in a dead letter's line, if that is known.
pub(crate) type Describe<T> = Arc<dyn Fn(&T) -> Json + Send + Sync>;

impl<T: 'static> DeadLetter<T> {
    /// One JSON object, without line breaks: `source`, `value` (null if nobody knows how to write it down), `position`,
    /// `error`, `origin`, `kind`, `attempts`, `first_failed`, `last_failed` (RFC 3339).
    pub(crate) fn line(&self, source: &str, describe: Option<&Describe<T>>) -> String {
        let value = describe.map_or_else(|| known(&self.value), |describe| describe(&self.value));
        json!({
            "source": source,
            "value": value,
            "position": self.id,
            "error": self.error,
            "origin": self.origin.as_ref().map(ToString::to_string),
            "kind": self.kind,
            "attempts": self.attempts,
            "first_failed": time(self.first_failed_ns),
            "last_failed": time(self.last_failed_ns),
        })
        .to_string()
    }
}

/// As lines have it (RFC 3339).
pub(crate) fn time(since_epoch_ns: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(since_epoch_ns);
    humantime::format_rfc3339_millis(at).to_string()
}

/// Values of the types that a source of lines, numbers or records gives. Bytes that are no text become a list of
/// numbers.
fn known(value: &dyn Any) -> Json {
    fn bytes(bytes: &[u8]) -> Json {
        std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), Json::from)
    }
    macro_rules! first_of {
        ($($ty:ty => $write:expr),+ $(,)?) => {
            $(if let Some(value) = value.downcast_ref::<$ty>() {
                let write: fn(&$ty) -> Json = $write;
                return write(value);
            })+
        };
    }
    first_of!(
        Bytes => |value| bytes(value),
        Vec<u8> => |value| bytes(value),
        String => |value| Json::from(value.as_str()),
        &'static str => |value| Json::from(*value),
        Arc<str> => |value| Json::from(&**value),
        u64 => |value| Json::from(*value),
        i64 => |value| Json::from(*value),
        u32 => |value| Json::from(*value),
        i32 => |value| Json::from(*value),
        f64 => |value| Json::from(*value),
        bool => |value| Json::from(*value),
        Record => |value| Json::from(value),
    );
    Json::Null
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter<T>(value: T) -> DeadLetter<T> {
        let origin = Some(Origin { component: "parse".into(), task_index: 1 });
        let error = "no number\nat all".to_owned();
        let (first_failed_ns, last_failed_ns) = (0, 1_500_000_000);
        DeadLetter {
            value,
            id: 7,
            origin,
            error,
            kind: FailureKind::Reject,
            attempts: 1,
            first_failed_ns,
            last_failed_ns,
        }
    }

    #[test]
    fn a_line_is_one_line_with_everything() {
        let line = letter(Bytes::from_static(b"a\nb")).line("lines", None);
        assert!(!line.contains('\n'));
        let json: Json = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "source": "lines", "value": "a\nb", "position": 7, "error": "no number\nat all", "origin": "parse[1]",
            "kind": "reject", "attempts": 1,
            "first_failed": "1970-01-01T00:00:00.000Z", "last_failed": "1970-01-01T00:00:01.500Z",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn values_of_known_types_are_there_and_others_by_their_description() {
        let value = |line: String| serde_json::from_str::<Json>(&line).unwrap()["value"].clone();
        assert_eq!(value(letter(7u64).line("s", None)), json!(7));
        assert_eq!(value(letter(vec![0u8, 255]).line("s", None)), json!([0, 255]));
        #[derive(Clone)]
        struct Own(u8);
        assert_eq!(value(letter(Own(3)).line("s", None)), Json::Null);
        let describe: Describe<Own> = Arc::new(|own| json!({ "own": own.0 }));
        assert_eq!(value(letter(Own(3)).line("s", Some(&describe))), json!({ "own": 3 }));
    }
}
