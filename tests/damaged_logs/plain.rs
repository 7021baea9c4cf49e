//! Single harms, each to many logs: what random ones found once, and what is refused.

use std::collections::BTreeMap;

use dispatcher::limits::{BLOCK_BYTES, SEGMENTS_MAX};
use dispatcher::wal::recovery::RecoveryError;
use dispatcher::wal::segment::VERSION;

use super::choices::Choices;
use super::harms::{Image, begun, newer_header, unharmed};
use super::starts::start;
use super::verdict::{check, recover};
use super::written::Written;

fn logs() -> impl Iterator<Item = Written> {
    (0..300).map(|seed| Written::new(&mut Choices::of_seed(seed), 3))
}

#[test]
fn a_file_of_an_earlier_log_of_the_shard_costs_only_what_stood_in_its_place() {
    for written in logs() {
        let common = written.segments.keys().filter(|number| written.generation_before.contains_key(number));
        for number in common {
            let mut image = unharmed(&written);
            image.segments.insert(*number, written.generation_before[number].clone());
            check(&written, &image);
        }
    }
}

/// Most segments have the salt of the other log then: but the last to be begun is of this one.
#[test]
fn one_segment_of_a_log_among_files_of_an_earlier_one_loses_nothing() {
    for written in logs() {
        for number in written.segments.keys() {
            let mut image = unharmed(&written);
            let others = written.generation_before.iter().filter(|(other, _)| *other != number);
            image.segments.extend(others.map(|(other, contents)| (*other, contents.clone())));
            let recovered = check(&written, &image);
            start(written.shard, &image, recovered.as_ref(), 1);
        }
    }
}

#[test]
fn a_log_that_began_with_version_1_loses_no_record_with_a_header() {
    for written in logs().filter(|written| written.segments.values().any(|segment| segment.unsalted)) {
        for number in written.segments.keys() {
            let mut image = unharmed(&written);
            image.segments.get_mut(number).unwrap()[..BLOCK_BYTES].fill(0);
            check(&written, &image);
        }
    }
}

fn refusal(written: &Written, image: &Image) -> RecoveryError {
    recover(&image.to_disk(), written.shard, &|_| ()).expect_err("it is refused")
}

#[test]
fn a_segment_of_a_newer_version_is_refused_wherever_it_stands() {
    for written in logs() {
        for number in written.segments.keys() {
            let mut image = unharmed(&written);
            image.segments.get_mut(number).unwrap()[..BLOCK_BYTES].copy_from_slice(&newer_header(&written, *number));
            let RecoveryError::Version { found, .. } = refusal(&written, &image) else { panic!("by its version") };
            assert_eq!(found, VERSION + 1);
        }
    }
}

/// Behind the newest segment that was begun, a file that was not is one to be used.
#[test]
fn a_stray_file_too_far_from_the_log_is_refused_but_behind_it_only_if_it_was_begun() {
    for written in logs().step_by(100) {
        let (first, last) = (*written.segments.keys().next().unwrap(), *written.segments.keys().next_back().unwrap());
        // The segment that is begun next is one of the log too.
        for (distance, refused) in [(SEGMENTS_MAX, true), (SEGMENTS_MAX - 1, true), (SEGMENTS_MAX - 3, false)] {
            let Some(far) = last.checked_sub(distance) else { continue };
            let mut image = unharmed(&written);
            image.segments.insert(far, Vec::new());
            if refused {
                assert!(matches!(refusal(&written, &image), RecoveryError::Apart { .. }));
            } else {
                assert!(check(&written, &image).is_some());
            }
        }
        for far in [first + SEGMENTS_MAX, u32::MAX] {
            let mut image = unharmed(&written);
            image.segments.insert(far, begun(&written, far));
            assert!(matches!(refusal(&written, &image), RecoveryError::Apart { .. }));
            image.segments.insert(far, vec![0; BLOCK_BYTES]);
            assert_eq!(check(&written, &image).unwrap().survey.unbegun, [far]);
        }
    }
}

#[test]
fn a_stray_file_whose_number_has_no_successor_is_used_like_any_other() {
    let written = Written { segments: BTreeMap::new(), ..logs().next().unwrap() };
    let contents = vec![0; BLOCK_BYTES];
    let spares = ["4294967295.spare", "004294967294.spare"]
        .map(|name| Image { others: vec![(name.to_owned(), contents.clone())], ..Image::default() });
    let segments = [u32::MAX, u32::MAX - 1]
        .map(|number| Image { segments: BTreeMap::from([(number, contents.clone())]), ..Image::default() });
    for image in spares.into_iter().chain(segments) {
        let recovered = check(&written, &image).unwrap();
        start(written.shard, &image, Some(&recovered), 1);
    }
}
