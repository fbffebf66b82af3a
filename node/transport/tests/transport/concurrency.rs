//! Many requests on one connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::stream::{FuturesUnordered, StreamExt};
use partita_partition::descriptor::GroupId;
use partita_transport::frame::{CHUNK_BYTES_MAX, Kind};
use partita_transport::{Answer, Client, Operation, Reply};
use tokio::sync::oneshot;

use crate::common::{Node, Raw, Scripted, client, eventually, options, request, within};
use crate::samples::{get, get_reply, page, page_reply};

/// Requests that wait until a test answers them, by the first byte of their keys.
#[derive(Clone, Default)]
pub struct Parked(Arc<Mutex<HashMap<u8, oneshot::Sender<()>>>>);

impl Parked {
    pub fn service(&self) -> Scripted {
        let parked = self.clone();
        Scripted::new(move |_, operation| {
            let Operation::Get(request) = operation else {
                panic!("only reads are expected")
            };
            let (release, released) = oneshot::channel();
            parked.0.lock().unwrap().insert(request.key.0[0], release);
            async move {
                released.await.unwrap();
                get_reply(usize::from(request.key.0[0]))
            }
        })
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn release(&self, key: u8) {
        self.0.lock().unwrap().remove(&key).unwrap().send(()).unwrap();
    }

    pub fn keys(&self) -> Vec<u8> {
        self.0.lock().unwrap().keys().copied().collect()
    }
}

#[tokio::test]
async fn answers_come_in_the_order_in_which_they_are_ready() {
    let parked = Parked::default();
    let node = Node::start(parked.service()).await;
    let client = client();
    let peer = client.peer(&node.address);
    let mut calls: FuturesUnordered<_> = (0..10)
        .map(|key| {
            let peer = peer.clone();
            tokio::spawn(async move { (key, peer.get(GroupId(1), get(key)).await.unwrap()) })
        })
        .collect();
    eventually("all have arrived", || parked.len() == 10).await;
    assert_eq!(client.stats().in_flight, 10);
    for key in [7, 0, 9, 1, 8, 2, 6, 3, 5, 4] {
        parked.release(key);
        let (answered, reply) = within(calls.next()).await.unwrap().unwrap();
        assert_eq!(answered, key);
        assert_eq!(Ok(Answer::Get(reply)), get_reply(usize::from(key)));
    }
    let stats = client.stats();
    assert_eq!((stats.connections_opened, stats.requests, stats.in_flight), (1, 10, 0));
    node.stop().await;
}

#[tokio::test]
async fn a_long_page_does_not_hold_up_a_short_read() {
    let node = Node::start(Scripted::new(|_, operation| async move {
        match operation {
            Operation::Page(_) => Ok(Answer::Page(page_reply(1000, 1000))),
            _ => get_reply(1),
        }
    }))
    .await;
    let mut raw = Raw::connect(&node.address).await;
    let both = [
        request(1, &Operation::Page(page())),
        request(2, &Operation::Get(get(1))),
    ]
    .concat();
    raw.send(&both).await;
    let mut order = Vec::new();
    let mut pieces = Vec::new();
    while order.last() != Some(&(1, false)) {
        let (header, payload) = raw.frame().await;
        assert!(payload.len() <= CHUNK_BYTES_MAX);
        order.push((header.id, header.more));
        if header.id == 1 {
            pieces.extend(payload);
        }
    }
    let short = order.iter().position(|(id, _)| *id == 2).unwrap();
    assert!(short <= 1, "the short answer came as frame {short} of {}", order.len());
    assert!(order.len() > 15, "a page of a megabyte came in {} frames", order.len());
    let reply: Reply = postcard::from_bytes(&pieces).unwrap();
    assert_eq!(reply, Ok(Answer::Page(page_reply(1000, 1000))));
    drop(raw);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_with_short_and_long_answers_each_get_their_own() {
    let node = Node::start(Scripted::new(|group, operation| async move {
        if group.0 % 3 == 0 {
            tokio::task::yield_now().await;
        }
        match operation {
            Operation::Page(_) => Ok(Answer::Page(page_reply(group.0 as usize, 1000))),
            _ => get_reply(group.0 as usize),
        }
    }))
    .await;
    let mut options = options();
    options.connections_max = 3;
    options.spread_from = 8;
    let client = Client::new(options);
    let peer = client.peer(&node.address);
    let calls = (0..64u64).map(|caller| {
        let peer = peer.clone();
        tokio::spawn(async move {
            for round in 0..20 {
                let group = caller * 7 + round;
                if round % 4 == 0 {
                    let reply = peer.page(GroupId(group), page()).await.unwrap();
                    assert_eq!(reply, page_reply(group as usize, 1000));
                } else {
                    let reply = peer.get(GroupId(group), get(1)).await.unwrap();
                    assert_eq!(Ok(Answer::Get(reply)), get_reply(group as usize));
                }
            }
        })
    });
    for call in within(futures::future::join_all(calls)).await {
        call.unwrap();
    }
    let stats = client.stats();
    assert!((1..=3).contains(&stats.connections_opened), "{stats:?}");
    assert_eq!(
        (stats.requests, stats.in_flight, stats.lost, stats.not_sent),
        (1280, 0, 0, 0)
    );
    // The server counts requests that had to wait; all have ended.
    assert_eq!((node.server.stats().requests, node.server.stats().in_flight), (1280, 0));
    node.stop().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_server() {
    let parked = Parked::default();
    let node = Node::start(parked.service()).await;
    let client = client();
    let peer = client.peer(&node.address);
    let (dropped, kept) = (peer.clone(), peer.clone());
    let dropped = tokio::spawn(async move { dropped.get(GroupId(1), get(1)).await });
    let kept = tokio::spawn(async move { kept.get(GroupId(1), get(2)).await });
    eventually("both have arrived", || parked.len() == 2).await;
    dropped.abort();
    eventually("one is cancelled", || node.server.stats().cancelled == 1).await;
    assert_eq!(node.server.stats().in_flight, 1);
    // Its answer is wanted by nobody; the other one's still is.
    assert!(parked.0.lock().unwrap().remove(&1).unwrap().is_closed());
    parked.release(2);
    within(kept).await.unwrap().unwrap();
    assert_eq!(client.stats().in_flight, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_cancel_of_what_is_answered_or_unknown_does_nothing() {
    let node = Node::start(Scripted::new(|_, _| async { get_reply(1) })).await;
    let mut raw = Raw::connect(&node.address).await;
    raw.send(&crate::common::frame(Kind::Cancel, 99, &[])).await;
    raw.send(&request(1, &Operation::Get(get(1)))).await;
    assert_eq!(raw.message(Kind::Answer).await.0, 1);
    raw.send(&crate::common::frame(Kind::Cancel, 1, &[])).await;
    raw.send(&request(2, &Operation::Get(get(1)))).await;
    assert_eq!(raw.message(Kind::Answer).await.0, 2);
    drop(raw);
    node.stop().await;
}
