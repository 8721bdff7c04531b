//! What a plain scalar of YAML 1.1 means, as SnakeYAML reads it.

use super::node::Content;

/// The value of a scalar without quotes and tag. Dates stay texts.
pub(super) fn resolve(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Content::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Content::Bool(false),
        _ => {}
    }
    int(text).or_else(|| float(text)).unwrap_or_else(|| Content::Text(text.into()))
}

fn unsigned(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Decimal, octal (a leading 0), hexadecimal, binary, sexagesimal (`1:30` is 90); `_` between digits means nothing.
pub(super) fn int(text: &str) -> Option<Content> {
    let (is_negative, digits) = unsigned(text);
    let first = digits.bytes().next().filter(u8::is_ascii_digit)?;
    let bare: String = digits.chars().filter(|&character| character != '_').collect();
    let magnitude = if let Some(hex) = bare.strip_prefix("0x") {
        i128::from_str_radix(plain_digits(hex)?, 16).ok()?
    } else if let Some(binary) = bare.strip_prefix("0b") {
        i128::from_str_radix(plain_digits(binary)?, 2).ok()?
    } else if bare.contains(':') {
        sexagesimal(&bare).filter(|_| first != b'0')?
    } else if first == b'0' && digits.len() > 1 {
        i128::from_str_radix(plain_digits(&bare)?, 8).ok()?
    } else {
        plain_digits(&bare)?.parse().ok()?
    };
    let value = if is_negative { -magnitude } else { magnitude };
    // SnakeYAML makes a BigInteger of what does not fit: nothing here wants one, and a text keeps all digits.
    Some(i64::try_from(value).map_or_else(|_| Content::Text(text.into()), Content::Int))
}

/// Rust's own parsers would take one more sign.
fn plain_digits(digits: &str) -> Option<&str> {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits)
}

fn sexagesimal(text: &str) -> Option<i128> {
    let mut parts = text.split(':');
    let mut value: i128 = plain_digits(parts.next()?)?.parse().ok()?;
    for part in parts {
        let digit = plain_digits(part).filter(|part| (1..=2).contains(&part.len()))?.parse::<i128>().ok()?;
        value = value.checked_mul(60)?.checked_add(Some(digit).filter(|&digit| digit < 60)?)?;
    }
    Some(value)
}

pub(super) fn float(text: &str) -> Option<Content> {
    let (is_negative, rest) = unsigned(text);
    let sign = if is_negative { -1.0 } else { 1.0 };
    match rest {
        ".inf" | ".Inf" | ".INF" => return Some(Content::Float(sign * f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Some(Content::Float(f64::NAN)),
        _ => {}
    }
    let bare: String = rest.chars().filter(|&character| character != '_').collect();
    let mut bytes = bare.bytes();
    let starts = match bytes.next()? {
        b'.' => bytes.next().is_some_and(|byte| byte.is_ascii_digit()),
        first => first.is_ascii_digit(),
    };
    let is_float = starts && bare.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let has_mark = bare.bytes().any(|byte| b".eE".contains(&byte));
    if !(is_float && has_mark) {
        return None;
    }
    bare.parse::<f64>().ok().map(|value| Content::Float(sign * value))
}
