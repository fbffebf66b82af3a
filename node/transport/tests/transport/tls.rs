//! Mutual TLS: the same calls, and peers that are refused.

use std::path::Path;
use std::time::{Duration, SystemTime};

use partita_model::request::{Action, GetReply, WriteRequest};
use partita_partition::descriptor::GroupId;
use partita_tls::authority::{Authority, Validity};
use partita_tls::{Current, Files, Loaded, Mutual};
use partita_transport::protocol::{self, Hello, Versions};
use partita_transport::{Answer, Cause, Client, Identity, Limits, Operation, Role};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::common::{Node, Raw, Scripted, eventually, not_sent, options, within};
use crate::samples::{get, get_reply, item, put};

const REPLICA: &str = "replica.partita.internal";
const ROUTER: &str = "router.partita.internal";

fn reads() -> Scripted {
    Scripted::new(|_, _| async { get_reply(1) })
}

/// An authority for this test.
struct Family(Authority);

impl Family {
    fn new() -> Self {
        Self(Authority::make(lasting(3600)).unwrap())
    }

    fn member(&self, dns: &str) -> Current<Mutual> {
        self.member_for(dns, 3600)
    }

    fn member_for(&self, dns: &str, seconds: i64) -> Current<Mutual> {
        Current::fixed(self.certificate(dns, seconds))
    }

    fn certificate(&self, dns: &str, seconds: i64) -> Mutual {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path(), dns, seconds);
        Mutual::load(&Files::in_folder(folder.path()).read().unwrap()).unwrap()
    }

    fn write(&self, folder: &Path, dns: &str, seconds: i64) {
        let issued = self.0.issue(&[dns.to_owned()], lasting(seconds)).unwrap();
        issued.write(folder, self.0.certificate()).unwrap();
    }
}

fn lasting(seconds: i64) -> Validity {
    let (now, hours) = (SystemTime::now(), Duration::from_secs(2 * 3600));
    let lasts = Duration::from_secs(seconds.unsigned_abs());
    Validity {
        not_before: now - hours,
        not_after: if seconds < 0 { now - lasts } else { now + lasts },
    }
}

async fn node(tls: Current<Mutual>, service: Scripted, limits: Limits) -> Node {
    Node::secured("127.0.0.1:0", service, limits, Versions::OURS, Some(tls)).await
}

fn client(tls: Current<Mutual>) -> Client {
    let mut options = options();
    options.tls = Some(tls);
    Client::new(options)
}

