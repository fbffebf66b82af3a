//! What of a declared table can never change.

use super::{SpecError, TableSpec};

impl TableSpec {
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
}
