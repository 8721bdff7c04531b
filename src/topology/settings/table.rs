//! The table of keys: every setting is declared once, and the struct, its default, its documentation, its bounds and
//! its text form all come from that declaration.

use std::ops::RangeInclusive;

use super::UserValue;

/// A type that a setting can have: how it reads from text or TOML, how it is written, what its bounds apply to.
pub(super) trait Setting: Sized {
    /// What bounds are compared with; for [`WaitPolicy`](super::WaitPolicy), for example, the time it spins.
    type Scalar: PartialOrd + Into<UserValue> + Clone;

    /// What a value looks like, in the words of an error message.
    const EXPECTED: &'static str;

    /// The value, or a remark on why `value` is none (empty if there is nothing to add to
    /// [`EXPECTED`](Self::EXPECTED)).
    fn read(value: &UserValue) -> Result<Self, String>;

    /// The value in the form that [`read`](Self::read) takes; `None` if nothing is set.
    fn write(&self) -> Option<UserValue>;

    /// What the bounds apply to; `None` if this value has none.
    fn scalar(&self) -> Option<Self::Scalar>;
}

/// How an optional setting that is not set is written.
pub(super) const UNSET: &str = "auto";

/// One row of the table: a key of the settings struct `S`.
pub(super) struct Key<S: 'static> {
    pub name: &'static str,
    /// The documentation of the field, one string per line.
    pub doc: &'static [&'static str],
    /// What the key takes, with its bounds.
    pub expected: fn() -> String,
    /// The present value; `None` if nothing is set.
    pub get: fn(&S) -> Option<UserValue>,
    /// Reads, checks and stores a value; on error the complete message, and `S` stays as it was.
    pub set: fn(&mut S, &UserValue) -> Result<(), String>,
}

impl<S> Key<S> {
    /// The present value as it is shown and written; a missing one as [`UNSET`].
    pub(super) fn show(&self, settings: &S) -> UserValue {
        (self.get)(settings).unwrap_or_else(|| UNSET.into())
    }
}

pub(super) fn expected<T: Setting>(bounds: Option<RangeInclusive<T::Scalar>>) -> String {
    match bounds {
        None => T::EXPECTED.to_owned(),
        Some(bounds) => {
            let (low, high) = bounds.into_inner();
            format!("{} ({} to {})", T::EXPECTED, low.into().bare(), high.into().bare())
        }
    }
}

pub(super) fn read<T: Setting>(value: &UserValue, bounds: Option<RangeInclusive<T::Scalar>>) -> Result<T, String> {
    let remark = match T::read(value) {
        Ok(read) => {
            let inside = match (read.scalar(), &bounds) {
                (Some(scalar), Some(bounds)) => bounds.contains(&scalar),
                _ => true,
            };
            if inside {
                return Ok(read);
            }
            "out of range".to_owned()
        }
        Err(remark) => remark,
    };
    let mut message = format!("expected {}, got {value}", expected::<T>(bounds));
    if !remark.is_empty() {
        message.push_str(": ");
        message.push_str(&remark);
    }
    Err(message)
}

/// Declares a settings struct together with its table `KEYS`.
///
/// `field: Type = default, bounds` lines become fields, `Default` and one [`Key`] each; what follows `+` becomes plain
/// fields that are no keys (maps of further settings). `Type as Via` reads and writes the field as a `Via`, for a text
/// form of its own.
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty $(as $via:ty)? = $default:expr $(, $bounds:expr)?;
            )+
            +
            $($(#[doc = $map_doc:literal])+ $map:ident: $map_type:ty;)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
            $($(#[doc = $map_doc])+ pub $map: $map_type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)+ $($map: Default::default(),)* }
            }
        }

        impl $name {
            /// Every key of this struct, in the order in which they are documented and printed.
            const KEYS: &'static [$crate::topology::settings::table::Key<$name>] = &[
                $($crate::topology::settings::table::Key {
                    name: stringify!($field),
                    doc: &[$($doc),+],
                    expected: || {
                        $crate::topology::settings::table::expected::<settings!(@via $type $(as $via)?)>(
                            settings!(@bounds $($bounds)?),
                        )
                    },
                    get: |settings| {
                        let value = <settings!(@via $type $(as $via)?)>::from(settings.$field.clone());
                        $crate::topology::settings::table::Setting::write(&value)
                    },
                    set: |settings, value| {
                        let read = $crate::topology::settings::table::read::<settings!(@via $type $(as $via)?)>(
                            value,
                            settings!(@bounds $($bounds)?),
                        )?;
                        settings.$field = read.into();
                        Ok(())
                    },
                },)+
            ];
        }
    };
    (@via $type:ty) => { $type };
    (@via $type:ty as $via:ty) => { $via };
    (@bounds) => { None };
    (@bounds $bounds:expr) => { Some($bounds) };
}

pub(super) use settings;
