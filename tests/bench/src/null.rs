//! The null server: the HTTP stack of the gateway, without anything behind it. It reads each request whole and answers
//! the bytes that a GetItem of the bench answers, so a ratio to it tells what authentication, decoding and storage cost.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::work::PAYLOAD_BYTES;

/// As the gateway's.
const HEAD_TIME_MAX: Duration = Duration::from_secs(120);
const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Serves until the process ends; prints its address first.
pub async fn serve() -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    serve_on(listener).await
}

/// Serves a listener until the process ends.
pub async fn serve_on(listener: TcpListener) -> Result<()> {
    let text = "x".repeat(PAYLOAD_BYTES);
    let body = format!(r#"{{"Item":{{"id":{{"S":"key-0000000000"}},"half":{{"N":"1"}},"text":{{"S":"{text}"}}}}}}"#);
    let body = Bytes::from(body);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, body.clone()));
            // An error here is the client gone: nothing to tell anybody.
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME_MAX)
                .max_buf_size(READ_BUFFER_BYTES_MAX)
                .pipeline_flush(true);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    // A broken body ends in a broken connection, which hyper sees to.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    headers.insert("x-amz-crc32", HeaderValue::from_static("2745614147"));
    headers.insert(
        "x-amzn-requestid",
        HeaderValue::from_static("OV1R2C5H6TNJ8B3D9KQ4M7W0XAVV4KQNSO5AEMVJF66Q9ASUAAJG"),
    );
    Ok(response)
}
