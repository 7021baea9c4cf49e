//! The rules of the source tree, as a test. What may import what, and where what is allowed, is data in `tidy/table.rs`.
//!
//! Each rule has a test here with a planted violation: a rule that cannot fail is no rule.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/table.rs"]
mod table;

use std::path::Path;

use source::Source;

/// Folders with our Rust code.
const FOLDERS: &[&str] = &["src", "tests", "benches", "perf", "fuzz/fuzz_targets"];

fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in FOLDERS {
        source::collect(root, &root.join(folder), &mut sources);
    }
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the tree is read from its root");
    sources
}

fn architecture() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap()
}

/// Applies a rule to every file of the tree.
fn holds(rule: impl Fn(&Source) -> Vec<String>) {
    let broken: Vec<String> = tree().iter().flat_map(rule).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Applies a rule to a planted file, and counts what it finds.
fn found(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn a_file_has_one_responsibility_and_says_so_first() {
    holds(rules::size);
    holds(rules::opening);
    let lines = "//! Long.\n".repeat(table::LINES_MAX);
    assert_eq!(found(rules::size, "src/a.rs", &lines), 0);
    assert_eq!(found(rules::size, "src/a.rs", &format!("{lines}\n")), 1);
    assert_eq!(found(rules::opening, "src/a.rs", "use std::fmt;\n//! Late.\n"), 1);
}

#[test]
fn modules_import_only_downwards() {
    holds(rules::imports);
    for (path, text, violations) in [
        ("src/wal/log.rs", "use crate::disk::Disk;\nuse super::batch::Batch;\n", 0),
        ("src/wal/log.rs", "use crate::shard::Shard;\n", 1),
        ("src/wal/log.rs", "fn f() -> crate::shard::Shard { todo() }\n", 1),
        ("src/wal/log.rs", "use crate::{disk::Disk, shard::{self, Shard}, time::{Millis, UnixMillis}};\n", 1),
        ("src/wal/log.rs", "use super::super::shard::Shard;\n", 1),
        ("src/wal/mod.rs", "use super::shard::Shard;\n", 1),
        ("src/wal/payload.rs", "use crate::schedule::attempt::Failure;\n", 0),
        ("src/wal/payload.rs", "use crate::schedule::scheduler::Scheduler;\n", 1),
        ("src/time.rs", "use crate::limits::BLOCK_BYTES;\n", 1),
        ("src/main.rs", "use dispatcher::{cli, server};\n", 0),
        ("src/main.rs", "use dispatcher::wal::log::Log;\n", 1),
        ("src/wal/log.rs", "// crate::shard does that\nconst A: &str = \"crate::shard\";\n", 0),
        ("src/wal/log.rs", "#[cfg(test)]\nmod tests {\n    use crate::shard::Shard;\n}\n", 0),
        ("src/wal/log_tests.rs", "use crate::shard::Shard;\n", 0),
        ("src/unlisted.rs", "use crate::time::Millis;\n", 1),
    ] {
        assert_eq!(found(rules::imports, path, text), violations, "{path}: {text}");
    }
}

#[test]
fn the_stack_has_no_cycle() {
    let broken = rules::stack(table::STACK);
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
    assert_eq!(rules::stack(&[("a", &["b"]), ("b", &[])]).len(), 0);
    assert_eq!(rules::stack(&[("a", &["b"]), ("b", &["a"])]).len(), 1);
    assert_eq!(rules::stack(&[("a", &["gone"])]).len(), 1);
}

#[test]
fn the_table_names_nothing_that_is_gone() {
    let broken = rules::unused(&tree());
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
    let everything = table::STACK.len() + table::SPAWNS.len();
    assert_eq!(rules::unused(&[Source::new("src/time.rs", "//! Time.\n")]).len(), everything - 1);
}

#[test]
fn unsafe_stands_only_where_the_table_says() {
    holds(rules::unsafe_code);
    let text = "#![deny(unsafe_code)]\nunsafe impl Send for A {}\n";
    assert_eq!(found(rules::unsafe_code, "src/wal/log.rs", text), 1);
    assert_eq!(found(rules::unsafe_code, table::UNSAFE[0], text), 0);
}

#[test]
fn tasks_and_threads_start_where_the_table_says() {
    holds(rules::spawns);
    let planted = "fn f() {\n    tokio::task::spawn_local(a());\n    std::thread::spawn(b);\n    set.spawn_local(c());\n    \
        thread::Builder::new()\n        .spawn(d)\n}\nfn spawn(e: u8) {}\n";
    assert_eq!(found(rules::spawns, "src/wal/log.rs", planted), 4);
    assert_eq!(found(rules::spawns, table::SPAWNS[0].0, planted), 0);
    assert_eq!(found(rules::spawns, "src/wal/log.rs", &format!("#[cfg(test)]\nmod tests {{\n{planted}}}\n")), 0);
}

#[test]
fn select_is_always_biased() {
    holds(rules::select);
    assert_eq!(found(rules::select, "src/a.rs", "tokio::select! {\n    // Why.\n    biased;\n    _ = a => {}\n}\n"), 0);
    assert_eq!(found(rules::select, "src/a.rs", "tokio::select! {\n    _ = a => {}\n}\nselect! { b => {} }\n"), 2);
}

#[test]
fn nothing_is_left_for_later() {
    holds(rules::leftovers);
    for text in
        ["fn f() { todo!() }", "fn f() { unimplemented!() }", "fn f() { dbg!(1); }", "// TODO: later", "/* FIXME */"]
    {
        assert_eq!(found(rules::leftovers, "src/a.rs", text), 1, "{text}");
    }
    assert_eq!(found(rules::leftovers, "src/a.rs", "const A: &str = \"TODO\"; // not todo!()\n"), 0);
}

#[test]
fn the_code_map_names_every_file_and_no_other() {
    let broken = rules::code_map(&architecture(), &tree());
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
    let sources =
        [Source::new("src/a.rs", "//! A.\n"), Source::new("src/b.rs", "//! B.\n"), Source::new("tests/c.rs", "")];
    assert_eq!(rules::code_map("| `src/a.rs` | P | A. |\n| `src/b.rs` | P | B. |\n", &sources).len(), 0);
    assert_eq!(rules::code_map("| `src/a.rs` | P | A. |\n| `src/gone.rs` | P | Gone. |\n", &sources).len(), 2);
    assert_eq!(
        rules::code_map("| `src/a.rs` | X | A. |\n| `src/b.rs` | P | B. |\n| `src/b.rs` | P | B. |\n", &sources).len(),
        2
    );
}

#[test]
fn a_file_called_pure_is() {
    let map = architecture();
    holds(|source| rules::purity(&map, source));
    let map = "| `src/a.rs` | P | A. |\n| `src/b.rs` | S | B. |\n";
    let planted = "async fn f() {\n    let now = unix_now();\n    tracing::debug!(now);\n    std::fs::read(path);\n}\n";
    assert_eq!(found(|source| rules::purity(map, source), "src/a.rs", planted), 4);
    assert_eq!(found(|source| rules::purity(map, source), "src/b.rs", planted), 0);
    assert_eq!(found(|source| rules::purity(map, source), "src/a.rs", "//! Neither async nor tracing::info.\n"), 0);
}
