//! What must not be told: tokens, how they are written, brought and compared.

use std::fmt;
use std::ops::RangeInclusive;

use subtle::{Choice, ConstantTimeEq};

/// Length of a token in bytes: long enough not to be guessed.
const TOKEN_BYTES: RangeInclusive<usize> = Secret::TOKEN_BYTES_MIN..=512;

/// What must not be told: it prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Length of the shortest token in bytes.
    pub const TOKEN_BYTES_MIN: usize = 16;

    /// What is shown instead.
    pub const HIDDEN: &str = "…";

    /// Of this text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// A token that fits `Bearer` (RFC 6750 §2.1) and is not soon guessed; `None` if the text is none.
    pub fn token(text: &str) -> Option<Self> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        (TOKEN_BYTES.contains(&text.len()) && text.bytes().all(is_fit)).then(|| Self::new(text))
    }

    /// What [`Secret::token`] takes.
    pub fn token_expected() -> String {
        format!("{} to {} letters, digits and -._~+/= (the value is not shown)", TOKEN_BYTES.start(), TOKEN_BYTES.end())
    }

    /// Whether it is this one; how long that takes does not tell where they differ.
    pub fn is(&self, other: &[u8]) -> bool {
        self.matches(other).into()
    }

    /// The same, for who goes on whatever it says.
    pub fn matches(&self, other: &[u8]) -> Choice {
        self.0.as_bytes().ct_eq(other)
    }

    /// For who must tell it: the client of the admin listener.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::HIDDEN)
    }
}

/// The token in a field value: behind the scheme `Bearer`, in any case, and at least one space (RFC 9110 §11.1, §11.4).
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    (scheme.eq_ignore_ascii_case(SCHEME) && spaces > 0).then(|| &rest[spaces..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_dots() {
        assert_eq!(format!("{:?} {:#?}", Secret::new("hunter2"), Some(Secret::new("hunter2"))), "… Some(\n    …,\n)");
    }

    #[test]
    fn a_bearer_token_stands_behind_its_scheme_and_spaces() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc=", Some("abc=")),
            ("Bearer ", Some("")),
            ("Bearer", None),
            ("Bearerabc", None),
            ("Bearer\tabc", None),
            (" Bearer abc", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(bearer(value.as_bytes()), token.map(str::as_bytes), "{value:?}");
        }
    }
}
