//! The metrics of one life against what happened in it.

use super::checker::Checker;

/// Sum of a family over its labels, as a scrape shows it.
fn counted(scrape: &str, family: &str) -> u64 {
    let lines = scrape.lines().filter_map(|line| line.strip_prefix("dispatcher_")?.strip_prefix(family));
    let values = lines.filter(|rest| rest.starts_with([' ', '{']));
    values.map(|rest| rest.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Compares scrapes of shards in which nothing is under way. What is adopted counts as recovered by nobody.
pub fn check(scrape: &str, adopted: u64, checker: &mut Checker) {
    let tally = checker.tally();
    for (family, happened) in [
        ("accepted_total", tally.acknowledged),
        ("delivered_total", tally.delivered),
        ("attempts_total", tally.delivered + tally.failed),
        ("maybe_duplicates_total", tally.marked),
        ("corrupt_records_total", 0),
    ] {
        let counted = counted(scrape, family);
        if counted != happened {
            checker.object(format!("{family} is {counted}, and {happened} happened"));
        }
    }
    let recovered = counted(scrape, "recovered_messages_total") + adopted;
    if !checker.counts_twofold() && !(tally.recovered_min..=tally.recovered_max).contains(&recovered) {
        checker.object(format!("{recovered} messages were recovered, {adopted} of them adopted: {tally:?}"));
    }
}
