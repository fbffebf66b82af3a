//! Partitions of several replicas: made, lost, replaced, restarted, made more and fewer.

use partita_model::admin::GroupState;
use partita_model::hexadecimal::parse_id;
use partita_model::partition::GroupId;
use serde_json::{Value, json};

use crate::testing::world::{World, killed_anywhere};
use crate::testing::{NAMESPACE, table};

/// One partition and an index with one, of so many replicas.
fn of(replicas: u32) -> Value {
    let mut table = table(1000, 1000);
    table["spec"]["replicas"] = json!(replicas);
    table
}

async fn ready(replicas: u32) -> World {
    let mut world = World::with(of(replicas));
    world.settle().await;
    check(&world, replicas);
    world.cluster.take_events();
    world
}

/// What must be true of the table when all is well, whatever happened on the way.
fn check(world: &World, replicas: u32) {
    let ready = (true, "Ready".into(), "2 of 2 partitions are ready".into());
    assert_eq!(world.condition("Ready"), ready);
    for kind in ["Reconciling", "Stalled", "QuorumLost"] {
        assert!(!world.condition(kind).0, "{kind}: {:?}", world.condition(kind));
    }
    let made = world.nodes.made();
    assert_eq!(made.len(), 2);
    assert!(made.values().all(|times| *times == 1), "a group is made once: {made:?}");
    let [host] = &world.cluster.names("statefulsets")[..] else {
        panic!("{:?}", world.cluster.names("statefulsets"))
    };
    let pods: Vec<String> = (0..replicas).map(|ordinal| format!("{host}-{ordinal}")).collect();
    assert_eq!(world.cluster.names("pods"), pods);
    for partition in world.cluster.all("partitions") {
        let status = &partition["status"];
        assert_eq!(partition["spec"]["replicas"], replicas);
        assert_eq!(status["phase"], "Ready");
        assert_eq!(status["replicas"], format!("{replicas}/{replicas}"));
        assert_eq!(status["stores"].as_array().unwrap().len(), replicas as usize);
        let (voters, leader) = world.nodes.voters(group(&partition));
        assert_eq!(voters, pods);
        assert_eq!(status["leader"], json!(leader));
    }
    // Nobody has a replica that is no member.
    assert_eq!(world.nodes.groups().len(), 2 * replicas as usize);
}

fn group(partition: &Value) -> GroupId {
    GroupId(parse_id(partition["spec"]["group"].as_str().unwrap()).unwrap())
}

/// The groups of the table and of its index.
fn groups(world: &World) -> Vec<GroupId> {
    world.cluster.all("partitions").iter().map(group).collect()
}

fn edit(world: &World, change: impl FnOnce(&mut Value)) {
    world
        .cluster
        .edit("tables", NAMESPACE, "orders", |table| change(&mut table["spec"]));
}

fn pod(world: &World, ordinal: usize) -> String {
    format!("{}-{ordinal}", world.cluster.names("statefulsets")[0])
}

/// The pod of a storage node and its claim, for good.
fn lose(world: &World, ordinal: usize) {
    let pod = pod(world, ordinal);
    world
        .cluster
        .delete("persistentvolumeclaims", NAMESPACE, &format!("data-{pod}"));
    world.cluster.delete("pods", NAMESPACE, &pod);
}

