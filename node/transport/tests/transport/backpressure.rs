//! Nobody is made to take more than it has said.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use partita_partition::descriptor::GroupId;
use partita_transport::frame::Kind;
use partita_transport::{Answer, Client, Limits, Operation};

use crate::common::{Node, Raw, Scripted, client, eventually, options, request, within};
use crate::concurrency::Parked;
use crate::samples::{get, page, page_reply, put};

#[tokio::test]
async fn a_server_works_on_so_many_requests_and_reads_no_further() {
    let limits = Limits {
        requests_max: 4,
        ..Limits::default()
    };
    let parked = Parked::default();
    let node = Node::with(parked.service(), limits).await;
    let mut raw = Raw::connect(&node.address).await;
    let all: Vec<u8> = (0..100)
        .flat_map(|n| request(u64::from(n), &Operation::Get(get(n))))
        .collect();
    raw.send(&all).await;
    for _ in 0..100 {
        eventually("there is work", || parked.len() > 0).await;
        let keys = parked.keys();
        assert!(keys.len() <= 4, "{keys:?}");
        assert!(node.server.stats().in_flight <= 4);
        // The last of those that run: the order of requests is kept all the same.
        parked.release(*keys.iter().max().unwrap());
        raw.message(Kind::Answer).await;
    }
    assert_eq!(node.server.stats().requests, 100);
    drop(raw);
    node.stop().await;
}

#[tokio::test]
async fn a_client_does_not_send_what_the_server_would_not_read() {
    let limits = Limits {
        requests_max: 2,
        ..Limits::default()
    };
    let parked = Parked::default();
    let node = Node::with(parked.service(), limits).await;
    let client = client();
    let peer = client.peer(&node.address);
    let calls: Vec<_> = (0..20)
        .map(|key| {
            let peer = peer.clone();
            tokio::spawn(async move { peer.get(GroupId(1), get(key)).await })
        })
        .collect();
    for _ in 0..20 {
        eventually("there is work", || parked.len() > 0).await;
        assert!(client.stats().in_flight <= 2);
        parked.release(parked.keys()[0]);
    }
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
    node.stop().await;
}

#[tokio::test]
async fn answers_that_nobody_reads_stop_the_work() {
    const PAGES: usize = 100;
    let limits = Limits {
        answer_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let started = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&started);
    let node = Node::with(
        Scripted::new(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok(Answer::Page(page_reply(1000, 1000))) }
        }),
        limits,
    )
    .await;
    let mut raw = Raw::connect(&node.address).await;
    let all: Vec<u8> = (0..PAGES)
        .flat_map(|n| request(n as u64, &Operation::Page(page())))
        .collect();
    raw.send(&all).await;
    let mut at_first = 0;
    for read in 0..PAGES {
        raw.message(Kind::Answer).await;
        if read == 0 {
            at_first = started.load(Ordering::Relaxed);
        }
    }
    // What the system's buffers hold is sent; beyond that there are two in the outbox.
    assert!(
        at_first < PAGES / 2,
        "{at_first} pages were read before the first was taken"
    );
    assert_eq!(started.load(Ordering::Relaxed), PAGES);
    drop(raw);
    node.stop().await;
}

#[tokio::test]
async fn requests_are_counted_by_their_bytes_too() {
    let limits = Limits {
        request_bytes_max: 100_000,
        ..Limits::default()
    };
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (count, peak) = (Arc::clone(&running), Arc::clone(&most));
    let node = Node::with(
        Scripted::new(move |_, _| {
            peak.fetch_max(count.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let count = Arc::clone(&count);
            async move {
                tokio::task::yield_now().await;
                count.fetch_sub(1, Ordering::Relaxed);
                crate::samples::write_reply()
            }
        }),
        limits,
    )
    .await;
    let mut options = options();
    options.in_flight_max = 100;
    let peer = Client::new(options).peer(&node.address);
    let calls = (0..50).map(|_| peer.write(GroupId(1), put(60_000)));
    for outcome in within(futures::future::join_all(calls)).await {
        outcome.unwrap();
    }
    // One more than fits: it is only known to be too much once it is there.
    assert!(most.load(Ordering::Relaxed) <= 2, "{most:?}");
    node.stop().await;
}
