//! Certificates of this process: what the command line says of them, and what is measured.

use anyhow::{Context, bail};
use partita_tls::{Current, Files, Https, Mutual, Role, Status};

use crate::admin::exposition::family;
use crate::cli::{Endpoint, Peers};

/// Follows the certificates for other processes, if there are to be any. Needs a runtime.
pub fn follow(options: &Peers, role: Role) -> anyhow::Result<Option<Current<Mutual>>> {
    let Some(folder) = &options.peer_tls else {
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
