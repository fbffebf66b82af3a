//! The accept loop and the drain.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::route::{Answered, route};
use super::{App, Connection};
use crate::backend::Backend;

/// A connection's read buffer may grow to this: it bounds a request's head, and what an idle connection holds.
const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long to wait after a failed accept: the usual reason, no file descriptors, goes away when others close.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is there, then lets open requests finish, for [`super::Limits::drain_time_max`] at most.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    app: Arc<App<B>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let connections_max = u32::try_from(app.limits.connections_max).map_err(io::Error::other)?;
    let places = Arc::new(Semaphore::new(app.limits.connections_max));
    let (drain, draining) = watch::channel(());
    let mut shutdown = pin!(shutdown);
    loop {
        let place = places.clone().acquire_owned();
        let accepted = async {
            let place = place.await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => match accepted {
                Ok((stream, place)) => {
                    let connection = connection(stream, app.clone(), draining.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    drop(drain);
    let all_closed = places.acquire_many(connections_max);
    if tokio::time::timeout(app.limits.drain_time_max, all_closed)
        .await
        .is_err()
    {
        tracing::warn!("stopping with requests unanswered: they took longer than the drain");
    }
    Ok(())
}

/// One connection, until either end closes it.
async fn connection<B: Backend>(stream: TcpStream, app: Arc<App<B>>, mut draining: watch::Receiver<()>) {
    // Without it the last segment of an answer waits for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let _open = app.metrics.connection();
    let Some(secure) = &app.secure else {
        return exchange(stream, app, draining).await;
    };
    let handshake = tokio::time::timeout(app.limits.handshake_time_max, secure.accept(stream));
    tokio::select! {
        stream = handshake => {
            if let Ok(Some(stream)) = stream {
                exchange(stream, Arc::clone(&app), draining).await;
            }
        }
        // Nothing has been asked yet.
        _ = draining.changed() => {}
    }
}

/// Requests and answers.
async fn exchange<B: Backend>(stream: impl Connection, app: Arc<App<B>>, mut draining: watch::Receiver<()>) {
    let head_time_max = app.limits.head_time_max;
    let service = service_fn(move |request| {
        let app = app.clone();
        // Boxed, so that an idle connection does not hold the room of the largest operation.
        Box::pin(async move { Ok(route(&app, request).await) })
            as Pin<Box<dyn Future<Output = Result<Answered, std::convert::Infallible>> + Send>>
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_time_max)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .pipeline_flush(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Errors of a connection are the client's: half a request, a reset, a head that took too long.
    tokio::select! {
        _ = &mut connection => return,
        // The sender is dropped, never used: an error here is the signal.
        _ = draining.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
