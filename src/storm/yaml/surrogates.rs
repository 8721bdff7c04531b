//! Surrogates written as escapes: `"\ud83e\udd80"`, as JSON has them and as Java reads them.
//!
//! The parser takes no half of a character. So before it sees the text, each such escape becomes that of a character
//! for private use which the text does not use itself; of the same length, so that every place stays what it is. What
//! the parser makes of them is turned back into the character that the halves are of.

use std::borrow::Cow;

/// Half of the surrogates, or characters for private use of the same number.
const COUNT: u32 = 0x800;
const SURROGATES: u32 = 0xd800;

/// How surrogates are hidden from the parser.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hidden {
    /// What stands for the first of them.
    base: u32,
}

impl Hidden {
    /// The text with all such escapes hidden; nothing if there are none, or if the text uses all that could hide them.
    pub fn hide(text: &str) -> Option<(String, Self)> {
        if !escapes(text).any(|(_, code)| is_within(code, SURROGATES)) {
            return None;
        }
        let is_free = |base: &u32| {
            !text.chars().any(|character| is_within(character.into(), *base))
                && !escapes(text).any(|(_, code)| is_within(code, *base))
        };
        let hidden = Hidden { base: [0xe000, 0xe800, 0xf000].into_iter().find(is_free)? };
        let hide = |code: u32| is_within(code, SURROGATES).then(|| code - SURROGATES + hidden.base);
        Some((with_escapes(text, hide), hidden))
    }

    /// A scalar as it would be if the parser took surrogates.
    ///
    /// # Errors
    /// Half of a character stands alone in it; which one.
    pub fn shown(self, text: &str) -> Result<Cow<'_, str>, u16> {
        let back = |code: u32| is_within(code, self.base).then(|| code - self.base + SURROGATES);
        // Escapes that are none, as in single quotes.
        let text = if text.contains("\\u") { with_escapes(text, back).into() } else { Cow::Borrowed(text) };
        if !text.chars().any(|character| back(character.into()).is_some()) {
            return Ok(text);
        }
        let mut units = Vec::with_capacity(text.len());
        for character in text.chars() {
            match back(character.into()) {
                Some(code) => units.push(code as u16),
                None => units.extend_from_slice(character.encode_utf16(&mut [0; 2])),
            }
        }
        let decoded: Result<String, _> = char::decode_utf16(units).collect();
        decoded.map(Cow::Owned).map_err(|alone| alone.unpaired_surrogate())
    }
}

fn is_within(code: u32, base: u32) -> bool {
    (base..base + COUNT).contains(&code)
}

/// Where each `\uXXXX` begins, and its number. Whether it is an escape depends on where it stands.
fn escapes(text: &str) -> impl Iterator<Item = (usize, u32)> {
    text.match_indices("\\u").filter_map(|(at, _)| {
        let digits = text.get(at + 2..at + 6)?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some((at, is_number.then(|| u32::from_str_radix(digits, 16).ok())??))
    })
}

/// The text with other numbers in its escapes. Digits in two cases stay, since there would be no way back to them.
fn with_escapes(text: &str, other: impl Fn(u32) -> Option<u32>) -> String {
    let mut out = text.to_owned();
    for (at, code) in escapes(text) {
        let Some(code) = other(code) else { continue };
        let digits = &text[at + 2..at + 6];
        let has = |is_case: fn(&u8) -> bool| digits.bytes().any(|byte| is_case(&byte));
        let digits = match (has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase)) {
            (true, true) => continue,
            (true, false) => format!("{code:04X}"),
            _ => format!("{code:04x}"),
        };
        out.replace_range(at + 2..at + 6, &digits);
    }
    out
}
