//! One request after another to the admin listener of a daemon.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use http::header::{AUTHORIZATION, CONNECTION, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Listen;
use crate::telemetry::chain;

/// For a connection to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For an answer: longer than what a daemon takes to read a million letters.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Why there is no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not a URL of an admin listener.
    #[error("--admin {url:?}: expected a URL such as http://127.0.0.1:8081")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody listens.
    #[error("no daemon answers at {authority}: is it running, and is that its ADMIN_LISTEN?")]
    Connect {
        /// Where it was looked for.
        authority: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("asking the daemon")]
    Broken(#[from] hyper::Error),
    /// It takes too long.
    #[error("the daemon does not answer in time")]
    Late,
    /// It said no.
    #[error("{detail} ({status})")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why.
        detail: String,
    },
    /// Not what the admin listener of a daemon says.
    #[error("what listens there is no dispatcher")]
    Stranger,
}

/// Why a command that asks a daemon did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A variable cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The daemon cannot be reached, or refuses.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The runtime cannot be made, or the terminal not be used.
    #[error("the terminal or the system")]
    Io(#[from] io::Error),
}

/// How a command ends that did all of it (`true`) or not, or could not: then stderr is told why.
pub fn exit_code(ran: Result<bool, CommandError>) -> ExitCode {
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Who reads has read enough.
        Err(CommandError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dispatcher: {}", chain(&error));
            ExitCode::from(2)
        }
    }
}

/// Where the daemon is, and what it wants to hear.
#[derive(Debug)]
pub struct Client {
    authority: String,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Of the listener at `listen`, on this machine.
    pub fn of_listen(listen: Listen, token: Option<&str>) -> Self {
        let host = listen.host.filter(|host| !host.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let authority = std::net::SocketAddr::new(host, listen.port).to_string();
        Self { authority, authorization: token.and_then(authorization) }
    }

    /// Of the listener at a URL.
    pub fn of_url(url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let bad = || ClientError::Url { url: url.to_owned() };
        let parsed: Uri = url.parse().map_err(|_| bad())?;
        let is_bare = parsed.path() == "/" && parsed.query().is_none();
        let authority =
            parsed.authority().filter(|_| parsed.scheme_str() == Some("http") && is_bare).ok_or_else(bad)?;
        let host = Some(authority.host()).filter(|_| !authority.as_str().contains('@')).ok_or_else(bad)?;
        let authority = format!("{host}:{}", authority.port_u16().unwrap_or(80));
        Ok(Self { authority, authorization: token.and_then(authorization) })
    }

    /// Asks, and reads the answer as JSON.
    pub async fn ask(&self, method: Method, target: &str) -> Result<Value, ClientError> {
        let (status, body) =
            timeout(ANSWER_TIMEOUT, self.exchange(method, target)).await.map_err(|_| ClientError::Late)??;
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        if status.is_success() {
            return answer.ok_or(ClientError::Stranger);
        }
        let detail = answer.and_then(|problem| problem["detail"].as_str().map(str::to_owned));
        Err(ClientError::Refused { status, detail: detail.ok_or(ClientError::Stranger)? })
    }

    /// Asks, and reads the answer as text.
    pub async fn read(&self, target: &str) -> Result<String, ClientError> {
        let (status, body) =
            timeout(ANSWER_TIMEOUT, self.exchange(Method::GET, target)).await.map_err(|_| ClientError::Late)??;
        let text = String::from_utf8(body.into()).ok().filter(|_| status.is_success());
        text.ok_or(ClientError::Stranger)
    }

    /// Host and port it asks at.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    async fn exchange(&self, method: Method, target: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority)).await;
        let stream = connected
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(|source| ClientError::Connect { authority: self.authority.clone(), source })?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| ClientError::Url { url: target.to_owned() })?;
        let host =
            HeaderValue::try_from(&self.authority).map_err(|_| ClientError::Url { url: self.authority.clone() })?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        request.headers_mut().extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        // How the connection ends is told by the exchange.
        let (answer, _) = join(exchange, connection).await;
        answer
    }
}

fn authorization(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_found_by_its_listener_or_a_url() {
        for (listen, authority) in [
            (":8081", "127.0.0.1:8081"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::1]:2", "[::1]:2"),
            ("10.0.0.7:3", "10.0.0.7:3"),
        ] {
            let listen = Listen::parse(listen).expect("an address");
            assert_eq!(Client::of_listen(listen, None).authority, authority);
        }
        for (url, authority) in [
            ("http://localhost:8081", Some("localhost:8081")),
            ("http://[::1]:8081/", Some("[::1]:8081")),
            ("http://b.example", Some("b.example:80")),
            ("https://b.example", None),
            ("b.example:8081", None),
            ("http://b.example/x", None),
            ("http://u:p@b.example", None),
            ("", None),
        ] {
            assert_eq!(Client::of_url(url, None).ok().map(|client| client.authority).as_deref(), authority, "{url}");
        }
    }

    #[test]
    fn the_token_is_not_printed() {
        let client = Client::of_url("http://b", Some("0123456789abcdef")).expect("valid");
        assert!(!format!("{client:?}").contains("0123456789abcdef"));
    }
}
