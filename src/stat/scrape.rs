//! The text that a daemon is scraped for, read back: series with their labels and values.
//!
//! Only what our own exposition writes (Prometheus text 0.0.4, without timestamps). The crates that read all of the
//! format bring regular expressions and a calendar for it.

/// One series.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// One scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape(Vec<Series>);

impl Scrape {
    /// Reads the text. Lines that are no series are left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect())
    }

    /// The sum of all series of a name, whatever their labels; `None`: there are none.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut values = self.named(name).map(|series| series.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The series of a name that has a label with this value.
    pub fn of(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        self.named(name).find(|series| series.label(label) == Some(value)).map(|series| series.value)
    }

    /// The same, where two labels are to have values.
    pub fn of_both(&self, name: &str, first: (&str, &str), second: (&str, &str)) -> Option<f64> {
        let both =
            |series: &&Series| series.label(first.0) == Some(first.1) && series.label(second.0) == Some(second.1);
        self.named(name).find(both).map(|series| series.value)
    }

    /// The values of a label of all series of a name, each with that of its series.
    pub fn by<'s>(&'s self, name: &'s str, label: &'s str) -> impl Iterator<Item = (&'s str, f64)> {
        self.named(name).filter_map(move |series| Some((series.label(label)?, series.value)))
    }

    /// The value of a label of the first series of a name.
    pub fn label<'s>(&'s self, name: &'s str, label: &str) -> Option<&'s str> {
        self.named(name).next()?.label(label)
    }

    /// Whether a counter is behind what it was: another process answers, or the same has begun again.
    pub fn is_before(&self, other: &Self) -> bool {
        let counters =
            self.0.iter().filter(|series| series.name.ends_with("_total") && !series.name.contains("_origin_"));
        let fell = |series: &Series| {
            other.0.iter().any(|was| was.name == series.name && was.labels == series.labels && was.value > series.value)
        };
        counters.into_iter().any(fell)
    }

    fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Series> {
        self.0.iter().filter(move |series| series.name == name)
    }
}

impl Series {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| &**value)
    }
}

fn series(line: &str) -> Option<Series> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    Some(Series { name: name.to_owned(), labels, value: rest.trim().parse().ok()? })
}

/// Labels up to the brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, letter) => value.push(letter),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &quoted[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_daemon_writes_is_read_back() {
        let text = "# TYPE a_total counter\na_total{reason=\"x,}\\\"\\n\\\\\",side=\"in\"} 2\na_total{reason=\"y\"} 3.5\nb 7\n\
                    c_bucket{le=\"+Inf\"} 9\nnot a series\nd{broken=\"\n";
        let scrape = Scrape::parse(text);
        assert_eq!((scrape.sum("a_total"), scrape.sum("b"), scrape.sum("d")), (Some(5.5), Some(7.0), None));
        assert_eq!(scrape.of("a_total", "reason", "x,}\"\n\\"), Some(2.0));
        assert_eq!(scrape.of_both("a_total", ("side", "in"), ("reason", "y")), None);
        assert_eq!(scrape.by("c_bucket", "le").collect::<Vec<_>>(), [("+Inf", 9.0)]);
        assert_eq!(scrape.label("a_total", "side"), Some("in"));
    }

    #[test]
    fn a_counter_that_fell_tells_of_a_restart() {
        let [before, after] = ["a_total 5\nb 5\n", "a_total 4\nb 6\n"].map(Scrape::parse);
        assert!(after.is_before(&before));
        assert!(!before.is_before(&after) && !before.is_before(&before), "gauges go up and down");
    }
}
