//! The index against a model, over the whole range of segment numbers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::limits::SEGMENTS_MAX;

fn id(n: u8) -> MessageId {
    MessageId([n; 16])
}

fn at(segment: u32, offset: u32) -> Location {
    Location { segment, offset, bytes: 100 }
}

#[test]
fn a_segment_is_reclaimed_oldest_first_and_only_when_all_in_it_has_ended() {
    let mut index = Index::default();
    index.insert(id(1), at(5, 0));
    index.insert(id(2), at(6, 0));
    index.add_segment(7);
    let second = index.find(id(2)).expect("live");
    index.remove(second);
    index.check();
    assert_eq!(index.reclaimable(7), None, "5 is alive, and 6 waits for it");
    let first = index.find(id(1)).expect("live");
    index.remove(first);
    assert_eq!(index.reclaimable(7), Some(5));
    index.drop_oldest();
    assert_eq!(index.reclaimable(7), Some(6));
    index.drop_oldest();
    assert_eq!(index.reclaimable(7), None, "the active segment stays");
    index.check();
}

#[test]
fn a_message_written_again_frees_its_old_place() {
    let mut index = Index::default();
    let Inserted::New(slot) = index.insert(id(1), at(0, 0)) else { panic!("unknown before") };
    index.set_retry(slot, at(1, 4128).start());
    assert_eq!(index.insert(id(1), at(2, 64)), Inserted::Moved { slot, from: at(0, 0) });
    assert_eq!((index.location(slot), index.retry_location(slot)), (at(2, 64), None));
    assert_eq!((index.reclaimable(2), index.live_bytes()), (Some(0), 100));
    index.check();
}

#[test]
fn the_oldest_message_is_told_exactly_while_few_live_however_many_did() {
    let accepted = |ms: u64| {
        let mut id = [7; 16];
        id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
        MessageId(id)
    };
    let mut index = Index::default();
    assert_eq!(index.oldest(), None);
    // Not in the order of their slots.
    for ms in [30, 10, 20] {
        index.insert(accepted(ms), at(0, 0));
    }
    assert_eq!(index.oldest(), Some(UnixMillis(10)));
    index.remove(index.find(accepted(10)).expect("live"));
    assert_eq!(index.oldest(), Some(UnixMillis(20)));
    let backlog = || (1000..).take(EXACT_SLOTS_MAX).map(accepted);
    backlog().for_each(|id| _ = index.insert(id, at(1, 0)));
    assert!(index.oldest() <= Some(UnixMillis(20)), "never later than it is");
    backlog().for_each(|id| index.remove(index.find(id).expect("live")));
    assert!(index.slots() > EXACT_SLOTS_MAX);
    assert_eq!(index.oldest(), Some(UnixMillis(20)));
}

#[test]
fn slots_are_reused() {
    let mut index = Index::default();
    for round in 0..10_u8 {
        for n in 0..100 {
            index.insert(id(n), at(round.into(), u32::from(n) * 8));
        }
        for n in 0..100 {
            let slot = index.find(id(n)).expect("live");
            index.remove(slot);
        }
        index.check();
    }
    assert_eq!(index.entries.len(), 100);
}

#[test]
fn what_lives_in_a_segment_is_found() {
    let mut index = Index::default();
    for n in 0..6_u8 {
        index.insert(id(n), at(u32::from(n) % 2, 4128 + u32::from(n) * 8));
    }
    let mut ids: Vec<MessageId> = index.live_in(1).into_iter().map(|slot| index.id(slot)).collect();
    ids.sort_unstable();
    assert_eq!(ids, [id(1), id(3), id(5)]);
    assert_eq!(index.usage(1).map(|usage| (usage.live, usage.live_bytes)), Some((3, 300)));
    assert_eq!((index.usage(2), index.first_segment()), (None, 0));
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    at: Location,
    retry: Option<RecordStart>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Writes a message, in the newest segment or that far ahead of it.
    Write(u8, u32, u32),
    Retry(u8, u32),
    End(u8),
    Reclaim,
}

fn step() -> impl Strategy<Value = Step> {
    let ahead = prop_oneof![8 => Just(0), 4 => 1..3_u32, 1 => 1..SEGMENTS_MAX];
    prop_oneof![
        4 => (0..40_u8, ahead, 32..5000_u32).prop_map(|(id, ahead, bytes)| Step::Write(id, ahead, bytes)),
        3 => (0..40_u8, 0..2_u32).prop_map(|(id, ahead)| Step::Retry(id, ahead)),
        3 => (0..40_u8).prop_map(Step::End),
        4 => Just(Step::Reclaim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_index_knows_what_a_model_knows_however_segments_are_numbered(
        first in prop_oneof![Just(0), Just(SEGMENTS_MAX - 2), Just(3 * SEGMENTS_MAX - 1), 0..1_u32 << 30],
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let (mut index, mut model) = (Index::default(), BTreeMap::<u8, Known>::new());
        let (mut newest, mut offset) = (first, 4096);
        index.add_segment(first);
        for step in steps {
            offset += 8;
            match step {
                Step::Write(n, ahead, bytes) => {
                    // As far as the oldest lets it.
                    newest = (newest + ahead).min(index.first_segment() + SEGMENTS_MAX - 1);
                    let at = Location { segment: newest, offset, bytes };
                    let moved = model.insert(n, Known { at, retry: None }).is_some();
                    prop_assert_eq!(matches!(index.insert(id(n), at), Inserted::Moved { .. }), moved);
                }
                Step::Retry(n, ahead) => {
                    newest = (newest + ahead).min(index.first_segment() + SEGMENTS_MAX - 1);
                    if let Some(known) = model.get_mut(&n) {
                        let start = RecordStart { segment: newest, offset };
                        known.retry = Some(start);
                        index.set_retry(index.find(id(n)).expect("the model knows it"), start);
                    }
                }
                Step::End(n) => {
                    prop_assert_eq!(index.find(id(n)).is_some(), model.contains_key(&n));
                    if model.remove(&n).is_some() {
                        index.remove(index.find(id(n)).expect("the model knows it"));
                    }
                }
                Step::Reclaim => {
                    let oldest = model.values().map(|known| known.at.segment).min().unwrap_or(newest);
                    while let Some(segment) = index.reclaimable(newest) {
                        prop_assert!(segment < oldest);
                        index.drop_oldest();
                    }
                    prop_assert_eq!(index.first_segment(), oldest.min(index.first_segment()));
                }
            }
            for (n, known) in &model {
                let slot = index.find(id(*n)).expect("the model knows it");
                let found = Known { at: index.location(slot), retry: index.retry_location(slot) };
                prop_assert_eq!((index.id(slot), found), (id(*n), *known));
            }
        }
        index.check();
        let bytes: u64 = model.values().map(|known| u64::from(known.at.bytes)).sum();
        prop_assert_eq!((index.len(), index.live_bytes()), (model.len(), bytes));
    }
}
