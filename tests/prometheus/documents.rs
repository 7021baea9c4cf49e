//! What is written about metrics: the README, the alerts, the dashboard; their queries and the names in them.

use std::collections::BTreeSet;

use serde_json::Value;

pub const README: &str = include_str!("../../README.md");
pub const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
pub const DASHBOARD: &str = include_str!("../../deploy/grafana/dispatcher.json");

/// The queries that the README recommends: the indented lines behind the mark, but for comments.
pub fn readme_queries() -> Vec<&'static str> {
    let behind = README.split_once("<!-- queries").expect("the mark").1;
    let lines = behind.lines().skip(1).skip_while(|line| line.is_empty());
    let lines = lines.take_while(|line| line.starts_with("    ")).map(str::trim);
    lines.filter(|line| !line.starts_with('#')).collect()
}

/// Every query of the dashboard, with its title, as Grafana would send it for all instances.
pub fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let targets = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().expect("a panel asks something");
        assert!(!targets.is_empty(), "{} asks nothing", panel["title"]);
        targets.iter().map(move |target| (panel["title"].as_str().unwrap().to_owned(), filled(&target["expr"])))
    });
    let queries: Vec<_> = targets.collect();
    queries
}

/// The queries of the dashboard for marks over all panels; mostly there is none.
pub fn dashboard_marks() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    dashboard["annotations"]["list"].as_array().unwrap().iter().map(|mark| filled(&mark["expr"])).collect()
}

fn filled(query: &Value) -> String {
    let query = query.as_str().expect("a query");
    let filled = query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$job", "dispatcher");
    assert!(!filled.contains('$'), "a variable of Grafana is not filled in: {filled}");
    filled
}

/// Every metric that a text names in full.
pub fn names_in(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_part(letter));
    let ours = words.filter(|word| word.starts_with("dispatcher_") || word.starts_with("process_"));
    ours.collect()
}

/// The part of the README about metrics.
pub fn readme_metrics() -> &'static str {
    let behind = README.split_once("\n## Metrics\n").expect("the part about metrics").1;
    behind.split_once("\n## ").expect("a part behind it").0
}

/// The names of all alerts.
pub fn alerts() -> Vec<&'static str> {
    ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

/// Panels as Grafana places them: 24 columns, nothing on top of another, ids of their own.
#[test]
fn the_panels_of_the_dashboard_have_places_and_ids_of_their_own() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is too far to the right");
        for cell in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
            assert!(taken.insert((at("x") + cell.0, at("y") + cell.1)), "{title} lies on another");
        }
        let refs: Vec<_> = panel["targets"].as_array().into_iter().flatten().map(|target| &target["refId"]).collect();
        let own: BTreeSet<_> = refs.iter().map(|name| name.to_string()).collect();
        assert_eq!(own.len(), refs.len(), "{title}: two queries have one name");
    }
}
