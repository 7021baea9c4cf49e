//! The ingress: an HTTP/1.1 server that hands each request to the queue and answers when it is durable.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::message;

/// Messages that wait for their turn to be written.
pub const SUBMITTED_MAX: usize = 4096;
/// Bytes of one body.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Out of descriptors: the listener's backlog holds the others meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A message that is to be made durable.
#[derive(Debug)]
pub struct Submission {
    /// As [`message::encode`] writes it.
    pub message: Bytes,
    /// Told when the queue has confirmed it; dropped if it will not.
    pub durable: oneshot::Sender<()>,
}

/// Serves all connections.
pub async fn serve(listener: TcpListener, submit: mpsc::Sender<Submission>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::task::spawn_local(connection(stream, submit.clone()))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, submit: mpsc::Sender<Submission>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| accept(request, submit.clone()));
    // How it ends is the sender's to notice.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn accept(
    request: Request<Incoming>,
    submit: mpsc::Sender<Submission>,
) -> Result<Response<Empty<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
    let (durable, confirmed) = oneshot::channel();
    // If the queue is gone, so is `durable`, and that is the answer.
    let _ = submit.send(Submission { message: message::encode(&head, &body), durable }).await;
    let status = match confirmed.await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}
