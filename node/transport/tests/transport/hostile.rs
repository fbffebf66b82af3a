//! Peers that send what they should not: the worst is a closed connection.

use partita_partition::descriptor::GroupId;
use partita_transport::frame::{CHUNK_BYTES_MAX, Header, Kind};
use partita_transport::{Answer, CallError, Client, Limits, Operation, Reason, Reply};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::common::{Node, Raw, Scripted, answer, client, eventually, frame, lost, options, request, within};
use crate::samples::{get, get_reply, put};

fn reads() -> Scripted {
    Scripted::new(|_, _| async { get_reply(1) })
}

/// A frame with one thing changed behind its making.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = request(1, &Operation::Get(get(1)));
    change(&mut bytes);
    bytes
}

#[tokio::test]
async fn a_broken_frame_closes_its_connection_and_no_other() {
    let node = Node::start(reads()).await;
    let peer = client().peer(&node.address);
    peer.get(GroupId(1), get(1)).await.unwrap();
    let broken = [
        (
            "length",
            changed(|b| b[..4].copy_from_slice(&(CHUNK_BYTES_MAX as u32 + 1).to_le_bytes())),
        ),
        (
            "huge length",
            changed(|b| b[..4].copy_from_slice(&u32::MAX.to_le_bytes())),
        ),
        ("checksum", changed(|b| b[4] ^= 1)),
        ("id", changed(|b| b[8] ^= 1)),
        ("payload", changed(|b| *b.last_mut().unwrap() ^= 1)),
        ("kind", changed(|b| b[16] = 77)),
        ("flags", changed(|b| b[17] = 2)),
        ("zero", changed(|b| b[18] = 1)),
        ("an answer", answer(1, &get_reply(1))),
        ("a greeting", frame(Kind::Hello, 0, &[])),
        (
            "a piece of a ping",
            [&Header::of(Kind::Ping, 0, true, &[]).encode()[..]].concat(),
        ),
    ];
    for ((what, bytes), number) in broken.into_iter().zip(1..) {
        let mut raw = Raw::connect(&node.address).await;
        raw.send(&bytes).await;
        raw.closed().await;
        let counted = || node.server.stats().connections_broken == number;
        eventually(&format!("it is counted: {what}"), counted).await;
    }
    assert_eq!(node.server.stats().requests, 1);
    peer.get(GroupId(1), get(1)).await.unwrap();
    eventually("one is left", || node.server.stats().connections == 1).await;
    node.stop().await;
}

#[tokio::test]
async fn pieces_are_bounded() {
    let limits = Limits {
        message_bytes_max: 100_000,
        ..Limits::default()
    };
    let node = Node::with(reads(), limits).await;
    let piece = |id, bytes: usize| {
        let payload = vec![0; bytes];
        let mut piece = Header::of(Kind::Request, id, true, &payload).encode().to_vec();
        piece.extend(payload);
        piece
    };
    // One message of too many pieces, then too many messages of one piece.
    let mut raw = Raw::connect(&node.address).await;
    raw.send(&[piece(1, 60_000), piece(1, 60_000)].concat()).await;
    raw.closed().await;
    let mut raw = Raw::connect(&node.address).await;
    raw.send(&(0..17).flat_map(|id| piece(id, 10)).collect::<Vec<u8>>())
        .await;
    raw.closed().await;
    eventually("both are counted", || node.server.stats().connections_broken == 2).await;
    node.stop().await;
}

#[tokio::test]
async fn what_is_no_operation_is_refused_alone() {
    let node = Node::start(reads()).await;
    let mut raw = Raw::connect(&node.address).await;
    // The group, then an operation of a number that there is not.
    raw.send(&frame(Kind::Request, 1, &[1, 99, 0, 0])).await;
    let (id, bytes) = raw.message(Kind::Answer).await;
    let reply: Reply = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(id, 1);
    assert!(matches!(reply.unwrap_err().reason, Reason::Unreadable(_)));
    raw.send(&request(2, &Operation::Get(get(1)))).await;
    assert_eq!(raw.message(Kind::Answer).await.0, 2);
    drop(raw);
    node.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused() {
    // Sixty-five items of a megabyte.
    let node = Node::start(Scripted::new(|_, _| async {
        Ok(Answer::Page(crate::samples::page_reply(65, 1 << 20)))
    }))
    .await;
    let peer = client().peer(&node.address);
    let error = peer.call(GroupId(1), Operation::Stats).await.unwrap_err();
    let CallError::Refused(refused) = error else {
        panic!("{error:?}")
    };
    assert!(matches!(refused.reason, Reason::TooLong(bytes) if bytes > 64 << 20));
    node.stop().await;
}

#[tokio::test]
async fn a_request_that_is_too_long_is_not_sent() {
    let node = Node::start(reads()).await;
    let peer = client().peer(&node.address);
    let error = peer.write(GroupId(1), put(65 << 20)).await.unwrap_err();
    assert!(
        matches!(error, CallError::NotSent(_)) && !error.may_be_repeated(),
        "{error}"
    );
    peer.get(GroupId(1), get(1)).await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_client_leaves_a_server_that_breaks_a_frame() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(options());
    let peer = client.peer(&listener.local_addr().unwrap().to_string());
    let call = tokio::spawn(async move { peer.write(GroupId(1), put(1)).await });
    let mut raw = Raw::accept(&listener).await;
    let (id, _) = raw.message(Kind::Request).await;
    let mut bytes = answer(id, &get_reply(100));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    raw.send(&bytes).await;
    let cause = lost(within(call).await.unwrap()).to_string();
    assert!(cause.contains("a frame with a wrong checksum"), "{cause}");
    raw.closed().await;
    assert_eq!(client.stats().connections_lost, 1);
}

#[test]
fn no_bytes_make_a_server_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::start(reads()));
    // Bytes of any kind; whole frames around bytes of any kind; requests whose bytes were changed in places.
    let junk = proptest::collection::vec(any::<u8>(), 0..300);
    let framed = (0u8..12, any::<u64>(), junk.clone()).prop_map(|(kind, id, payload)| {
        let kinds = [
            Kind::Request,
            Kind::Answer,
            Kind::Cancel,
            Kind::Ping,
            Kind::Pong,
            Kind::GoAway,
        ];
        frame(kinds[usize::from(kind) % kinds.len()], id, &payload)
    });
    let samples: Vec<Operation> = crate::samples::calls().into_iter().map(|call| call.1).collect();
    let changed = (
        0..samples.len(),
        proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    );
    let changed = changed.prop_map(move |(sample, changes)| {
        let mut payload = postcard::to_stdvec(&(GroupId(1), &samples[sample])).unwrap();
        for (at, byte) in changes {
            let at = at % payload.len();
            payload[at] = byte;
        }
        frame(Kind::Request, 1, &payload)
    });
    let strategy = proptest::collection::vec(prop_oneof![1 => junk, 3 => framed, 6 => changed], 1..6);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let checked = runner.run(&strategy, |parts| {
        runtime.block_on(async {
            let mut raw = Raw::connect(&node.address).await;
            // The server may have closed by now.
            let _ = raw.0.write_all(&parts.concat()).await;
            let _ = raw.0.shutdown().await;
            raw.closed().await;
        });
        Ok(())
    });
    checked.unwrap();
    runtime.block_on(async {
        eventually("all are closed", || node.server.stats().connections == 0).await;
        client().peer(&node.address).get(GroupId(1), get(1)).await.unwrap();
        node.stop().await;
    });
}
