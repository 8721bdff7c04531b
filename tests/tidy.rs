//! The rules of the house that a machine can check, checked by reading the sources. Every violation is listed at once,
//! with its place and the remedy.

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use rules::{Violation, check};

/// The whole tree obeys.
#[test]
fn the_sources_obey_the_rules_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "topologies", "benches", "tests", "tools", ".ci"] {
        collect(&root.join(folder), &mut files);
    }
    let at_the_top = fs::read_dir(root).expect("the package's folder").map(|entry| entry.expect("an entry").path());
    files.extend(at_the_top.filter(|path| path.extension().is_some_and(|e| e == "md" || e == "toml")));
    assert!(files.contains(&root.join("src/lib.rs")), "the sources were not found under {}", root.display());

    let mut violations = Vec::new();
    for path in files {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        violations.extend(check(&name, &String::from_utf8_lossy(&bytes)));
    }
    violations.sort();
    let list: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert!(list.is_empty(), "{} violations:\n{}", list.len(), list.join("\n"));
}

/// Every file below the folder, but not the shipped data. A packed crate lacks some of the folders.
fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    if !folder.exists() || folder.ends_with("topologies/data") {
        return;
    }
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The lines on which a file of this name and text breaks a rule.
fn lines(file: &str, text: &str) -> Vec<usize> {
    let mut lines: Vec<usize> = check(file, text).into_iter().map(|violation| violation.line).collect();
    lines.sort();
    lines
}

#[test]
fn imports_may_point_down_only() {
    assert_eq!(lines("src/engine/run.rs", "use crate::task::lane::Lane;\nuse crate::error::Failure;"), []);
    assert_eq!(lines("src/engine/run.rs", "use crate::engine::plan;\nuse super::wait;"), []);
    assert_eq!(lines("src/task/lane.rs", "\nuse crate::engine::run::Run;"), [2]);
    assert_eq!(lines("src/error.rs", "use crate::sys::clock;"), [1]);
    assert_eq!(lines("src/connect/file.rs", "use crate::testing::Driver;"), [1], "sideways");
    assert_eq!(lines("src/lib.rs", "pub use crate::engine::Running;"), []);
}

#[test]
fn an_import_is_seen_in_whatever_form_it_is_written() {
    let in_a_group = "use crate::{\n    sys::{clock, sync::Arc as Shared},\n    engine::{self as e, run},\n};";
    assert_eq!(lines("src/task/lane.rs", in_a_group), [3, 3]);
    assert_eq!(lines("src/task/lane.rs", "fn f() -> crate::engine::Run { g(1) }"), [1]);
    assert_eq!(lines("src/task/lane.rs", "fn f(a: Vec<crate::engine::Run>) {}"), [1]);
    assert_eq!(lines("src/task/lane.rs", "use super::super::engine::Run;"), [1]);
    assert_eq!(lines("src/task/mod.rs", "use super::engine::Run;"), [1]);
    assert_eq!(
        lines("src/task/mod.rs", "mod inner {\n    use super::super::engine::Run;\n    use super::engine;\n}"),
        [2]
    );
    assert_eq!(lines("src/task/lane.rs", "use crate::Running;"), [1], "a re-export at the root hides its room");
    assert_eq!(lines("src/task/lane.rs", "use crate::Result;"), []);
}

#[test]
fn a_file_outside_the_rooms_is_reported() {
    assert_eq!(lines("src/misc/helpers.rs", ""), [1]);
    assert_eq!(lines("src/misc.rs", ""), [1]);
}

#[test]
fn tests_may_use_the_test_kit_but_no_other_room_above() {
    let inside = "#[cfg(test)]\nmod tests {\n    use crate::testing::Driver;\n    use crate::engine::Run;\n}";
    assert_eq!(lines("src/task/lane.rs", inside), [4]);
    let after = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse crate::testing::Driver;";
    assert_eq!(lines("src/task/lane.rs", after), [5]);
    let only_without = "#[cfg(not(test))]\nmod product {\n    use crate::testing::Driver;\n}";
    assert_eq!(lines("src/task/lane.rs", only_without), [3]);
    assert_eq!(lines("src/task/lane.rs", "#[cfg(test)]\nuse crate::testing::Driver;\nuse crate::testing::B;"), [3]);
    assert_eq!(lines("src/task/lane/tests.rs", "use crate::testing::Driver;"), []);
}

