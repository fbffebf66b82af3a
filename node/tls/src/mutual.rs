//! TLS between processes: both show a certificate.
//!
//! 1. [`Mutual::load`](Loaded::load) turns files into the settings of both ends, and refuses files that peers would refuse.
//! 2. In a handshake rustls checks the other's chain against the authorities, and its validity.
//! 3. Behind it, names are looked at ([`Mutual::know`]): also where a session was resumed, whose certificate was checked
//!    when the session began.
//!
//! A server's host name is not looked at: pods come and go under many, and what counts is what the peer is.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::certificate::Certificate;
use crate::files::{Pem, Unusable};
use crate::name::{Name, Role};
use crate::provider;
use crate::reload::Loaded;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// How long a peer that was refused is listened to, so that it can read why: a connection that is closed with bytes unread
/// is reset, and takes the alert along.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// A process's certificate, and whom it trusts.
#[derive(Debug)]
pub struct Mutual {
    name: Name,
    not_after: i64,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// A peer that showed a certificate of a known authority, and is not one that belongs here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It says nothing that we understand.
    #[error("the peer's certificate has no name of ours, only {0:?}")]
    Nameless(Vec<String>),
    /// It is somebody else.
    #[error("the peer is {peer}, and {us} only talks to {wanted} of its own scope")]
    Unrelated {
        /// What it is.
        peer: Name,
        /// What we are.
        us: Name,
        /// Who would do, in words.
        wanted: String,
    },
    /// It was valid when its session began.
    #[error("the peer's certificate has expired")]
    Expired,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other side did not like our certificate, or we did not like its, or the connection broke.
    #[error("TLS: {0}")]
    Io(#[from] io::Error),
    /// It is not who it should be.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// It speaks something else, and may be told so in its own language.
    #[error("the peer does not speak TLS")]
    Plain(TcpStream),
}

/// A connection that somebody opened.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// Who it is. A stranger may be told that it is one.
    pub peer: Result<Known, Stranger>,
}

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Name,
    /// For how long its certificate is valid.
    pub valid_for: Duration,
}

impl Mutual {
    /// What this process is to others.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The server's half of a handshake, with a peer of one of these roles.
    pub async fn accept(&self, stream: TcpStream, roles: &[Role]) -> Result<Accepted, HandshakeError> {
        let stream = speaks_tls(stream).await?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(Accepted {
                peer: self.know(stream.get_ref().1.peer_certificates(), roles),
                stream: stream.into(),
            }),
            Err((error, stream)) => {
                linger(stream).await;
                Err(error.into())
            }
        }
    }

    /// The client's half of a handshake, with a peer of one of these roles. Sessions with a host are resumed.
    pub async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
        roles: &[Role],
    ) -> Result<(TlsStream<TcpStream>, Known), HandshakeError> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let host = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(Arc::clone(&self.client));
        let stream = connector.connect(host, stream).await?;
        let peer = self.know(stream.get_ref().1.peer_certificates(), roles)?;
        Ok((stream.into(), peer))
    }

    /// Who shows this certificate, if it is one of these roles and belongs here.
    fn know(&self, shown: Option<&[CertificateDer<'_>]>, roles: &[Role]) -> Result<Known, Stranger> {
        let shown = shown.and_then(|chain| chain.first()).and_then(Certificate::read);
        let shown = shown.ok_or_else(|| Stranger::Nameless(Vec::new()))?;
        let fits = |name: &Name| roles.contains(&name.role) && name.is_related(&self.name);
        let Some(name) = shown.names().find(fits) else {
            let Some(peer) = shown.names().next() else {
                return Err(Stranger::Nameless(shown.dns));
            };
            let wanted: Vec<String> = roles.iter().map(Role::to_string).collect();
            return Err(Stranger::Unrelated {
                peer,
                us: self.name.clone(),
                wanted: wanted.join(" and "),
            });
        };
        let valid_for = shown.valid_for(SystemTime::now());
        if valid_for.is_zero() {
            return Err(Stranger::Expired);
        }
        Ok(Known { name, valid_for })
    }
}

