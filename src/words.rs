//! Numbers in sentences.

/// `31,102`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 letter`, `2,000 letters`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `once`, `3 times`.
pub(crate) fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { counted(number, "time") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_and_grouped() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (31_102, "31,102"), (1_234_567_890, "1,234,567,890")];
        cases.into_iter().for_each(|(number, text)| assert_eq!(grouped(number), text));
    }

    #[test]
    fn one_is_said_in_the_singular() {
        assert_eq!([0, 1, 2_000].map(|number| counted(number, "error")), ["0 errors", "1 error", "2,000 errors"]);
        assert_eq!([1, 2].map(times), ["once", "2 times"]);
    }
}
