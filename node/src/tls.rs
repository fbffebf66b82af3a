//! Certificates of this process: what the command line says of them, and what is measured.

use std::path::Path;

use anyhow::{Context, bail};
use futures::future::BoxFuture;
use partita_gateway::http::{Connection, Secure};
use partita_tls::{Current, Files, HandshakeError, Https, Mutual, Role, Status, turn_away};
use tokio::net::TcpStream;

use crate::admin::exposition::family;
use crate::cli::{Endpoint, Peers};

/// What is said to a client that speaks HTTP where HTTPS is spoken.
const PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 40\r\n\r\n\
    only HTTPS is spoken here: use https://\n";

/// Follows the certificates for other processes, if there are to be any. Needs a runtime.
pub fn follow(options: &Peers, role: Role) -> anyhow::Result<Option<Current<Mutual>>> {
    in_folder(options.peer_tls.as_deref(), role)
}

/// The same, of what `--peer-tls` names.
pub fn in_folder(folder: Option<&Path>, role: Role) -> anyhow::Result<Option<Current<Mutual>>> {
    let Some(folder) = folder else {
        return Ok(None);
    };
    let tls = Current::<Mutual>::follow(Files::in_folder(folder)).context("--peer-tls")?;
    let name = tls.latest().name().clone();
    if name.role != role {
        bail!(
            "--peer-tls {}: the certificate is {name}, and this is a {role}",
            folder.display()
        );
    }
    Ok(Some(tls))
}

/// Follows the certificate for clients, if there is to be one. Needs a runtime.
pub fn https(options: &Endpoint) -> anyhow::Result<Option<Current<Https>>> {
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(None);
    };
    let tls = Current::follow(Files::pair(certificate, key)).context("--tls-cert and --tls-key")?;
    Ok(Some(tls))
}

/// HTTPS for the gateway.
struct Secured(Current<Https>);

/// What the gateway secures its connections with.
pub fn secure(https: Option<Current<Https>>) -> Option<Box<dyn Secure>> {
    https.map(|https| Box::new(Secured(https)) as Box<dyn Secure>)
}

impl Secure for Secured {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'_, Option<Box<dyn Connection>>> {
        Box::pin(async move {
            match self.0.latest().accept(stream).await {
                Ok(stream) => Some(Box::new(stream) as Box<dyn Connection>),
                Err(HandshakeError::Plain(stream)) => {
                    turn_away(stream, PLAIN).await;
                    None
                }
                Err(error) => {
                    // What goes wrong here is the client's affair.
                    tracing::debug!(%error, "a connection was refused");
                    None
                }
            }
        })
    }
}

/// Appends how it stands with certificates, by what they are for.
pub fn expose(text: &mut String, certificates: &[(&str, Status)]) {
    let by_use = |value: &dyn Fn(&Status) -> i64| -> Vec<(String, i64)> {
        let certificates = certificates.iter();
        certificates
            .map(|(purpose, status)| (format!("use=\"{purpose}\""), value(status)))
            .collect()
    };
    family(
        text,
        "partita_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the certificate in use expires, in seconds since 1970",
        &by_use(&|status| status.not_after),
    );
    family(
        text,
        "partita_certificate_files_failed",
        "gauge",
        "1 while the certificate's files cannot be used: the one before stays in use, and the log says why",
        &by_use(&|status| i64::from(status.failed)),
    );
}
