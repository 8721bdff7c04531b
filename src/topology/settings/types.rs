//! The types that settings have, and how each reads from and writes to text.

use std::fmt;
use std::time::Duration;

use super::UserValue;
use super::table::{Setting, UNSET};
use crate::state::store::kind::StoreKind;
use crate::task::backoff::Backoff;

/// What an executor does when none of its tasks has work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitPolicy {
    /// Never sleep: the lowest latency, one CPU used up at all times. Text: `spin`.
    BusySpin,
    /// Spin for a while, then sleep until a producer wakes the executor. Text: `adaptive`, or `adaptive:50us`.
    Adaptive {
        /// How long to spin before going to sleep.
        spin: Duration,
    },
    /// Sleep at once. Text: `park`.
    Park,
}

impl WaitPolicy {
    /// How long [`Adaptive`](WaitPolicy::Adaptive) spins unless told otherwise.
    pub const ADAPTIVE_SPIN: Duration = Duration::from_micros(20);
}

impl Default for WaitPolicy {
    fn default() -> Self {
        WaitPolicy::Adaptive { spin: Self::ADAPTIVE_SPIN }
    }
}

impl fmt::Display for WaitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitPolicy::BusySpin => f.write_str("spin"),
            WaitPolicy::Adaptive { spin } if *spin == Self::ADAPTIVE_SPIN => f.write_str("adaptive"),
            WaitPolicy::Adaptive { spin } => write!(f, "adaptive:{}", duration_text(*spin)),
            WaitPolicy::Park => f.write_str("park"),
        }
    }
}

/// What the engine promises about every value a spout emits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guarantee {
    /// Nothing is tracked; what fails is lost. Text: `at-most-once`.
    AtMostOnce,
    /// Tuple trees: every spout emit is acked or failed exactly once. Text: `at-least-once`.
    #[default]
    AtLeastOnce,
    /// Aligned barriers: the state after any failure is as if every tuple had been handled once. Needs spouts that can
    /// go back to a position. Text: `exactly-once`.
    ExactlyOnce,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::AtMostOnce => "at-most-once",
            Guarantee::AtLeastOnce => "at-least-once",
            Guarantee::ExactlyOnce => "exactly-once",
        })
    }
}

/// Where the tasks of a component run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// The planner decides. Text: `auto`.
    #[default]
    Auto,
    /// On the executor pinned to this CPU, by the number the operating system gives it. Text: `cpu:3`.
    On(usize),
    /// Each task on an executor that runs nothing else. Text: `dedicated`.
    Dedicated,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placement::Auto => f.write_str("auto"),
            Placement::On(cpu) => write!(f, "cpu:{cpu}"),
            Placement::Dedicated => f.write_str("dedicated"),
        }
    }
}

macro_rules! serialize_as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

serialize_as_text!(WaitPolicy, Guarantee, Placement);

/// A number of bytes; reads integers and text such as `256MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct Bytes(pub u64);

impl From<u64> for Bytes {
    fn from(bytes: u64) -> Self {
        Bytes(bytes)
    }
}

