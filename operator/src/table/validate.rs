//! From a Table's specification to the table that it asks for, or what is wrong with it. Pure.
//!
//! Shapes and bounds were checked by the API server. What is left are DynamoDB's rules, and what is not possible yet.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_crds::table::DeletionPolicy;
use partita_crds::{Table, convert, names};
use partita_model::table::TableSpec;
use partita_model::table::record::{Declared, Owner, Record};
use partita_planning::quantity;

use super::children::growth::is_less;
use super::plan::Problem;
use super::scale::Scaled;

/// The longest name that fits into a label.
const NAME_CHARS_MAX: usize = 63;

/// A specification that is valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Valid {
    /// The table.
    pub spec: TableSpec,
    /// Who may change it.
    pub owner: Owner,
    /// Units in it that follow the use and are others than before.
    pub scaled: Vec<Scaled>,
}

/// Checks a specification. Where it has a range instead of units, they are what the table has, as far as the range allows.
pub fn validate(table: &Table, record: Option<&Record>) -> Result<Valid, Problem> {
    let spec = &table.spec;
    let name = table.metadata.name.as_deref().unwrap_or_default();
    if name.len() > NAME_CHARS_MAX {
        let problem = format!(
            "metadata.name: a Table's own name has at most {NAME_CHARS_MAX} characters (spec.tableName may have more)"
        );
        return Err(Problem::stalled("InvalidSpec", problem));
    }
    if !matches!(spec.replicas, 1 | 3 | 5) {
        let problem = format!("spec.replicas: {} is not 1, 3 or 5", spec.replicas);
        return Err(Problem::stalled("InvalidSpec", problem));
    }
    for (field, amount) in amounts(table) {
        if quantity::nanos(amount).is_none_or(|nanos| nanos <= 0) {
            let problem = format!("spec.{field}: {:?} is no amount: it is like 30Gi, 500m or 2", amount.0);
            return Err(Problem::stalled("InvalidSpec", problem));
        }
    }
    if let Some((size, most)) = spec
        .storage
        .as_ref()
        .and_then(|storage| storage.size.as_ref().zip(storage.max_size.as_ref()))
        && is_less(most, size)
    {
        let problem = format!("spec.storage.maxSize: {} is less than the size, {}", most.0, size.0);
        return Err(Problem::stalled("InvalidSpec", problem));
    }
    match convert::to_model_with(spec, &|index| record?.spec.units(index)) {
        Ok(spec) => Ok(Valid {
            spec,
            owner: owner(table),
            scaled: Vec::new(),
        }),
        Err(error) => Err(Problem::stalled("InvalidSpec", format!("spec.{error}"))),
    }
}

/// Every amount of a specification, by its field.
fn amounts(table: &Table) -> impl Iterator<Item = (&'static str, &Quantity)> {
    let (storage, scheduling) = (table.spec.storage.as_ref(), table.spec.scheduling.as_ref());
    let all = [
        ("storage.size", storage.and_then(|storage| storage.size.as_ref())),
        ("storage.maxSize", storage.and_then(|storage| storage.max_size.as_ref())),
        (
            "scheduling.cpu",
            scheduling.and_then(|scheduling| scheduling.cpu.as_ref()),
        ),
        (
            "scheduling.memory",
            scheduling.and_then(|scheduling| scheduling.memory.as_ref()),
        ),
    ];
    all.into_iter().filter_map(|(field, amount)| Some((field, amount?)))
}

/// Whether a table was made through the API.
pub fn is_from_api(table: &Table) -> bool {
    let labels = table.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(names::CREATED_BY))
        .map(String::as_str)
        == Some(names::API)
}

fn owner(table: &Table) -> Owner {
    if is_from_api(table) {
        return Owner::Api;
    }
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    Owner::Manifest(Declared {
        file: String::new(),
        resource: format!("{}/{}", part(&table.metadata.namespace), part(&table.metadata.name)),
        delete_with_manifest: table.spec.deletion_policy == DeletionPolicy::Delete,
    })
}
