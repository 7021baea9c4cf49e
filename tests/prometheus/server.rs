//! Prometheus with a configuration of `deploy/`, on a port and in a directory of its own, and what it answers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use dispatcher::time::monotonic_now;
use form_urlencoded::byte_serialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{PATIENCE, POLL};
use crate::program::{Port, Program, find};

/// A running Prometheus; dropping it ends it.
pub struct Prometheus {
    port: Port,
    _process: Program,
    _dir: TempDir,
}

/// One series of an answer: its labels, and its value now.
#[derive(Debug)]
pub struct Sample {
    pub labels: Value,
    pub value: f64,
}

impl Prometheus {
    /// Starts one with the configuration of this name, which is to scrape `target` instead of `written`, and more often;
    /// `None`: Prometheus is not installed. `token`: what stands in the file that the configuration names.
    pub async fn start(name: &str, written: &str, target: SocketAddr, token: &str) -> Option<Self> {
        let program = find("prometheus")?;
        let deploy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(deploy.join("alerts.yml"), dir.path().join("alerts.yml")).unwrap();
        std::fs::write(dir.path().join("dispatcher.token"), token).unwrap();
        let mut configuration = std::fs::read_to_string(deploy.join(name)).unwrap();
        let changes = [
            (format!("targets: [{written}]"), format!("targets: ['{target}']")),
            ("scrape_interval: 15s".to_owned(), "scrape_interval: 500ms".to_owned()),
            ("evaluation_interval: 15s".to_owned(), "evaluation_interval: 1s".to_owned()),
        ];
        for (from, to) in changes {
            assert_eq!(configuration.matches(&from).count(), 1, "{name} has {from}");
            configuration = configuration.replace(&from, &to);
        }
        std::fs::write(dir.path().join("prometheus.yml"), configuration).unwrap();
        let port = Port::hold();
        let mut command = Command::new(program);
        command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data").arg("--log.level=warn");
        command.arg(format!("--web.listen-address={}", port.address));
        let mut process = Program::start(&mut command, dir.path());
        process.listening(port.address).await;
        Some(Self { port, _process: process, _dir: dir })
    }

    /// What a query is answered now. Panics: it is no query.
    pub async fn query(&self, query: &str) -> Vec<Sample> {
        let encoded: String = byte_serialize(query.as_bytes()).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().expect("a vector").iter();
        let sample = |series: &Value| Sample {
            labels: series["metric"].clone(),
            value: series["value"][1].as_str().expect("a value").parse().unwrap(),
        };
        series.map(sample).collect()
    }

    /// The same once it is answered with something.
    pub async fn until_answered(&self, query: &str, wanted: impl Fn(f64) -> bool) -> Vec<Sample> {
        let start = monotonic_now();
        loop {
            let samples = self.query(query).await;
            if samples.iter().any(|sample| wanted(sample.value)) {
                return samples;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{query} is answered {samples:?}\n{}",
                self.get("/api/v1/targets").await
            );
            tokio::time::sleep(POLL * 20).await;
        }
    }

    /// What it answers to a GET. HTTP/1.0, so that the answer is not cut into chunks.
    pub async fn get(&self, path: &str) -> Value {
        let start = monotonic_now();
        loop {
            let mut stream = TcpStream::connect(self.port.address).await.unwrap();
            let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            // It listens before it has read its data.
            if head.starts_with("HTTP/1.0 503") && start.elapsed() < PATIENCE {
                tokio::time::sleep(POLL * 4).await;
                continue;
            }
            return serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {answer}"));
        }
    }
}
