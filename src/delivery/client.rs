//! The [`Transport`] of the daemon: one attempt from a connection, pooled or new, to the end of the answer.

use std::cell::RefCell;
use std::error::Error;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Response;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::advice;
use super::connect::{ConnectError, Connector};
use super::link::{Broken, Link, LinkCounts};
use super::names::NameSources;
use super::payload::Payload;
use super::pool::Pool;
use super::{Outbound, Transport};
use crate::limits;
use crate::message::Origin;
use crate::message::policy::Policy;
use crate::schedule::attempt::{Advice, Attempt, Failure, Outcome, outcome_of_answer};
use crate::time::{Millis, monotonic_now};

/// What an operator decides about deliveries' connections.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Bound on DNS, TCP and TLS together; the attempt's timeout bounds them too.
    pub connect_timeout: Millis,
    /// From [`super::tls::client_config`].
    pub tls: Arc<rustls::ClientConfig>,
    /// Which addresses may be connected to.
    pub policy: Policy,
    /// Where names are looked up.
    pub names: NameSources,
}

/// Sends requests over HTTP/1.1. Belongs to one thread; dropping it closes its idle connections.
pub struct HyperTransport {
    connector: Connector,
    pool: RefCell<Pool<Box<Link>>>,
    counts: Rc<LinkCounts>,
}

impl HyperTransport {
    /// Without a connection yet.
    pub fn new(config: TransportConfig) -> Self {
        Self { connector: Connector::new(config), pool: RefCell::new(Pool::new()), counts: Rc::default() }
    }

    /// Closes idle connections that are too old or that the origin has closed. To be called about once a second, from
    /// within the runtime.
    pub fn sweep(&self, now: Instant) {
        self.pool.borrow_mut().sweep(now, |link| link.is_open_while_idle());
    }

    /// How many connections there are.
    pub fn counts(&self) -> &LinkCounts {
        &self.counts
    }

    /// The answer to `outbound`, and the connection it came on.
    async fn answer(
        &self,
        outbound: &Outbound,
        started: Instant,
        mut deadline: Pin<&mut Sleep>,
    ) -> Result<Answer, NoAnswer> {
        let mut pooled = self.pool.borrow_mut().take(&outbound.origin, started);
        let mut maybe_received = false;
        // Two turns at most: only the first can have a pooled connection.
        loop {
            let was_pooled = pooled.is_some();
            let mut link = match pooled.take() {
                Some(link) => link,
                None => self
                    .open(&outbound.origin, deadline.as_mut())
                    .await
                    .map_err(|failure| NoAnswer { failure, maybe_received })?,
            };
            let payload = Payload::new(outbound, outbound.maybe_duplicate || maybe_received);
            let result = tokio::select! {
                biased;
                result = link.exchange(payload) => result,
                () = deadline.as_mut() => Err(Broken { failure: Failure::ResponseTimeout, before_answer: false }),
            };
            let broken = match result {
                Ok(response) => return Ok(Answer { link, response, maybe_received }),
                Err(broken) => broken,
            };
            maybe_received |= link.sent();
            if !(was_pooled && broken.before_answer) {
                return Err(NoAnswer { failure: broken.failure, maybe_received });
            }
            self.counts.stale_retries.set(self.counts.stale_retries.get() + 1);
        }
    }

    /// A new connection to `origin`.
    async fn open(&self, origin: &Origin, deadline: Pin<&mut Sleep>) -> Result<Box<Link>, Failure> {
        let connected = tokio::select! {
            biased;
            connected = self.connector.connect(origin) => connected,
            () = deadline => Err(ConnectError::Timeout),
        };
        let socket = connected.map_err(|error| {
            tracing::debug!(%origin, class = error.failure().as_str(), error = &error as &dyn Error, "no connection");
            error.failure()
        })?;
        let link = Link::new(socket, monotonic_now(), Rc::clone(&self.counts)).await?;
        Ok(Box::new(link))
    }
}

/// A complete response head, and the connection from which the rest of it is still to be read.
struct Answer {
    link: Box<Link>,
    response: Response<Incoming>,
    maybe_received: bool,
}

/// The end of an attempt without a complete response head.
struct NoAnswer {
    failure: Failure,
    maybe_received: bool,
}

impl Transport for HyperTransport {
    async fn send(&self, outbound: Outbound) -> Attempt {
        let started = monotonic_now();
        let mut deadline = pin!(tokio::time::sleep(outbound.timeout.duration()));
        let Answer { mut link, response, maybe_received } =
            match self.answer(&outbound, started, deadline.as_mut()).await {
                Ok(answer) => answer,
                Err(NoAnswer { failure, maybe_received }) => {
                    let elapsed = monotonic_now().saturating_duration_since(started);
                    let outcome = Outcome::Failed(failure);
                    let (advice, answer) = (Advice::default(), Bytes::new());
                    return Attempt { outcome, status: None, advice, maybe_received, elapsed, answer };
                }
            };
        let (head, mut body) = response.into_parts();
        let status = head.status.as_u16();
        let advice = advice::of_answer(status, &head.headers);
        if advice::has_unclear_verdict(advice, &head.headers) {
            tracing::debug!(id = %outbound.message_id, origin = %outbound.origin, status, "a verdict that says nothing");
        }
        let outcome = outcome_of_answer(status, advice.verdict);
        let keep = if outcome == Outcome::Delivered { 0 } else { limits::ANSWER_BYTES_MAX };
        let mut kept = BytesMut::new();
        // Whatever happens to the body, the outcome stands: a slow one costs the connection.
        let at_end = tokio::select! {
            biased;
            at_end = link.drain(&mut body, keep, &mut kept) => at_end,
            () = deadline => false,
            () = tokio::time::sleep(Duration::from_millis(limits::DRAIN_MS_MAX)) => false,
        };
        let ended = monotonic_now();
        if at_end && link.is_open_while_idle() {
            let opened_at = link.opened_at();
            self.pool.borrow_mut().put(&outbound.origin, link, opened_at, ended);
        }
        let elapsed = ended.saturating_duration_since(started);
        Attempt { outcome, status: Some(status), advice, maybe_received, elapsed, answer: kept.freeze() }
    }
}
