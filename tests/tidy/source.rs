//! A source file taken apart: code without comments, strings and tests; comments; the module it belongs to.

use std::path::Path;

/// A file of the tree.
#[derive(Debug)]
pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Comments, strings and test modules blanked; lines and columns stay. Empty in a file that is all tests.
    pub code: String,
    /// Everything but comments blanked.
    pub comments: String,
}

/// Reads every Rust file below `folder`, sorted by path. A folder that is not there has none.
pub fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            sources.push(Source::new(name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

impl Source {
    /// Takes a file apart.
    pub fn new(path: &str, text: &str) -> Self {
        let (code, comments) = separate(text);
        let tests = path.ends_with("_tests.rs") || path.ends_with("/tests.rs");
        let code = if tests { String::new() } else { without_tests(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    /// The module's path from the crate's root: `src/wal/log.rs` is `[wal, log]`, `src/main.rs` is `[main]`.
    pub fn module(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")).unwrap_or_default();
        let mut parts: Vec<&str> = inner.split('/').collect();
        if matches!(parts.last(), Some(&"mod" | &"lib")) {
            parts.pop();
        }
        parts
    }

    /// A message about the place `at` in this file's code or comments.
    pub fn at(&self, at: usize, what: &str) -> String {
        let line = self.text[..at].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }

    /// Where `word` stands in the code as a word of its own.
    pub fn words(&self, word: &str) -> Vec<usize> {
        words_in(&self.code, word)
    }
}

/// Where `word` stands in `text`, not as a part of a longer identifier.
pub fn words_in(text: &str, word: &str) -> Vec<usize> {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = text.as_bytes();
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| !part(at.checked_sub(1).and_then(|before| bytes.get(before))) && !part(bytes.get(at + word.len())))
        .collect()
}

/// Code with comments and literals blanked, and comments with all else blanked. Both as long as `text`.
fn separate(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let blank: Vec<u8> = bytes.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }).collect();
    let (mut code, mut comments) = (blank.clone(), blank);
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Some(length) = comment(rest) {
            comments[at..at + length].copy_from_slice(&rest[..length]);
            at += length;
        } else if let Some(length) = literal(rest) {
            at += length;
        } else {
            // An identifier whole, so that the r of `for"` is not taken for a raw string's.
            let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            let length = word.max(1);
            // Outside of comments and literals code is ASCII; what is not stays blank.
            if !rest[0].is_ascii() {
                at += 1;
                continue;
            }
            code[at..at + length].copy_from_slice(&rest[..length]);
            at += length;
        }
    }
    (String::from_utf8(code).unwrap(), String::from_utf8(comments).unwrap())
}

/// The length of the comment at the start of `rest`; block comments nest.
fn comment(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with(b"/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match rest.get(at..at + 2) {
            Some(b"/*") => 1,
            Some(b"*/") => -1,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// The length of the string or character literal at the start of `rest`.
fn literal(rest: &[u8]) -> Option<usize> {
    let prefix = rest.iter().take_while(|byte| matches!(byte, b'b' | b'c' | b'r')).count();
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let raw = prefix > 0 && rest[prefix - 1] == b'r';
    let open = prefix + hashes;
    match rest.get(open) {
        Some(b'"') if raw => {
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let end = rest[open + 1..].windows(close.len()).position(|window| window == close);
            Some(end.map_or(rest.len(), |end| open + 1 + end + close.len()))
        }
        Some(b'"') if hashes == 0 => Some(quoted(rest, open, b'"')),
        // A lifetime has no quote behind its first character.
        Some(b'\'') if hashes == 0 && prefix <= 1 => {
            let escaped = rest.get(open + 1) == Some(&b'\\');
            let width = std::str::from_utf8(&rest[open + 1..]).ok()?.chars().next()?.len_utf8();
            let short = rest.get(open + 1 + width) == Some(&b'\'');
            (escaped || short).then(|| quoted(rest, open, b'\''))
        }
        _ => None,
    }
}

/// Where the literal opened by `quote` at `open` ends.
fn quoted(rest: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Blanks every item behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = start + item_length(&code.as_bytes()[start..]);
        for byte in &mut bytes[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8(bytes).unwrap()
}

/// An item ends with its first `;`, or with the brace that closes its first one.
fn item_length(code: &[u8]) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate() {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_strings_and_tests_are_told_from_code() {
    let text = concat!(
        "//! Doc.\nfn f<'a>(x: &'a str) -> char { let s = \"// no\"; /* a /* b */ c */ g(r#\"unsafe \" \"#, b\"x\\\"y\"); '\\'' }\n",
        "#[cfg(test)]\n#[path = \"f_tests.rs\"]\nmod tests;\nfn h() { '\"'; i() }\n#[cfg(test)]\nmod more { fn j() {} }\nfn k() {}\n",
    );
    let source = Source::new("src/f.rs", text);
    for code in ["fn f<'a>(x: &'a str) -> char {", "g(", "i()", "fn k() {}"] {
        assert!(source.code.contains(code), "{code} in {}", source.code);
    }
    for gone in ["Doc", "no", "unsafe", "a /*", "tests", "fn j"] {
        assert!(!source.code.contains(gone), "{gone} in {}", source.code);
    }
    assert!(source.comments.contains("Doc.") && source.comments.contains("a /* b */ c"));
    assert!(!source.comments.contains("no") && !source.comments.contains("fn"));
    assert_eq!((source.code.len(), source.comments.len()), (text.len(), text.len()));
}

#[test]
fn a_path_tells_the_module() {
    for (path, module) in
        [("src/wal/log.rs", vec!["wal", "log"]), ("src/wal/mod.rs", vec!["wal"]), ("src/main.rs", vec!["main"])]
    {
        assert_eq!(Source::new(path, "").module(), module);
    }
    assert!(Source::new("src/lib.rs", "").module().is_empty());
}
