//! A split that is ordered from a shell.
//!
//! 1. The place is found: the middle by bytes, or a key, which is made of the key attributes by the partition's own schema.
//! 2. The leader is ordered to split, with an id: it is carried out once ([`super::order`]).
//! 3. Once the child has a leader, both halves are printed.

use std::time::Duration;

use anyhow::{Context, bail};
use partita_model::admin::{Split, SplitMade, SplitPlace, SplitPoint};
use partita_model::item::Item;
use partita_model::key::{KeyBytes, collection, component};
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::schema::KeyAttribute;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fleet::{Fleet, Nodes};
use super::order::{RETRY, carry_out};
use super::print::Printer;
use super::shown;

/// How long a split may take, with the elections that come in between.
const SPLIT_MAX: Duration = Duration::from_secs(30);

/// What is ordered.
pub struct Order {
    /// The group that is cut.
    pub group: GroupId,
    /// Where.
    pub place: Place,
    /// The new group; by default its id follows from the order's.
    pub child: Option<GroupId>,
    /// Only in this range epoch.
    pub expected_epoch: Option<u64>,
    /// Once for this id.
    pub id: Uuid,
}

/// Where to cut.
pub enum Place {
    /// Where half of the bytes are on either side.
    Middle,
    /// In front of these bytes.
    Bytes(KeyBytes),
    /// In front of the item (or the item collection, or the first ones of it) with these key attributes.
    Item(Item),
}

impl Place {
    /// As the flags say.
    pub fn from_flags(at: Option<KeyBytes>, at_key: Option<Item>) -> Self {
        match (at, at_key) {
            (Some(bytes), _) => Self::Bytes(bytes),
            (None, Some(item)) => Self::Item(item),
            (None, None) => Self::Middle,
        }
    }

    fn of(&self, descriptor: &PartitionDescriptor) -> anyhow::Result<SplitPlace> {
        Ok(match self {
            Self::Middle => SplitPlace::Middle,
            Self::Bytes(bytes) => SplitPlace::Key(bytes.clone()),
            Self::Item(item) => SplitPlace::Key(key(descriptor, item)?),
        })
    }
}

/// Where the leader would cut.
pub async fn point(fleet: &Fleet, printer: &Printer, group: GroupId) -> anyhow::Result<()> {
    let leader = fleet.leader(group)?;
    let path = format!("/groups/{}/split-point", shown(group));
    let point: SplitPoint = leader.node.admin.get(&path).await?;
    printer.split_point(leader.state, &point)
}

/// Cuts a partition in two.
pub async fn split(nodes: &Nodes, fleet: &Fleet, printer: &Printer, order: Order) -> anyhow::Result<()> {
    let Order { group, id, .. } = order;
    let descriptor = &fleet.group(group)?.state.descriptor;
    let body = Split {
        expected_epoch: order.expected_epoch,
        at: order.place.of(descriptor)?,
        child: order.child.unwrap_or_else(|| child_of(group, id)),
    };
    let place = match &body.at {
        SplitPlace::Middle => "in the middle of its bytes".to_owned(),
        SplitPlace::Key(key) => format!("in front of {}", hex::encode(&key.0)),
    };
    eprintln!(
        "group {} (range epoch {}) is to be cut {place}; the child will be group {}",
        shown(group),
        descriptor.range_epoch,
        shown(body.child)
    );
    let deadline = Instant::now() + SPLIT_MAX;
    let made: SplitMade = carry_out(nodes, group, &path(group, id), &body, deadline).await?;
    eprintln!(
        "cut in front of {} in range epoch {}",
        hex::encode(&made.split.key.0),
        made.split.range_epoch
    );
    let made = with_leader(nodes, made, deadline).await?;
    printer.split(&made)
}

fn path(group: GroupId, id: Uuid) -> String {
    format!("/groups/{}/splits/{id}", shown(group))
}