#[test]
fn threads_atomics_and_clocks_belong_to_sys() {
    let text = "use std::sync::{Arc, atomic::AtomicU64};\nuse std::thread;\nfn f() { std::thread::yield_now() }\n\
                use std::{sync::atomic, thread::spawn};\nlet a = Instant::now();\n\
                let b = std::time::SystemTime::now();\n\
                use core::sync::atomic::fence;";
    assert_eq!(lines("src/engine/run.rs", text), [1, 2, 3, 4, 4, 5, 6, 7]);
    assert_eq!(lines("src/sys/clock.rs", text), []);
    assert_eq!(lines("tests/behaviour.rs", text), [], "tests and examples stand outside");
    assert_eq!(lines("src/engine/run.rs", "use std::sync::Arc;\nstd::thread_local!();\nuse crate::sys::thread;"), []);
}

#[test]
fn unsafe_code_has_two_homes() {
    let text = "fn f() {\n    unsafe { g() }\n}";
    assert_eq!(lines("src/engine/run.rs", text), [2]);
    assert_eq!(lines("topologies/word_count.rs", text), [2]);
    assert_eq!(lines("src/task/lane.rs", text), []);
    assert_eq!(lines("src/sys/cpu/pin.rs", text), []);
    assert_eq!(lines("tools/faults/preload.rs", text), [], "outside of the program");
    assert_eq!(lines("tools/faults/campaign.rs", text), [2]);
    assert_eq!(lines("src/engine/run.rs", "#![deny(unsafe_code)] // unsafe\nlet s = \"unsafe\"; /* unsafe */"), []);
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "/// use crate::engine::Run;\n/* /* todo!() */ unsafe */\nlet a = \"\\\" unsafe\";\n\
                let b = r#\"\" unsafe\"#;\n\
                let c = ('\"', b'\\'', 'x');\nfn f<'a>(x: &'a str) {}\nunsafe {}\nlet d = br\"\\\"; unsafe {}";
    assert_eq!(lines("src/task/outlet.rs", text), [7, 8]);
}

#[test]
fn nothing_unfinished_goes_in() {
    let text =
        "fn f() {\n    todo!(\"later\")\n}\nunimplemented!();\ndbg!(1);\n#[ignore]\n#[ignore = \"slow\"]\nfn todo() {}";
    assert_eq!(lines("tests/behaviour.rs", text), [2, 4, 5, 6, 7]);
    assert_eq!(lines("tests/behaviour.rs", "if todo != 0 {}\n#[cfg_attr(miri, ignore)]\nfn f() {}"), []);
}

#[test]
fn lines_and_files_have_a_limit() {
    let line = "é".repeat(120);
    assert_eq!(lines("src/sys/cpu.rs", &format!("// \n{line}\n")), []);
    assert_eq!(lines("src/sys/cpu.rs", &format!("// \n{line}x\n")), [2]);
    assert_eq!(lines("README.md", &format!("{line}x\n")), []);
    assert_eq!(lines("src/sys/cpu.rs", &"//\n".repeat(600)), []);
    assert_eq!(lines("src/sys/cpu.rs", &"//\n".repeat(601)), [601]);
    assert_eq!(lines("tests/behaviour.rs", &"//\n".repeat(601)), []);
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    for root in ["work", "root", "home"] {
        assert_eq!(lines("tools/check", &format!("ok\ncd /{root}/main\n")), [2]);
        assert_eq!(lines("README.md", &format!("`/{root}/x`")), [1]);
        assert_eq!(lines("README.md", &format!("example.org/{root}/x, $HOME/{root}/x")), []);
    }
}
