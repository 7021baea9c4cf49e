//! Values of variables: never a panic; what is refused names its variable; and what is effective, set again, is the
//! same.

use dispatcher::config::table::VARIABLES;
use dispatcher::config::{Loaded, values};
use dispatcher::message::Statuses;

/// How a secret is shown.
const SECRET: &str = "…";

/// Checks an input: lines, each a byte that chooses the variable and its value.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    value(&text);
    let vars: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let mut letters = line.chars();
            let variable = &VARIABLES[usize::try_from(u32::from(letters.next()?)).ok()? % VARIABLES.len()];
            // Whatever the bytes say, no file is read.
            let is_file = variable.name.ends_with("_FILE");
            (!is_file).then(|| (variable.name.to_owned(), letters.as_str().to_owned()))
        })
        .collect();
    match Loaded::from_vars(vars.iter().cloned()) {
        Err(error) => {
            assert!(VARIABLES.iter().any(|variable| error.name.contains(variable.name)), "{error}");
            assert!(!error.expected.is_empty());
        }
        Ok(loaded) => {
            let given = |name: &str| {
                vars.iter().rfind(|(given, value)| given == name && !value.is_empty()).map(|(_, value)| value.clone())
            };
            let again = loaded.effective.iter().filter_map(|(name, value, _)| {
                // A secret is not shown.
                let value = if value == SECRET { given(name)? } else { value.clone() };
                Some(((*name).to_owned(), value))
            });
            let again = Loaded::from_vars(again).unwrap_or_else(|error| panic!("{vars:?}: {error}"));
            let shown = |loaded: &Loaded| -> Vec<String> {
                loaded.effective.iter().map(|(name, value, _)| format!("{name}={value}")).collect()
            };
            assert_eq!(shown(&again), shown(&loaded), "{vars:?}");
        }
    }
}

/// One value of each kind.
fn value(text: &str) {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let number: Option<u128> = text[..digits].parse().ok();
    let scaled = |units: &[(&str, u128)]| {
        let (_, scale) = units.iter().find(|(unit, _)| *unit == &text[digits..])?;
        u64::try_from(number?.checked_mul(*scale)?).ok()
    };
    let sizes = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    assert_eq!(values::size(text), scaled(&sizes), "{text:?}");
    if let Some(bytes) = values::size(text) {
        assert_eq!(values::size(&values::size_text(bytes)), Some(bytes));
    }
    let spans = [("", 1), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    assert_eq!(values::duration(text).map(|span| span.0), scaled(&spans), "{text:?}");
    if let Some(listen) = values::Listen::parse(text) {
        assert_eq!(values::Listen::parse(&listen.to_string()), Some(listen));
    }
    if let Some(statuses) = Statuses::parse(text) {
        assert!((0..=u16::MAX).filter(|status| statuses.contains(*status)).all(|status| (300..600).contains(&status)));
    }
    assert_eq!(values::whole(text).is_some(), number.is_some_and(|n| n <= u32::MAX.into()) && digits == text.len());
}
