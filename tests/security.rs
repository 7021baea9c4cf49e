//! SECURITY.md names tests and files that there are.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

use std::fs;
use std::path::Path;

const SECURITY: &str = include_str!("../SECURITY.md");

/// What is wrong with the proofs of one row: files, each followed by the tests in it.
fn faults(proofs: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut file, mut text) = (Vec::new(), "", String::new());
    for name in proofs.split('`').skip(1).step_by(2) {
        let is_test = name.contains('_') && !name.contains(['/', '.']);
        if !is_test {
            file = name;
            text = fs::read_to_string(root.join(file)).unwrap_or_default();
            if text.is_empty() {
                found.push(format!("there is no {file}"));
            }
        } else if !text.contains(&format!("fn {name}(")) {
            found.push(format!("{file} has no test {name}"));
        }
    }
    if file.is_empty() {
        found.push("nothing proves it".to_owned());
    }
    found
}

#[test]
fn every_defence_names_a_test_that_there_is() {
    let table = SECURITY.lines().skip_while(|line| !line.starts_with("| attack | defence | tests |")).skip(2);
    let rows: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 25, "the table is found");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [attack, _, proofs] = cells[..] else { panic!("three cells: {row}") };
        assert_eq!(faults(proofs), [""; 0], "{attack}");
    }
    assert_eq!(faults("`tests/security.rs`: `no_such_test`"), ["tests/security.rs has no test no_such_test"]);
    assert_eq!(faults("`src/gone.rs`"), ["there is no src/gone.rs"]);
    assert_eq!(faults("a promise"), ["nothing proves it"]);
}
