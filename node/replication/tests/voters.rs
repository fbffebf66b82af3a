//! Groups with several voters on real folders, with all their threads; the network is a channel for each store.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Deaths, block_on, descriptor, put, read, write};
use partita_model::request::{GetRequest, Refusal};
use partita_partition::descriptor::GroupId;
use partita_replication::{FrameFault, Group, MemberChange, MembershipError, OpenError, Peers, Store, StoreOptions};
use uuid::Uuid;

const GROUP: GroupId = GroupId(1);

type Frames = (Uuid, Bytes);

/// Where the frames for each store go.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<HashMap<Uuid, Sender<Frames>>>>);

/// One store's end of it. Its own identity is known once the folder is open.
struct Wire {
    network: Network,
    from: Arc<Mutex<Uuid>>,
}

impl Peers for Wire {
    fn send(&self, to: Uuid, frames: Bytes) {
        let from = *self.from.lock().unwrap();
        if let Some(inbox) = self.network.0.lock().unwrap().get(&to) {
            // Whoever listened may have gone away: frames may be lost.
            let _ = inbox.send((from, frames));
        }
    }
}

/// A process.
struct Node {
    store: Arc<Store>,
    network: Network,
    deaths: Deaths,
    folder: tempfile::TempDir,
}

impl Node {
    fn start(network: &Network, folder: tempfile::TempDir) -> Self {
        let deaths = Deaths::default();
        let from = Arc::new(Mutex::new(Uuid::nil()));
        let wire = Wire {
            network: network.clone(),
            from: Arc::clone(&from),
        };
        let wire = Arc::new(wire);
        let options = || StoreOptions {
            peers: Some(Arc::clone(&wire) as Arc<dyn Peers>),
            chunk_bytes: 1000,
            ..deaths.options()
        };
        // The one before may be letting go of the folder: whoever took its last letter holds it until that is read.
        let store = loop {
            match Store::open(folder.path(), options()) {
                Err(OpenError::Locked(_)) => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        *from.lock().unwrap() = store.uuid();
        let (sender, inbox) = channel();
        network.0.lock().unwrap().insert(store.uuid(), sender);
        listen(&store, inbox);
        let network = network.clone();
        Self {
            store,
            network,
            deaths,
            folder,
        }
    }

    fn new(network: &Network) -> Self {
        Self::start(network, tempfile::tempdir().unwrap())
    }

    fn group(&self) -> Arc<Group> {
        self.store.group(GROUP).unwrap()
    }

    /// Nobody reaches it any more, and its threads end.
    fn stop(self, orderly: bool) -> tempfile::TempDir {
        let Self {
            mut store,
            network,
            deaths,
            folder,
        } = self;
        if orderly {
            store.shutdown();
        }
        network.0.lock().unwrap().remove(&store.uuid());
        assert!(deaths.all().is_empty(), "{:?}", deaths.all());
        // Its threads hold on to it for moments: only the last reference lets go of the folder.
        loop {
            match Arc::try_unwrap(store) {
                Ok(last) => break drop(last),
                Err(shared) => store = shared,
            }
            std::thread::yield_now();
        }
        folder
    }
}

/// Takes what arrives to the store, for as long as there is one.
fn listen(store: &Arc<Store>, inbox: Receiver<Frames>) {
    let store = Arc::downgrade(store);
    std::thread::spawn(move || {
        while let Ok((from, frames)) = inbox.recv() {
            let Some(store) = store.upgrade() else { return };
            store.receive(from, &frames).unwrap();
        }
    });
}

/// The node that leads, once there is one.
fn leader(nodes: &[Node]) -> usize {
    block_on(async {
        let mut heard = nodes[0].group().leadership();
        loop {
            let leader = heard.borrow_and_update().leader;
            let Some(number) = nodes.iter().position(|node| node.group().stats().replica == leader) else {
                // Nobody, or one that is gone.
                heard.changed().await.unwrap();
                continue;
            };
            let mut own = nodes[number].group().leadership();
            let now = own.wait_for(|now| now.serving > 0 || now.leader != leader).await;
            if now.unwrap().serving > 0 {
                return number;
            }
        }
    })
}

fn three() -> Vec<Node> {
    let network = Network::default();
    let nodes: Vec<_> = (0..3).map(|_| Node::new(&network)).collect();
    let stores: Vec<_> = nodes.iter().map(|node| node.store.uuid()).collect();
    for node in &nodes {
        node.store.bootstrap_among(descriptor(1), &stores).unwrap();
    }
    nodes
}

#[test]
fn another_one_leads_when_a_leader_is_gone_and_nothing_is_lost() {
    let mut nodes = three();
    let first = leader(&nodes);
    block_on(write(&nodes[first].group(), "item", "one")).unwrap();
    let follower = nodes[(first + 1) % 3].group();
    assert_eq!(block_on(write(&follower, "item", "x")), Err(Refusal::NotLeader));

    // An orderly stop hands over, a plain one does not.
    let network = nodes[first].network.clone();
    let folder = nodes.remove(first).stop(true);
    let second = leader(&nodes);
    assert_eq!(block_on(read(&nodes[second].group(), "item")).unwrap(), "one");
    block_on(write(&nodes[second].group(), "item", "two")).unwrap();

    nodes.push(Node::start(&network, folder));
    let folder = nodes.remove(second).stop(false);
    let third = leader(&nodes);
    assert_eq!(block_on(read(&nodes[third].group(), "item")).unwrap(), "two");
    drop(folder);
}

#[test]
fn followers_answer_eventual_reads_only() {
    let nodes = three();
    let first = leader(&nodes);
    block_on(write(&nodes[first].group(), "item", "one")).unwrap();
    let applied = nodes[first].group().stats().applied;
    let follower = nodes[(first + 1) % 3].group();
    let request = |consistent| {
        let write = put(1, "item", "");
        GetRequest {
            table: write.table,
            schema_version: write.schema_version,
            key: write.key,
            consistent,
            projection: None,
        }
    };
    block_on(async {
        let mut at = follower.subscribe();
        at.wait_for(|at| *at >= applied).await.unwrap();
        assert_eq!(follower.get(request(true)).await, Err(Refusal::NotLeader));
        // It may have to hear from the leader first that what it applied is all there is.
        let item = loop {
            match follower.get(request(false)).await {
                Ok(reply) => break reply.item,
                Err(refusal) => assert_eq!(refusal, Refusal::NotLeader),
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(item.unwrap().as_ref().get("value").unwrap().as_str(), Some("one"));
    });
}

#[test]
fn a_group_of_one_grows_and_moves_away() {
    let network = Network::default();
    let nodes: Vec<_> = (0..2).map(|_| Node::new(&network)).collect();
    let group = nodes[0].store.bootstrap(descriptor(1)).unwrap();
    let change = |id, change| block_on(group.change_members(Uuid::from_u128(id), change));
    block_on(async {
        for number in 0..50 {
            write(&group, &format!("item-{number}"), &"x".repeat(200))
                .await
                .unwrap();
        }
    });
    let store = nodes[1].store.uuid();
    let added = change(1, MemberChange::AddLearner { store }).unwrap();
    assert_eq!(change(1, MemberChange::AddLearner { store }).unwrap(), added);
    assert_eq!(
        change(2, MemberChange::AddLearner { store }),
        Err(MembershipError::StoreTaken)
    );
    let learner = nodes[1].store.admit(descriptor(1), added.replica).unwrap();
    block_on(learner.subscribe().wait_for(|at| at.index > 50)).unwrap();
    let replica = added.replica;
    // The leader has to hear that it has caught up.
    while let Err(error) = change(3, MemberChange::Promote { replica }) {
        assert!(matches!(error, MembershipError::Behind { .. }), "{error}");
    }
    assert_eq!(
        change(4, MemberChange::Remove { replica: 1 }),
        Err(MembershipError::Leads)
    );
    // Whoever is to take over has to know that it may.
    block_on(
        learner
            .subscribe()
            .wait_for(|_| learner.members().voting()[0].contains(&replica)),
    )
    .unwrap();
    group.transfer_leadership(replica).unwrap();
    block_on(learner.leadership().wait_for(|now| now.serving > 0)).unwrap();
    let removed = block_on(learner.change_members(Uuid::from_u128(5), MemberChange::Remove { replica: 1 }));
    assert_eq!(removed.unwrap().replica, 1);
    // An order for another replica does not concern the one that is here.
    nodes[0].store.destroy_replica(GROUP, replica).unwrap();
    assert!(nodes[0].store.group(GROUP).is_some());
    nodes[0].store.destroy_replica(GROUP, 1).unwrap();
    assert!(nodes[0].store.group(GROUP).is_none());
    assert_eq!(nodes[0].store.admit(descriptor(1), 1).err(), Some(Refusal::WrongRange));
    assert_eq!(block_on(read(&learner, "item-49")).unwrap().len(), 200);
    block_on(write(&learner, "item", "alone")).unwrap();
    for node in nodes {
        node.stop(false);
    }
}

#[test]
fn what_cannot_be_read_or_is_for_nobody_changes_nothing() {
    let nodes = three();
    let first = leader(&nodes);
    let (store, from) = (&nodes[first].store, nodes[(first + 1) % 3].store.uuid());
    assert_eq!(store.receive(from, b"\x02"), Err(FrameFault::Short));
    assert_eq!(store.receive(from, &[9; 20]), Err(FrameFault::Format(9)));
    assert_eq!(
        store.receive(from, &[1, 0, 0, 0, 0, 1, 1, 1, 1]),
        Err(FrameFault::Checksum)
    );
    assert!(matches!(
        store.receive(from, &[1, 255, 255, 255, 255, 0, 0, 0, 0]),
        Err(FrameFault::Long(_))
    ));
    let others = [Uuid::from_u128(1), Uuid::from_u128(2)];
    assert_eq!(
        store.bootstrap_among(descriptor(2), &others).err(),
        Some(Refusal::WrongRange)
    );
    assert_eq!(
        nodes[first].group().transfer_leadership(9),
        Err(MembershipError::NoSuchMember(9))
    );
    block_on(write(&nodes[first].group(), "item", "x")).unwrap();
}

#[test]
fn a_hand_over_leaves_nobody_without_an_answer() {
    let nodes = three();
    for round in 0..5 {
        let group = nodes[leader(&nodes)].group();
        let (begun, begins) = channel();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (group, begun) = (Arc::clone(&group), begun.clone());
                std::thread::spawn(move || {
                    for number in 0.. {
                        let key = format!("item-{round}-{writer}-{number}");
                        match block_on(write(&group, &key, "x")) {
                            // Whoever is told so may ask the next leader.
                            Err(refusal) => return (number, refusal),
                            Ok(_) => drop(begun.send(())),
                        }
                    }
                    unreachable!("there are always more numbers");
                })
            })
            .collect();
        for _ in 0..20 {
            begins.recv().unwrap();
        }
        while group.is_serving() {
            // One that was slow to take over is asked again.
            group.hand_over();
            std::thread::yield_now();
        }
        let next = nodes[leader(&nodes)].group();
        for (writer, thread) in writers.into_iter().enumerate() {
            let (count, refusal) = thread.join().unwrap();
            assert_eq!(refusal, Refusal::NotLeader, "item-{round}-{writer}-{count}");
            for number in 0..count {
                let key = format!("item-{round}-{writer}-{number}");
                assert_eq!(block_on(read(&next, &key)).as_deref(), Some("x"), "{key}");
            }
        }
    }
}
