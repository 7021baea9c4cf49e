//! A daemon under load, scraped: names, queries, alerts and quantiles are true.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use dispatcher::time::monotonic_now;

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::run;
use crate::documents::{
    ALERTS, DASHBOARD, dashboard_marks, dashboard_queries, names_in, readme_metrics, readme_queries,
};
use crate::program::find;
use crate::server::Prometheus;

/// What the slow destination takes.
const SLOW: Duration = Duration::from_millis(50);
/// Messages to it.
const MESSAGES: usize = 300;

/// Upper bounds of the buckets, in seconds, as the exposition has them.
fn bounds(exposition: &str, histogram: &str) -> Vec<f64> {
    let start = format!("dispatcher_{histogram}_bucket{{le=\"");
    let bounds = exposition.lines().filter_map(|line| line.strip_prefix(&start)?.split('"').next());
    bounds.map(|bound| if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() }).collect()
}

/// Which bucket a time falls in. What a quantile is told to be is the upper bound at most, where a time may be as well.
fn bucket(bounds: &[f64], seconds: f64) -> usize {
    bounds.partition_point(|bound| *bound < seconds * (1.0 - 1e-9))
}

/// Sends messages that are taken, refused for good, refused for now and not at all; how long each 202 took, sorted.
async fn load(daemon: &Daemon, slow: &Origin, gone: &Origin, down: &Origin) -> Vec<f64> {
    let mut sender = daemon.sender().await;
    for _ in 0..10 {
        sender.post(&gone.host(), b"unwanted").await;
        sender.post(&down.host(), b"waits").await;
        let answer = sender.try_post("no/origin", "", b"").await.unwrap();
        assert!(answer.head.starts_with("HTTP/1.1 400 "), "{}", answer.head);
    }
    let mut took = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        let start = monotonic_now();
        sender.post(&slow.host(), b"slowly").await;
        took.push(start.elapsed().as_secs_f64());
    }
    took.sort_by(f64::total_cmp);
    took
}

#[test]
fn what_is_written_about_metrics_is_what_a_real_prometheus_finds_in_a_daemon_under_load() {
    run(async {
        if find("prometheus").is_none() || find("promtool").is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (slow, gone, down) = (Origin::start(), Origin::start(), Origin::start());
        slow.answer(|_| Reply::After(SLOW));
        gone.answer(|_| Reply::Status(410));
        down.answer(|_| Reply::Status(503));
        let daemon = Daemon::start(dir.path(), &[]).await;
        let scraped = daemon.admin_address();
        let prometheus = Prometheus::start("prometheus.yml", "127.0.0.1:8081", scraped, "").await.unwrap();
        prometheus.until_answered("up{job=\"dispatcher\"}", |up| up == 1.0).await;
        let took = load(&daemon, &slow, &gone, &down).await;
        // All but those that wait for the one that is down.
        daemon.until_metric("delivered_total", |delivered| delivered == MESSAGES as f64).await;
        daemon.until_metric("dead_letters_kept", |kept| kept == 10.0).await;
        daemon.until_metric("breaker_open_origins", |open| open == 1.0).await;
        let all_is_known =
            format!("dispatcher_delivered_total == {MESSAGES} and on () dispatcher_breaker_open_origins");
        prometheus.until_answered(&all_is_known, |_| true).await;

        let answer = daemon.admin("/metrics").await;
        let exposition = answer.split_once("\r\n\r\n").unwrap().1;
        promtool_finds_nothing(exposition);
        every_name_exists_and_is_explained(exposition);
        every_query_is_answered(&prometheus).await;
        alerts_are_told_in_full(&prometheus).await;
        quantiles_agree(&prometheus, exposition, &took).await;
        daemon.stop().await;
    });
}

fn promtool_finds_nothing(exposition: &str) {
    let mut promtool = Command::new(find("promtool").unwrap());
    let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = promtool.stderr(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(exposition.as_bytes()).unwrap();
    let said = running.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.status.success() && complaints.is_empty(), "{complaints}");
}

/// Every metric that README, dashboard and alerts name exists, and the README explains every one that exists.
fn every_name_exists_and_is_explained(exposition: &str) {
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    let mut exist: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    let families = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let families: BTreeSet<&str> = families.collect();
    exist.extend(&families);
    for (place, text) in [("README.md", readme_metrics()), ("the dashboard", DASHBOARD), ("the alerts", ALERTS)] {
        let missing: Vec<_> = names_in(text).into_iter().filter(|name| !exist.contains(name)).collect();
        assert!(missing.is_empty(), "{place} names what there is not: {missing:?}");
    }
    let explained = names_in(readme_metrics());
    let unexplained: Vec<_> = families.iter().filter(|name| !explained.contains(*name)).collect();
    assert!(unexplained.is_empty(), "README.md does not name {unexplained:?}");
}

