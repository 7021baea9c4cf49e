//! The daemon's own paths on the data listener.

use crate::metrics::exposition::takes_openmetrics;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/metrics`.
    Metrics {
        /// In the `OpenMetrics` format, as the `Accept` field asks.
        openmetrics: bool,
    },
    /// `/-/healthy`.
    Healthy,
    /// `/-/ready`.
    Ready,
}

impl Endpoint {
    /// The one that is asked for, if any: by GET or HEAD, whatever the query.
    pub fn asked_for(method: &str, path: &str, accept: Option<&[u8]>) -> Option<Self> {
        if method != "GET" && method != "HEAD" {
            return None;
        }
        match path {
            "/metrics" => {
                let accept = accept.and_then(|accept| std::str::from_utf8(accept).ok());
                Some(Self::Metrics { openmetrics: accept.is_some_and(takes_openmetrics) })
            }
            "/-/healthy" => Some(Self::Healthy),
            "/-/ready" => Some(Self::Ready),
            _ => None,
        }
    }
}
