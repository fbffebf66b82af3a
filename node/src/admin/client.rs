//! Calls to other processes' admin APIs.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioExecutor;
use partita_model::admin::Problem;
use partita_tls::{Connector, Current, Mutual, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// How long an answer may take: a store may have to flush a large partition, or wait for an election.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer: a store with a thousand groups is far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A process that answers the admin API.
#[derive(Clone)]
pub struct AdminClient {
    address: String,
    client: hyper_util::client::legacy::Client<Connector, Full<Bytes>>,
}

/// Why there is no answer to go on with.
#[derive(Debug)]
pub enum CallFailed {
    /// The process refused.
    Refused(Problem),
    /// It did not answer, or nothing that makes sense.
    Silent(anyhow::Error),
}

impl fmt::Display for CallFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(problem) => f.write_str(&problem.message),
            Self::Silent(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for CallFailed {}

impl AdminClient {
    /// At `http://HOST:PORT` (or `HOST:PORT`).
    pub fn new(address: &str) -> Self {
        Self::at(address, "http://", None)
    }

    /// At `https://HOST:PORT` (or `HOST:PORT`), over mutual TLS.
    pub fn secured(address: &str, tls: Current<Mutual>) -> Self {
        Self::at(address, "https://", Some(tls))
    }

    fn at(address: &str, scheme: &str, tls: Option<Current<Mutual>>) -> Self {
        let address = address.trim_end_matches('/');
        let address = match address.contains("://") {
            true => address.to_owned(),
            false => format!("{scheme}{address}"),
        };
        let connector = Connector::new(tls, &[Role::Replica], CONNECT_MAX);
        Self {
            address,
            client: hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallFailed> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Orders.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallFailed> {
        let body = serde_json::to_vec(body).map_err(|error| CallFailed::Silent(error.into()))?;
        self.call(Method::PUT, path, body.into()).await
    }

    /// Asks a question that has a body.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallFailed> {
        let body = serde_json::to_vec(body).map_err(|error| CallFailed::Silent(error.into()))?;
        self.call(Method::POST, path, body.into()).await
    }

    /// Removes.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallFailed> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, CallFailed> {
        let answered = timeout(ANSWER_MAX, self.exchange(method, path, body)).await;
        let answered = answered.unwrap_or_else(|_| Err(anyhow!("no answer within {ANSWER_MAX:?}")));
        let address = &self.address;
        let silent = |error: anyhow::Error| CallFailed::Silent(error.context(address.clone()));
        let (status, body) = answered.map_err(silent)?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| silent(anyhow!("an answer that makes no sense: {error}")));
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(CallFailed::Refused(problem)),
            Err(_) => Err(silent(anyhow!("it answers {status}"))),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address))
            .body(Full::new(body))?;
        let answer = self.client.request(request).await.context("it cannot be reached")?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| anyhow!("{error}"))?.to_bytes()))
    }
}
