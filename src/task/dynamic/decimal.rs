//! [`Decimal`]: a decimal number of any precision.

use std::fmt;
use std::str::FromStr;

use num_bigint::BigInt;

/// A decimal number of any precision: digits and how many of them stand behind the point, as a Java `BigDecimal`.
///
/// Equal if both are: `1.0` is not `1.00`.
///
/// ```
/// use squall::task::dynamic::Decimal;
///
/// let third: Decimal = "0.3333333333333333333333".parse().unwrap();
/// assert_eq!(third.to_string(), "0.3333333333333333333333");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    unscaled: BigInt,
    scale: i32,
}

/// A text that is no decimal number, or whose exponent is too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number")]
pub struct NotDecimal;

impl Decimal {
    /// `unscaled` × 10^−`scale`.
    pub fn new(unscaled: BigInt, scale: i32) -> Self {
        Decimal { unscaled, scale }
    }

    /// All digits, as an integer.
    pub fn unscaled(&self) -> &BigInt {
        &self.unscaled
    }

    /// How many of the digits stand behind the point; negative if zeros follow them.
    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// The float nearest to it.
    pub fn to_f64(&self) -> f64 {
        // Both forms are read by the same rules, and any exponent has its float, zero and infinity among them.
        format!("{}e{}", self.unscaled, -i64::from(self.scale)).parse().unwrap_or(f64::NAN)
    }
}

impl FromStr for Decimal {
    type Err = NotDecimal;

    /// Reads `-12.50e3` and the like.
    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().map_err(|_| NotDecimal)?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotDecimal);
        }
        let unscaled = format!("{whole}{fraction}").parse().map_err(|_| NotDecimal)?;
        let scale = i32::try_from(fraction.len()).ok().and_then(|digits| digits.checked_sub(exponent));
        Ok(Decimal { unscaled, scale: scale.ok_or(NotDecimal)? })
    }
}

/// As Java's `BigDecimal.toString`: with an exponent where there would be zeros after the digits, or many before them.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.unscaled.magnitude().to_string();
        if self.unscaled.sign() == num_bigint::Sign::Minus {
            f.write_str("-")?;
        }
        let (count, scale) = (digits.len() as i64, i64::from(self.scale));
        let exponent = count - 1 - scale;
        if scale >= 0 && exponent >= -6 {
            let (behind, zeros) = (scale as usize, (scale - count + 1).max(0) as usize);
            let padded = "0".repeat(zeros) + &digits;
            let (whole, fraction) = padded.split_at(padded.len() - behind);
            return if fraction.is_empty() { f.write_str(whole) } else { write!(f, "{whole}.{fraction}") };
        }
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        write!(f, "{first}{point}{rest}E{exponent:+}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_java_writes_them() {
        // Found with `new BigDecimal(text).toString()`.
        let texts = [
            ("0.30000000000000004441", "0.30000000000000004441"),
            ("0.000000012345678901234567", "1.2345678901234567E-8"),
            ("1234567890123456789e5", "1.234567890123456789E+23"),
            ("1e30", "1E+30"),
            ("-0.001", "-0.001"),
            ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
            ("100", "100"),
            ("0.0", "0.0"),
        ];
        for (text, shown) in texts {
            let decimal: Decimal = text.parse().unwrap();
            assert_eq!(decimal.to_string(), shown);
            assert_eq!(shown.parse::<Decimal>(), Ok(decimal), "{shown}");
        }
        for text in ["", "x", "1.x", "1.-2", "1e99999999999", "--1"] {
            assert_eq!(text.parse::<Decimal>(), Err(NotDecimal), "{text}");
        }
        assert_eq!("0.30000000000000004441".parse::<Decimal>().unwrap().to_f64(), 0.30000000000000004);
    }
}
