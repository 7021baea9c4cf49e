//! The [`Transport`] of the daemon: one attempt from a connection, pooled or new, to the end of the answer.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Response;
use tokio::time::Sleep;

use super::advice;
use super::connect::{ConnectError, Connector, Offer, Socket};
use super::failure;
use super::http2::{Connection, Next, Opened, Shared};
use super::link::{Broken, Counted, Link, LinkCounts, WantsHttp1};
use super::names::NameSources;
use super::pool::Pool;
use super::send_queue::SendQueue;
use super::via::{Body, Via};
use super::{Outbound, Transport};
use crate::limits;
use crate::message::policy::Policy;
use crate::message::{Origin, Scheme};
use crate::schedule::attempt::{Advice, Attempt, Failure, Outcome, outcome_of_answer};
use crate::time::{Millis, monotonic_now};

/// What an operator decides about deliveries' connections.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Bound on DNS, TCP, TLS and the first words of HTTP/2 together; the attempt's timeout bounds them too.
    pub connect_timeout: Millis,
    /// From [`super::tls::client_config`].
    pub tls: Arc<rustls::ClientConfig>,
    /// Which addresses may be connected to.
    pub policy: Policy,
    /// Where names are looked up.
    pub names: NameSources,
    /// Answers of name servers that are kept.
    pub dns_answers_max: u64,
    /// Idle connections that are kept.
    pub idle_max: usize,
}

/// Sends requests over HTTP/1.1, or HTTP/2 where an https origin agrees. Belongs to one thread; dropping it closes its
/// idle connections.
pub struct HyperTransport {
    connector: Connector,
    connect_timeout: Millis,
    pool: RefCell<Pool<Box<Link>>>,
    shared: RefCell<Shared>,
    queue: Rc<SendQueue>,
    counts: Rc<LinkCounts>,
    /// When it was last told that there are no descriptors.
    exhausted_at: Cell<Option<Instant>>,
}

impl HyperTransport {
    /// Without a connection yet.
    pub fn new(config: TransportConfig) -> Self {
        Self {
            connect_timeout: config.connect_timeout,
            pool: RefCell::new(Pool::new(config.idle_max)),
            connector: Connector::new(config),
            shared: RefCell::default(),
            queue: Rc::default(),
            counts: Rc::default(),
            exhausted_at: Cell::new(None),
        }
    }

    /// Closes idle connections that are too old or that the origin has closed. To be called about once a second, from
    /// within the runtime.
    pub fn sweep(&self, now: Instant) {
        self.pool.borrow_mut().sweep(now, |link| link.is_open_while_idle());
        self.shared.borrow_mut().sweep(now);
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
        let mut maybe_received = false;
        // When the first copy turned out to have gone nowhere; the second goes over a connection opened since.
        let mut stale_at = None;
        let mut offer = Offer::Any;
        loop {
            let open = match stale_at {
                None => self.already_open(&outbound.origin, offer, started),
                Some(_) => None,
            };
            let mut via = match open {
                Some(via) => via,
                // Boxed, so that the common way does not carry the room that connecting takes.
                None => Box::pin(self.via(&outbound.origin, offer, stale_at, deadline.as_mut()))
                    .await
                    .map_err(|no_link| NoAnswer { outcome: no_link.into(), maybe_received })?,
            };
            let result = tokio::select! {
                biased;
                result = via.exchange(outbound, outbound.maybe_duplicate || maybe_received) => result,
                () = deadline.as_mut() => {
                    via.timed_out();
                    Err(Broken { failure: Failure::ResponseTimeout, before_answer: false, unprocessed: false, wants_http1: None })
                }
            };
            let broken = match result {
                Ok(response) => return Ok(Answer { via, response, maybe_received }),
                Err(broken) => broken,
            };
            maybe_received |= via.sent() && !broken.unprocessed;
            if let (Some(reason), Offer::Any) = (broken.wants_http1, offer) {
                if reason == WantsHttp1::Required {
                    self.shared.borrow_mut().requires_http1(&outbound.origin, monotonic_now());
                }
                offer = Offer::Http1;
                continue;
            }
            let was_used = via.opened_at() < started;
            let is_free = broken.unprocessed || was_used && broken.before_answer;
            if !is_free || stale_at.is_some() {
                return Err(NoAnswer { outcome: Outcome::Failed(broken.failure), maybe_received });
            }
            stale_at = Some(monotonic_now());
            self.counts.stale_retries.set(self.counts.stale_retries.get() + 1);
        }
    }