#[tokio::test]
async fn calls_of_any_size_cross() {
    let family = Family::new();
    // Requests and answers of many chunks, of many callers, and none of it may stay in a buffer.
    let echo = Scripted::new(|_, operation| async move {
        let Operation::Write(WriteRequest {
            action: Action::Put(item),
            ..
        }) = operation
        else {
            panic!("another operation")
        };
        Ok(Answer::Get(GetReply {
            item: Some(item),
            cost: Default::default(),
        }))
    });
    let node = node(family.member(REPLICA), echo, Limits::default()).await;
    let peer = client(family.member(ROUTER)).peer(&node.address);
    let calls = (0..32).map(|n| {
        let peer = peer.clone();
        let bytes = if n % 2 == 0 { 3 } else { 900_000 };
        async move {
            let Ok(Answer::Get(reply)) = within(peer.call(GroupId(1), Operation::Write(put(bytes)))).await else {
                panic!("no answer")
            };
            assert_eq!(reply.item, Some(item(bytes)));
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(node.server.stats().connections, 1);
    node.stop().await;
}

#[tokio::test]
async fn peers_that_do_not_belong_here_are_refused_with_a_reason() {
    let family = Family::new();
    let node = node(
        family.member("replica.shop.partita.internal"),
        reads(),
        Limits::default(),
    )
    .await;
    let mut impatient = options();
    impatient.connect_wait = Duration::from_millis(500);
    let strangers = [
        (
            None,
            "only mutual TLS is spoken here: the peer was started without --peer-tls",
        ),
        (
            Some(family.member("replica.bank.partita.internal")),
            // It finds out first that the server is none of its own.
            "the peer is replica.shop.partita.internal",
        ),
        (
            Some(family.member("operator.partita.internal")),
            "the peer is operator.partita.internal",
        ),
        (Some(family.member_for(ROUTER, -60)), "CertificateExpired"),
        (Some(Family::new().member(ROUTER)), "UnknownIssuer"),
    ];
    for (refused, (tls, reason)) in (1..).zip(strangers) {
        let mut options = impatient.clone();
        options.tls = tls;
        let peer = Client::new(options).peer(&node.address);
        let told = async {
            // On a busy machine the time may be over before the first attempt is.
            loop {
                let cause = not_sent(peer.get(GroupId(1), get(1)).await).to_string();
                if cause.contains(reason) {
                    break;
                }
                assert!(cause.contains("none was opened in time"), "{cause}");
            }
        };
        within(told).await;
        eventually("it is counted", || node.server.stats().connections_refused >= refused).await;
        drop(peer);
    }
    assert_eq!(node.server.stats().requests, 0);
    node.stop().await;
}

#[tokio::test]
async fn strangers_without_tls_are_closed() {
    let family = Family::new();
    let limits = Limits {
        handshake_time_max: Duration::from_millis(50),
        ..Limits::default()
    };
    let node = node(family.member(REPLICA), reads(), limits).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\x16\x03\x01\xff\xff", b"\x16"] {
        let mut stranger = TcpStream::connect(&node.address).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        Raw(stranger).closed().await;
    }
    eventually("all are counted", || node.server.stats().connections_refused == 4).await;
    assert_eq!(node.server.stats().connections, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_server_without_tls_says_so() {
    let node = Node::start(reads()).await;
    let mut options = options();
    options.tls = Some(Family::new().member(ROUTER));
    options.connect_wait = Duration::from_millis(500);
    let peer = Client::new(options).peer(&node.address);
    assert!(matches!(
        not_sent(within(peer.get(GroupId(1), get(1))).await),
        Cause::Connect(_)
    ));
    eventually("it is counted", || node.server.stats().connections_refused > 0).await;
    node.stop().await;
}

#[tokio::test]
async fn a_client_with_new_certificates_moves_to_a_new_connection() {
    let family = Family::new();
    let node = node(family.member(REPLICA), reads(), Limits::default()).await;
    let tls = family.member(ROUTER);
    let client = client(tls.clone());
    let peer = client.peer(&node.address);
    within(peer.get(GroupId(1), get(1))).await.unwrap();
    tls.replace(family.certificate(ROUTER, 7200));
    // The first call after that still finds the old connection, and is answered.
    within(peer.get(GroupId(1), get(1))).await.unwrap();
    eventually("the old one is gone", || {
        client.stats().connections_opened == 2 && client.stats().connections == 1
    })
    .await;
    within(peer.get(GroupId(1), get(1))).await.unwrap();
    assert_eq!(client.stats().connections_opened, 2);
    assert_eq!(
        client.stats().connections_lost + client.stats().lost + client.stats().not_sent,
        0
    );
    node.stop().await;
}

#[tokio::test]
async fn a_server_with_new_certificates_lets_go_of_old_connections() {
    let family = Family::new();
    let tls = family.member(REPLICA);
    let limits = Limits {
        old_certificates_time_max: Duration::from_millis(20),
        ..Limits::default()
    };
    let node = node(tls.clone(), reads(), limits).await;
    let client = client(family.member(ROUTER));
    let peer = client.peer(&node.address);
    within(peer.get(GroupId(1), get(1))).await.unwrap();
    tls.replace(family.certificate(REPLICA, 7200));
    eventually("the client has left", || client.stats().connections == 0).await;
    within(peer.get(GroupId(1), get(1))).await.unwrap();
    assert_eq!(client.stats().connections_opened, 2);
    assert_eq!(client.stats().connections_lost, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_holds_on_to_its_connection_is_closed() {
    let family = Family::new();
    let tls = family.member(REPLICA);
    let limits = Limits {
        old_certificates_time_max: Duration::from_millis(1),
        drain_time_max: Duration::from_millis(20),
        ..Limits::default()
    };
    let node = node(tls.clone(), reads(), limits).await;
    let stream = TcpStream::connect(&node.address).await.unwrap();
    let client = family.certificate(ROUTER, 3600);
    let (mut stream, _) = within(client.connect("127.0.0.1", stream, &[partita_tls::Role::Replica]))
        .await
        .unwrap();
    let hello = Hello::of(&Identity::new(Role::Router, "deaf"));
    within(protocol::greet(&mut stream, &hello)).await.unwrap();
    assert_eq!(node.server.stats().connections, 1);
    tls.replace(family.certificate(REPLICA, 7200));
    eventually("it is closed", || node.server.stats().connections == 0).await;
    node.stop().await;
}
