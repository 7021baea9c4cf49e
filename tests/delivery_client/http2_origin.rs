//! Origins that speak HTTP/2: a proper one, and one whose every frame is scripted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use dispatcher::delivery::client::HyperTransport;
use dispatcher::delivery::{Outbound, Transport};
use dispatcher::schedule::attempt::Attempt;
use dispatcher::time::Millis;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

use crate::certificates::{HTTP1, HTTP2, Issued};
use crate::origin::{Stub, assert_delivered, request, settle, transport_trusting};

/// An origin and a transport that trusts it.
pub struct Pair {
    pub transport: Rc<HyperTransport>,
    pub stub: Stub,
    pub origin: String,
    /// Of the proper origin: what it was asked.
    pub seen: Rc<RefCell<Vec<Seen>>>,
    /// Connections that were open once and are no more.
    pub ended: Rc<Cell<usize>>,
}

/// A request as an origin sees it.
pub struct Seen {
    pub connection: usize,
    pub head: http::request::Parts,
    pub body: Vec<u8>,
}

impl Pair {
    async fn new<F: Future<Output = ()> + 'static>(
        connect_timeout: Millis,
        script: impl Fn(usize, TlsStream<TcpStream>) -> F + 'static,
    ) -> Self {
        let issued = Issued::to(&["localhost"]);
        let (acceptor, script) = (Rc::new(issued.acceptor(&[HTTP2, HTTP1])), Rc::new(script));
        let ended = Rc::new(Cell::new(0));
        let count = Rc::clone(&ended);
        let stub = Stub::serve(move |accepted| {
            let (acceptor, script, count) = (Rc::clone(&acceptor), Rc::clone(&script), Rc::clone(&count));
            async move {
                // Else the kernel holds back a second small write, and drops it when the connection is closed.
                accepted.stream.set_nodelay(true).unwrap();
                let Ok(stream) = acceptor.accept(accepted.stream).await else { return };
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP2));
                script(accepted.index, stream).await;
                count.set(count.get() + 1);
            }
        })
        .await;
        let transport = Rc::new(transport_trusting(Some(issued.ca()), connect_timeout));
        let origin = format!("https://localhost:{}", stub.port);
        Self { transport, stub, origin, seen: Rc::default(), ended }
    }

    /// An origin that keeps to the protocol; each request is read to its end and then answered by `answer` in a task of
    /// its own, told how many came before it.
    pub async fn serving<F: Future<Output = ()> + 'static>(
        builder: Builder,
        answer: impl Fn(usize, SendResponse<Bytes>) -> F + 'static,
    ) -> Self {
        let seen = Rc::<RefCell<Vec<Seen>>>::default();
        let (list, answer) = (Rc::clone(&seen), Rc::new(answer));
        let script = move |connection, stream| {
            let (builder, list, answer) = (builder.clone(), Rc::clone(&list), Rc::clone(&answer));
            async move {
                let mut serving = builder.handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = serving.accept().await {
                    let (list, answer) = (Rc::clone(&list), Rc::clone(&answer));
                    tokio::task::spawn_local(async move {
                        let Some(seen) = read(connection, request).await else { return };
                        let index = list.borrow().len();
                        list.borrow_mut().push(seen);
                        answer(index, respond).await;
                    });
                }
            }
        };
        Self { seen, ..Self::new(Millis::from_secs(10), script).await }
    }

    /// An origin whose frames are scripted from the first one on.
    pub async fn scripted<F: Future<Output = ()> + 'static>(script: impl Fn(Raw) -> F + 'static) -> Self {
        Self::scripted_within(Millis::from_secs(10), script).await
    }

    /// The same with a bound on connecting.
    pub async fn scripted_within<F: Future<Output = ()> + 'static>(
        connect_timeout: Millis,
        script: impl Fn(Raw) -> F + 'static,
    ) -> Self {
        Self::new(connect_timeout, move |index, stream| script(Raw { index, stream })).await
    }

    /// A POST to it.
    pub fn post(&self, body: &[u8]) -> Outbound {
        let head = format!("POST /in HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n", body.len());
        self.request(head.as_bytes(), body)
    }

    /// Any request to it.
    pub fn request(&self, head: &[u8], body: &[u8]) -> Outbound {
        request(&self.origin, head, body)
    }
}

impl Pair {
    /// Begins to send one.
    pub fn send(&self) -> JoinHandle<Attempt> {
        let (transport, outbound) = (Rc::clone(&self.transport), self.post(b"x"));
        tokio::task::spawn_local(async move { transport.send(outbound).await })
    }

