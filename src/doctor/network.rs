//! Where it listens, how it finds names, and whom it trusts.

use std::fs;

use super::finding::Finding;
use crate::config::{Config, Listen};
use crate::delivery::tls;
use crate::ingress::listener::{self, BindError};
use crate::message::Scheme;
use crate::net::certificate::server_config;
use crate::server::{bind_admin, tls_files};
use crate::telemetry::chain;

/// Whether the addresses are free, or held by `holder`, the daemon that runs on this log.
pub fn ports(config: &Config, holder: Option<&str>) -> Vec<Finding> {
    let data = listener::bind(config.listen, 1).map(drop);
    let admin = bind_admin(config.admin_listen).map(drop);
    vec![
        port("LISTEN", config.listen, data.err(), holder),
        port("ADMIN_LISTEN", config.admin_listen, admin.err(), holder),
    ]
}

fn port(check: &'static str, listen: Listen, error: Option<BindError>, holder: Option<&str>) -> Finding {
    let Some(error) = error else { return Finding::ok(check, format!("{listen} is free")) };
    let owner = listening(listen.port);
    match (&error, &owner) {
        (BindError::InUse { .. }, Some((pid, _))) if Some(pid.as_str()) == holder => {
            Finding::ok(check, format!("{listen} is in use by the running dispatcher, process {pid}"))
        }
        (BindError::InUse { .. }, owner) => {
            let who = owner.as_ref().map_or_else(
                || "a process that is not to be seen".to_owned(),
                |(pid, name)| format!("process {pid} ({name})"),
            );
            Finding::problem(check, format!("{listen} is in use by {who}"), "stop it, or choose another port")
        }
        (BindError::Privileged { .. }, _) => {
            let found = format!("{listen} needs a privilege that this user has not");
            Finding::problem(check, found, "LISTEN=:8080, or CAP_NET_BIND_SERVICE")
        }
        (BindError::Io { .. }, _) => Finding::problem(check, chain(&error), "an address of this machine"),
    }
}

/// Process and name of who listens on a port, if we may see it: `/proc/net/tcp` has the socket, `/proc/PID/fd` its owner.
fn listening(port: u16) -> Option<(String, String)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let suffix = format!(":{port:04X}");
    let inodes: Vec<String> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
            listens.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
        })
        .collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.map(|process| process.path()).find_map(|process| {
        let descriptors = fs::read_dir(process.join("fd")).ok()?;
        let mut targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
        targets.find(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))?;
        let pid = process.file_name()?.to_string_lossy().into_owned();
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        Some((pid, name.trim().to_owned()))
    })
}

/// Whether there are name servers.
pub fn names() -> Finding {
    const CHECK: &str = "names";
    match fs::read_to_string("/etc/resolv.conf") {
        Err(error) => {
            let remedy = "a resolv.conf: without one names are looked up at 127.0.0.1";
            Finding::warning(CHECK, format!("/etc/resolv.conf cannot be read: {error}"), remedy)
        }
        Ok(text) => {
            let servers: Vec<&str> =
                text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).map(str::trim).collect();
            if servers.is_empty() {
                return Finding::warning(
                    CHECK,
                    "/etc/resolv.conf names no server",
                    "a nameserver line, unless all destinations are addresses or in /etc/hosts",
                );
            }
            Finding::ok(CHECK, format!("name servers {}", servers.join(", ")))
        }
    }
}

/// Whether https can be checked, and the files of our own TLS be read.
pub fn trust(config: &Config) -> Vec<Finding> {
    let roots = rustls_native_certs::load_native_certs().certs.len();
    let remedy = "the package ca-certificates, or TLS_CA";
    let found = format!("{roots} root certificates of the system");
    let egress = match (tls::client_config(config.tls_ca.as_deref()), config.tls_ca.is_some()) {
        (Err(error), _) => Finding::problem("roots", chain(&error), remedy),
        (Ok(_), false) if roots == 0 && config.origin_scheme == Scheme::Https => {
            Finding::problem("roots", found, remedy)
        }
        (Ok(_), false) if roots == 0 => {
            Finding::warning("roots", format!("{found}: no https destination can be trusted"), remedy)
        }
        (Ok(_), _) => Finding::ok("roots", found),
    };
    let ingress = tls_files(config).map(|files| match server_config(&files) {
        Ok(_) => Finding::ok("TLS_CERT", "certificate and key can be used"),
        Err(error) => Finding::problem("TLS_CERT", chain(&error), "PEM files that this user may read"),
    });
    [Some(egress), ingress].into_iter().flatten().collect()
}
