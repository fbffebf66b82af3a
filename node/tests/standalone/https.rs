//! HTTPS for clients.

use std::process::Stdio;

use super::certificates::{Certificates, expiry};
use super::process::{Partita, command};
use super::shared::{exchange, until};

fn list_tables(address: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
         content-type: application/x-amz-json-1.0\r\nx-amz-date: 20260101T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=0000\r\ncontent-length: 2\r\n\r\n{{}}"
    )
}

#[test]
fn clients_that_check_the_certificate_are_served() {
    let (certificates, data) = (Certificates::new(), tempfile::tempdir().unwrap());
    let folder = certificates.folder("localhost", 1);
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.join(name).display().to_string());
    let data = data.path().join("data");
    let partita = Partita::start(&data, &["--tls-cert", &certificate, "--tls-key", &key]);
    let address = partita.listen().to_owned();
    let ask = || {
        certificates
            .exchange(&address, "localhost", None, &list_tables(&address))
            .unwrap()
    };
    assert_eq!(ask(), (200, r#"{"TableNames":[]}"#.to_owned()));
    // Who does not speak it is told so.
    assert_eq!(
        exchange(&address, &list_tables(&address)),
        (400, "only HTTPS is spoken here: use https://\n".to_owned())
    );
    // Another certificate, without a restart.
    let valid = || expiry(&partita.admin("/metrics").1, "https");
    let before = valid();
    certificates.folder("localhost", 2);
    until("the new certificate", || (valid() != before).then_some(()));
    assert_eq!(ask().0, 200);
    assert!(partita.stop().success());
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start() {
    let (certificates, data) = (Certificates::new(), tempfile::tempdir().unwrap());
    let (one, other) = (certificates.folder("localhost", 1), certificates.folder("other", 1));
    let path = |folder: &std::path::Path, name: &str| folder.join(name).display().to_string();
    for (arguments, reason) in [
        (vec!["--tls-cert".to_owned(), path(&one, "tls.crt")], "--tls-key <FILE>"),
        (
            vec![
                "--tls-cert".to_owned(),
                path(&one, "none"),
                "--tls-key".to_owned(),
                path(&one, "tls.key"),
            ],
            "none: No such file",
        ),
        (
            vec![
                "--tls-cert".to_owned(),
                path(&one, "tls.crt"),
                "--tls-key".to_owned(),
                path(&other, "tls.key"),
            ],
            "is not the key of",
        ),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = command(&data.path().join("data"), &arguments);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(reason), "{said}");
    }
}