    /// Delivers one.
    pub async fn deliver(&self) {
        assert_delivered(&self.transport.send(self.post(b"x")).await);
    }

    /// So many were opened.
    pub fn connections(&self) -> usize {
        self.stub.connections.get()
    }

    /// Whether the `index`th request says that it may be a duplicate.
    pub fn is_marked(&self, index: usize) -> bool {
        self.seen.borrow()[index].head.headers.contains_key("x-dispatcher-maybe-duplicate")
    }

    /// Waits until so many connections have ended; the bound on every test bounds this too.
    pub async fn ended(&self, count: usize) {
        while self.ended.get() != count {
            settle().await;
        }
    }
}

async fn read(connection: usize, request: Request<RecvStream>) -> Option<Seen> {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.ok()?;
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    Some(Seen { connection, head, body })
}

/// Answers with a status and a body.
pub fn answer(mut respond: SendResponse<Bytes>, status: u16, body: &'static [u8]) {
    let head = http::Response::builder().status(status).body(()).unwrap();
    if let Ok(mut sending) = respond.send_response(head, body.is_empty())
        && !body.is_empty()
    {
        let _ = sending.send_data(Bytes::from_static(body), true);
    }
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// `:status: 200` and `:status: 204` in HPACK (RFC 7541 appendix A).
pub const STATUS_200: &[u8] = &[0x88];
pub const STATUS_204: &[u8] = &[0x89];

/// A connection whose frames are written by hand.
pub struct Raw {
    pub index: usize,
    pub stream: TlsStream<TcpStream>,
}

/// The head of a frame (RFC 9113 §4.1).
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Raw {
    /// Reads the client's preface and says how many streams it may open.
    pub async fn greet(&mut self, streams: u32) {
        let mut preface = [0; 24];
        self.stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let settings = [&3_u16.to_be_bytes()[..], &streams.to_be_bytes()].concat();
        self.say(SETTINGS, 0, 0, &settings).await;
        self.say(SETTINGS, 1, 0, &[]).await;
    }

    /// Lets the client send as much as it likes, to be said after the greeting.
    pub async fn open_windows(&mut self) {
        const BYTES: u32 = 1 << 30;
        self.say(SETTINGS, 0, 0, &[&4_u16.to_be_bytes()[..], &BYTES.to_be_bytes()].concat()).await;
        self.say(WINDOW_UPDATE, 0, 0, &BYTES.to_be_bytes()).await;
    }

    /// Writes a frame; it does not matter whether the peer still wants it.
    pub async fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        let _ = self.stream.write_all(&frame).await;
        let _ = self.stream.flush().await;
    }

    /// Writes what is no frame.
    pub async fn babble(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    pub async fn go_away(&mut self, last_stream: u32, reason: Reason) {
        let payload = [last_stream.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
        self.say(GOAWAY, 0, 0, &payload).await;
    }

    pub async fn reset(&mut self, stream: u32, reason: Reason) {
        self.say(RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes()).await;
    }

    /// The next frame, `None` at the end.
    pub async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind, flags, stream })
    }

    /// Reads until a request has ended, and returns its stream.
    pub async fn request(&mut self) -> Option<u32> {
        loop {
            let frame = self.frame().await?;
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Some(frame.stream);
            }
        }
    }

    /// Waits until the peer has gone.
    pub async fn closed(&mut self) {
        while self.frame().await.is_some() {}
    }
}

/// Answers with 204.
pub async fn respond(raw: &mut Raw, stream: u32) {
    raw.say(HEADERS, END_HEADERS | END_STREAM, stream, STATUS_204).await;
}

/// Greets and answers everything.
pub async fn serve(mut raw: Raw) {
    raw.greet(100).await;
    go_on(raw).await;
}

/// Answers everything.
pub async fn go_on(mut raw: Raw) {
    while let Some(stream) = raw.request().await {
        respond(&mut raw, stream).await;
    }
}

/// Answers one request well on the first connection, and then does `then`; later connections are served.
pub async fn good_once<F: Future<Output = ()> + 'static>(then: impl Fn(Raw) -> F + 'static) -> Pair {
    let then = Rc::new(then);
    Pair::scripted(move |mut raw| {
        let then = Rc::clone(&then);
        async move {
            if raw.index > 0 {
                return serve(raw).await;
            }
            raw.greet(100).await;
            let stream = raw.request().await.unwrap();
            respond(&mut raw, stream).await;
            then(raw).await;
        }
    })
    .await
}