#[tokio::test]
async fn three_or_five_of_each_are_made() {
    for replicas in [3, 5] {
        let mut world = ready(replicas).await;
        // At rest nobody is asked and nothing is written.
        world.nodes.take_calls();
        for _ in 0..3 {
            world.pass_of("orders").await.unwrap();
        }
        assert_eq!(world.cluster.take_requests(), Vec::<String>::new());
        assert_eq!(world.nodes.take_calls(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn killed_at_any_write_three_are_made_all_the_same() {
    killed_anywhere(async || World::with(of(3)), |world| check(world, 3), 15).await;
}

#[tokio::test]
async fn a_partition_that_somebody_deleted_comes_back_after_there_were_more_replicas() {
    let mut world = ready(3).await;
    let groups = groups(&world);
    edit(&world, |spec| spec["replicas"] = json!(1));
    world.settle().await;
    check(&world, 1);
    assert_eq!(world.cluster.names("persistentvolumeclaims").len(), 3, "claims stay");
    for partition in world.cluster.names("partitions") {
        world.cluster.delete("partitions", NAMESPACE, &partition);
    }
    world.settle().await;
    check(&world, 1);
    assert_eq!(self::groups(&world), groups);
}

#[tokio::test]
async fn most_replicas_know_of_partitions_that_somebody_deleted() {
    let mut world = ready(3).await;
    let groups = groups(&world);
    let away = pod(&world, 1);
    world.nodes.silence(&[&away]);
    for partition in world.cluster.names("partitions") {
        world.cluster.delete("partitions", NAMESPACE, &partition);
    }
    world.settle().await;
    assert_eq!(self::groups(&world), groups);
    assert!(world.condition("Ready").0);
    // Of two nobody can tell what the third one knows.
    let other = pod(&world, 2);
    world.nodes.silence(&[&away, &other]);
    for partition in world.cluster.names("partitions") {
        world.cluster.delete("partitions", NAMESPACE, &partition);
    }
    world.settle().await;
    let (reconciling, _, message) = world.condition("Reconciling");
    assert!(reconciling && message.contains("delete its claim data-"), "{message}");
    assert!(!world.condition("Stalled").0 && self::groups(&world).is_empty());
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world, 3);
    assert_eq!(self::groups(&world), groups);
}

#[tokio::test]
async fn a_group_is_not_made_before_all_its_nodes_have_answered() {
    let mut world = World::with(of(3));
    for _ in 0..3 {
        world.pass_of("orders").await.unwrap();
    }
    let late = pod(&world, 1);
    world.nodes.silence(&[&late]);
    world.settle().await;
    assert!(world.nodes.made().is_empty());
    assert_eq!(world.condition("Reconciling").1, "Creating");
    let partition = &world.cluster.all("partitions")[0];
    let message = partition["status"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("{late} does not answer")), "{message}");
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world, 3);
}

#[tokio::test]
async fn a_replica_that_is_away_is_told_of_and_nothing_is_done() {
    let mut world = ready(3).await;
    let partition = world.cluster.all("partitions")[0].clone();
    let leader = partition["status"]["leader"].as_str().unwrap().to_owned();
    world.nodes.silence(&[&leader]);
    world.later(6 * 60 * 1000);
    world.settle().await;
    assert!(world.condition("Ready").0, "two of three serve");
    let (holds, reason, message) = world.condition("Reconciling");
    assert!(holds);
    assert_eq!(reason, "ReplicasMissing");
    assert!(
        message.contains("has 2/3") && message.contains(&format!("{leader} does not answer")),
        "{message}"
    );
    assert!(!world.condition("QuorumLost").0);
    let now = world.cluster.all("partitions")[0]["status"]["leader"].clone();
    assert_ne!(now, json!(leader), "another one leads");
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world, 3);
}

#[tokio::test]
async fn what_is_seen_only_for_a_moment_is_not_believed() {
    let mut world = ready(3).await;
    let leaders: Vec<Value> = world
        .cluster
        .all("partitions")
        .iter()
        .map(|partition| partition["status"]["leader"].clone())
        .collect();
    let mut pods = (0..3).map(|ordinal| pod(&world, ordinal));
    let follower = pods.find(|pod| !leaders.contains(&json!(pod))).unwrap();
    let before = world.cluster.version();
    world.nodes.silence(&[&follower]);
    world.later(6 * 60 * 1000);
    world.pass_of("orders").await.unwrap();
    world.nodes.silence(&[]);
    world.settle().await;
    assert_eq!(world.cluster.version(), before, "nothing is written");
    check(&world, 3);
    // What is seen for ten seconds is, and an operator that starts anew meanwhile has seen it once.
    world.nodes.silence(&[&follower]);
    world.later(6 * 60 * 1000);
    world.pass_of("orders").await.unwrap();
    world.later(9_000);
    world.restart();
    world.pass_of("orders").await.unwrap();
    world.later(9_000);
    world.pass_of("orders").await.unwrap();
    let said = |world: &World| world.cluster.all("partitions")[0]["status"]["replicas"].clone();
    assert_eq!(said(&world), "3/3");
    world.later(1_000);
    world.pass_of("orders").await.unwrap();
    assert_eq!(said(&world), "2/3");
}

