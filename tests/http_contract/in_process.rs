//! The table in process: each row's verdict is the same however its bytes are cut.

use crate::machine::{Machine, OWN_PORT, Outcome, Verdict};
use crate::support::position;
use crate::table::{Place, Row, rows};

/// Rows up to this length are cut at every byte; longer ones around their line ends and their two ends.
const CUT_EVERYWHERE_BYTES_MAX: usize = 400;

pub fn place() -> Place {
    Place { origin: ([127, 0, 0, 1], 9).into(), own: ([127, 0, 0, 1], OWN_PORT).into() }
}

/// Where a request is cut in two.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    if bytes.len() <= CUT_EVERYWHERE_BYTES_MAX {
        return (0..=bytes.len()).collect();
    }
    let near_ends = (0..=200).chain(bytes.len() - 200..=bytes.len());
    let lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let mut cuts: Vec<usize> = near_ends
        .chain(lines.take(20).flat_map(|at| at.saturating_sub(2)..at + 3))
        .chain((0..bytes.len()).step_by(4093))
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.retain(|cut| *cut <= bytes.len());
    cuts
}

/// Checks what the machine made of a row and the good request behind it.
fn check_verdicts(machine: &Machine, row: &Row, how: &str) -> Result<(), String> {
    let (place, name) = (place(), row.name);
    let mut expected = vec![place.verdict(row)];
    if row.lives {
        expected.push(Verdict { outcome: Outcome::Sent { head: place.behind_head(), body: Vec::new() }, lives: true });
    }
    let mut verdicts = machine.verdicts.clone();
    // A row need not say which field is named.
    if let (Some(Verdict { outcome: Outcome::Refused { fault, .. }, .. }), Outcome::Refused { fault: None, .. }) =
        (verdicts.first_mut(), &expected[0].outcome)
    {
        *fault = None;
    }
    if verdicts != expected {
        let (rule, got, expected) = (row.rule, shown(&verdicts), shown(&expected));
        return Err(format!("{name} ({rule}), {how}: {got:?} instead of {expected:?}"));
    }
    if machine.leaves > usize::from(row.waits) {
        return Err(format!("{name}, {how}: {} times leave to send", machine.leaves));
    }
    Ok(())
}

/// Verdicts, short enough to read.
fn shown(verdicts: &[Verdict]) -> Vec<String> {
    let one = |verdict: &Verdict| match &verdict.outcome {
        Outcome::Sent { head, body } => {
            let shown = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
            format!("sent {} | {}, lives: {}", shown(head), shown(body), verdict.lives)
        }
        outcome => format!("{outcome:?}, lives: {}", verdict.lives),
    };
    verdicts.iter().map(one).collect()
}

/// Checks a row in every cut.
fn check(row: &Row) -> Result<(), String> {
    let place = place();
    let bytes = [place.request(row), place.behind()].concat();
    check_verdicts(&Machine::read([&bytes[..]]), row, "whole")?;
    for cut in cuts(&bytes) {
        let (before, behind) = bytes.split_at(cut);
        check_verdicts(&Machine::read([before, behind]), row, &format!("cut at {cut}"))?;
    }
    let each = if bytes.len() <= 20_000 { 1 } else { 61 };
    check_verdicts(&Machine::read(bytes.chunks(each)), row, "byte by byte")
}

#[test]
fn every_row_has_its_verdict_however_it_is_cut() {
    let wrong: Vec<String> = rows().iter().filter_map(|row| check(row).err()).collect();
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn leave_to_send_a_body_is_given_when_the_head_came_alone_and_it_is_waited_for() {
    let place = place();
    for row in rows() {
        let request = place.request(&row);
        let Some(end) = position(&request[2..], b"\r\n\r\n") else { continue };
        let mut machine = Machine::read([&request[..end + 6]]);
        assert_eq!(machine.leaves, usize::from(row.waits), "{}", row.name);
        machine.feed(&request[end + 6..]);
        machine.feed(&place.behind());
        assert_eq!(check_verdicts(&machine, &row, "head first"), Ok(()));
    }
}
