//! Handshakes of two ends, over loopback.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, SystemTime};

use partita_tls::authority::{Authority, Validity};
use partita_tls::{Accepted, Current, Files, HandshakeError, Https, Loaded, Mutual, Role};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HOUR: Duration = Duration::from_secs(3600);

fn valid() -> Validity {
    Validity {
        not_before: SystemTime::now() - HOUR,
        not_after: SystemTime::now() + HOUR,
    }
}

fn expired() -> Validity {
    Validity {
        not_before: SystemTime::now() - 2 * HOUR,
        not_after: SystemTime::now() - HOUR,
    }
}

fn authority() -> Authority {
    Authority::make(valid()).unwrap()
}

fn write(folder: &Path, by: &Authority, dns: &str, validity: Validity, trusted: &str) {
    let issued = by.issue(&[dns.to_owned()], validity).unwrap();
    issued.write(folder, trusted).unwrap();
}

fn folder(by: &Authority, dns: &str, validity: Validity, trusted: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), by, dns, validity, trusted);
    folder
}

fn load(folder: &TempDir) -> Mutual {
    Mutual::load(&Files::in_folder(folder.path()).read().unwrap()).unwrap()
}

fn peer(by: &Authority, dns: &str) -> Mutual {
    load(&folder(by, dns, valid(), by.certificate()))
}

/// Both ends of a handshake, and a byte each way when it worked.
async fn meet(server: &Mutual, client: &Mutual) -> (Result<Accepted, HandshakeError>, Result<u8, String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut accepted = server.accept(stream, &[Role::Router, Role::Replica]).await;
        if let Ok(Accepted { stream, peer }) = &mut accepted {
            // A client that has turned away already does not read it.
            let _ = match peer {
                Ok(_) => stream.write_all(b"x").await,
                Err(_) => stream.shutdown().await,
            };
            let _ = stream.flush().await;
        }
        accepted
    };
    let calling = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let connected = client.connect("127.0.0.1", stream, &[Role::Replica]).await;
        let (mut stream, _) = connected.map_err(|error| error.to_string())?;
        // The server's verdict comes behind its half of the handshake.
        stream.read_u8().await.map_err(|error| error.to_string())
    };
    tokio::join!(serving, calling)
}