#[tokio::test]
async fn without_a_quorum_nothing_is_touched() {
    let mut world = ready(3).await;
    let away = [pod(&world, 0), pod(&world, 2)];
    world.nodes.silence(&[&away[0], &away[1]]);
    world.later(6 * 60 * 1000);
    world.settle().await;
    let (ready, reason, _) = world.condition("Ready");
    assert_eq!((ready, reason.as_str()), (false, "PartitionsUnavailable"));
    let (lost, reason, message) = world.condition("QuorumLost");
    assert_eq!((lost, reason.as_str()), (true, "ReplicasAway"));
    assert!(
        message.contains("1 of 3 replicas are there, and 2 are needed"),
        "{message}"
    );
    assert!(
        message.contains(&away[0])
            && message.contains("kubectl -n shop get pods,pvc")
            && message.contains("partita admin recover"),
        "{message}"
    );
    let events: Vec<String> = world
        .cluster
        .take_events()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    assert_eq!(events, ["PartitionsUnavailable", "QuorumLost"]);
    // One of them comes back with another store: the others are still too few for it to be replaced.
    let former = world
        .cluster
        .get("persistentvolumeclaims", NAMESPACE, &format!("data-{}", away[0]))
        .unwrap();
    lose(&world, 0);
    world.nodes.silence(&[&away[1]]);
    world.settle().await;
    assert!(world.condition("QuorumLost").0);
    assert_eq!(world.nodes.groups().len(), 6, "nothing was removed, nothing was made");
    world.cluster.put("persistentvolumeclaims", former);
    // And the other one with its own.
    world.nodes.silence(&[]);
    world.settle().await;
    assert!(world.condition("Ready").0 && !world.condition("QuorumLost").0);
}

#[tokio::test]
async fn with_most_stores_lost_the_data_is_and_nothing_is_made_anew() {
    let mut world = ready(3).await;
    lose(&world, 0);
    lose(&world, 1);
    world.later(6 * 60 * 1000);
    world.settle().await;
    let (stalled, reason, message) = world.condition("Stalled");
    assert_eq!((stalled, reason.as_str()), (true, "StoreLost"));
    assert!(message.contains("2 of its 3 replicas are lost"), "{message}");
    assert_eq!(world.nodes.groups().len(), 6);
    assert!(world.nodes.made().values().all(|times| *times == 1));
}

#[tokio::test]
async fn what_comes_back_after_a_recovery_is_left_to_a_person() {
    let mut world = ready(3).await;
    let (group, left) = (groups(&world)[0], pod(&world, 1));
    world.nodes.recover(group, &left);
    world.later(6 * 60 * 1000);
    world.settle().await;
    assert_eq!(world.nodes.groups().len(), 6, "nothing was removed");
    assert_eq!(world.nodes.voters(group).0, std::slice::from_ref(&left));
    let (_, _, message) = world.condition("Reconciling");
    assert!(message.contains("is back with what replica "), "{message}");
    // The person lets both go.
    for place in [0, 2] {
        let gone = |state: &GroupState| state.descriptor.group != group;
        world
            .nodes
            .store_of(&pod(&world, place), |store| store.groups.retain(gone));
    }
    world.later(6 * 60 * 1000);
    world.settle().await;
    check(&world, 3);
}

#[tokio::test]
async fn a_lost_store_is_replaced_killed_at_any_write() {
    let begin = async || {
        let world = ready(3).await;
        lose(&world, 1);
        world.later(6 * 60 * 1000);
        world
    };
    let done = |world: &World| {
        // The lost store keeps what it had, wherever it is.
        let lost = world.nodes.groups().len() - 6;
        assert_eq!(lost, 2);
        for id in groups(world) {
            let pods: Vec<String> = (0..3).map(|ordinal| pod(world, ordinal)).collect();
            assert_eq!(world.nodes.voters(id).0, pods);
        }
        assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
        assert!(world.nodes.made().values().all(|times| *times == 1));
        assert_eq!(world.cluster.all("partitions")[0]["status"]["replicas"], "3/3");
    };
    killed_anywhere(begin, done, 6).await;
}

#[tokio::test]
async fn a_new_replica_does_not_count_before_it_has_caught_up() {
    let mut world = ready(3).await;
    let before = world.cluster.all("partitions")[0]["status"]["stores"].clone();
    lose(&world, 2);
    world.nodes.slow_down(true);
    world.later(6 * 60 * 1000);
    world.settle().await;
    let (holds, reason, message) = world.condition("Reconciling");
    assert_eq!((holds, reason.as_str()), (true, "ChangingReplicas"));
    assert!(
        message.contains(&format!("a new replica in {} receives the data", pod(&world, 2))),
        "{message}"
    );
    assert!(world.condition("Ready").0);
    assert_eq!(world.cluster.all("partitions")[0]["status"]["stores"], before);
    world.nodes.slow_down(false);
    world.settle().await;
    assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
    assert_ne!(world.cluster.all("partitions")[0]["status"]["stores"], before);
}

