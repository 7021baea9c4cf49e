//! The few figures of a scrape that tell what the disk and the log did since the last one.

/// What was read.
#[derive(Default)]
pub struct Scrape {
    /// Messages that are not at their end.
    pub pending: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Bytes of all files.
    pub log_bytes: u64,
    /// Writes of the log that took up to so many milliseconds, cumulative, by their bounds in ascending order.
    commits: Vec<(f64, u64)>,
}

impl Scrape {
    /// Reads metrics in the text format.
    pub fn read(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let whole = || value.parse().unwrap_or_default();
            match name.split('{').next().unwrap_or_default() {
                "dispatcher_messages" => scrape.pending += whole(),
                "dispatcher_log_live_bytes" => scrape.live_bytes = whole(),
                "dispatcher_log_bytes" => scrape.log_bytes = whole(),
                "dispatcher_commit_seconds_bucket" => {
                    let bound = name.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
                    let bound = bound.and_then(|bound| bound.replace("+Inf", "inf").parse::<f64>().ok());
                    scrape.commits.extend(bound.map(|seconds| (seconds * 1e3, whole())));
                }
                _ => {}
            }
        }
        scrape
    }

    /// The upper bound, in milliseconds, of what the slowest write of the log since `before` took; 0 if there was none.
    pub fn slowest_commit_ms(&self, before: &Self) -> f64 {
        let earlier = |at: usize| before.commits.get(at).map_or(0, |(_, count)| *count);
        let (mut slowest, mut below) = (0.0, 0);
        for (at, (bound, count)) in self.commits.iter().enumerate() {
            let since = count - earlier(at);
            if since > below {
                (slowest, below) = (*bound, since);
            }
        }
        slowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_write_is_in_the_last_bucket_that_grew_by_more_than_those_below() {
        let scrape = |counts: [u64; 3]| {
            let [a, b, c] = counts;
            Scrape::read(&format!(
                "# TYPE dispatcher_commit_seconds histogram\ndispatcher_messages{{state=\"ready\"}} 2\n\
                 dispatcher_messages{{state=\"delayed\"}} 3\ndispatcher_log_live_bytes 7\ndispatcher_log_bytes 9\n\
                 dispatcher_commit_seconds_bucket{{le=\"0.001\"}} {a}\n\
                 dispatcher_commit_seconds_bucket{{le=\"0.0025\"}} {b}\n\
                 dispatcher_commit_seconds_bucket{{le=\"+Inf\"}} {c}\n"
            ))
        };
        let first = scrape([5, 6, 7]);
        assert_eq!((first.pending, first.live_bytes, first.log_bytes), (5, 7, 9));
        assert_eq!(first.slowest_commit_ms(&Scrape::default()), f64::INFINITY);
        assert_eq!(scrape([9, 10, 11]).slowest_commit_ms(&first), 1.0);
        assert_eq!(scrape([9, 11, 12]).slowest_commit_ms(&first), 2.5);
        assert_eq!(first.slowest_commit_ms(&first), 0.0);
    }
}