fn said(accepted: Result<Accepted, HandshakeError>) -> String {
    match accepted {
        Ok(Accepted {
            peer: Err(stranger), ..
        }) => stranger.to_string(),
        Ok(Accepted { peer: Ok(known), .. }) => known.name.to_string(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn peers_of_one_authority_know_each_other() {
    let authority = authority();
    let server = peer(&authority, "replica.shop.partita.internal");
    let client = peer(&authority, "router.partita.internal");
    let (accepted, answer) = meet(&server, &client).await;
    assert_eq!(answer, Ok(b'x'));
    let known = accepted.unwrap().peer.unwrap();
    assert_eq!(known.name, *client.name());
    assert!(known.valid_for > HOUR / 2 && known.valid_for <= HOUR);
}

#[tokio::test]
async fn sessions_are_resumed_and_looked_at_again() {
    let authority = authority();
    let server = peer(&authority, "replica.partita.internal");
    let client = peer(&authority, "router.partita.internal");
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (accepted, answer) = meet(&server, &client).await;
        assert_eq!(answer, Ok(b'x'));
        let accepted = accepted.unwrap();
        assert_eq!(accepted.peer.unwrap().name, *client.name());
        kinds.push(accepted.stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

#[tokio::test]
async fn who_does_not_belong_here_is_refused_and_told_why() {
    let (ours, theirs) = (authority(), authority());
    let server = peer(&ours, "replica.shop.partita.internal");
    let old = load(&folder(&ours, "router.partita.internal", expired(), ours.certificate()));
    let foreign = load(&folder(
        &theirs,
        "router.partita.internal",
        valid(),
        &format!("{}{}", theirs.certificate(), ours.certificate()),
    ));
    for (client, server_says, client_hears) in [
        (old, "certificate expired", "CertificateExpired"),
        (foreign, "UnknownIssuer", "UnknownCA"),
    ] {
        let (accepted, answer) = meet(&server, &client).await;
        let (says, hears) = (said(accepted), answer.unwrap_err());
        assert!(says.contains(server_says), "{says}");
        assert!(hears.contains(client_hears), "{hears}");
    }
    for (dns, says) in [
        (
            "replica.bank.partita.internal",
            "the peer is replica.bank.partita.internal, and replica.shop.partita.internal only talks to router and replica",
        ),
        ("operator.partita.internal", "the peer is operator.partita.internal"),
    ] {
        let said = said(meet(&server, &peer(&ours, dns)).await.0);
        assert!(said.starts_with(says), "{said}");
    }
}

#[tokio::test]
async fn a_client_refuses_a_server_that_is_somebody_else() {
    let (ours, theirs) = (authority(), authority());
    let client = peer(&ours, "router.partita.internal");
    let foreign = peer(&theirs, "replica.partita.internal");
    let (_, answer) = meet(&foreign, &client).await;
    assert!(answer.clone().unwrap_err().contains("UnknownIssuer"), "{answer:?}");
    let (_, answer) = meet(&peer(&ours, "router.partita.internal"), &client).await;
    let heard = answer.unwrap_err();
    assert!(heard.contains("the peer is router.partita.internal"), "{heard}");
    let old = load(&folder(
        &ours,
        "replica.partita.internal",
        expired(),
        ours.certificate(),
    ));
    let (_, answer) = meet(&old, &client).await;
    assert!(
        answer.clone().unwrap_err().contains("certificate expired"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_refused() {
    let ours = authority();
    let server = peer(&ours, "replica.partita.internal");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate(ours.certificate())).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let anonymous = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        said(server.accept(stream, &[Role::Router]).await)
    };
    let calling = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(anonymous));
        let host = "replica.partita.internal".try_into().unwrap();
        let mut stream = connector.connect(host, stream).await.unwrap();
        stream.read_u8().await.unwrap_err().to_string()
    };
    let (says, hears) = tokio::join!(serving, calling);
    assert!(says.contains("peer sent no certificates"), "{says}");
    assert!(hears.contains("CertificateRequired"), "{hears}");
}

fn certificate(pem: &str) -> rustls::pki_types::CertificateDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_peer_without_tls_is_given_back() {
    let server = peer(&authority(), "replica.partita.internal");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.write_all(b"PARTITA").await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let Err(HandshakeError::Plain(mut stream)) = server.accept(stream, &[Role::Router]).await else {
        panic!("accepted")
    };
    let mut bytes = [0; 7];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"PARTITA");
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let (ours, theirs) = (authority(), authority());
    let good = || folder(&ours, "replica.partita.internal", valid(), ours.certificate());
    let reason = |folder: &TempDir| {
        let loaded = Files::in_folder(folder.path())
            .read()
            .and_then(|pem| Mutual::load(&pem));
        loaded.unwrap_err().to_string()
    };
    for (file, content, expected) in [
        ("tls.crt", None, "tls.crt: No such file"),
        ("tls.key", None, "tls.key: No such file"),
        ("ca.crt", None, "ca.crt: No such file"),
        ("tls.crt", Some("nothing"), "tls.crt: no certificate in PEM format"),
        ("tls.key", Some(""), "tls.key: no private key in PEM format"),
        ("ca.crt", Some(""), "ca.crt: no certificate in PEM format"),
        (
            "ca.crt",
            Some(theirs.certificate()),
            "tls.crt: not to be used between peers: invalid peer certificate: UnknownIssuer",
        ),
    ] {
        let folder = good();
        let path = folder.path().join(file);
        match content {
            None => std::fs::remove_file(path).unwrap(),
            Some(content) => std::fs::write(path, content).unwrap(),
        }
        let reason = reason(&folder);
        assert!(reason.contains(expected), "{reason}");
    }
    let half = good();
    let other = ours.issue(&["replica.partita.internal".to_owned()], valid()).unwrap();
    std::fs::write(half.path().join("tls.key"), &other.key).unwrap();
    assert!(reason(&half).contains("tls.key is not the key of"), "{}", reason(&half));
    let nameless = folder(&ours, "db.example.com", valid(), ours.certificate());
    assert!(
        reason(&nameless).contains("none like replica.partita.internal"),
        "{}",
        reason(&nameless)
    );
}

/// Waits until the latest is another one.
async fn replaced<T: Loaded>(current: &Current<T>, change: impl FnOnce()) {
    let replaced = current.replaced();
    change();
    tokio::time::timeout(Duration::from_secs(60), replaced)
        .await
        .expect("it is never replaced");
}

/// What the kubelet does with a Secret: a folder with the files, a link to it, and links to the files through that.
struct Mounted(TempDir);

impl Mounted {
    fn new(fill: impl FnOnce(&Path)) -> Self {
        let mounted = Self(tempfile::tempdir().unwrap());
        mounted.swap(fill);
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            std::os::unix::fs::symlink(Path::new("..data").join(file), mounted.0.path().join(file)).unwrap();
        }
        mounted
    }

    fn swap(&self, fill: impl FnOnce(&Path)) {
        let next = tempfile::Builder::new()
            .prefix("..")
            .tempdir_in(self.0.path())
            .unwrap()
            .keep();
        fill(&next);
        let link = self.0.path().join("..data_tmp");
        std::os::unix::fs::symlink(next.file_name().unwrap(), &link).unwrap();
        std::fs::rename(link, self.0.path().join("..data")).unwrap();
    }
}

#[tokio::test]
async fn a_swapped_secret_is_used_and_a_broken_one_is_not() {
    let (first, second) = (authority(), authority());
    let dns = "replica.partita.internal";
    let both = format!("{}{}", first.certificate(), second.certificate());
    let secret = Mounted::new(|folder| write(folder, &first, dns, valid(), first.certificate()));
    let current = Current::<Mutual>::follow(Files::in_folder(secret.0.path())).unwrap();
    let of_first = peer(&first, "router.partita.internal");
    let of_second = load(&folder(&second, "router.partita.internal", valid(), &both));
    assert_eq!(meet(&current.latest(), &of_first).await.1, Ok(b'x'));
    assert!(meet(&current.latest(), &of_second).await.1.is_err());

    // The next authority is trusted before anybody shows a certificate of it.
    replaced(&current, || {
        secret.swap(|folder| write(folder, &first, dns, valid(), &both))
    })
    .await;
    assert_eq!(current.generation(), 1);
    assert_eq!(meet(&current.latest(), &of_first).await.1, Ok(b'x'));
    assert_eq!(meet(&current.latest(), &of_second).await.1, Ok(b'x'));

    // A Secret that somebody broke.
    secret.swap(|folder| {
        write(folder, &second, dns, valid(), &both);
        std::fs::write(folder.join("tls.key"), "").unwrap();
    });
    let failed = async {
        while !current.status().failed {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failed).await.unwrap();
    assert_eq!(current.generation(), 1);
    assert_eq!(meet(&current.latest(), &of_first).await.1, Ok(b'x'));

    // And mended: only the second authority counts now.
    replaced(&current, || {
        secret.swap(|folder| write(folder, &second, dns, valid(), second.certificate()));
    })
    .await;
    assert!(!current.status().failed);
    assert!(meet(&current.latest(), &of_first).await.1.is_err());
    assert_eq!(meet(&current.latest(), &of_second).await.1, Ok(b'x'));
}

#[tokio::test]
async fn a_certificate_for_clients_is_followed_too() {
    let ours = authority();
    let home = folder(&ours, "localhost", valid(), ours.certificate());
    let files = Files::pair(&home.path().join("tls.crt"), &home.path().join("tls.key"));
    let current = Current::<Https>::follow(files).unwrap();
    let until = current.status().not_after;
    let longer = Validity {
        not_after: SystemTime::now() + 9 * HOUR,
        ..valid()
    };
    replaced(&current, || {
        write(home.path(), &ours, "localhost", longer, ours.certificate())
    })
    .await;
    assert!(current.status().not_after > until + 7 * 3600);
}