#[tokio::test]
async fn what_is_told_is_told_to_whoever_leads() {
    let mut world = ready(3).await;
    let last = pod(&world, 2);
    for id in groups(&world) {
        world.nodes.let_lead(id, &last);
    }
    edit(&world, |spec| {
        spec["timeToLive"] = json!({"attributeName": "until", "enabled": true});
        spec["attributeDefinitions"]
            .as_array_mut()
            .unwrap()
            .push(json!({"attributeName": "day", "attributeType": "S"}));
        spec["globalSecondaryIndexes"].as_array_mut().unwrap().push(json!({
            "indexName": "byDay",
            "keySchema": [{"attributeName": "day", "keyType": "HASH"}],
            "projection": {"projectionType": "KEYS_ONLY"},
            "provisionedThroughput": {"readCapacityUnits": 100, "writeCapacityUnits": 100},
        }));
    });
    world.settle().await;
    assert_eq!(world.table()["status"]["state"]["time_to_live"], "Enabled");
    assert_eq!(world.condition("Ready").2, "3 of 3 partitions are ready");
    assert_eq!(world.nodes.groups().len(), 9);
    // And is gone from all of them.
    edit(&world, |spec| {
        spec["attributeDefinitions"].as_array_mut().unwrap().truncate(2);
        spec["globalSecondaryIndexes"].as_array_mut().unwrap().truncate(1);
    });
    world.settle().await;
    assert_eq!(world.nodes.groups().len(), 6);
}

#[tokio::test]
async fn one_becomes_three_and_one_again_killed_at_any_write() {
    let more = async || {
        let world = ready(1).await;
        edit(&world, |spec| spec["replicas"] = json!(3));
        world
    };
    killed_anywhere(more, |world| check(world, 3), 15).await;
    let fewer = async || {
        let world = ready(3).await;
        let last = pod(&world, 2);
        for id in groups(&world) {
            world.nodes.let_lead(id, &last);
        }
        edit(&world, |spec| spec["replicas"] = json!(1));
        world
    };
    killed_anywhere(fewer, |world| check(world, 1), 12).await;
}

#[tokio::test]
async fn with_one_new_store_away_a_single_replica_stays_alone() {
    let mut world = ready(1).await;
    let host = world.cluster.names("statefulsets")[0].clone();
    world.nodes.silence(&[&format!("{host}-2")]);
    edit(&world, |spec| spec["replicas"] = json!(3));
    world.settle().await;
    // Two voters bear no loss at all.
    for id in groups(&world) {
        assert_eq!(world.nodes.voters(id).0, [format!("{host}-0")]);
    }
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world, 3);
}

#[tokio::test]
async fn pods_go_after_their_replicas() {
    let mut world = ready(3).await;
    edit(&world, |spec| spec["replicas"] = json!(1));
    loop {
        world.pass_of("orders").await.unwrap();
        let pods = world.cluster.names("pods").len();
        let voters = groups(&world)
            .into_iter()
            .map(|id| world.nodes.voters(id).0.len())
            .max()
            .unwrap();
        assert!(voters <= pods, "a pod went before its replica");
        if pods == 1 {
            break;
        }
    }
    world.settle().await;
    check(&world, 1);
}

#[tokio::test]
async fn a_claim_that_comes_back_after_a_scale_down_is_a_strangers() {
    let mut world = ready(3).await;
    let away = pod(&world, 2);
    world.nodes.silence(&[&away]);
    edit(&world, |spec| spec["replicas"] = json!(1));
    world.settle().await;
    assert_eq!(world.cluster.names("pods").len(), 1);
    // Its store still has its replicas, and they are no members.
    world.nodes.silence(&[]);
    edit(&world, |spec| spec["replicas"] = json!(3));
    world.settle().await;
    check(&world, 3);
}

/// The pods in the order in which they are replaced, one look after each pass.
async fn restarts(world: &mut World) -> Vec<String> {
    let uids = |world: &World| -> Vec<(String, Value)> {
        let pods = world.cluster.all("pods").into_iter();
        pods.map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            (name, pod["metadata"]["uid"].clone())
        })
        .collect()
    };
    let mut known = uids(world);
    let mut restarted = Vec::new();
    for _ in 0..20 {
        world.pass_of("orders").await.unwrap();
        let now = uids(world);
        let new = now
            .iter()
            .filter(|pod| !known.contains(pod))
            .map(|(name, _)| name.clone());
        let new: Vec<String> = new.collect();
        assert!(new.len() <= 1, "one at a time: {new:?}");
        restarted.extend(new);
        known = now;
    }
    restarted
}

