//! Every operation arrives as it was sent, and so does every answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::{Action, GetReply};
use partita_model::value::Value;
use partita_partition::descriptor::GroupId;
use partita_transport::{Answer, CallError, Operation, Reply};
use proptest::prelude::*;

use crate::common::{Node, Scripted, client, within};
use crate::samples::{calls, get, put};

#[tokio::test]
async fn every_operation_and_every_answer() {
    // Each call goes to a group of its own number, which says how it is answered.
    let replies: HashMap<u64, Reply> = calls()
        .into_iter()
        .map(|call| call.2)
        .zip(0..)
        .map(|(r, n)| (n, r))
        .collect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let node = Node::start(Scripted::new(move |group, operation| {
        record.lock().unwrap().push((group, operation));
        let reply = replies[&group.0].clone();
        async move { reply }
    }))
    .await;
    let peer = client().peer(&node.address);
    for ((name, operation, reply), number) in calls().into_iter().zip(0..) {
        let answer = peer.call(GroupId(number), operation.clone()).await;
        assert_eq!(answer, reply.map_err(CallError::Refused), "{name}");
        assert_eq!(seen.lock().unwrap().pop(), Some((GroupId(number), operation)), "{name}");
    }
    node.stop().await;
}

/// The items of all writes come back; a key that does not say otherwise is echoed as an item.
fn echo(_: GroupId, operation: Operation) -> impl Future<Output = Reply> + Send {
    let item = match operation {
        Operation::Write(request) => match request.action {
            Action::Put(item) => Some(item),
            _ => None,
        },
        Operation::Get(request) => {
            let value = Value::binary(&request.key.0);
            Some(Item::from_attributes([("key", value.as_ref())]))
        }
        _ => None,
    };
    std::future::ready(Ok(Answer::Get(GetReply {
        item,
        cost: Default::default(),
    })))
}

#[test]
fn items_and_keys_of_any_size_and_content() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::start(Scripted::new(echo)));
    let client = client();
    // Around the size of a frame, and of several.
    let sizes = prop_oneof![0usize..2000, 65_000usize..66_000, 0usize..400_000];
    let strategy = proptest::collection::vec(
        (sizes, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..200)),
        1..8,
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(32));
    let checked = runner.run(&strategy, |calls| {
        let peer = client.peer(&node.address);
        runtime.block_on(within(async {
            let calls = calls.iter().map(|(bytes, fill, key)| {
                let value = Value::binary(&vec![*fill; *bytes]);
                let item = Item::from_attributes([("value", value.as_ref())]);
                let peer = &peer;
                async move {
                    let mut request = put(0);
                    request.action = Action::Put(item.clone());
                    let written = peer.call(GroupId(1), Operation::Write(request)).await;
                    let Ok(Answer::Get(reply)) = written else {
                        panic!("{written:?}")
                    };
                    assert!(reply.item == Some(item));
                    let mut request = get(0);
                    request.key = KeyBytes(key.clone());
                    let reply = peer.get(GroupId(1), request).await.unwrap();
                    let expected = Value::binary(key);
                    assert_eq!(reply.item.unwrap().as_ref().get("key"), Some(expected.as_ref()));
                }
            });
            futures::future::join_all(calls).await;
        }));
        Ok(())
    });
    checked.unwrap();
    runtime.block_on(node.stop());
}

#[tokio::test]
async fn an_answer_to_another_question_is_an_error() {
    let node = Node::start(Scripted::new(echo)).await;
    let peer = client().peer(&node.address);
    let error = peer.stats(GroupId(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "sent, but not answered: an unreadable answer: an answer to Get"
    );
    assert!(!error.may_be_repeated());
    node.stop().await;
}
