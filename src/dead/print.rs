//! Answers of the admin listener as text for people.

use std::fmt::Write;

use base64::engine::general_purpose::STANDARD;
use base64::prelude::Engine;
use serde_json::Value;

/// Above the rows of a list.
pub const HEADING: &str = "ID                                    DIED                      CLASS             STATUS  TRIES  REPLAYS  ORIGIN  REQUEST";

/// A letter in a list.
pub fn row(letter: &Value) -> String {
    let text = |name: &str| plain(letter[name].as_str().unwrap_or_default());
    let number = |name: &str| letter[name].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    format!(
        "{:36}  {:24}  {:16}  {:>6}  {:>5}  {:>7}  {}  {} {}",
        text("id"),
        text("died"),
        text("class"),
        number("status"),
        number("attempts"),
        number("replays"),
        text("origin"),
        text("method"),
        text("target")
    )
}

/// All that a letter holds.
pub fn letter(letter: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| out.push_str(&format!("{name:9} {value}\n"));
    let text = |value: &Value| plain(value.as_str().unwrap_or("-"));
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    line("id", text(&letter["id"]));
    line("accepted", text(&letter["accepted"]));
    line(
        "died",
        format!("{}, {}, status {}", text(&letter["died"]), text(&letter["class"]), number(&letter["status"])),
    );
    line("origin", text(&letter["origin"]));
    line("replays", number(&letter["replays"]));
    for tried in letter["history"].as_array().into_iter().flatten() {
        line(
            "attempt",
            format!("{}, {}, status {}", text(&tried["at"]), text(&tried["class"]), number(&tried["status"])),
        );
    }
    out.push_str(&format!("\n{}\n", text(&letter["request_line"])));
    for field in letter["fields"].as_array().into_iter().flatten() {
        out.push_str(&format!("{}: {}\n", text(&field[0]), text(&field[1])));
    }
    out.push_str(&format!("\n{}", content(&letter["body_base64"])));
    out.push_str(&format!("\nthe last answer began:\n{}", content(&letter["answer_base64"])));
    out
}

/// What a dry run counted.
pub fn tally(tally: &Value) -> String {
    let mut out = format!("{} letters\n", tally["letters"]);
    for (list, name) in [("origins", "origin"), ("classes", "class")] {
        for row in tally[list].as_array().into_iter().flatten() {
            // Writing to a string does not fail.
            let _ =
                writeln!(out, "{:>10}  {}", row["letters"].to_string(), plain(row[name].as_str().unwrap_or_default()));
        }
    }
    if tally["other_origins"].as_u64().is_some_and(|letters| letters > 0) {
        let _ = writeln!(out, "{:>10}  for other origins", tally["other_origins"].to_string());
    }
    out
}

/// How a replay ended.
pub fn replay(status: &Value) -> String {
    let cancelled = if status["cancelled"] == true { ", cancelled: the rest are still dead letters" } else { "" };
    let unreadable = status["unreadable"].as_u64().filter(|letters| *letters > 0);
    let kept = unreadable.map_or_else(String::new, |letters| format!(", {letters} could not be used and are kept"));
    format!("{} of {} replayed{kept}{cancelled}\n", status["replayed"], status["letters"])
}

/// A body as text, or as base64 where it is none.
fn content(base64: &Value) -> String {
    let encoded = base64.as_str().unwrap_or_default();
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    match std::str::from_utf8(&bytes) {
        Ok("") => String::new(),
        Ok(text) => format!("{}\n", text.lines().map(plain).collect::<Vec<_>>().join("\n")),
        Err(_) => format!("{encoded}\n"),
    }
}

/// Without what a terminal would obey: whoever sent or answered this may have meant it to.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_stands_below_its_heading_and_a_terminal_obeys_none_of_it() {
        let shown = json!({
            "id": "01a20bd2-02f3-7548-aec6-07ca29d3aca6", "died": "2023-11-14T22:13:21.000Z", "class": "http_5xx",
            "status": 503, "attempts": 11, "replays": 0, "origin": "http://b:81", "method": "POST", "target": "/a\u{1b}[2J",
        });
        let row = row(&shown);
        for (heading, value) in [("DIED", "2023"), ("CLASS", "http_5xx"), ("ORIGIN", "http://b")] {
            assert_eq!(HEADING.find(heading), row.find(value), "{heading}");
        }
        assert!(row.ends_with("POST /a\u{FFFD}[2J"), "{row}");
    }

    #[test]
    fn a_body_is_shown_as_text_where_it_is_text() {
        assert_eq!(content(&json!(STANDARD.encode("a\r\nb\u{7}"))), "a\nb\u{FFFD}\n");
        assert_eq!(content(&json!(STANDARD.encode([0xFF, 0]))), "/wA=\n");
        assert_eq!(content(&json!("")), "");
    }
}