async fn every_query_is_answered(prometheus: &Prometheus) {
    let queries = readme_queries();
    assert!(queries.len() >= 10, "{queries:?}");
    for query in queries {
        let samples = prometheus.query(query).await;
        let sensible = |value: f64| value.is_finite() && value >= 0.0;
        assert!(!samples.is_empty() && samples.iter().all(|sample| sensible(sample.value)), "{query}: {samples:?}");
    }
    for (title, query) in dashboard_queries() {
        let samples = prometheus.query(&query).await;
        assert!(!samples.is_empty(), "{title}: {query} is answered with nothing");
    }
    for query in dashboard_marks() {
        prometheus.query(&query).await;
    }
    let waiting = prometheus.query("topk(1, dispatcher_origin_messages)").await;
    assert_eq!(waiting[0].value, 10.0, "{waiting:?}");
    let down = prometheus.query("dispatcher_origin_breaker_open == 1").await;
    assert_eq!(down.len(), 1, "{down:?}");
    assert_eq!(down[0].labels["origin"], waiting[0].labels["origin"], "whose messages wait is who is down");
}

/// The alerts are loaded, none of them has failed, and what is told of those that go off is filled in.
async fn alerts_are_told_in_full(prometheus: &Prometheus) {
    let firing = "ALERTS{alertname=\"DispatcherDeadLetters\",alertstate=\"firing\",class=\"http_4xx\"}";
    prometheus.until_answered(firing, |_| true).await;
    let answer = prometheus.get("/api/v1/rules?type=alert").await;
    let rules = answer["data"]["groups"][0]["rules"].as_array().unwrap();
    let mut told = BTreeSet::new();
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        for alert in rule["alerts"].as_array().unwrap() {
            let text = alert["annotations"].to_string();
            assert!(!text.contains("<no value>") && !text.contains("<error"), "{text}");
            told.insert(alert["labels"]["alertname"].as_str().unwrap().to_owned());
        }
    }
    for alert in ["DispatcherCircuitOpen", "DispatcherDeadLetters"] {
        assert!(told.contains(alert), "{alert} is not among {told:?}");
    }
}

/// Quantiles over all that was scraped beside what the sender measured and what the destination took.
async fn quantiles_agree(prometheus: &Prometheus, exposition: &str, took: &[f64]) {
    for (part, at) in [(0.5, took.len() / 2), (0.9, took.len() * 9 / 10)] {
        let quantile = async |histogram: &str| {
            let query = format!("histogram_quantile({part}, sum by (le) (dispatcher_{histogram}_bucket))");
            prometheus.query(&query).await[0].value
        };
        let accept_bounds = bounds(exposition, "accept_seconds");
        let (daemon, sender) = (quantile("accept_seconds").await, took[at]);
        let (told, measured) = (bucket(&accept_bounds, daemon), bucket(&accept_bounds, sender));
        // The sender's time contains the daemon's, and what this process waited for a processor.
        assert!(told <= measured + 1 && told + 2 >= measured, "accept p{part}: {daemon} and {sender} s");
        let attempt_bounds = bounds(exposition, "attempt_seconds");
        let attempt = quantile("attempt_seconds").await;
        let (told, known) = (bucket(&attempt_bounds, attempt), bucket(&attempt_bounds, SLOW.as_secs_f64() * 1.01));
        assert!(told.abs_diff(known) <= 1, "attempt p{part}: {attempt} s");
    }
}

#[test]
fn over_listen_it_is_scraped_with_a_token_and_not_without() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let token = "0123456789abcdef0123456789abcdef";
        let daemon = Daemon::start(dir.path(), &[("AUTH_TOKEN", token)]).await;
        for (brings, up) in [(token, 1.0), ("another-token-that-is-not-known", 0.0)] {
            let (name, written) = ("prometheus-listen.yml", "127.0.0.1:80");
            let Some(prometheus) = Prometheus::start(name, written, daemon.address(), brings).await else { return };
            prometheus.until_answered("up{job=\"dispatcher\"}", |value| value == up).await;
            let ready = prometheus.query("dispatcher_shards{phase=\"ready\"}").await;
            assert_eq!(!ready.is_empty(), up == 1.0, "{ready:?}");
        }
        daemon.stop().await;
    });
}