impl From<Bytes> for u64 {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl From<Bytes> for UserValue {
    fn from(bytes: Bytes) -> Self {
        let unit = SIZE_UNITS.iter().filter(|(unit, _)| unit.contains('i'));
        match unit.rev().find(|(_, factor)| bytes.0 > 0 && bytes.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => format!("{}{unit}", bytes.0 / factor).into(),
            None => bytes.0.into(),
        }
    }
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

fn parse_size_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text[digits.len()..].trim();
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The shortest exact text of a duration, such as `1h 30m`; reads back as the same duration.
pub(super) fn duration_text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Reads a duration with its unit, such as `1h 30m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    // These limits keep the sum of the parts far below what a `Duration` holds; the parser's own check of the carry
    // from nanoseconds to seconds panics at the very end of that range.
    let longest_number = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if text.len() > 48 || longest_number > 11 {
        return Err("too long".to_owned());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn text(value: &UserValue) -> Result<&str, String> {
    match value {
        UserValue::Text(text) => Ok(text.trim()),
        _ => Err(String::new()),
    }
}

impl Setting for bool {
    type Scalar = bool;
    const EXPECTED: &'static str = "true or false";

    fn read(value: &UserValue) -> Result<Self, String> {
        match value {
            UserValue::Bool(flag) => Ok(*flag),
            _ => Err(String::new()),
        }
    }

    fn write(&self) -> Option<UserValue> {
        Some(UserValue::Bool(*self))
    }

    fn scalar(&self) -> Option<bool> {
        None
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            type Scalar = $type;
            const EXPECTED: &'static str = "a whole number";

            fn read(value: &UserValue) -> Result<Self, String> {
                match value {
                    UserValue::Integer(number) => <$type>::try_from(*number).map_err(|_| "out of range".to_owned()),
                    _ => Err(String::new()),
                }
            }

            fn write(&self) -> Option<UserValue> {
                Some((*self).into())
            }

            fn scalar(&self) -> Option<$type> {
                Some(*self)
            }
        }
    )*};
}

whole_number!(usize, u32, u64);

impl Setting for Bytes {
    type Scalar = Bytes;
    const EXPECTED: &'static str = "a number of bytes such as 1048576 or \"256MiB\"";

    fn read(value: &UserValue) -> Result<Self, String> {
        match value {
            UserValue::Text(text) => parse_size_bytes(text.trim()).map(Bytes).ok_or_else(String::new),
            other => u64::read(other).map(Bytes),
        }
    }

    fn write(&self) -> Option<UserValue> {
        Some((*self).into())
    }

    fn scalar(&self) -> Option<Bytes> {
        Some(*self)
    }
}

impl Setting for Duration {
    type Scalar = Duration;
    const EXPECTED: &'static str = "a duration such as \"100ms\" or \"1h 30m\"";

    fn read(value: &UserValue) -> Result<Self, String> {
        match value {
            UserValue::Integer(_) | UserValue::Float(_) => Err("the unit is missing".to_owned()),
            other => parse_duration(text(other)?),
        }
    }

    fn write(&self) -> Option<UserValue> {
        Some((*self).into())
    }

    fn scalar(&self) -> Option<Duration> {
        Some(*self)
    }
}

impl Setting for WaitPolicy {
    type Scalar = Duration;
    const EXPECTED: &'static str = "\"spin\", \"adaptive\", \"adaptive:TIME\" or \"park\"";

    fn read(value: &UserValue) -> Result<Self, String> {
        match text(value)? {
            "spin" => Ok(WaitPolicy::BusySpin),
            "park" => Ok(WaitPolicy::Park),
            "adaptive" => Ok(WaitPolicy::default()),
            other => match other.strip_prefix("adaptive:") {
                Some(spin) => Ok(WaitPolicy::Adaptive { spin: parse_duration(spin)? }),
                None => Err(String::new()),
            },
        }
    }

    fn write(&self) -> Option<UserValue> {
        Some(self.to_string().into())
    }

    fn scalar(&self) -> Option<Duration> {
        match self {
            WaitPolicy::Adaptive { spin } => Some(*spin),
            WaitPolicy::BusySpin | WaitPolicy::Park => None,
        }
    }
}

impl Setting for Backoff {
    type Scalar = Duration;
    const EXPECTED: &'static str = "a pause that grows, such as \"10ms..10s\", or one that does not, such as \"1s\"";

    fn read(value: &UserValue) -> Result<Self, String> {
        let text = text(value)?;
        let Some((first, max)) = text.split_once("..") else { return parse_duration(text).map(Backoff::constant) };
        let (first, max) = (parse_duration(first.trim())?, parse_duration(max.trim())?);
        if first > max {
            Err("the first pause is longer than the longest".to_owned())
        } else {
            Ok(Backoff { first, max })
        }
    }

    fn write(&self) -> Option<UserValue> {
        Some(backoff_text(self).into())
    }

    fn scalar(&self) -> Option<Duration> {
        Some(self.max)
    }
}

fn backoff_text(backoff: &Backoff) -> String {
    let (first, max) = (duration_text(backoff.first), duration_text(backoff.max));
    if first == max { first } else { format!("{first}..{max}") }
}

impl Setting for Guarantee {
    type Scalar = bool;
    const EXPECTED: &'static str = "\"at-most-once\", \"at-least-once\" or \"exactly-once\"";

    fn read(value: &UserValue) -> Result<Self, String> {
        match text(value)? {
            "at-most-once" => Ok(Guarantee::AtMostOnce),
            "at-least-once" => Ok(Guarantee::AtLeastOnce),
            "exactly-once" => Ok(Guarantee::ExactlyOnce),
            _ => Err(String::new()),
        }
    }

    fn write(&self) -> Option<UserValue> {
        Some(self.to_string().into())
    }

    fn scalar(&self) -> Option<bool> {
        None
    }
}

impl Setting for StoreKind {
    type Scalar = bool;
    const EXPECTED: &'static str = "\"memory\", \"log\", \"sled\" or \"fjall\"";

    fn read(value: &UserValue) -> Result<Self, String> {
        text(value)?.parse().map_err(|_| String::new())
    }

    fn write(&self) -> Option<UserValue> {
        Some(self.name().into())
    }

    fn scalar(&self) -> Option<bool> {
        None
    }
}

/// A folder; not set, `auto`.
impl Setting for Option<String> {
    type Scalar = bool;
    const EXPECTED: &'static str = "the path of a folder";

    fn read(value: &UserValue) -> Result<Self, String> {
        match text(value)? {
            "" => Err("it is empty".to_owned()),
            UNSET => Ok(None),
            path => Ok(Some(path.to_owned())),
        }
    }

    fn write(&self) -> Option<UserValue> {
        self.as_deref().map(Into::into)
    }

    fn scalar(&self) -> Option<bool> {
        None
    }
}

impl Setting for Placement {
    type Scalar = usize;
    const EXPECTED: &'static str = "\"auto\", \"cpu:NUMBER\" or \"dedicated\"";

    fn read(value: &UserValue) -> Result<Self, String> {
        match text(value)? {
            "auto" => Ok(Placement::Auto),
            "dedicated" => Ok(Placement::Dedicated),
            other => {
                let cpu = other.strip_prefix("cpu:").and_then(|cpu| cpu.parse().ok());
                cpu.map(Placement::On).ok_or_else(String::new)
            }
        }
    }

    fn write(&self) -> Option<UserValue> {
        Some(self.to_string().into())
    }

    fn scalar(&self) -> Option<usize> {
        match self {
            Placement::On(cpu) => Some(*cpu),
            Placement::Auto | Placement::Dedicated => None,
        }
    }
}

/// Not set is the text `auto`, so that a higher layer can undo what a lower one set.
impl<T: Setting> Setting for Option<T> {
    type Scalar = T::Scalar;
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(value: &UserValue) -> Result<Self, String> {
        match T::read(value) {
            Ok(read) => Ok(Some(read)),
            Err(_) if matches!(text(value), Ok(UNSET)) => Ok(None),
            Err(remark) => Err(remark),
        }
    }

    fn write(&self) -> Option<UserValue> {
        self.as_ref().and_then(T::write)
    }

    fn scalar(&self) -> Option<T::Scalar> {
        self.as_ref().and_then(T::scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Setting>(text: &str) -> Result<T, String> {
        T::read(&UserValue::from(text))
    }

    #[test]
    fn sizes_take_decimal_and_binary_units_and_write_back_the_same() {
        assert_eq!(read::<Bytes>("256MiB").unwrap(), Bytes(256 << 20));
        assert_eq!(read::<Bytes>("3 kB").unwrap(), Bytes(3_000));
        assert_eq!(UserValue::from(Bytes(3 << 30)), UserValue::from("3GiB"));
        assert_eq!(UserValue::from(Bytes(1_000)), UserValue::Integer(1_000));
        for bad in ["", "MiB", "-1B", "1.5GiB", "12 parsecs", "99999999TiB"] {
            assert!(read::<Bytes>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_never_overflow() {
        assert_eq!(read::<Duration>("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(read::<Duration>("20us").unwrap(), Duration::from_micros(20));
        assert!(read::<Duration>("20").is_err());
        assert!(Duration::read(&UserValue::Integer(20)).unwrap_err().contains("unit"));
        assert!(read::<Duration>("18446744073709551615s1000000000ns").is_err());
        let nanos = Duration::from_nanos(86_399_123_456_789);
        assert_eq!(Duration::read(&nanos.write().unwrap()).unwrap(), nanos);
    }

    #[test]
    fn policies_and_placements_read_what_they_write() {
        let spin = Duration::from_micros(50);
        for policy in [WaitPolicy::BusySpin, WaitPolicy::Park, WaitPolicy::default(), WaitPolicy::Adaptive { spin }] {
            assert_eq!(read::<WaitPolicy>(&policy.to_string()).unwrap(), policy);
        }
        for placement in [Placement::Auto, Placement::On(3), Placement::Dedicated] {
            assert_eq!(read::<Placement>(&placement.to_string()).unwrap(), placement);
        }
        assert!(read::<Placement>("cpu:").is_err());
        assert_eq!(read::<Guarantee>("exactly-once"), Ok(Guarantee::ExactlyOnce));
    }
}
