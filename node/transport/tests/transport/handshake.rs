//! Who talks to whom.

use std::time::Duration;

use partita_partition::descriptor::GroupId;
use partita_transport::frame::Kind;
use partita_transport::protocol::{self, Hello, MAGIC, Versions};
use partita_transport::{Cause, Client, Identity, Limits, Operation, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Node, Raw, Scripted, client, eventually, frame, not_sent, options, within};
use crate::samples::{get, get_reply};

fn reads() -> Scripted {
    Scripted::new(|_, _| async { get_reply(1) })
}

#[test]
fn the_highest_common_version_is_chosen() {
    let versions = |first, last| Versions { first, last };
    for (ours, theirs, common) in [
        ((1, 1), (1, 1), Some(1)),
        ((1, 3), (2, 9), Some(3)),
        ((2, 9), (1, 3), Some(3)),
        ((1, 9), (4, 4), Some(4)),
        ((1, 2), (3, 4), None),
        ((3, 4), (1, 2), None),
    ] {
        assert_eq!(versions(ours.0, ours.1).common(versions(theirs.0, theirs.1)), common);
    }
}

#[tokio::test]
async fn without_a_common_version_both_are_told_why() {
    let future = Versions { first: 7, last: 9 };
    let node = Node::at("127.0.0.1:0", reads(), Limits::default(), future).await;
    let peer = client().peer(&node.address);
    let Cause::Rejected(reason) = not_sent(peer.call(GroupId(1), Operation::Get(get(1))).await) else {
        panic!("another cause")
    };
    assert!(reason.contains("router \"client\""), "{reason}");
    let ours = format!("speaks versions 1 to {} of the protocol", Versions::OURS.last);
    assert!(reason.contains(&ours), "{reason}");
    assert!(
        reason.contains("speaks 7 to 9: upgrade the older one first"),
        "{reason}"
    );
    assert_eq!(node.server.stats().connections_refused, 1);
    node.stop().await;
}

/// The frame of a greeting, as a build of another time might send it.
fn greeting(kind: Kind, body: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &frame(kind, 0, body)].concat()
}

#[tokio::test]
async fn a_newer_peer_with_more_to_say_is_understood() {
    let node = Node::start(reads()).await;
    let mut hello = Hello::of(&Identity::new(Role::Router, "from the future"));
    hello.versions.last = 50;
    let mut body = postcard::to_stdvec(&hello).unwrap();
    body.extend(postcard::to_stdvec(&hello.particulars).unwrap());
    body.extend_from_slice(b"a field that is not known yet");
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    stream.write_all(&greeting(Kind::Hello, &body)).await.unwrap();
    let mut magic = [0; 8];
    stream.read_exact(&mut magic).await.unwrap();
    assert_eq!(magic, MAGIC);
    let (header, body) = Raw(stream).frame().await;
    assert_eq!(header.kind, Kind::Welcome);
    let welcome: protocol::Welcome = postcard::from_bytes(&body).unwrap();
    assert_eq!(welcome.version, Versions::OURS.last);
    node.stop().await;
}

#[tokio::test]
async fn a_server_that_chooses_a_version_nobody_offered_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let welcome = protocol::Welcome {
            version: Versions::OURS.last + 1,
            requests_max: 1,
            name: "odd".to_owned(),
            software: "0".to_owned(),
            particulars: protocol::Particulars::default(),
        };
        let bytes = greeting(Kind::Welcome, &postcard::to_stdvec(&welcome).unwrap());
        stream.write_all(&bytes).await.unwrap();
        Raw(stream).closed().await;
    };
    let peer = client().peer(&address);
    let (outcome, ()) = tokio::join!(peer.call(GroupId(1), Operation::Get(get(1))), server);
    let Cause::Rejected(reason) = not_sent(outcome) else {
        panic!("another cause")
    };
    let newer = Versions::OURS.last + 1;
    let odd = format!("replica \"odd\" (\"0\") speaks versions {newer} to {newer}");
    assert!(reason.contains(&odd), "{reason}");
}

#[tokio::test]
async fn strangers_and_dawdlers_are_closed() {
    let limits = Limits {
        handshake_time_max: Duration::from_millis(20),
        ..Limits::default()
    };
    let node = Node::with(reads(), limits).await;
    let silent = TcpStream::connect(&node.address).await.unwrap();
    Raw(silent).closed().await;
    let mut stranger = TcpStream::connect(&node.address).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    Raw(stranger).closed().await;
    let mut half = TcpStream::connect(&node.address).await.unwrap();
    half.write_all(&greeting(Kind::Hello, b"x")[..12]).await.unwrap();
    Raw(half).closed().await;
    let mut wrong = TcpStream::connect(&node.address).await.unwrap();
    wrong.write_all(&greeting(Kind::Answer, b"x")).await.unwrap();
    Raw(wrong).closed().await;
    eventually("all are counted", || node.server.stats().connections_refused == 4).await;
    assert_eq!(node.server.stats().connections, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_client_tells_a_stranger_from_a_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options();
    options.connect_wait = Duration::from_millis(50);
    let peer = Client::new(options).peer(&listener.local_addr().unwrap().to_string());
    let server = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await;
        }
    };
    let told = async {
        // On a busy machine the time may be over before the first attempt is.
        loop {
            let cause = not_sent(peer.call(GroupId(1), Operation::Get(get(1))).await).to_string();
            if cause.contains("does not speak this protocol") {
                break;
            }
            assert!(cause.contains("none was opened in time"), "{cause}");
        }
    };
    tokio::select! {
        () = within(told) => {}
        () = server => unreachable!(),
    }
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    for limits in [
        Limits {
            connections_max: 1,
            ..Limits::default()
        },
        Limits {
            connections_per_peer_max: 1,
            ..Limits::default()
        },
    ] {
        let node = Node::with(reads(), limits).await;
        let first = client().peer(&node.address);
        first.get(GroupId(1), get(1)).await.unwrap();
        let second = client().peer(&node.address);
        let Cause::Rejected(reason) = not_sent(second.get(GroupId(1), get(1)).await) else {
            panic!("another cause")
        };
        assert!(reason.contains("more than that are not served"), "{reason}");
        // When the first has gone there is room again.
        drop(first);
        eventually("the first is gone", || node.server.stats().connections == 0).await;
        within(second.get(GroupId(1), get(1))).await.unwrap();
        node.stop().await;
    }
}
