//! `dispatcher demo` as a user runs it: one command, nothing else running.

use std::process::{Command, Stdio};

#[test]
fn the_demo_loses_nothing_says_so_and_leaves_nothing_behind() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // Bounded by itself: it gives up after a minute and a half.
    let output = Command::new(env!("CARGO_BIN_EXE_dispatcher"))
        .args(["demo", "--messages", "500"])
        .env("TMPDIR", place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (table, story) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{story}\n{table}");
    let count = |row: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(row));
        let digits: String = line.unwrap()[row.len() + 2..].trim_start().chars().take_while(|c| *c != ' ').collect();
        digits.replace(',', "").parse::<u64>().unwrap()
    };
    assert_eq!((count("acknowledged"), count("lost")), (500, 0), "{table}");
    assert!(count("sent") >= 500 && count("delivered") >= 500, "{table}");
    assert!(story.contains("kill -9") && story.contains("started again"), "{story}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "the directory is removed");
}
