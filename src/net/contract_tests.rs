//! The contract of a stream, run on each implementation.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use super::handshake::{HandshakeError, HandshakeFailure};
use super::tls::TlsStream;
use super::{Begin, Stream, portable, uring};

type Session = StreamOwned<ClientConnection, TcpStream>;

async fn pair() -> (TcpStream, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Both sides of TLS for `localhost`.
fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let server = server.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

/// Both ends of a connection under TLS.
async fn secret_pair() -> (Session, TlsStream) {
    let (server, client) = configs();
    let (socket, accepted) = pair().await;
    let shaking = std::thread::spawn(move || {
        let session = ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
        let mut session = StreamOwned::new(session, socket);
        session.conn.complete_io(&mut session.sock).unwrap();
        session
    });
    let stream = TlsStream::new(accepted, server);
    stream.handshake(|| {}).await.unwrap();
    (shaking.join().unwrap(), stream)
}

async fn keeps_the_contract<S: Stream>(stream: S, mut peer: impl Read + Write) {
    let stream = Rc::new(stream);
    peer.write_all(b"one").unwrap();
    let mut buffer = Vec::with_capacity(64);
    buffer.extend_from_slice(b"kept ");
    let (read, buffer) = stream.read(buffer).await;
    assert_eq!((read.unwrap(), buffer.as_slice()), (3, &b"kept one"[..]));

    let (written, buffer) = stream.write_all(buffer, Begin::Now).await;
    written.unwrap();
    let mut answer = vec![0; buffer.len()];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"kept one");

    let (written, buffer) = stream.write_all(buffer, Begin::Now).now_or_never().expect("no turn of the loop is needed");
    written.unwrap();
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(answer, buffer);

    let pending = tokio::task::spawn_local({
        let stream = Rc::clone(&stream);
        async move { stream.read(Vec::with_capacity(8)).await.0 }
    });
    tokio::task::yield_now().await;
    stream.shutdown(Shutdown::Read).unwrap();
    assert_eq!(pending.await.unwrap().unwrap(), 0, "a shutdown ends a pending read");
    stream.write_all(b"still".to_vec(), Begin::Together).await.0.unwrap();

    let pending = tokio::task::spawn_local({
        let stream = Rc::clone(&stream);
        async move { stream.write_all(vec![0; 64 << 20], Begin::Now).await.0 }
    });
    tokio::task::yield_now().await;
    stream.shutdown(Shutdown::Both).unwrap();
    assert!(pending.await.unwrap().is_err(), "a shutdown ends a pending write");
}

/// What was written arrives, then a clean end; the other direction stays open.
async fn ends_cleanly<S: Stream>(stream: S, mut peer: impl Read + Write) {
    stream.write_all(b"the last".to_vec(), Begin::Now).await.0.unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"the last");
    peer.write_all(b"more").unwrap();
    peer.flush().unwrap();
    assert_eq!(stream.read(Vec::with_capacity(8)).await.1, b"more");
}

fn on_epoll(test: impl Future) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Where the kernel forbids rings there is nothing to test: the daemon itself falls back.
fn on_a_ring(test: impl Future) {
    if let Ok(runtime) = tokio_uring::Runtime::new(&tokio_uring::builder()) {
        runtime.block_on(test);
    }
}

#[test]
fn sockets_through_epoll_keep_the_contract_of_a_stream() {
    on_epoll(async {
        let (peer, socket) = pair().await;
        keeps_the_contract(portable::TcpStream::new(socket).unwrap(), peer).await;
        let (peer, socket) = pair().await;
        ends_cleanly(portable::TcpStream::new(socket).unwrap(), peer).await;
    });
}

#[test]
fn sockets_through_io_uring_keep_the_contract_of_a_stream() {
    on_a_ring(async {
        let (peer, socket) = pair().await;
        keeps_the_contract(uring::TcpStream::new(socket).unwrap(), peer).await;
        let (peer, socket) = pair().await;
        ends_cleanly(uring::TcpStream::new(socket).unwrap(), peer).await;
    });
}

#[test]
fn sockets_under_tls_keep_the_contract_of_a_stream_on_either_backend() {
    let test = || async {
        let (peer, stream) = secret_pair().await;
        keeps_the_contract(stream, peer).await;
        let (peer, stream) = secret_pair().await;
        ends_cleanly(stream, peer).await;
    };
    on_epoll(test());
    on_a_ring(test());
}

#[test]
fn an_end_without_close_notify_is_an_end_and_the_answer_still_arrives() {
    on_epoll(async {
        let (mut peer, stream) = secret_pair().await;
        peer.write_all(b"request").unwrap();
        peer.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(Vec::with_capacity(64)).await.1, b"request");
        for _ in 0..2 {
            assert_eq!(stream.read(Vec::with_capacity(64)).await.0.unwrap(), 0);
        }
        stream.write_all(b"answer".to_vec(), Begin::Now).await.0.unwrap();
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        drop(stream);
        assert_eq!(peer.read(&mut answer).unwrap(), 0, "who drops a stream ends it cleanly");
    });
}

#[test]
fn a_peer_that_reads_slowly_gets_all_and_the_clean_end_behind_it() {
    on_epoll(async {
        let (mut peer, stream) = secret_pair().await;
        // More than its buffers hold, so that there may be no room for the word of the end.
        let filling = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all.len())
        });
        let mut sent = 0;
        for _ in 0..64 {
            stream.write_all(vec![7; 256 << 10], Begin::Now).await.0.unwrap();
            sent += 256 << 10;
        }
        stream.shutdown(Shutdown::Write).unwrap();
        // Reads until the peer has ended its side, as a connection does that lingers.
        while stream.read(Vec::with_capacity(64)).await.0.is_ok_and(|bytes| bytes > 0) {}
        assert_eq!(filling.join().unwrap().unwrap(), sent);
    });
}

#[test]
fn a_handshake_that_fails_leaves_a_stream_in_the_clear() {
    on_epoll(async {
        let (mut peer, socket) = pair().await;
        let stream = TlsStream::new(socket, configs().0);
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut begun = false;
        assert!(matches!(stream.handshake(|| begun = true).await, Err(HandshakeError::InClear)));
        assert!(begun);
        stream.write_all(b"plain".to_vec(), Begin::Now).await.0.unwrap();
        let mut answer = [0; 5];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"plain");
        assert!(stream.read(Vec::with_capacity(64)).await.1.starts_with(b"GET "), "nothing was taken away");

        let (mut peer, socket) = pair().await;
        let stream = TlsStream::new(socket, configs().0);
        peer.write_all(&[0x16, 3, 1, 0, 4, 0xFF, 0, 0, 0]).unwrap();
        let failed = stream.handshake(|| {}).await;
        assert!(
            matches!(failed, Err(HandshakeError::Failed { failure: HandshakeFailure::Protocol, .. })),
            "{failed:?}"
        );

        let (peer, socket) = pair().await;
        let stream = TlsStream::new(socket, configs().0);
        drop(peer);
        assert!(matches!(stream.handshake(|| {}).await, Err(HandshakeError::Silent)));
    });
}

#[test]
fn what_finds_no_room_at_once_follows_through_the_ring_in_order() {
    on_a_ring(async {
        let (mut peer, socket) = pair().await;
        let stream = uring::TcpStream::new(socket).unwrap();
        let sent: Vec<u8> = (0..8 << 20).map(|at: u32| (at % 251) as u8).collect();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        });
        let (written, sent) = stream.write_all(sent, Begin::Now).await;
        written.unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(reading.join().unwrap().unwrap() == sent, "all of it, in order");
    });
}
