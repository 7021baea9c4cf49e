//! Sets of statuses, as an operator writes them.

/// The statuses of answers that can fail, and how many there are.
const FIRST: u16 = 300;
const COUNT: usize = 300;

/// Some of the statuses 300 to 599.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Statuses([u64; COUNT.div_ceil(64)]);

impl Statuses {
    /// None of them.
    pub const NONE: Self = Self([0; COUNT.div_ceil(64)]);

    /// Reads a list such as `410, 404, 42x, 5xx`: three digits each, of which the last or the last two may be an `x` that
    /// stands for any digit.
    pub fn parse(text: &str) -> Option<Self> {
        let mut statuses = Self::NONE;
        for entry in text.split(',') {
            let entry = entry.trim();
            let digits = entry.trim_end_matches(['x', 'X']);
            let width = match entry.len() - digits.len() {
                0 => 1,
                1 => 10,
                2 => 100,
                _ => return None,
            };
            if entry.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let first = digits.parse::<u16>().ok()? * width;
            for status in first..first + width {
                let (word, bit) = place(status)?;
                statuses.0[word] |= bit;
            }
        }
        Some(statuses)
    }

    /// Whether a status is one of them.
    pub fn contains(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }
}

impl std::fmt::Debug for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((FIRST..600).filter(|status| self.contains(*status))).finish()
    }
}

fn place(status: u16) -> Option<(usize, u64)> {
    let index = usize::from(status.checked_sub(FIRST)?);
    (index < COUNT).then_some((index / 64, 1 << (index % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_statuses_or_classes_of_them() {
        for (text, expected) in [
            ("410", vec![410]),
            (" 404 ,410", vec![404, 410]),
            ("300,599", vec![300, 599]),
            ("42x", (420..430).collect()),
            ("4xx,500", (400..=500).collect()),
            ("3XX,4Xx,5xx", (300..600).collect()),
        ] {
            let statuses = Statuses::parse(text).unwrap();
            let found: Vec<u16> = (0..=u16::MAX).filter(|status| statuses.contains(*status)).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(format!("{:?}", Statuses::parse("404,410").unwrap()), "{404, 410}");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", ",", "410,", "200", "2xx", "600", "xxx", "4x4", "41", "4100", "-410", "+41", "4x", "x10", "४१०"]
        {
            assert_eq!(Statuses::parse(text), None, "{text}");
        }
    }
}
