//! The rules themselves: each takes a file's path and text and lists what breaks it.

use crate::source::{Path, Token, code_of, paths_of, tokens_of};

/// The rooms of `src`, top to bottom. A room imports only from rows further down.
const ROOMS: [&[&str]; 14] = [
    &["cli"],
    &["bench"],
    &["observe"],
    &["storm"],
    &["testing"],
    &["connect"],
    &["stream"],
    &["event_time"],
    &["engine"],
    &["topology"],
    &["task"],
    &["state"],
    &["sys"],
    &["error", "words"],
];

/// Tests of everything together, also of what stands above their room.
const TESTS_OF_ALL: &str = "src/testing/simulation/generated/";

const LINE_CHARS_MAX: usize = 120;
const FILE_LINES_MAX: usize = 600;

/// One place where a rule is broken, and what to do about it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// All rules that apply to this file; `file` is relative to the package, with forward slashes.
pub fn check(file: &str, text: &str) -> Vec<Violation> {
    let mut found: Vec<(usize, String)> = machine_paths(text);
    if file.ends_with(".rs") {
        let code = code_of(text);
        let tokens = tokens_of(&code);
        found.extend(long_lines(text));
        found.extend(unfinished(&tokens));
        if !file.starts_with("tests/") && !file.starts_with("benches/") {
            found.extend(unsafe_words(file, &tokens));
        }
        if file.starts_with("src/") {
            let paths = paths_of(&tokens);
            found.extend(long_file(text));
            found.extend(imports(file, &paths));
            found.extend(around_the_facade(file, &paths));
        }
    }
    found.into_iter().map(|(line, message)| Violation { file: file.into(), line, message }).collect()
}

fn machine_paths(text: &str) -> Vec<(usize, String)> {
    // Put together here, so that this file does not break its own rule.
    let roots = ["work", "root", "home"].map(|name| format!("/{name}/"));
    let starts_a_path = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "_-.~/}".contains(c));
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for root in &roots {
            if line.match_indices(root.as_str()).any(|(at, _)| starts_a_path(&line[..at])) {
                found.push((index + 1, format!("a path of one machine ({root}): make it relative")));
            }
        }
    }
    found
}

fn long_lines(text: &str) -> Vec<(usize, String)> {
    let lengths = text.lines().map(|line| line.chars().count()).enumerate();
    let long = lengths.filter(|&(_, length)| length > LINE_CHARS_MAX);
    long.map(|(index, length)| (index + 1, format!("{length} characters: break it at {LINE_CHARS_MAX}"))).collect()
}

fn long_file(text: &str) -> Option<(usize, String)> {
    let lines = text.lines().count();
    (lines > FILE_LINES_MAX).then(|| (lines, format!("{lines} lines: at most {FILE_LINES_MAX}; split it by ideas")))
}

fn unfinished(tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for window in tokens.windows(3) {
        let [first, second, third] = [window[0], window[1], window[2]];
        if ["todo", "unimplemented", "dbg"].contains(&first.text) && second.text == "!" && third.text != "=" {
            found.push((first.line, format!("`{}!`: finish it or take it out", first.text)));
        }
        if first.text == "#" && second.text == "[" && third.text == "ignore" {
            found.push((first.line, "an ignored test proves nothing: mend it or remove it".into()));
        }
    }
    found
}

fn unsafe_words(file: &str, tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    // The third is no part of the program: it is what the fault campaign loads below it.
    if file.starts_with("src/sys/") || file == "src/task/lane.rs" || file == "tools/faults/preload.rs" {
        return Vec::new();
    }
    let words = tokens.iter().filter(|token| token.text == "unsafe");
    words
        .map(|token| (token.line, "`unsafe` outside src/sys and src/task/lane.rs: move it behind them".into()))
        .collect()
}

fn around_the_facade(file: &str, paths: &[Path<'_>]) -> Vec<(usize, String)> {
    if file.starts_with("src/sys/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for path in paths {
        let door = match path.segments[..] {
            ["std" | "core", "thread", ..] => "crate::sys::thread",
            ["std" | "core", "sync", "atomic", ..] => "crate::sys::sync",
            [.., "Instant" | "SystemTime", "now"] => "crate::sys::clock",
            _ => continue,
        };
        found.push((path.line, format!("`{}` goes past the facade: use {door}", path.segments.join("::"))));
    }
    found
}

/// Imports point down the list of rooms, never up or sideways.
fn imports(file: &str, paths: &[Path<'_>]) -> Vec<(usize, String)> {
    let modules = modules_of(file);
    let Some(&room) = modules.first() else {
        return Vec::new(); // lib.rs and main.rs stand above all rooms
    };
    let Some(row) = row_of(room) else {
        return vec![(
            1,
            format!("`{room}` is no room: give it a row in ROOMS of tests/tidy/rules.rs, or a place in one"),
        )];
    };
    let is_test_file = modules.contains(&"tests");
    let mut found = Vec::new();
    for path in paths {
        let Some(target) = from_the_root(&modules, path) else { continue };
        if target == room || (target == "testing" && (path.in_test || is_test_file)) {
            continue;
        }
        if file.starts_with(TESTS_OF_ALL) && row_of(target).is_some() {
            continue;
        }
        let message = match row_of(target) {
            Some(target_row) if target_row > row => continue,
            Some(_) => format!("`{room}` imports `{target}`, which is not below it: move the code, or turn it round"),
            None if ["Error", "Failure", "Result"].contains(&target) => continue,
            None => format!("`crate::{target}` hides which room it is from: write crate::<room>::…::{target}"),
        };
        found.push((path.line, message));
    }
    found
}

fn row_of(room: &str) -> Option<usize> {
    ROOMS.iter().position(|row| row.contains(&room))
}

/// `src/task/lane.rs` is `["task", "lane"]`; `src/lib.rs` and `src/main.rs` are the root itself.
fn modules_of(file: &str) -> Vec<&str> {
    let inner = file.strip_prefix("src/").unwrap_or(file).trim_end_matches(".rs");
    if inner == "lib" || inner == "main" {
        return Vec::new();
    }
    inner.split('/').filter(|&name| name != "mod").collect()
}

/// The name that follows the crate's root in this path, if the path goes through the root.
fn from_the_root<'a>(file_modules: &[&str], path: &Path<'a>) -> Option<&'a str> {
    let segments = path.segments.strip_prefix(&["self"]).unwrap_or(&path.segments);
    let ups = match segments.first()? {
        &"crate" => return segments.get(1).copied(),
        _ => segments.iter().take_while(|&&segment| segment == "super").count(),
    };
    let depth = file_modules.len() + path.modules.len();
    (ups > 0 && ups >= depth).then(|| segments.get(ups).copied()).flatten()
}
