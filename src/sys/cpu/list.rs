//! The kernel's list format, `0-3,8`.

use std::fmt;

use super::CpuId;

/// No machine has more CPUs than this; a larger number is garbage and must not become a huge list.
const CPU_ID_MAX: usize = 65_535;

/// Why a text is not a list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuListError {
    part: String,
    reason: &'static str,
}

impl fmt::Display for CpuListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in a list of CPUs: {}", self.part, self.reason)
    }
}

impl std::error::Error for CpuListError {}

/// Reads a list of CPUs in the kernel's format: numbers and ascending ranges, joined by commas.
///
/// The result is sorted and free of duplicates. An empty text is an empty list, as the kernel writes it.
///
/// # Errors
///
/// A part is neither a number nor an ascending range, or a number is beyond 65,535.
///
/// # Examples
///
/// ```
/// use squall::sys::cpu::{CpuId, parse_cpu_list};
///
/// assert_eq!(parse_cpu_list("0-2,8\n")?, [0, 1, 2, 8].map(CpuId));
/// assert!(parse_cpu_list("3-1").is_err());
/// # Ok::<(), squall::sys::cpu::CpuListError>(())
/// ```
pub fn parse_cpu_list(text: &str) -> Result<Vec<CpuId>, CpuListError> {
    let text = text.trim();
    let mut cpus = Vec::new();
    if text.is_empty() {
        return Ok(cpus);
    }
    for part in text.split(',') {
        let (first, last) =
            parse_part(part.trim()).map_err(|reason| CpuListError { part: part.chars().take(40).collect(), reason })?;
        cpus.extend((first..=last).map(CpuId));
        // Overlapping ranges repeat; dropping the repeats at once keeps the list within the number of possible ids.
        if cpus.len() > CPU_ID_MAX {
            normalise(&mut cpus);
        }
    }
    normalise(&mut cpus);
    Ok(cpus)
}

fn normalise(cpus: &mut Vec<CpuId>) {
    cpus.sort_unstable();
    cpus.dedup();
}

fn parse_part(part: &str) -> Result<(usize, usize), &'static str> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (parse_id(first)?, parse_id(last)?);
    if first > last { Err("a range must ascend") } else { Ok((first, last)) }
}

fn parse_id(text: &str) -> Result<usize, &'static str> {
    // `parse` alone would accept a sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not a number or a range");
    }
    match text.parse() {
        Ok(id) if id <= CPU_ID_MAX => Ok(id),
        _ => Err("beyond the largest CPU number, 65535"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(text: &str) -> Vec<usize> {
        parse_cpu_list(text).unwrap().into_iter().map(|cpu| cpu.0).collect()
    }

    #[test]
    fn numbers_and_ranges_are_read_sorted_and_once() {
        assert_eq!(ids("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(ids("8, 2-3,3-4,8"), [2, 3, 4, 8]);
        assert_eq!(ids("5-5"), [5]);
    }

    #[test]
    fn an_empty_text_is_an_empty_list() {
        assert!(ids("").is_empty());
        assert!(ids(" \n").is_empty());
    }

    #[test]
    fn garbage_is_refused_and_the_offending_part_is_named() {
        for text in [",", "0,", "a", "1-", "-1", "1-2-3", "+1", "0x1", "3-1", "1..3", "\u{0}", "٣", "0-65536"] {
            assert!(parse_cpu_list(text).is_err(), "{text:?} was accepted");
        }
        assert!(parse_cpu_list("99999999999999999999999").unwrap_err().to_string().contains("beyond"));
        assert!(parse_cpu_list("0,frog,2").unwrap_err().to_string().contains("frog"));
    }

    #[test]
    fn repeated_full_ranges_stay_bounded() {
        let text = ["0-65535"; 200].join(",");
        assert_eq!(parse_cpu_list(&text).unwrap().len(), CPU_ID_MAX + 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9,\\- a]{0,24}") {
            let _ = parse_cpu_list(&text);
        }

        #[test]
        fn a_written_list_is_read_back(cpus in proptest::collection::btree_set(0_usize..2_000, 0..40)) {
            let text = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            prop_assert_eq!(ids(&text), cpus.into_iter().collect::<Vec<_>>());
        }
    }
}
