//! What each filter lets pass.

use dispatcher::time::{UnixMillis, unix_now};
use dispatcher::wal::payload::Payload;

use crate::image::{accepted, delivered, id, put, segment, story};
use crate::ran::{command, run, run_on};

#[track_caller]
fn assert_printed(further: &[&str], expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    story(dir.path());
    assert_eq!(run_on("cat", dir.path(), further).clean().records(), expected, "{further:?}");
}

#[test]
fn only_the_messages_that_are_named() {
    let (first, fourth) = (id(1).to_string(), id(4).to_string());
    assert_printed(&["--id", &first], &["accepted 01", "delivered 01"]);
    let both = ["accepted 01", "delivered 01", "accepted 04", "lost 04"];
    assert_printed(&["--id", &first, "--id", &fourth.to_uppercase()], &both);
    assert_printed(&["--id", &id(99).to_string()], &[]);
}

#[test]
fn only_messages_for_an_origin_in_any_of_its_spellings_outcomes_included() {
    let all = ["accepted 01", "accepted 02", "accepted 03", "retry 02", "delivered 01", "dead_lettered 03"];
    for spelling in ["a.test", "A.Test:80", "http://a.test", "HTTP://a.test:80"] {
        assert_printed(&["--origin", spelling], &all);
    }
    assert_printed(&["--origin", "https://c.test:8443"], &["accepted 05"]);
    assert_printed(&["--origin", "https://a.test"], &[]);
    assert_printed(&["--origin", "d.test", "--dead-letters"], &["accepted 04", "lost 04"]);
    let with_letters = [&all[..], &["dead_letter 03"]].concat();
    assert_printed(&["--origin", "a.test", "--dead-letters"], &with_letters);
}

#[test]
fn an_origin_without_a_scheme_has_that_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    story(dir.path());
    let arguments = ["cat", dir.path().to_str().unwrap(), "--origin", "c.test:8443"];
    assert_eq!(run(&arguments).clean().lines().len(), 0);
    let ran = command(&arguments, &[("ORIGIN_SCHEME", "https")]).output().unwrap();
    assert_eq!(crate::ran::Ran::from(ran).clean().records(), ["accepted 05"]);
}

#[test]
fn only_messages_that_have_come_to_something_by_the_end_of_the_log() {
    assert_printed(&["--state", "pending"], &["accepted 02", "retry 02", "accepted 05"]);
    assert_printed(&["--state", "delivered"], &["accepted 01", "delivered 01"]);
    assert_printed(&["--state", "dead-lettered"], &["accepted 03", "dead_lettered 03"]);
    assert_printed(&["--state", "lost"], &["accepted 04", "lost 04"]);
    let letters = ["accepted 03", "dead_lettered 03", "dead_letter 03"];
    assert_printed(&["--state", "dead-lettered", "--dead-letters"], &letters);
}

#[test]
fn only_what_happened_since_a_time() {
    let since = ["dead_lettered 03", "accepted 04", "lost 04"];
    assert_printed(&["--since", "2023-11-14T22:14:10Z"], &since);
    assert_printed(&["--since", "2023-11-14T23:14:10.000+01:00"], &since);
    assert_printed(&["--since", "2023-11-14T22:14:10.001Z"], &since[1..]);
    assert_printed(&["--since", "1d"], &[]);
    // A retry counts from the attempt that it tells of, a message that was moved from when it was accepted.
    let last = ["accepted 01", "accepted 02", "accepted 03", "retry 02", "delivered 01"];
    let printed = [&last[..], &since].concat();
    assert_printed(&["--since", "2023-11-14T22:13:22Z"], &printed);
}

#[test]
fn a_duration_counts_back_from_now() {
    let dir = tempfile::tempdir().unwrap();
    let now = unix_now();
    let mut message = accepted("a.test", 0);
    message.accepted = UnixMillis(now.0 - 3_600_000);
    let ended = Payload::Delivered { at: now, attempts: 1, status: 200 };
    put(dir.path(), 0, 0, &segment(0, 0, None, &[vec![(id(1), Payload::Accepted(message)), (id(1), ended)]]));
    let printed = |since: &str| run_on("cat", dir.path(), &["--since", since]).clean().records();
    assert_eq!(printed("30m"), ["delivered 01"]);
    assert_eq!(printed("2h"), ["accepted 01", "delivered 01"]);
}

#[test]
fn filters_add_up() {
    let first = id(1).to_string();
    let filters = ["--origin", "a.test", "--state", "delivered", "--since", "2023-11-14T22:14:00Z"];
    assert_printed(&filters, &["delivered 01"]);
    assert_printed(&["--id", &first, "--state", "pending"], &[]);
}

#[test]
fn an_outcome_without_its_message_still_tells_the_state() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), 0, 0, &segment(0, 0, None, &[vec![(id(1), delivered(0))]]));
    assert_eq!(run_on("cat", dir.path(), &["--state", "delivered"]).clean().records(), ["delivered 01"]);
}
