//! What the clients know: for every key the states it may be in, one when all is acknowledged, more when a write's fate
//! is unknown.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Table with a sort key, an LSI and a GSI.
pub const STORM: &str = "storm";
/// Table with a partition key alone.
pub const PLAIN: &str = "plain";
/// LSI of [`STORM`]: by `rank`.
pub const BY_RANK: &str = "by-rank";
/// GSI of [`STORM`]: by `group`, sparse.
pub const BY_GROUP: &str = "by-group";
/// Key in [`PLAIN`] of the counter that all workers add to.
pub const COUNTER: &str = "counter";
/// Groups of the GSI; group 0 is written as no attribute.
pub const GROUPS: u64 = 4;

/// A place for an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub table: &'static str,
    /// Partition key.
    pub owner: String,
    /// Sort key; empty in [`PLAIN`].
    pub name: String,
}

/// An item, as far as it varies. Everything else in it follows from these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Never used twice by the same worker.
    pub version: u64,
    /// Bytes of text.
    pub size: usize,
    /// Times it was updated in place.
    pub updates: u64,
}

impl Item {
    /// The GSI's key.
    pub fn group(&self) -> Option<String> {
        let group = self.version % GROUPS;
        (group != 0).then(|| format!("g{group}"))
    }

    /// The LSI's key.
    pub fn rank(&self) -> u64 {
        self.version % 7
    }

    /// Text that tells its version, so that halves of two versions are seen.
    fn text(&self) -> String {
        let word = format!("{}.", self.version);
        word.repeat(self.size / word.len() + 1)[..self.size].to_owned()
    }
}

impl Place {
    /// The primary key in the API's form.
    pub fn key(&self) -> Value {
        if self.table == PLAIN {
            json!({"pk": {"S": self.owner.as_str().to_owned() + &self.name}})
        } else {
            json!({"pk": {"S": self.owner}, "sk": {"S": self.name}})
        }
    }

    /// The whole item in the API's form.
    pub fn item(&self, item: &Item) -> Value {
        let mut value = self.key();
        value["version"] = json!({"N": item.version.to_string()});
        value["updates"] = json!({"N": item.updates.to_string()});
        value["rank"] = json!({"N": item.rank().to_string()});
        value["text"] = json!({"S": item.text()});
        if let Some(group) = item.group() {
            value["group"] = json!({"S": group});
        }
        value
    }
}

/// The states a place may be in; never empty.
pub type States = Vec<Option<Item>>;

/// What one worker knows of its own places.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// A place that is not here is empty.
    pub places: BTreeMap<Place, States>,
    /// Additions to the counter that were acknowledged since it was last read.
    pub added: u64,
    /// Additions of unknown fate.
    pub perhaps_added: u64,
}

impl Model {
    /// The state of a place whose fate is known.
    pub fn known(&self, place: &Place) -> Option<&Item> {
        self.places
            .get(place)
            .and_then(|states| states.first())
            .and_then(Option::as_ref)
    }

    /// A write was acknowledged.
    pub fn acknowledged(&mut self, place: Place, item: Option<Item>) {
        self.places.insert(place, vec![item]);
    }

    /// A write may have happened or not.
    pub fn unknown(&mut self, place: Place, item: Option<Item>) {
        let states = self.places.entry(place).or_insert_with(|| vec![None]);
        if !states.contains(&item) {
            states.push(item);
        }
    }
}
