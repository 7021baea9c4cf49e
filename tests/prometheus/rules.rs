//! The alerts: promtool takes them, and each has tests that it passes.

use std::path::PathBuf;
use std::process::Command;

use crate::documents::{ALERTS, README, alerts};
use crate::program::find;

const TESTS: &str = include_str!("../../deploy/prometheus/alerts_test.yml");

/// Runs promtool where the files are; its output.
fn promtool(arguments: &[&str]) -> Option<String> {
    let promtool = find("promtool")?;
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let ran = Command::new(promtool).args(arguments).current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    assert!(ran.status.success(), "{arguments:?}: {said}");
    Some(said)
}

#[test]
fn promtool_takes_the_alerts_and_their_tests_pass() {
    let Some(said) = promtool(&["check", "rules", "alerts.yml"]) else { return };
    assert!(said.contains(&format!("{} rules found", alerts().len())), "{said}");
    promtool(&["test", "rules", "alerts_test.yml"]);
}

#[test]
fn the_readme_says_how_many_alerts_there_are() {
    assert!(README.contains(&format!("has {} alerts", alerts().len())), "{}", alerts().len());
}

#[test]
fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent() {
    for alert in alerts() {
        let named = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
        let expectations: Vec<&str> = TESTS.lines().filter(|line| line.contains(&named)).collect();
        assert!(expectations.iter().any(|line| line.contains("exp_samples: []")), "{alert} is never expected silent");
        assert!(expectations.iter().any(|line| line.contains("value: ")), "{alert} is never expected to fire");
    }
}

#[test]
fn each_alert_says_how_bad_it_is_what_it_is_and_what_to_do() {
    let parts = ALERTS.split("- alert: ").skip(1);
    for part in parts {
        let alert = part.lines().next().unwrap();
        let severity = part.lines().find_map(|line| line.trim().strip_prefix("severity: "));
        assert!(matches!(severity, Some("critical" | "warning")), "{alert}: {severity:?}");
        for key in ["summary: ", "description: >-"] {
            assert_eq!(part.matches(key).count(), 1, "{alert} has no {key}");
        }
    }
}
