//! The shape of a type as serde sees it: `u64`, `str`, `(str,u32)`, `{count:u64,last:str?}`.
//!
//! Found by letting the type read itself from a deserializer that has nothing but stand-ins and notes what it is asked
//! for. So no value is needed, and a state's key type is recorded before its first key is there.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess};
use serde::de::{VariantAccess, Visitor};

/// Types that hold themselves end here.
const DEPTH_MAX: usize = 8;

/// The shape of a type. What its reading rejects in a stand-in (an empty text, a zero) ends in `…`.
pub(super) fn of<T: DeserializeOwned>() -> String {
    let mut shape = String::new();
    if T::deserialize(Tracer { shape: &mut shape, depth: 0 }).is_err() {
        shape.push('…');
    }
    shape
}

/// Why a type stopped reading.
#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type cannot be read from stand-ins")
    }
}

impl std::error::Error for Stopped {}

impl de::Error for Stopped {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Stopped
    }
}

struct Tracer<'a> {
    shape: &'a mut String,
    depth: usize,
}

impl Tracer<'_> {
    fn part(&mut self) -> Result<Tracer<'_>, Stopped> {
        match self.depth < DEPTH_MAX {
            true => Ok(Tracer { shape: self.shape, depth: self.depth + 1 }),
            false => Err(Stopped),
        }
    }
}

macro_rules! scalars {
    ($($method:ident $visit:ident $name:literal $($value:expr)?;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
            self.shape.push_str($name);
            visitor.$visit($($value)?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Tracer<'_> {
    type Error = Stopped;

    scalars! {
        deserialize_any visit_unit "any" ;
        deserialize_ignored_any visit_unit "any" ;
        deserialize_bool visit_bool "bool" false;
        deserialize_i8 visit_i8 "i8" 1;
        deserialize_i16 visit_i16 "i16" 1;
        deserialize_i32 visit_i32 "i32" 1;
        deserialize_i64 visit_i64 "i64" 1;
        deserialize_i128 visit_i128 "i128" 1;
        deserialize_u8 visit_u8 "u8" 1;
        deserialize_u16 visit_u16 "u16" 1;
        deserialize_u32 visit_u32 "u32" 1;
        deserialize_u64 visit_u64 "u64" 1;
        deserialize_u128 visit_u128 "u128" 1;
        deserialize_f32 visit_f32 "f32" 1.0;
        deserialize_f64 visit_f64 "f64" 1.0;
        deserialize_char visit_char "char" '1';
        deserialize_str visit_str "str" "1";
        deserialize_string visit_str "str" "1";
        deserialize_identifier visit_str "str" "1";
        deserialize_bytes visit_bytes "bytes" b"1";
        deserialize_byte_buf visit_bytes "bytes" b"1";
        deserialize_unit visit_unit "()" ;
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stopped> {
        let value = visitor.visit_some(self.part()?)?;
        self.shape.push('?');
        Ok(value)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stopped> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(mut self, _: &'static str, visitor: V) -> Result<V::Value, Stopped> {
        visitor.visit_newtype_struct(self.part()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stopped> {
        self.shape.push('[');
        let value = visitor.visit_seq(Parts { left: 1, names: &[], is_first: true, of: self.part()? })?;
        self.shape.push(']');
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value, Stopped> {
        self.shape.push('(');
        let value = visitor.visit_seq(Parts { left: length, names: &[], is_first: true, of: self.part()? })?;
        self.shape.push(')');
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stopped> {
        self.shape.push_str("map(");
        let value = visitor.visit_map(Parts { left: 1, names: &[], is_first: true, of: self.part()? })?;
        self.shape.push(')');
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        self.shape.push('{');
        let value = visitor.visit_map(Parts { left: names.len(), names, is_first: true, of: self.part()? })?;
        self.shape.push('}');
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        self.shape.push_str(&names.join("|"));
        // What the first variant holds is read, so that there is a value, but not noted: it would stand for all.
        let mut of_first = String::new();
        visitor.visit_enum(FirstVariant {
            name: names.first().ok_or(Stopped)?,
            of: Tracer { shape: &mut of_first, depth: self.depth + 1 }.part()?,
        })
    }
}

/// The parts of a sequence, tuple, map or structure.
struct Parts<'a> {
    left: usize,
    names: &'static [&'static str],
    is_first: bool,
    of: Tracer<'a>,
}

impl Parts<'_> {
    fn next(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        if !std::mem::take(&mut self.is_first) {
            self.of.shape.push(',');
        }
        Some(())
    }
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Stopped;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stopped> {
        self.next().map(|()| seed.deserialize(self.of.part()?)).transpose()
    }
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Stopped;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stopped> {
        let Some(()) = self.next() else { return Ok(None) };
        let name = self.names.len().checked_sub(self.left + 1).map(|index| self.names[index]);
        match name {
            Some(name) => {
                self.of.shape.push_str(name);
                self.of.shape.push(':');
                seed.deserialize(name.into_deserializer()).map(Some)
            }
            None => {
                let key = seed.deserialize(self.of.part()?)?;
                self.of.shape.push(',');
                Ok(Some(key))
            }
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stopped> {
        seed.deserialize(self.of.part()?)
    }
}

/// The first variant of an enumeration.
struct FirstVariant<'a> {
    name: &'static str,
    of: Tracer<'a>,
}

impl<'de, 'a> EnumAccess<'de> for FirstVariant<'a> {
    type Error = Stopped;
    type Variant = Tracer<'a>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Tracer<'a>), Stopped> {
        Ok((seed.deserialize(self.name.into_deserializer())?, self.of))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Stopped;

    fn unit_variant(self) -> Result<(), Stopped> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stopped> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stopped> {
        de::Deserializer::deserialize_tuple(self, length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, names: &'static [&'static str], visitor: V) -> Result<V::Value, Stopped> {
        de::Deserializer::deserialize_struct(self, "", names, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use serde::Deserialize;

    #[test]
    fn shapes_are_those_of_serde() {
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its shape is of interest")]
        struct Seen {
            count: u64,
            last: Option<String>,
            at: Where,
        }
        #[derive(Deserialize)]
        enum Where {
            Here,
            #[allow(dead_code, reason = "only its shape is of interest")]
            There(u8),
        }
        let _ = Where::Here;
        assert_eq!(of::<u64>(), "u64");
        assert_eq!(of::<usize>(), "u64");
        assert_eq!(of::<(String, u32)>(), "(str,u32)");
        assert_eq!(of::<[u8; 3]>(), "(u8,u8,u8)");
        assert_eq!(of::<Vec<Option<i8>>>(), "[i8?]");
        assert_eq!(of::<BTreeMap<String, (bool,)>>(), "map(str,(bool))");
        assert_eq!(of::<Seen>(), "{count:u64,last:str?,at:Here|There}");
        assert_eq!(of::<serde_json::Value>(), "any");
    }

    #[test]
    fn a_type_without_end_has_a_shape() {
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its shape is of interest")]
        struct Tree {
            below: Vec<Tree>,
        }
        assert!(of::<Tree>().ends_with('…'));
        assert!(of::<std::net::Ipv4Addr>().contains('…'));
    }
}
