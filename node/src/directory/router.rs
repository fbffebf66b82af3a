//! A directory from a router.
//!
//! `GET /directory?after=<revision>` answers when there is another revision than that, or 204 when there was none for a
//! while; then it is asked again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use partita_tls::{Connector, Current, Mutual, Role};
use tokio::time::timeout;

use super::serve::WAIT_MAX;
use super::{Directory, Listing, Source};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a router may take beyond what it may wait: then the connection is taken for dead.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed attempt; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Bytes of a listing: some 100,000 tables.
const LISTING_BYTES_MAX: usize = 256 << 20;

/// A router's admin address.
#[derive(Debug)]
pub struct Router {
    address: String,
    tls: Option<Current<Mutual>>,
    client: Client<Connector, Empty<&'static [u8]>>,
    /// Which certificates the client's connections were opened with.
    generation: u64,
}

impl Router {
    /// At `http://HOST:PORT`, or at `https://HOST:PORT` with these certificates.
    pub fn new(address: &str, tls: Option<Current<Mutual>>) -> Self {
        Self {
            address: address.to_owned(),
            generation: tls.as_ref().map_or(0, Current::generation),
            client: client(tls.clone()),
            tls,
        }
    }

    /// Opens new connections once there are new certificates.
    fn follow_certificates(&mut self) {
        let generation = self.tls.as_ref().map_or(0, Current::generation);
        if generation != self.generation {
            self.generation = generation;
            self.client = client(self.tls.clone());
        }
    }

    /// The listing, once it is another one than that; `None` when there was none for a while.
    async fn ask(&self, after: Option<u64>) -> anyhow::Result<Option<Listing>> {
        let query = after.map_or(String::new(), |revision| format!("?after={revision}"));
        let request = Request::get(format!("{}/directory{query}", self.address)).body(Empty::new())?;
        let answer = self.client.request(request).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => return Ok(None),
            other => bail!("it answers {other}"),
        }
        let body = Limited::new(answer.into_body(), LISTING_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("{error}"))?.to_bytes();
        Ok(Some(serde_json::from_slice(&body).context("not a directory")?))
    }
}

fn client(tls: Option<Current<Mutual>>) -> Client<Connector, Empty<&'static [u8]>> {
    let connector = Connector::new(tls, &[Role::Router], CONNECT_MAX);
    Client::builder(TokioExecutor::new()).build(connector)
}

impl Source for Router {
    async fn follow(mut self, directory: Arc<Directory>) {
        let mut retry = RETRY_FIRST;
        // The first question waits for nothing: what the cache knew may be what is there.
        let mut known = None;
        loop {
            self.follow_certificates();
            let answer = timeout(WAIT_MAX + ANSWER_MAX, self.ask(known)).await;
            let answer = answer.unwrap_or_else(|_| Err(anyhow!("it does not answer")));
            match answer {
                Ok(listing) => {
                    retry = RETRY_FIRST;
                    directory.source_answers();
                    if let Some(listing) = listing {
                        known = Some(listing.revision);
                        directory.set(listing);
                    }
                }
                Err(error) => {
                    directory.source_is_away();
                    tracing::warn!(router = self.address, "no directory from there: {error:#}");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_LONGEST);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::super::serve;
    use super::*;

    #[tokio::test]
    async fn one_directory_follows_another() {
        let listing = |host| Listing::of(vec![Arc::new(entry("orders", 4000, host))]);
        let first = Arc::new(Directory::new());
        first.set(listing("a:1"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/directory", serve::route(Arc::clone(&first)));
        let serving = tokio::spawn(async { axum::serve(listener, app).await });
        let second = Directory::follow(Router::new(&address, None), None);
        let mut listings = second.subscribe();
        listings.wait_for(|now| **now == listing("a:1")).await.unwrap();
        assert_eq!(second.source_away(), Duration::ZERO);
        first.set(listing("a:2"));
        listings.wait_for(|now| **now == listing("a:2")).await.unwrap();
        serving.abort();
    }
}