/// Waits until the child has a leader, so that what is printed is what serves.
async fn with_leader(nodes: &Nodes, mut made: SplitMade, deadline: Instant) -> anyhow::Result<SplitMade> {
    let child = made.split.child;
    while made
        .child
        .as_ref()
        .is_none_or(|child| child.replication.leader.is_none())
    {
        if Instant::now() > deadline {
            eprintln!(
                "group {} has no leader yet: `partita admin groups` shows when it has",
                shown(child)
            );
            break;
        }
        sleep(RETRY).await;
        let fleet = Fleet::ask(nodes).await?;
        if let Ok(found) = fleet.group(child) {
            made.child = Some(found.state.clone());
        }
    }
    Ok(made)
}

/// The child's id when none is given: it follows from the order, so that whoever repeats that means the same child.
fn child_of(group: GroupId, id: Uuid) -> GroupId {
    // 63 bits that are not zero, like all groups' ids.
    GroupId((xxh3_64_with_seed(id.as_bytes(), group.0) >> 1).max(1))
}

/// The first key of the item, or the items, with these key attributes: all of the partition key, and of what follows it as
/// much as one likes.
fn key(descriptor: &PartitionDescriptor, item: &Item) -> anyhow::Result<KeyBytes> {
    let (seed, hash, following): (u64, &[KeyAttribute], Vec<&KeyAttribute>) = match &descriptor.kind {
        PartitionKind::Table(schema) => (schema.seed, &schema.keys.hash, schema.keys.range.iter().collect()),
        PartitionKind::Index { base_keys, index, .. } => {
            let following = index.keys.range.iter().chain(base_keys.attributes());
            (index.seed, &index.keys.hash, following.collect())
        }
    };
    let item = item.as_ref();
    let value = |attribute: &KeyAttribute| {
        let found = item.get(&attribute.name);
        found.filter(|value| value.kind() == attribute.kind.value_type())
    };
    let named = |attribute: &KeyAttribute| format!("{} ({:?})", attribute.name, attribute.kind);
    let all: Vec<String> = hash.iter().chain(following.iter().copied()).map(named).collect();
    let wrong = || format!("the partition's keys are made of {}, in this order", all.join(", "));
    let hash_values: Option<Vec<_>> = hash.iter().map(value).collect();
    let mut key = collection(seed, hash_values.with_context(wrong)?).with_context(wrong)?;
    let mut used = hash.len();
    for attribute in following {
        let Some(value) = value(attribute) else { break };
        component::write(value, &mut key.0).with_context(wrong)?;
        used += 1;
    }
    match used == item.iter().count() {
        true => Ok(key),
        false => bail!("{}", wrong()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::directory::samples::entry;
    use crate::operate::item_key;

    #[test]
    fn a_key_is_made_of_its_attributes() {
        let record = entry("orders", 1, "a:1").record;
        let descriptor = PartitionDescriptor::whole_table(GroupId(1), Arc::new(record.schema()));
        let of = |text: &str| key(&descriptor, &item_key(text).unwrap());
        let expected = record
            .schema()
            .check_key(item_key(r#"{"pk": {"S": "a"}}"#).unwrap().as_ref());
        assert_eq!(of(r#"{"pk": {"S": "a"}}"#).unwrap(), expected.unwrap());
        for wrong in [
            r#"{}"#,
            r#"{"pk": {"N": "1"}}"#,
            r#"{"pk": {"S": "a"}, "x": {"S": "b"}}"#,
        ] {
            let told = of(wrong).unwrap_err().to_string();
            assert!(told.contains("made of pk (S)"), "{told}");
        }
        for wrong in ["", "1", r#"{"pk": "a"}"#] {
            assert!(item_key(wrong).unwrap_err().contains("DynamoDB's JSON"), "{wrong}");
        }
    }

    #[test]
    fn a_childs_id_follows_from_the_order() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(child_of(GroupId(5), one), child_of(GroupId(5), one));
        assert_ne!(child_of(GroupId(5), one), child_of(GroupId(5), other));
        assert_ne!(child_of(GroupId(5), one), child_of(GroupId(6), one));
    }
}