#[tokio::test]
async fn a_new_image_reaches_followers_first_and_the_leader_last() {
    let mut world = ready(3).await;
    let first = pod(&world, 0);
    for id in groups(&world) {
        world.nodes.let_lead(id, &first);
    }
    world.image = "partita:next".into();
    let order = restarts(&mut world).await;
    assert_eq!(order, [pod(&world, 1), pod(&world, 2), pod(&world, 0)]);
    world.settle().await;
    check(&world, 3);
}

#[tokio::test]
async fn the_next_replica_restarts_when_the_last_one_has_caught_up() {
    let mut world = ready(3).await;
    world.image = "partita:next".into();
    world.pass_of("orders").await.unwrap();
    world.pass_of("orders").await.unwrap();
    let restarted: Vec<String> = world
        .cluster
        .all("pods")
        .into_iter()
        .filter(|pod| pod["spec"]["containers"][0]["image"] == "partita:next")
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let [first] = &restarted[..] else {
        panic!("{restarted:?}")
    };
    let not_ready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    world.cluster.set_pod(NAMESPACE, first, not_ready);
    // Neither this operator nor the next one goes on.
    for _ in 0..2 {
        assert_eq!(restarts(&mut world).await, Vec::<String>::new());
        let words = world.condition("Reconciling").2;
        assert!(words.contains(&format!("waiting for {first} to be ready")), "{words}");
        world.restart();
    }
    world.cluster.set_pod(
        NAMESPACE,
        first,
        json!({"conditions": [{"type": "Ready", "status": "True"}]}),
    );
    assert_eq!(restarts(&mut world).await.len(), 2);
    world.settle().await;
    check(&world, 3);
}

#[tokio::test]
async fn retained_replicas_are_adopted_together_and_become_as_many_as_are_asked_for() {
    let mut world = ready(3).await;
    let id = world.table()["status"]["tableId"].clone();
    world.cluster.delete("tables", NAMESPACE, "orders");
    world.settle().await;
    assert!(world.cluster.names("pods").is_empty());
    let mut adopting = of(1);
    adopting["spec"]["bootstrap"] = json!({"adopt": id});
    world.cluster.put("tables", adopting);
    world.settle().await;
    check(&world, 1);
}

#[tokio::test]
async fn lost_resources_of_three_are_made_again_from_the_stores() {
    let mut world = ready(3).await;
    let before = groups(&world);
    for partition in world.cluster.names("partitions") {
        world.cluster.delete("partitions", NAMESPACE, &partition);
    }
    let set = world.cluster.names("statefulsets")[0].clone();
    world.cluster.delete("statefulsets", NAMESPACE, &set);
    world.settle().await;
    assert_eq!(groups(&world), before);
    check(&world, 3);
}

