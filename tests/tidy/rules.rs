//! The rules: each takes a file and returns what breaks it, as `path:line: what`.

use std::collections::BTreeMap;

use super::source::{Source, words_in};
use super::table;

/// A file is at most so long.
pub fn size(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let broken = lines > table::LINES_MAX;
    let what = format!("{lines} lines, more than {}: it has two responsibilities", table::LINES_MAX);
    broken.then(|| source.at(source.text.len(), &what)).into_iter().collect()
}

/// A file opens with its responsibility.
pub fn opening(source: &Source) -> Vec<String> {
    let broken = !source.text.starts_with("//! ");
    broken.then(|| source.at(0, "does not open with `//! ` and its one responsibility")).into_iter().collect()
}

/// A module of the crate imports what its row of the stack names, and itself.
pub fn imports(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || source.path == "src/lib.rs" || source.code.is_empty() {
        return Vec::new();
    }
    let module = source.module();
    let Some((_, allowed)) = table::STACK.iter().find(|(name, _)| *name == module[0]) else {
        return vec![source.at(0, "its module has no row in tests/tidy/table.rs")];
    };
    let may = |path: &str| {
        let within =
            |allowed: &str| path == allowed || path.strip_prefix(allowed).is_some_and(|rest| rest.starts_with("::"));
        within(module[0]) || allowed.iter().any(|allowed| within(allowed))
    };
    paths(source, &module)
        .into_iter()
        .filter(|(_, path)| !may(path))
        .map(|(at, path)| source.at(at, &format!("{} may not import {path}", module[0])))
        .collect()
}

/// Every path from the crate's root that the code names, with its place. `crate::{a::b, c}` is two.
fn paths(source: &Source, module: &[&str]) -> Vec<(usize, String)> {
    let code = source.code.as_str();
    let mut found = Vec::new();
    let roots = words_in(code, "crate").into_iter().map(|at| (at, "crate"));
    // The binary reaches the library by its name.
    for (at, root) in roots.chain(words_in(code, "dispatcher").into_iter().map(|at| (at, "dispatcher"))) {
        if let Some(rest) = code[at + root.len()..].strip_prefix("::") {
            found.extend(first_parts(rest).into_iter().map(|path| (at, path)));
        }
    }
    for at in words_in(code, "super") {
        let chain = code[..at].trim_end().ends_with("super::");
        let mut rest = &code[at..];
        let mut up = 0;
        while let Some(behind) = rest.strip_prefix("super::") {
            (rest, up) = (behind, up + 1);
        }
        if !chain && up > 0 && up >= module.len() {
            found.extend(first_parts(rest).into_iter().map(|path| (at, path)));
        }
    }
    found
}

/// The first two parts of the path, or of each path of the group, at the start of `rest`.
fn first_parts(rest: &str) -> Vec<String> {
    let Some(group) = rest.trim_start().strip_prefix('{') else {
        let path: String =
            rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':')).collect();
        let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).take(2).collect();
        return if parts.is_empty() { Vec::new() } else { vec![parts.join("::")] };
    };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                found.extend(first_parts(group[start..at].trim_start()));
                start = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// A row names only rows below it.
pub fn stack(rows: &[(&str, &[&str])]) -> Vec<String> {
    let mut broken = Vec::new();
    for (row, (module, allowed)) in rows.iter().enumerate() {
        for path in *allowed {
            let top = path.split("::").next().unwrap_or(path);
            if !rows[row + 1..].iter().any(|(name, _)| *name == top) {
                broken.push(format!("{module} names {path}, which is no row below it"));
            }
        }
    }
    broken
}

/// What the table allows and nothing uses any more.
pub fn unused(sources: &[Source]) -> Vec<String> {
    let modules: Vec<Vec<&str>> =
        sources.iter().filter(|source| source.path.starts_with("src/")).map(Source::module).collect();
    let gone = table::STACK.iter().filter(|(name, _)| !modules.iter().any(|module| module.first() == Some(name)));
    let quiet = table::SPAWNS
        .iter()
        .filter(|(path, _)| !sources.iter().any(|source| source.path == *path && !starts(source).is_empty()));
    let rows = gone.map(|(name, _)| format!("tests/tidy/table.rs: there is no module {name}"));
    rows.chain(quiet.map(|(path, _)| format!("tests/tidy/table.rs: {path} starts nothing"))).collect()
}

