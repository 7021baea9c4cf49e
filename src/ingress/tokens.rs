//! Who may use the data listener: the tokens that `AUTH_TOKEN` or `AUTH_TOKEN_FILE` hold, and what a request brings.
//!
//! A token comes in `X-Dispatcher-Authorization`, so that `Authorization` stays the destination's.

use std::rc::Rc;
use std::sync::Arc;

use subtle::Choice;

use crate::config::secret::{self, Secret};
use crate::limits::AUTH_TOKENS_MAX;
use crate::reload::Current;

/// The tokens of which a request must bring one; at least one, or nobody could come in.
#[derive(Clone, Debug)]
pub struct Tokens(Vec<Secret>);

/// Why a file of tokens cannot be used. Nothing of the file is told but where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// A line is none.
    #[error("line {line} is not a token: expected {}", Secret::token_expected())]
    Line {
        /// From 1.
        line: usize,
    },
    /// There is none: that nobody, or everybody, is let in is never meant by an empty file.
    #[error("it holds no token")]
    Empty,
    /// Each is compared with what every request brings.
    #[error("it holds more than {AUTH_TOKENS_MAX} tokens")]
    TooMany,
}

impl Tokens {
    /// One alone.
    pub fn one(token: Secret) -> Self {
        Self(vec![token])
    }

    /// From the text of a file: one a line; empty lines and those that begin with `#` are none.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let tokens: Vec<Secret> = lines
            .take(AUTH_TOKENS_MAX + 1)
            .map(|(index, line)| Secret::token(line).ok_or(TokensError::Line { line: index + 1 }))
            .collect::<Result<_, _>>()?;
        match tokens.len() {
            0 => Err(TokensError::Empty),
            1..=AUTH_TOKENS_MAX => Ok(Self(tokens)),
            _ => Err(TokensError::TooMany),
        }
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "there is one at least")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them is what was brought. Each is compared, whatever the others said, so that the time this takes
    /// tells nothing of them but their lengths.
    pub fn admits(&self, brought: &[u8]) -> bool {
        self.0.iter().fold(Choice::from(0), |any, token| any | token.matches(brought)).into()
    }
}

/// The tokens as the connections of one core see them: none, and everybody is let in, or those that hold at the moment,
/// on connections that are open too.
#[derive(Clone, Debug, Default)]
pub struct Door(Option<Rc<Current<Arc<Tokens>>>>);

impl Door {
    /// For everybody.
    pub const OPEN: Self = Self(None);

    /// For who brings one of `tokens`.
    pub fn new(tokens: Current<Arc<Tokens>>) -> Self {
        Self(Some(Rc::new(tokens)))
    }

    /// Whether who brings this is let in.
    pub fn admits(&self, brought: Brought<'_>) -> bool {
        let Some(tokens) = &self.0 else { return true };
        brought.token().is_some_and(|token| tokens.with(|tokens| tokens.admits(token)))
    }
}

/// What a request says in a field that may be there once. No `Debug`: it is a secret.
#[derive(Clone, Copy, Default)]
pub enum Brought<'b> {
    /// The field is not there.
    #[default]
    Nothing,
    /// Its value.
    Once(&'b [u8]),
    /// It is repeated, and so says nothing.
    Repeated,
}

impl<'b> Brought<'b> {
    /// Takes one more such field.
    pub const fn take(&mut self, value: &'b [u8]) {
        *self = match self {
            Self::Nothing => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }

    /// This, or the other where this is not there.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match self {
            Self::Nothing => other,
            Self::Once(_) | Self::Repeated => self,
        }
    }

    fn token(self) -> Option<&'b [u8]> {
        match self {
            Self::Once(value) => secret::bearer(value),
            Self::Nothing | Self::Repeated => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::Publisher;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "fedcba9876543210";

    #[test]
    fn a_file_of_tokens_has_one_a_line_and_comments_and_nothing_else() {
        let line = |line| Err(TokensError::Line { line });
        let many = |count: usize| (0..count).map(|number| format!("{ONE}{number}\n")).collect::<String>();
        for (text, expected) in [
            (format!("{ONE}\n"), Ok(1)),
            (ONE.to_owned(), Ok(1)),
            (format!("# old\r\n{ONE}\r\n\r\n#new\r\n{TWO}\r\n"), Ok(2)),
            (format!("\n\n{ONE}\n{ONE}\n"), Ok(2)),
            (many(AUTH_TOKENS_MAX), Ok(AUTH_TOKENS_MAX)),
            (many(AUTH_TOKENS_MAX + 1), Err(TokensError::TooMany)),
            (String::new(), Err(TokensError::Empty)),
            (format!("\n# {ONE}\n"), Err(TokensError::Empty)),
            (format!("{ONE}\nshort\n"), line(2)),
            (format!(" {ONE}\n"), line(1)),
            (format!("{ONE} \n"), line(1)),
            (format!("#\n{ONE} # the old one\n"), line(2)),
            (format!("{ONE}\u{e9}"), line(1)),
            ("x".repeat(513), line(1)),
            ("\n \n".to_owned(), line(2)),
        ] {
            let read = Tokens::parse(&text);
            assert_eq!(read.as_ref().map(Tokens::len).map_err(Clone::clone), expected, "{text:?}");
            let told = format!("{read:?} {}", read.as_ref().err().map(ToString::to_string).unwrap_or_default());
            assert!(!told.contains(ONE) && !told.contains("short"), "{told}");
        }
    }

    #[test]
    fn any_of_the_tokens_lets_in_and_nothing_else_does() {
        let tokens = Arc::new(Tokens::parse(&format!("{ONE}\n{TWO}")).unwrap());
        let door = Door::new(Publisher::new(tokens).subscribe());
        let longer = format!("Bearer {ONE}0");
        for (value, admitted) in [
            (format!("Bearer {ONE}"), true),
            (format!("bearer  {TWO}"), true),
            (ONE.to_owned(), false),
            (format!("Basic {ONE}"), false),
            (format!("Bearer {}", &ONE[..15]), false),
            (format!("Bearer {ONE}, Bearer {TWO}"), false),
            (longer, false),
            ("Bearer ".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(door.admits(Brought::Once(value.as_bytes())), admitted, "{value}");
            let (mut brought, mut second) = (Brought::Nothing, Brought::Repeated);
            assert!(!door.admits(brought), "nothing");
            brought.take(value.as_bytes());
            assert_eq!(door.admits(brought.or(second)), admitted, "{value}");
            assert_eq!(door.admits(Brought::Nothing.or(brought)), admitted, "{value}");
            brought.take(value.as_bytes());
            second.take(value.as_bytes());
            assert!(!door.admits(brought) && !door.admits(second), "{value} again");
        }
        assert!(Door::OPEN.admits(Brought::Nothing) && Door::OPEN.admits(Brought::Repeated));
    }

    #[test]
    fn a_token_that_was_removed_no_longer_lets_in() {
        let [one, two] = [ONE, TWO].map(|token| Arc::new(Tokens::one(Secret::token(token).unwrap())));
        let publisher = Publisher::new(one);
        let door = Door::new(publisher.subscribe());
        let seen_by_a_connection = door.clone();
        let bearer = [ONE, TWO].map(|token| format!("Bearer {token}"));
        let admitted = || bearer.each_ref().map(|bearer| seen_by_a_connection.admits(Brought::Once(bearer.as_bytes())));
        assert_eq!(admitted(), [true, false]);
        publisher.publish(two);
        assert_eq!(admitted(), [false, true]);
    }
}