    /// A connection that is open: of HTTP/2 rather than HTTP/1.1, which may be there only for what HTTP/2 cannot say.
    fn already_open(&self, origin: &Origin, offer: Offer, now: Instant) -> Option<Via> {
        let is_shareable = origin.scheme() == Scheme::Https && offer == Offer::Any;
        let stream = if is_shareable { self.shared.borrow_mut().ready(origin, now) } else { None };
        stream.map(Via::Stream).or_else(|| self.pool.borrow_mut().take(origin, now).map(Via::Link))
    }

    /// A shared connection to `origin`, unless it must have been opened since, or a new one.
    async fn via(
        &self,
        origin: &Rc<Origin>,
        offer: Offer,
        since: Option<Instant>,
        mut deadline: Pin<&mut Sleep>,
    ) -> Result<Via, NoLink> {
        // The protocol is agreed on in the TLS handshake: without one it is HTTP/1.1.
        if origin.scheme() == Scheme::Http || offer == Offer::Http1 {
            return self.open_link(self.connect(origin, Offer::Http1, deadline).await?).await;
        }
        loop {
            // Bound: whoever comes back from waiting finds a connection, opens one, or gives up.
            let next = self.shared.borrow_mut().next(origin, since, monotonic_now());
            let opening = match next {
                Next::Stream(stream) => return Ok(Via::Stream(stream)),
                Next::OpenAlone => return self.open(origin, deadline).await,
                Next::OpenHttp1 => return self.open_link(self.connect(origin, Offer::Http1, deadline).await?).await,
                Next::Open(opener) => {
                    let via = self.open(origin, deadline.as_mut()).await;
                    if !deadline.is_elapsed() {
                        opener.tell(match &via {
                            Ok(Via::Stream(_)) => Opened::Http2,
                            Ok(Via::Link(_)) => Opened::Http1,
                            Err(NoLink::Failed(failure)) => Opened::Failed(*failure),
                            // The others look for themselves.
                            Err(NoLink::Exhausted) => return via,
                        });
                    }
                    return via;
                }
                Next::Wait(opening) => opening,
            };
            let opened = tokio::select! {
                biased;
                opened = opening.opened() => opened,
                () = deadline.as_mut() => Opened::Failed(Failure::ConnectTimeout),
            };
            if let Opened::Failed(failure) = opened {
                return Err(failure.into());
            }
        }
    }

    /// A new connection to an https origin, of the kind that the origin prefers.
    async fn open(&self, origin: &Rc<Origin>, mut deadline: Pin<&mut Sleep>) -> Result<Via, NoLink> {
        let began = monotonic_now();
        let socket = self.connect(origin, Offer::Any, deadline.as_mut()).await?;
        let now = monotonic_now();
        if !socket.agreed_on_http2() {
            self.shared.borrow_mut().prefers_http1(origin, now);
            return self.open_link(socket).await;
        }
        let opening = Connection::open(socket, now, Counted::new(Rc::clone(&self.counts)));
        let connection = tokio::select! {
            biased;
            connection = opening => connection?,
            () = tokio::time::sleep_until((began + self.connect_timeout.duration()).into()) => {
                return Err(Failure::ConnectTimeout.into());
            }
            () = deadline => return Err(Failure::ConnectTimeout.into()),
        };
        let stream = connection.stream();
        self.shared.borrow_mut().add(origin, connection);
        Ok(Via::Stream(stream))
    }

    async fn open_link(&self, socket: Socket) -> Result<Via, NoLink> {
        let link =
            Link::new(socket, Rc::clone(&self.queue), monotonic_now(), Counted::new(Rc::clone(&self.counts))).await?;
        Ok(Via::Link(Box::new(link)))
    }

