//! How an HTTP client reaches another process: `http://` as it is, `https://` over mutual TLS.
//!
//! A client keeps connections; whoever follows new certificates makes a new client with each [`Current::generation`].

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use crate::mutual::Mutual;
use crate::name::Role;
use crate::reload::Current;
use crate::stream::Stream;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections for an HTTP client.
#[derive(Debug, Clone)]
pub struct Connector {
    tcp: HttpConnector,
    tls: Option<Current<Mutual>>,
    roles: &'static [Role],
}

impl Connector {
    /// To peers of these roles, with these certificates. Without any, `https://` is refused.
    pub fn new(tls: Option<Current<Mutual>>, roles: &'static [Role], connect_max: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(connect_max));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        Self { tcp, tls, roles }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let secured = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().to_owned();
        let connecting = self.tcp.call(uri);
        let (tls, roles) = (self.tls.clone(), self.roles);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            if !secured {
                return Ok(TokioIo::new(Stream::Plain(stream)));
            }
            let tls = tls.ok_or("https:// needs certificates")?;
            let (stream, _) = tls.latest().connect(&host, stream, roles).await?;
            Ok(TokioIo::new(stream.into()))
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
