//! What a check found, and what can be done about it, as text and as JSON.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It will run, worse than it could.
    Warning,
    /// It will not run, or not keep its promises.
    Problem,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What there is.
    pub found: String,
    /// What to do about it; empty: nothing.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub remedy: &'static str,
}

impl Finding {
    /// Nothing to do.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), remedy: "" }
    }

    /// Something to think about.
    pub fn warning(check: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), remedy }
    }

    /// Something to do.
    pub fn problem(check: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { check, verdict: Verdict::Problem, found: found.into(), remedy }
    }
}

/// For people: a line for each check, another for each remedy, and the sum.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, verdict, found, remedy } in findings {
        text.push_str(&format!("{:<8} {check:<12} {found}\n", verdict.as_str()));
        if !remedy.is_empty() {
            text.push_str(&format!("{:<21} remedy: {remedy}\n", ""));
        }
    }
    let [problems, warnings] = [Verdict::Problem, Verdict::Warning].map(|verdict| count(findings, verdict));
    text.push_str(&format!("\n{problems} problem(s), {warnings} warning(s)\n"));
    text
}

/// How many there are.
pub fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.verdict == verdict).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_with_its_remedy_below_it() {
        let findings =
            [Finding::ok("a", "fine"), Finding::warning("b", "so so", "do it"), Finding::problem("c", "no", "undo it")];
        let text = text(&findings);
        assert_eq!(text.lines().filter(|line| line.contains("remedy: ")).count(), 2, "{text}");
        assert!(
            text.starts_with("ok       a            fine\n") && text.ends_with("1 problem(s), 1 warning(s)\n"),
            "{text}"
        );
        let json = serde_json::to_value(&findings[2]).expect("JSON");
        assert_eq!((json["verdict"].as_str(), json["remedy"].as_str()), (Some("problem"), Some("undo it")));
    }
}
