//! From one specification to another: what a changed manifest asks for.

use super::{GlobalIndexUpdate, SpecError, TableSpec, TableUpdate, Throughput};
use crate::schema::StreamView;

/// One step on the way, each an operation of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableChange {
    /// UpdateTable.
    Update(Box<TableUpdate>),
    /// UpdateTimeToLive.
    TimeToLive {
        /// The attribute.
        attribute: String,
        /// On or off.
        enabled: bool,
    },
    /// TagResource and UntagResource.
    Tags {
        /// New tags and new values.
        add: Vec<(String, String)>,
        /// Keys of tags that go.
        remove: Vec<String>,
    },
}

impl TableSpec {
    /// The steps from this specification to another of the same table, in order; indexes are built and removed one
    /// after the other, so a step may have to wait for the one before. A change that DynamoDB does not allow is
    /// refused with its field.
    pub fn changes_to(&self, wanted: &Self) -> Result<Vec<TableChange>, SpecError> {
        self.check_unchangeable(wanted)?;
        let mut changes = Vec::new();
        let settings = self.settings_update(wanted);
        if !settings.is_empty() {
            changes.push(TableChange::Update(Box::new(settings)));
        }
        self.stream_steps(wanted, &mut changes);
        self.index_steps(wanted, &mut changes);
        self.time_to_live_steps(wanted, &mut changes);
        self.tag_steps(wanted, &mut changes);
        Ok(changes)
    }

    /// Refuses what is fixed when a table or an index is made, with its field.
    pub fn check_unchangeable(&self, wanted: &Self) -> Result<(), SpecError> {
        let refuse = |field: String, reason: &str| Err(SpecError::new(field, reason));
        if self.name != wanted.name {
            return refuse("tableName".into(), "a table's name cannot change");
        }
        if self.keys != wanted.keys {
            return refuse("keySchema".into(), "a table's key schema cannot change");
        }
        if self.local != wanted.local {
            return refuse(
                "localSecondaryIndexes".into(),
                "local secondary indexes cannot change after creation",
            );
        }
        for (name, kind) in &wanted.attributes {
            if self.attributes.iter().any(|(known, of)| known == name && of != kind) {
                return refuse(
                    "attributeDefinitions".into(),
                    "the type of a key attribute cannot change",
                );
            }
        }
        for (place, index) in wanted.global.iter().enumerate() {
            let Some(current) = self.global.iter().find(|current| current.name == index.name) else {
                continue;
            };
            let field = format!("globalSecondaryIndexes[{place}]");
            if current.keys != index.keys {
                return refuse(
                    format!("{field}.keySchema"),
                    "an index's key schema cannot change: use another name",
                );
            }
            if current.projection != index.projection {
                return refuse(
                    format!("{field}.projection"),
                    "an index's projection cannot change: use another name",
                );
            }
        }
        Ok(())
    }

    /// Everything that one UpdateTable can change at once.
    fn settings_update(&self, wanted: &Self) -> TableUpdate {
        fn changed<T: PartialEq + Clone>(from: &T, to: &T) -> Option<T> {
            (from != to).then(|| to.clone())
        }
        let indexes = wanted.global.iter().filter_map(|index| {
            let current = self.global.iter().find(|current| current.name == index.name)?;
            let units = changed(&current.throughput, &index.throughput).filter(|units| *units != Throughput::default());
            let on_demand = changed(&current.on_demand, &index.on_demand).flatten();
            let warm = changed(&current.warm, &index.warm).flatten();
            (units.is_some() || on_demand.is_some() || warm.is_some()).then(|| GlobalIndexUpdate::Update {
                name: index.name.clone(),
                throughput: units,
                on_demand,
                warm,
            })
        });
        TableUpdate {
            attributes: Vec::new(),
            billing: changed(&self.billing, &wanted.billing),
            throughput: changed(&self.throughput, &wanted.throughput).filter(|units| *units != Throughput::default()),
            on_demand: changed(&self.on_demand, &wanted.on_demand).flatten(),
            warm: changed(&self.warm, &wanted.warm).flatten(),
            global: indexes.collect(),
            stream: None,
            class: changed(&self.class, &wanted.class),
            deletion_protection: changed(&self.deletion_protection, &wanted.deletion_protection),
            sse: changed(&self.sse, &wanted.sse).flatten(),
        }
    }

    /// Another view is a new stream: the old one is switched off first.
    fn stream_steps(&self, wanted: &Self, changes: &mut Vec<TableChange>) {
        let mut step = |stream: Option<StreamView>| {
            changes.push(TableChange::Update(Box::new(TableUpdate {
                stream: Some(stream),
                ..TableUpdate::default()
            })));
        };
        if self.stream == wanted.stream {
            return;
        }
        if self.stream.is_some() {
            step(None);
        }
        if wanted.stream.is_some() {
            step(wanted.stream);
        }
    }

    fn index_steps(&self, wanted: &Self, changes: &mut Vec<TableChange>) {
        let mut step = |change: GlobalIndexUpdate| {
            changes.push(TableChange::Update(Box::new(TableUpdate {
                attributes: match change {
                    GlobalIndexUpdate::Create(_) => wanted.attributes.clone(),
                    GlobalIndexUpdate::Update { .. } | GlobalIndexUpdate::Delete(_) => Vec::new(),
                },
                global: vec![change],
                ..TableUpdate::default()
            })));
        };
        for index in &self.global {
            if !wanted.global.iter().any(|kept| kept.name == index.name) {
                step(GlobalIndexUpdate::Delete(index.name.clone()));
            }
        }
        for index in &wanted.global {
            if !self.global.iter().any(|known| known.name == index.name) {
                step(GlobalIndexUpdate::Create(index.clone()));
            }
        }
    }

    fn time_to_live_steps(&self, wanted: &Self, changes: &mut Vec<TableChange>) {
        if self.time_to_live == wanted.time_to_live {
            return;
        }
        let steps = [(&self.time_to_live, false), (&wanted.time_to_live, true)];
        for (attribute, enabled) in steps {
            changes.extend(attribute.iter().map(|attribute| TableChange::TimeToLive {
                attribute: attribute.clone(),
                enabled,
            }));
        }
    }

    fn tag_steps(&self, wanted: &Self, changes: &mut Vec<TableChange>) {
        let add: Vec<_> = wanted
            .tags
            .iter()
            .filter(|tag| !self.tags.contains(tag))
            .cloned()
            .collect();
        let gone = |key: &String| !wanted.tags.iter().any(|(kept, _)| kept == key);
        let remove: Vec<_> = self
            .tags
            .iter()
            .map(|(key, _)| key)
            .filter(|key| gone(key))
            .cloned()
            .collect();
        if !add.is_empty() || !remove.is_empty() {
            changes.push(TableChange::Tags { add, remove });
        }
    }
}