/// `unsafe` only where the table says.
pub fn unsafe_code(source: &Source) -> Vec<String> {
    if table::UNSAFE.contains(&source.path.as_str()) {
        return Vec::new();
    }
    source
        .words("unsafe")
        .into_iter()
        .map(|at| source.at(at, &format!("unsafe outside of {}", table::UNSAFE.join(" and "))))
        .collect()
}

/// Tasks, threads and processes start only where the table says.
pub fn spawns(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || table::SPAWNS.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    starts(source).into_iter().map(|at| source.at(at, "starts a task, but is not in tests/tidy/table.rs")).collect()
}

/// Where the code starts something: a method or a path called `spawn`, or a function that can be nothing else.
fn starts(source: &Source) -> Vec<usize> {
    let calls = |word: &'static str| {
        source.words(word).into_iter().filter(move |at| source.code[at + word.len()..].starts_with('('))
    };
    let methods = calls("spawn").filter(|at| source.code[..*at].ends_with(['.', ':']));
    let named = ["spawn_local", "spawn_blocking"].into_iter().flat_map(calls);
    methods.chain(named.filter(|at| !source.code[..*at].ends_with("fn "))).collect()
}

/// `select!` opens with `biased;`, so that a simulation replays.
pub fn select(source: &Source) -> Vec<String> {
    let unbiased = |at: &usize| {
        let body = source.code[at + "select!".len()..].trim_start().trim_start_matches(['{', '(']);
        !body.trim_start().starts_with("biased;")
    };
    let all = source.words("select").into_iter().filter(|at| source.code[*at..].starts_with("select!"));
    all.filter(unbiased).map(|at| source.at(at, "select! without `biased;`")).collect()
}

/// Nothing is left for later, in code or comments.
pub fn leftovers(source: &Source) -> Vec<String> {
    let macros = table::LEFTOVER_MACROS.iter().flat_map(|word| words_in(&source.code, word));
    let words = table::LEFTOVER_WORDS.iter().flat_map(|word| words_in(&source.comments, word));
    macros.chain(words).map(|at| source.at(at, "left for later")).collect()
}

/// The rows of the code map in ARCHITECTURE.md: path and kind.
fn map_rows(architecture: &str) -> Vec<(&str, &str)> {
    architecture
        .lines()
        .filter_map(|line| {
            let (path, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (kind, _) = rest.split_once(" |")?;
            path.starts_with("src/").then_some((path, kind))
        })
        .collect()
}

/// Every file of src/ has one row, with a kind; every row has a file.
pub fn code_map(architecture: &str, sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut rows = BTreeMap::new();
    for (path, kind) in map_rows(architecture) {
        if !matches!(kind, "P" | "S" | "E" | "") {
            broken.push(format!("ARCHITECTURE.md: {path} is of kind {kind:?}, none of P, S, E and nothing"));
        }
        if rows.insert(path, kind).is_some() {
            broken.push(format!("ARCHITECTURE.md: {path} has two rows"));
        }
    }
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        if rows.remove(source.path.as_str()).is_none() {
            let sentence = source.text.lines().next().unwrap_or_default().trim_start_matches("//! ");
            broken.push(format!("ARCHITECTURE.md lacks the row: | `{}` | ? | {sentence} |", source.path));
        }
    }
    broken.extend(rows.keys().map(|path| format!("ARCHITECTURE.md: {path} does not exist")));
    broken
}

/// A file that the code map calls pure decides and does not act.
pub fn purity(architecture: &str, source: &Source) -> Vec<String> {
    if !map_rows(architecture).contains(&(source.path.as_str(), "P")) {
        return Vec::new();
    }
    let found = table::IMPURE.iter().flat_map(|word| source.words(word).into_iter().map(move |at| (at, word)));
    found.map(|(at, word)| source.at(at, &format!("{word} in a pure file"))).collect()
}
