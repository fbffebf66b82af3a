//! What belongs to each partition, and where its replicas are: names stay with a group through splits, moves and merges.
//!
//! 1. The partitions that a table or index begins with are numbered in key order; the storage nodes of a table's partition have
//!    its name, and those of an index's are shared with the table's.
//! 2. From then on its Partition resource says it. What a split makes gets the lowest number that nothing has, and is where its
//!    parent was ([`Names::adopted`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use partita_crds::{Partition, names};
use partita_model::hexadecimal::parse_id;
use partita_model::partition::GroupId;
use partita_model::schema::IndexId;

/// A partition's resource and its storage nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The Partition resource's name.
    pub name: String,
    /// Its number, as the label has it.
    pub label: String,
    /// The StatefulSet that holds it.
    pub host: String,
    /// The Partition that it was split off.
    pub parent: Option<String>,
    /// The StatefulSet that its replicas move to.
    pub moving_to: Option<String>,
    /// The Partition that is to absorb it.
    pub merging_into: Option<String>,
}

impl Place {
    fn new(name: String, label: String, host: String) -> Self {
        Self {
            name,
            label,
            host,
            parent: None,
            moving_to: None,
            merging_into: None,
        }
    }

    /// That a table's partition begins with.
    pub fn of_table(prefix: &str, number: usize) -> Self {
        let name = names::partition(prefix, number);
        Self::new(name.clone(), number.to_string(), name)
    }

    /// That a global index's partition begins with.
    pub fn of_index(prefix: &str, index: IndexId, number: usize, host: String) -> Self {
        let name = names::index_partition(prefix, index, number);
        Self::new(name, format!("i{}-{number}", index.0), host)
    }

    /// Where its replicas are to be.
    pub fn target(&self) -> &str {
        self.moving_to.as_ref().unwrap_or(&self.host)
    }

    /// Whether some of its replicas are (to be) there.
    pub fn is_on(&self, host: &str) -> bool {
        self.host == host || self.moving_to.as_deref() == Some(host)
    }
}

/// The places of a table's partitions, by their groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Places(BTreeMap<GroupId, Place>);

impl Places {
    /// As the Partition resources say.
    pub fn of(partitions: &BTreeMap<String, Arc<Partition>>) -> Self {
        let places = partitions.values().filter_map(|partition| {
            let spec = &partition.spec;
            let place = Place {
                name: partition.name_any(),
                label: partition.labels().get(names::PARTITION).cloned().unwrap_or_default(),
                host: spec.host.clone(),
                parent: spec.parent.clone(),
                moving_to: spec.moving_to.clone(),
                merging_into: spec.merging_into.clone(),
            };
            Some((GroupId(parse_id(&spec.group)?), place))
        });
        Self(places.collect())
    }

    /// Of a group; `None` of one that has no resource yet.
    pub fn get(&self, group: GroupId) -> Option<&Place> {
        self.0.get(&group)
    }

    /// Notes the place of a group.
    pub fn set(&mut self, group: GroupId, place: Place) {
        self.0.insert(group, place);
    }
}

/// Gives names to partitions that have none.
pub struct Names<'a> {
    prefix: &'a str,
    taken: BTreeSet<String>,
}

impl<'a> Names<'a> {
    /// None of these is given again.
    pub fn without(prefix: &'a str, taken: impl IntoIterator<Item = String>) -> Self {
        Self {
            prefix,
            taken: taken.into_iter().collect(),
        }
    }

    /// For a partition that was found in a StatefulSet's stores. One that could be the one that these were made for is.
    pub fn adopted(&mut self, index: Option<IndexId>, host: &str, parent: Option<String>) -> Place {
        let own = number(self.prefix, host).filter(|_| index.is_none() && parent.is_none());
        let numbers = own.into_iter().chain(0..);
        let mut places = numbers.map(|number| match index {
            None => Place::of_table(self.prefix, number),
            Some(index) => Place::of_index(self.prefix, index, number, host.to_owned()),
        });
        let free = places.find(|place| !self.taken.contains(&place.name));
        // There are more numbers than names that are taken.
        let mut place = free.unwrap_or_else(|| Place::of_table(self.prefix, usize::MAX));
        self.taken.insert(place.name.clone());
        place.host = host.to_owned();
        place.parent = parent;
        place
    }
}

/// The number of a table's partition, or of its storage nodes, from their name.
pub fn number(prefix: &str, name: &str) -> Option<usize> {
    let number = name.strip_prefix(prefix)?.strip_prefix('-')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_gets_a_name_that_nothing_has() {
        let taken = ["t-0", "t-2", "t-i1-0"].map(str::to_owned);
        let mut names = Names::without("t", taken);
        let parent = || Some("t-0".to_owned());
        let child = names.adopted(None, "t-0", parent());
        assert_eq!(
            (child.name.as_str(), child.label.as_str(), child.host.as_str()),
            ("t-1", "1", "t-0")
        );
        assert_eq!(names.adopted(None, "t-0", parent()).name, "t-3");
        let of_index = names.adopted(Some(IndexId(1)), "t-2", parent());
        assert_eq!(
            (of_index.name.as_str(), of_index.label.as_str(), of_index.host.as_str()),
            ("t-i1-1", "i1-1", "t-2")
        );
        // One whose resource was lost gets it back.
        assert_eq!(names.adopted(None, "t-7", None).name, "t-7");
        assert_eq!(names.adopted(None, "t-7", None).name, "t-4");
    }
}