/// A client that begins a handshake, or one that is given back.
pub(crate) async fn speaks_tls(stream: TcpStream) -> Result<TcpStream, HandshakeError> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        1 if first != [HANDSHAKE] => Err(HandshakeError::Plain(stream)),
        _ => Ok(stream),
    }
}

/// Tells a peer that does not speak TLS so, in its own language; ends the connection once it has had time to read that.
pub async fn turn_away(mut stream: TcpStream, words: &[u8]) {
    if stream.write_all(words).await.is_ok() {
        linger(stream).await;
    }
}

/// Lets a peer read what it was sent: a connection that is closed with something unread takes that away from it.
pub(crate) async fn linger(mut stream: TcpStream) {
    let unread = async {
        stream.shutdown().await?;
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever comes, or does not, the connection ends here.
    let _ = tokio::time::timeout(LINGER_MAX, unread).await;
}

impl Loaded for Mutual {
    fn load(pem: &Pem) -> Result<Self, Unusable> {
        let name = pem.certificate.names().next();
        let name = name.ok_or_else(|| Unusable::Nameless(pem.files.certificate.clone()))?;
        let (server, client) = both_ends(pem)?;
        Ok(Self {
            name,
            not_after: pem.certificate.not_after,
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    fn not_after(&self) -> i64 {
        self.not_after
    }
}

impl Pem {
    /// Whether whoever trusts its authorities would take the certificate, whatever its names are, and the key is its own.
    pub fn check(&self) -> Result<(), Unusable> {
        both_ends(self).map(drop)
    }
}

/// The settings of both ends of a connection.
fn both_ends(pem: &Pem) -> Result<(ServerConfig, ClientConfig), Unusable> {
    let refused = |error| pem.refused(&error);
    let provider = provider();
    let mut roots = RootCertStore::empty();
    for authority in &pem.authorities {
        roots.add(authority.clone()).map_err(refused)?;
    }
    let roots = Arc::new(roots);
    let of_clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| Unusable::Refused {
            path: pem.files.authorities.clone().unwrap_or_default(),
            reason: error.to_string(),
        })?;
    let of_servers = Arc::new(OfServers {
        roots,
        algorithms: provider.signature_verification_algorithms,
    });
    check_own(pem, &*of_clients, &of_servers)?;
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(refused)?
        .with_client_cert_verifier(of_clients)
        .with_single_cert(pem.chain.clone(), pem.key.clone_key())
        .map_err(refused)?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(refused)?
        .dangerous()
        .with_custom_certificate_verifier(of_servers)
        .with_client_auth_cert(pem.chain.clone(), pem.key.clone_key())
        .map_err(refused)?;
    Ok((server, client))
}

/// Whether peers that trust the same authorities would take our own certificate, while it is valid: an expired one is to be
/// replaced, and until then its peers say what is wrong with it.
fn check_own(pem: &Pem, of_clients: &dyn ClientCertVerifier, of_servers: &OfServers) -> Result<(), Unusable> {
    let Some((own, intermediates)) = pem.chain.split_first() else {
        return Ok(());
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = |time: i64| Duration::from_secs(u64::try_from(time).unwrap_or(0));
    let (from, to) = (seconds(pem.certificate.not_before), seconds(pem.certificate.not_after));
    let then = UnixTime::since_unix_epoch(now.min(to).max(from));
    of_clients
        .verify_client_cert(own, intermediates, then)
        .map(|_| ())
        .and_then(|()| of_servers.verify(own, intermediates, then))
        .map_err(|error| Unusable::Unsigned {
            path: pem.files.certificate.clone(),
            reason: error.to_string(),
        })
}

/// Checks a server's chain and validity; its names are looked at behind the handshake.
#[derive(Debug)]
struct OfServers {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl OfServers {
    fn verify(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let certificate = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, self.algorithms.all)
    }
}

impl ServerCertVerifier for OfServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