    async fn connect(&self, origin: &Origin, offer: Offer, mut deadline: Pin<&mut Sleep>) -> Result<Socket, NoLink> {
        loop {
            let connected = tokio::select! {
                biased;
                connected = self.connector.connect(origin, offer) => connected,
                () = deadline.as_mut() => Err(ConnectError::Timeout),
            };
            let error = match connected {
                Ok(socket) => return Ok(socket),
                Err(error) => error,
            };
            tracing::debug!(%origin, class = error.failure().as_str(), error = &error as &dyn Error, "no connection");
            if !failure::is_exhaustion(&error) {
                return Err(error.failure().into());
            }
            // One that nobody uses gives its descriptor.
            if !self.pool.borrow_mut().close_longest_idle() {
                self.note_exhausted(&error);
                return Err(NoLink::Exhausted);
            }
        }
    }

    fn note_exhausted(&self, error: &ConnectError) {
        let (now, pause) = (monotonic_now(), Duration::from_millis(limits::EXHAUSTED_LINE_MS));
        if self.exhausted_at.get().is_none_or(|told| now.saturating_duration_since(told) >= pause) {
            self.exhausted_at.set(Some(now));
            tracing::warn!(error = error as &dyn Error, "no descriptors for deliveries: they are put off");
        }
    }
}

/// A complete response head, and the connection from which the rest of it is still to be read.
struct Answer {
    via: Via,
    response: Response<Body>,
    maybe_received: bool,
}

/// The end of an attempt without a complete response head.
struct NoAnswer {
    outcome: Outcome,
    maybe_received: bool,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug)]
enum NoLink {
    /// As far as anybody can tell, because of the origin.
    Failed(Failure),
    /// This machine has no descriptor or no memory for it.
    Exhausted,
}

impl From<Failure> for NoLink {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NoLink> for Outcome {
    fn from(no_link: NoLink) -> Self {
        match no_link {
            NoLink::Failed(failure) => Self::Failed(failure),
            NoLink::Exhausted => Self::NotMade,
        }
    }
}

/// Begins when it is first polled: mostly there is nothing to drain, and then not even the clock is read.
async fn drain_time() {
    tokio::time::sleep(Duration::from_millis(limits::DRAIN_MS_MAX)).await;
}

impl Transport for HyperTransport {
    async fn send(&self, outbound: Outbound) -> Attempt {
        let started = monotonic_now();
        let mut deadline = pin!(tokio::time::sleep_until((started + outbound.timeout.duration()).into()));
        let Answer { mut via, response, maybe_received } =
            match self.answer(&outbound, started, deadline.as_mut()).await {
                Ok(answer) => answer,
                Err(NoAnswer { outcome, maybe_received }) => {
                    if outcome == Outcome::NotMade {
                        tokio::time::sleep(Duration::from_millis(limits::EXHAUSTED_PAUSE_MS)).await;
                    }
                    let elapsed = monotonic_now().saturating_duration_since(started);
                    let (advice, answer) = (Advice::default(), Bytes::new());
                    return Attempt { outcome, status: None, advice, maybe_received, elapsed, answer };
                }
            };
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let (advice, has_unclear_verdict) = advice::of_answer(status, &head.headers);
        if has_unclear_verdict {
            tracing::debug!(id = %outbound.message_id, origin = %outbound.origin, status, "a verdict that says nothing");
        }
        via.recycle(head.headers);
        let outcome = outcome_of_answer(status, advice.verdict);
        let keep = if outcome == Outcome::Delivered { 0 } else { limits::ANSWER_BYTES_MAX };
        let mut kept = BytesMut::new();
        // Whatever happens to the body, the outcome stands: a slow one costs the connection, or the stream.
        let reusable = tokio::select! {
            biased;
            reusable = via.drain(body, keep, &mut kept) => reusable,
            () = deadline => None,
            () = drain_time() => None,
        };
        let ended = monotonic_now();
        if let Some(link) = reusable {
            let opened_at = link.opened_at();
            self.pool.borrow_mut().put(&outbound.origin, link, opened_at, ended);
        }
        let elapsed = ended.saturating_duration_since(started);
        Attempt { outcome, status: Some(status), advice, maybe_received, elapsed, answer: kept.freeze() }
    }
}
