//! TLS between the processes of one cluster, and for its clients.
//!
//! 1. [`Files`] are a certificate, its key and the authorities, as PEM; in the layout of a Kubernetes Secret
//!    (`tls.crt`, `tls.key`, `ca.crt`).
//! 2. A [`Name`] in the certificate says what a process is: its role, and the scope in which it belongs to others.
//! 3. [`Mutual`] is what those files mean between processes: each side shows a certificate of a known authority, with a
//!    name that is related to the other's. [`Https`] is what they mean to clients, who show none.
//! 4. [`Current`] follows the files: what is opened from then on uses the new ones, and a broken file changes nothing.
//! 5. [`Stream`] is a connection with or without TLS; [`Connector`] opens them for HTTP clients.
//! 6. [`authority`] makes authorities and certificates: for the operator, and for tests.

pub mod authority;
mod certificate;
mod connector;
mod files;
mod https;
mod mutual;
mod name;
mod reload;
mod stream;

pub use certificate::Certificate;
pub use connector::Connector;
pub use files::{Files, Pem, Unusable};
pub use https::Https;
pub use mutual::{Accepted, HandshakeError, Mutual, Stranger, turn_away};
pub use name::{DOMAIN, Name, Role};
pub use reload::{Current, Loaded, Status};
pub use stream::{ReadHalf, Stream, WriteHalf};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
