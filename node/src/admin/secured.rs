//! The admin API over mutual TLS, for peers of the roles that may call it.
//!
//! 1. Accept; each handshake has a task of its own, so that nobody waits for a slow one.
//! 2. Serve HTTP/1 until either end closes.
//! 3. A connection that outlives the certificates that it was opened with closes behind its next answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use partita_tls::{Current, HandshakeError, Mutual, Role, Stream, turn_away};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower_service::Service;

/// Connections at once: an operator, a few people, and every router and replica that follows the directory.
const CONNECTIONS_MAX: usize = 4096;
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be idle, or take to send a request's head.
const HEAD_MAX: Duration = Duration::from_secs(60);
/// How long a connection may go on that was opened with certificates that have been replaced since.
const OLD_CERTIFICATES_MAX: Duration = Duration::from_secs(10 * 60);
/// How long to wait after a failed accept: the usual reason, no file descriptors, goes away when others close.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);
/// What is said to a client that speaks HTTP as it is.
const PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 45\r\n\r\n\
    only mutual TLS is spoken here: use https://\n";

/// Answers until the process ends.
pub async fn serve(listener: TcpListener, tls: Current<Mutual>, roles: &'static [Role], routes: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, from)) => {
                let (tls, routes) = (tls.clone(), routes.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, &tls, roles, routes).await {
                        tracing::warn!(%from, %error, "a connection to the admin API was refused");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin API could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
}

/// One connection, until its end; an error if it did not get as far as a request.
async fn connection(
    stream: TcpStream,
    tls: &Current<Mutual>,
    roles: &[Role],
    routes: Router,
) -> Result<(), HandshakeError> {
    let (latest, replaced) = (tls.latest(), tls.replaced());
    let accepted = match timeout(HANDSHAKE_MAX, latest.accept(stream, roles)).await {
        Ok(Err(HandshakeError::Plain(stream))) => {
            turn_away(stream, PLAIN).await;
            return Ok(());
        }
        Ok(accepted) => accepted?,
        Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    };
    let known = accepted.peer?;
    let outlived = async {
        tokio::select! {
            () = tokio::time::sleep(known.valid_for) => {}
            () = replaced => tokio::time::sleep(OLD_CERTIFICATES_MAX).await,
        }
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let stream = TokioIo::new(Stream::from(accepted.stream));
    let mut serving =
        std::pin::pin!(builder.serve_connection(stream, service_fn(move |request| routes.clone().call(request))));
    tokio::select! {
        // How it ends is the client's affair.
        _ = &mut serving => return Ok(()),
        () = outlived => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
    Ok(())
}