#[tokio::test]
async fn replicas_are_kept_apart_as_strictly_as_is_said() {
    let mut world = ready(3).await;
    let pod = |world: &World| world.cluster.all("statefulsets")[0]["spec"]["template"]["spec"].clone();
    let rules = |pod: &Value| pod["affinity"]["podAntiAffinity"].clone();
    assert!(rules(&pod(&world))["requiredDuringSchedulingIgnoredDuringExecution"].is_null());
    let before = pod(&world);
    edit(&world, |spec| spec["scheduling"] = json!({"topology": "Required"}));
    world.settle().await;
    let after = pod(&world);
    let strict = rules(&after);
    let [host] = &strict["requiredDuringSchedulingIgnoredDuringExecution"]
        .as_array()
        .unwrap()[..]
    else {
        panic!("{after}")
    };
    assert_eq!(host["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(host["labelSelector"]["matchLabels"]["partita.dev/partition"], "0");
    assert_eq!(
        after["topologySpreadConstraints"][2]["whenUnsatisfiable"],
        "DoNotSchedule"
    );
    // How many replicas there are is not what a pod is made from.
    edit(&world, |spec| {
        spec["scheduling"] = Value::Null;
        spec["replicas"] = json!(5);
    });
    world.settle().await;
    assert_eq!(pod(&world), before);
    check(&world, 5);
}

/// The node that has the disk of the pod 1 is gone, and no other one takes that pod.
fn lose_node(world: &World) -> String {
    let pod = pod(world, 1);
    for ordinal in 0..3 {
        let claim = format!("data-{}", self::pod(world, ordinal));
        world.cluster.set_volume(NAMESPACE, &claim, &format!("host-{ordinal}"));
    }
    world.cluster.add_node("host-0");
    world.cluster.add_node("host-2");
    world.nodes.silence(&[&pod]);
    let no_place = json!({"conditions": [
        {"type": "Ready", "status": "False"},
        {"type": "PodScheduled", "status": "False", "message": "3 node(s) didn't match PersistentVolume's node affinity"}]});
    world.cluster.set_pod(NAMESPACE, &pod, no_place);
    pod
}

/// So many minutes go by, and somebody looks again and again: a table that lacks a pod is looked at every few seconds.
async fn watch(world: &mut World, minutes: u64) {
    for _ in 0..minutes {
        world.later(60_000);
        world.pass_of("orders").await.unwrap();
    }
}

fn claim_uid(world: &World, pod: &str) -> Value {
    let claim = world
        .cluster
        .get("persistentvolumeclaims", NAMESPACE, &format!("data-{pod}"));
    claim.unwrap()["metadata"]["uid"].clone()
}

#[tokio::test]
async fn a_volume_whose_node_is_gone_is_given_up_after_a_while() {
    let mut world = ready(3).await;
    let pod = lose_node(&world);
    let before = claim_uid(&world, &pod);
    world.settle().await;
    assert_eq!(claim_uid(&world, &pod), before);
    let (holds, reason, message) = world.condition("Reconciling");
    assert_eq!((holds, reason.as_str()), (true, "VolumeLost"));
    assert!(
        message.contains(&format!("the node of {pod}'s volume is gone")),
        "{message}"
    );
    // Another operator is patient anew.
    watch(&mut world, 9).await;
    world.restart();
    world.settle().await;
    // Nor does a clock that is put forward count.
    world.later(3_600_000);
    world.settle().await;
    watch(&mut world, 8).await;
    assert_eq!(claim_uid(&world, &pod), before);
    world.later(60_000);
    world.cluster.take_events();
    world.pass_of("orders").await.unwrap();
    assert_ne!(claim_uid(&world, &pod), before);
    world.nodes.silence(&[]);
    world.settle().await;
    let events: Vec<String> = world
        .cluster
        .take_events()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    assert!(events.contains(&"VolumeGivenUp".to_owned()), "{events:?}");
    assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
    assert_eq!(world.cluster.all("partitions")[0]["status"]["replicas"], "3/3");
}

#[tokio::test]
async fn no_volume_is_given_up_that_may_be_needed() {
    // Its node is there: the pod finds no place for another reason.
    let mut world = ready(3).await;
    let pod = lose_node(&world);
    let before = claim_uid(&world, &pod);
    world.cluster.add_node("host-1");
    world.settle().await;
    watch(&mut world, 60).await;
    assert_eq!(claim_uid(&world, &pod), before);
    // It is gone, and so is another replica: there is no quorum.
    world.cluster.delete("nodes", "", "host-1");
    let other = self::pod(&world, 0);
    world.nodes.silence(&[&pod, &other]);
    world.settle().await;
    watch(&mut world, 60).await;
    assert_eq!(claim_uid(&world, &pod), before);
    assert!(world.condition("QuorumLost").0);
    // There is one, and the Table says never.
    world.nodes.silence(&[&pod]);
    edit(&world, |spec| spec["storage"] = json!({"replaceLostAfter": "Never"}));
    world.settle().await;
    watch(&mut world, 60).await;
    assert_eq!(claim_uid(&world, &pod), before);
}

#[tokio::test]
async fn a_volume_that_was_back_meanwhile_is_waited_for_anew() {
    let mut world = ready(3).await;
    let pod = lose_node(&world);
    let before = claim_uid(&world, &pod);
    watch(&mut world, 9).await;
    // Its node comes back, and the pod finds its place before anybody looks.
    let placed = json!({"conditions": [
        {"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]});
    world.cluster.add_node("host-1");
    world.nodes.silence(&[]);
    world.cluster.set_pod(NAMESPACE, &pod, placed);
    world.settle().await;
    check(&world, 3);
    // It goes once more.
    world.cluster.delete("nodes", "", "host-1");
    assert_eq!(lose_node(&world), pod);
    watch(&mut world, 10).await;
    assert_eq!(claim_uid(&world, &pod), before);
    watch(&mut world, 2).await;
    assert_ne!(claim_uid(&world, &pod), before);
}
