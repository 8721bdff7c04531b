//! What the ledger and the word count must come to, computed from their input alone and without their code; and the
//! comparison.

use std::collections::BTreeMap;

/// SplitMix64, as the ledger's page of options promises its transfers by.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const STRIDE: u64 = 4_294_967_291;

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn fork(counter: u64, label: u64) -> u64 {
    mix(counter ^ mix(label.wrapping_add(GOLDEN)))
}

/// Balance and number of entries of each account.
pub type Balances = BTreeMap<u64, (i64, u64)>;

/// The final balances of a ledger with one source.
pub fn ledger(seed: u64, accounts: u64, transfers: u64) -> Balances {
    let mut balances = Balances::new();
    let below = |random: u64, bound: u64| ((u128::from(random) * u128::from(bound)) >> 64) as u64;
    for index in 0..transfers {
        let (round, place) = (index / accounts, index % accounts);
        let counter = fork(fork(mix(seed ^ GOLDEN), 0), round);
        let [a, b, c] = [1, 2, 3].map(|n| mix(counter.wrapping_add(GOLDEN.wrapping_mul(n))));
        let from = (STRIDE % accounts * place + below(a, accounts)) % accounts;
        let to = (from + 1 + below(b, accounts - 1)) % accounts;
        let amount = 1 + (mix(c ^ index) % 100) as i64;
        for (account, amount) in [(from, -amount), (to, amount)] {
            let (balance, entries) = balances.entry(account).or_insert((1_000, 0));
            *balance += amount;
            *entries += 1;
        }
    }
    balances
}

/// How an outcome differs from what it must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Entries that were never applied.
    pub lost: u64,
    /// Entries that were applied more than once, or that nobody made.
    pub duplicated: u64,
    /// Accounts with the right number of entries and a wrong balance.
    pub wrong: u64,
}

/// Compares balances as the ledger writes them.
///
/// # Errors
/// A line that is none of its.
pub fn compare(expected: &Balances, written: &str) -> Result<Difference, String> {
    let mut actual = Balances::new();
    for line in written.lines() {
        let fields: Vec<i64> = line.split('\t').map_while(|field| field.parse().ok()).collect();
        let &[account, balance, entries] = fields.as_slice() else { return Err(format!("not a balance: {line:?}")) };
        if actual.insert(account as u64, (balance, entries as u64)).is_some() {
            return Err(format!("account {account} is there twice"));
        }
    }
    let mut difference = Difference::default();
    let accounts: std::collections::BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
    for account in accounts {
        let of = |balances: &Balances| balances.get(account).copied().unwrap_or((1_000, 0));
        let (expected, actual) = (of(expected), of(&actual));
        difference.lost += expected.1.saturating_sub(actual.1);
        difference.duplicated += actual.1.saturating_sub(expected.1);
        difference.wrong += u64::from(expected.1 == actual.1 && expected.0 != actual.0);
    }
    Ok(difference)
}

/// How often each word is in a text.
pub fn words(text: &[u8]) -> BTreeMap<&[u8], u64> {
    let mut counts = BTreeMap::new();
    let is_space = |byte: &u8| b" \t\n\r\x0b\x0c".contains(byte);
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// Compares counts as the word count writes them. They have to be equal to the byte.
///
/// # Errors
/// A line that is none of its.
pub fn compare_words(text: &[u8], repeat: u64, written: &[u8]) -> Result<Difference, String> {
    let expected = words(text);
    let mut lines = Vec::new();
    for (word, count) in &expected {
        lines.extend_from_slice(word);
        lines.extend_from_slice(format!("\t{}\n", count * repeat).as_bytes());
    }
    if lines == written {
        return Ok(Difference::default());
    }
    let mut actual: BTreeMap<&[u8], u64> = BTreeMap::new();
    for line in written.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let not_ours = || format!("not a count: {:?}", String::from_utf8_lossy(line));
        let tab = line.iter().rposition(|&byte| byte == b'\t').ok_or_else(not_ours)?;
        let count: Option<u64> = std::str::from_utf8(&line[tab + 1..]).ok().and_then(|count| count.parse().ok());
        *actual.entry(&line[..tab]).or_default() += count.ok_or_else(not_ours)?;
    }
    let mut difference = Difference::default();
    let words: std::collections::BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
    for word in words {
        let (expected, actual) = (expected.get(word).map_or(0, |count| count * repeat), actual.get(word).copied());
        difference.lost += expected.saturating_sub(actual.unwrap_or(0));
        difference.duplicated += actual.unwrap_or(0).saturating_sub(expected);
    }
    // Equal counts, and yet not equal bytes: another order, or a word twice.
    difference.wrong += u64::from(difference == Difference::default());
    Ok(difference)
}
