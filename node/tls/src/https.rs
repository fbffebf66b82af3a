//! TLS to clients, who show no certificate.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::files::{Pem, Unusable};
use crate::mutual::{HandshakeError, linger, speaks_tls};
use crate::provider;
use crate::reload::Loaded;

/// A server's certificate.
#[derive(Debug)]
pub struct Https {
    config: Arc<ServerConfig>,
    not_after: i64,
}

impl Https {
    /// The server's half of a handshake.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let stream = speaks_tls(stream).await?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => {
                linger(stream).await;
                Err(error.into())
            }
        }
    }
}

impl Loaded for Https {
    fn load(pem: &Pem) -> Result<Self, Unusable> {
        let refused = |error| pem.refused(&error);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let mut config = builder
            .with_no_client_auth()
            .with_single_cert(pem.chain.clone(), pem.key.clone_key())
            .map_err(refused)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            not_after: pem.certificate.not_after,
        })
    }

    fn not_after(&self) -> i64 {
        self.not_after
    }
}
