//! The other reader: hyper's HTTP/1 server, in memory.

use std::cell::RefCell;
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Seen;

/// What it takes from these bytes, behind which nothing comes, and what it says of the rest.
pub async fn read(bytes: &[u8]) -> (Vec<Seen>, String) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let (seen, error) = (RefCell::new(Vec::new()), RefCell::new(String::new()));
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        match body.collect().await {
            Ok(body) => {
                let target = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
                let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
                seen.borrow_mut().push(Seen::new(head.method.as_str(), &target, fields, &body.to_bytes()));
            }
            Err(failed) => *error.borrow_mut() = shown(&failed),
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let serving =
        http1::Builder::new().half_close(true).max_headers(256).serve_connection(TokioIo::new(server), service);
    let asking = async {
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        // A reader that refuses may hang up first.
        let _ = client.read_to_end(&mut Vec::new()).await;
    };
    let (served, ()) = tokio::join!(serving, asking);
    if let Err(failed) = served {
        *error.borrow_mut() = shown(&failed);
    }
    (seen.into_inner(), error.into_inner())
}

/// An error and what caused it.
fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
