//! How much of each segment is alive, from the oldest segment to the newest.

use std::collections::VecDeque;

use crate::limits::SEGMENTS_MAX;
use crate::time::UnixMillis;

/// What is known of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Messages whose record stands there and that have not ended.
    pub live: u32,
    /// The bytes of those records.
    pub live_bytes: u32,
    /// When the first message in it was accepted, whether or not it has ended; the end of time if there was none.
    oldest: UnixMillis,
}

const NONE: Usage = Usage { live: 0, live_bytes: 0, oldest: UnixMillis(u64::MAX) };

const _: () = assert!(size_of::<Usage>() == 16, "a window of SEGMENTS_MAX takes 64 MiB");

/// The segments of a log, without gaps: one that is missing has nothing in it.
#[derive(Debug, Default)]
pub struct Usages {
    /// `None`: no segment was ever known.
    first: Option<u32>,
    window: VecDeque<Usage>,
}

impl Usages {
    /// Makes `segment` known, and all between it and those that are.
    ///
    /// # Panics
    /// If that makes more than [`SEGMENTS_MAX`]. The caller sees to it: who makes segments by counting them, who finds
    /// them by their names in a directory by leaving alone what is too far from the rest.
    pub fn add(&mut self, segment: u32) {
        // Once all are forgotten, those up to this one follow the last of them: one in which nothing could be written is
        // reclaimed like any other, and before the one behind it, which tells that what that write left does not count.
        let mut first = self.first.unwrap_or(segment);
        let last = segment.max(first + self.ahead());
        assert!(last - first.min(segment) < SEGMENTS_MAX, "segment {segment} is one of at most SEGMENTS_MAX");
        while segment < first {
            first -= 1;
            self.window.push_front(NONE);
        }
        while self.window.len() <= (segment - first) as usize {
            self.window.push_back(NONE);
        }
        self.first = Some(first);
    }

    /// The oldest segment's number; that of the next one, if there is none.
    pub fn first(&self) -> u32 {
        self.first.unwrap_or(0)
    }

    /// Segments.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// What is known of a segment.
    pub fn get(&self, segment: u32) -> Option<Usage> {
        self.window.get(segment.checked_sub(self.first())? as usize).copied()
    }

    /// Forgets the oldest segment, in which nothing is alive.
    pub fn drop_first(&mut self) {
        let dropped = self.window.pop_front().expect("only a known segment is reclaimed");
        assert_eq!(dropped.live, 0, "a segment with live messages is never reclaimed");
        self.first = Some(self.first() + 1);
    }

    /// Counts a message that was accepted at `accepted`, whose record stands in `segment`.
    pub fn count(&mut self, segment: u32, bytes: u32, accepted: UnixMillis) {
        let usage = self.of(segment);
        usage.live += 1;
        usage.live_bytes += bytes;
        usage.oldest = usage.oldest.min(accepted);
    }

    /// Counts a record no more.
    pub fn uncount(&mut self, segment: u32, bytes: u32) {
        let usage = self.of(segment);
        usage.live -= 1;
        usage.live_bytes -= bytes;
    }

    /// When the first message was accepted of a segment in which one is alive; not later than the oldest of those.
    pub fn oldest(&self) -> Option<UnixMillis> {
        self.window.iter().filter(|usage| usage.live > 0).map(|usage| usage.oldest).min()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Usage)> + '_ {
        (self.first()..).zip(&self.window)
    }

    fn of(&mut self, segment: u32) -> &mut Usage {
        let position = segment.checked_sub(self.first()).expect("a live message's segment is not reclaimed");
        &mut self.window[position as usize]
    }

    /// From the first segment to the last.
    fn ahead(&self) -> u32 {
        u32::try_from(self.window.len().saturating_sub(1)).expect("at most SEGMENTS_MAX are known")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_may_become_known_in_any_order() {
        let mut usages = Usages::default();
        for (segment, expected) in [(10, 10..11), (12, 10..13), (8, 8..13), (9, 8..13)] {
            usages.add(segment);
            assert_eq!(usages.iter().map(|(number, _)| number).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
        usages.count(8, 100, UnixMillis(5));
        assert_eq!(usages.get(8).map(|usage| (usage.live, usage.live_bytes)), Some((1, 100)));
        assert_eq!((usages.get(7), usages.get(13), usages.oldest()), (None, None, Some(UnixMillis(5))));
        usages.uncount(8, 100);
        assert_eq!(usages.oldest(), None);
    }

    #[test]
    fn a_segment_in_which_nothing_could_be_written_is_not_passed_over_when_all_before_it_are_forgotten() {
        let mut usages = Usages::default();
        usages.add(4);
        usages.drop_first();
        // Nothing of 5 ever became known.
        usages.add(6);
        assert_eq!(usages.iter().map(|(number, _)| number).collect::<Vec<_>>(), [5, 6]);
        usages.drop_first();
        usages.drop_first();
        assert_eq!((usages.first(), usages.len()), (7, 0));
    }

    #[test]
    #[should_panic(expected = "at most SEGMENTS_MAX")]
    fn a_segment_that_is_too_far_from_the_rest_takes_no_memory() {
        let mut usages = Usages::default();
        usages.add(3);
        usages.add(3 + SEGMENTS_MAX);
    }

    #[test]
    fn the_last_number_is_a_segment_like_any_other() {
        let mut usages = Usages::default();
        usages.add(u32::MAX);
        usages.add(u32::MAX - 1);
        assert_eq!((usages.first(), usages.len()), (u32::MAX - 1, 2));
    }
}
