//! Pipelines of rows of the table, good and bad ones mixed: verdicts come in order, until the first that ends the
//! connection; nothing behind it is taken.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::in_process::place;
use crate::machine::{self, Machine, Outcome};
use crate::over_sockets::{Expected, VARIABLES, rows_within_reach};
use crate::support::{Daemon, Origin, on_all};
use crate::table::{Place, Row};

/// Longer rows are left to tests of their own.
const ROW_BYTES_MAX: usize = 2000;

/// A pipeline: rows by their index, and the shares of its bytes at which it is cut.
#[derive(Clone, Debug)]
struct Pipeline {
    rows: Vec<prop::sample::Index>,
    /// Which rows are drawn from all, and not only from those after which the connection lives.
    any: Vec<bool>,
    cuts: Vec<prop::sample::Index>,
}

fn pipelines() -> impl Strategy<Value = Pipeline> {
    (1..12_usize, 0..6_usize).prop_flat_map(|(rows, cuts)| {
        (
            prop::collection::vec(any::<prop::sample::Index>(), rows),
            prop::collection::vec(prop::bool::weighted(0.2), rows),
            prop::collection::vec(any::<prop::sample::Index>(), cuts),
        )
            .prop_map(|(rows, any, cuts)| Pipeline { rows, any, cuts })
    })
}

/// Rows that can stand in a pipeline.
struct Stock {
    all: Vec<Row>,
}

impl Stock {
    fn new() -> Self {
        let place = place();
        // A row that is only decided by what follows cannot stand before just anything.
        let decided = |row: &Row| Machine::read([&place.request(row)[..]]).verdicts.len() == 1;
        let fits = |row: &Row| row.request.len() <= ROW_BYTES_MAX && row.head_bytes.is_none();
        let all: Vec<Row> = rows_within_reach().into_iter().filter(|row| fits(row) && decided(row)).collect();
        assert!(all.len() > 200, "{} rows", all.len());
        Self { all }
    }

    /// The rows of a pipeline.
    fn rows(&self, pipeline: &Pipeline) -> Vec<&Row> {
        let living: Vec<&Row> = self.all.iter().filter(|row| row.lives).collect();
        let draw = |(index, any): (&prop::sample::Index, &bool)| {
            if *any { index.get(&self.all) } else { *index.get(&living) }
        };
        pipeline.rows.iter().zip(&pipeline.any).map(draw).collect()
    }
}

/// Those that are answered: up to the first that ends the connection.
fn answered<'r>(rows: &[&'r Row]) -> Vec<&'r Row> {
    let last = rows.iter().position(|row| !row.lives).map_or(rows.len(), |at| at + 1);
    rows[..last].to_vec()
}

fn pieces<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect()
}

#[test]
fn verdicts_come_in_order_until_the_first_that_ends_the_connection() {
    let (stock, place) = (Stock::new(), place());
    let mut runner = TestRunner::new(Config { cases: 1000, ..Config::default() });
    let result = runner.run(&pipelines(), |pipeline| {
        let rows = stock.rows(&pipeline);
        let bytes: Vec<u8> = rows.iter().flat_map(|row| place.request(row)).collect();
        let mut expected: Vec<machine::Verdict> = answered(&rows).iter().map(|row| place.verdict(row)).collect();
        for pieces in [vec![&bytes[..]], pieces(&bytes, &pipeline.cuts), bytes.chunks(1).collect()] {
            let machine = Machine::read(pieces);
            prop_assert_eq!(machine.verdicts.len(), expected.len(), "{:?}", names(&rows));
            for (verdict, expected) in machine.verdicts.iter().zip(&mut expected) {
                // A row need not say which field is named.
                if let (Outcome::Refused { fault, .. }, Outcome::Refused { fault: unnamed @ None, .. }) =
                    (&verdict.outcome, &mut expected.outcome)
                {
                    unnamed.clone_from(fault);
                }
                prop_assert_eq!(verdict, &*expected, "{:?}", names(&rows));
            }
            prop_assert_eq!(machine.ended, expected.last().is_some_and(|last| !last.lives));
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn names(rows: &[&Row]) -> Vec<&'static str> {
    rows.iter().map(|row| row.name).collect()
}

#[test]
fn answers_come_in_order_over_sockets_and_nothing_behind_the_last_is_sent_on() {
    let stock = Stock::new();
    on_all(&VARIABLES, |daemon| {
        let origin = Origin::start();
        let expected = std::cell::RefCell::new(Expected::default());
        let mut runner = TestRunner::new(Config { cases: 60, max_shrink_iters: 0, ..Config::default() });
        let result = runner.run(&pipelines(), |pipeline| {
            let place = Place { origin: origin.address, own: daemon.data };
            run(daemon, &place, &stock.rows(&pipeline), &pipeline.cuts, &mut expected.borrow_mut());
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
        expected.borrow().assert_arrived(daemon, &origin);
    });
}

fn run(daemon: &Daemon, place: &Place, rows: &[&Row], cuts: &[prop::sample::Index], expected: &mut Expected) {
    let mut client = daemon.connect();
    let bytes: Vec<u8> = rows.iter().flat_map(|row| place.request(row)).collect();
    pieces(&bytes, cuts).into_iter().for_each(|piece| client.send(piece));
    client.finish();
    for row in answered(rows) {
        let answer = place.assert_answer(&mut client, row);
        if let Some((head, body)) = place.sent(row) {
            expected.add(row.name, &head, &body, answer.message_id());
        }
    }
    assert!(client.is_closed(), "{:?}", names(rows));
}
