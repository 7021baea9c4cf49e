//! The tokens of the data listener: the one of `AUTH_TOKEN`, or the file that `AUTH_TOKEN_FILE` names.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reload::Reloads;
use crate::config::Config;
use crate::ingress::tokens::{Tokens, TokensError};
use crate::limits::AUTH_TOKEN_FILE_BYTES_MAX;
use crate::reload::Publisher;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("AUTH_TOKEN_FILE={path:?}: expected a file of tokens, one a line")]
pub struct TokenFileError {
    path: PathBuf,
    source: Unusable,
}

/// Why.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("reading it")]
    Io(#[source] io::Error),
    #[error("it is longer than {AUTH_TOKEN_FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Content(#[from] TokensError),
}

/// The tokens that hold, if any are asked for; `reloads` will read the file again.
pub fn publisher(
    config: &Config,
    reloads: &mut Reloads,
) -> Result<Option<Arc<Publisher<Arc<Tokens>>>>, TokenFileError> {
    if let Some(path) = &config.auth_token_file {
        let path = path.clone();
        return reloads.add("AUTH_TOKEN_FILE", move || read(&path)).map(Some);
    }
    let one = config.auth_token.clone().map(Tokens::one);
    Ok(one.map(|tokens| Arc::new(Publisher::new(Arc::new(tokens)))))
}

fn read(path: &Path) -> Result<Arc<Tokens>, TokenFileError> {
    let tokens = text(path).and_then(|text| Ok(Tokens::parse(&text)?));
    tokens.map(Arc::new).map_err(|source| TokenFileError { path: path.to_owned(), source })
}

fn text(path: &Path) -> Result<String, Unusable> {
    let mut text = String::new();
    let most = AUTH_TOKEN_FILE_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(most).read_to_string(&mut text));
    if read.map_err(Unusable::Io)? > AUTH_TOKEN_FILE_BYTES_MAX { Err(Unusable::TooLong) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::chain;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_the_reason_and_none_of_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let message = || read(&path).map(|tokens| tokens.len()).map_err(|error| chain(&error));
        assert!(message().unwrap_err().ends_with("reading it: No such file or directory (os error 2)"));
        let comments = format!("#{}\n", "x".repeat(AUTH_TOKEN_FILE_BYTES_MAX - TOKEN.len() - 2));
        for (content, expected) in [
            (TOKEN.as_bytes().to_vec(), Ok(1)),
            (format!("{comments}{TOKEN}").into_bytes(), Ok(1)),
            (format!("{comments}{TOKEN}\n").into_bytes(), Err("it is longer than 65536 bytes")),
            (Vec::new(), Err("it holds no token")),
            (format!("{TOKEN}\nshort\n").into_bytes(), Err("line 2 is not a token: expected 16 to 512 letters")),
            (vec![0xFF; 16], Err("reading it: stream did not contain valid UTF-8")),
        ] {
            std::fs::write(&path, content).unwrap();
            match (message(), expected) {
                (Ok(count), expected) => assert_eq!(Ok(count), expected),
                (Err(message), expected) => {
                    assert!(message.starts_with(&format!("AUTH_TOKEN_FILE={path:?}: expected a file")), "{message}");
                    assert!(message.contains(expected.unwrap_err()), "{message}");
                    assert!(!message.contains(TOKEN) && !message.contains("short"), "{message}");
                }
            }
        }
    }
}
