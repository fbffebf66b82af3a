//! The claims of storage nodes: they outlive Tables and tell of data that is there.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;
use partita_crds::names;
use partita_model::hexadecimal::parse_id;
use partita_model::schema::TableId;

/// A claim of a storage node.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Which of that name.
    pub uid: String,
    /// The table's id.
    pub table: TableId,
    /// The table's name.
    pub table_name: Option<String>,
    /// The seed of the table's hash.
    pub seed: Option<u64>,
    /// Which of the table's partitions.
    pub place: Option<usize>,
    /// Which of the partition's storage nodes.
    pub ordinal: Option<usize>,
    /// The volume, where it is about to grow.
    pub volume: Option<Volume>,
}

/// The size of a claim's volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// As the claim asks for it.
    pub asked: Quantity,
    /// As it is.
    pub capacity: Option<Quantity>,
    /// What keeps it from growing, in the cluster's words.
    pub waits: Option<String>,
}

/// The claims with a label.
pub async fn all(api: &Api<PersistentVolumeClaim>, selector: &str) -> Result<Vec<Claim>, kube::Error> {
    let found = api.list_metadata(&ListParams::default().labels(selector)).await?;
    // A claim that is being deleted holds nothing back.
    let there = found
        .items
        .into_iter()
        .filter(|claim| claim.metadata.deletion_timestamp.is_none());
    Ok(there.filter_map(|found| claim(&found.metadata)).collect())
}

fn claim(metadata: &ObjectMeta) -> Option<Claim> {
    let label = |key| metadata.labels.as_ref()?.get(key);
    let annotation = |key| metadata.annotations.as_ref()?.get(key);
    Some(Claim {
        name: metadata.name.clone()?,
        uid: metadata.uid.clone().unwrap_or_default(),
        table: TableId(parse_id(label(names::TABLE_ID)?)?),
        table_name: annotation(names::TABLE_NAME).cloned(),
        seed: annotation(names::SEED).and_then(|seed| parse_id(seed)),
        place: label(names::PARTITION).and_then(|place| place.parse().ok()),
        ordinal: metadata
            .name
            .as_ref()?
            .rsplit_once('-')
            .and_then(|(_, ordinal)| ordinal.parse().ok()),
        volume: None,
    })
}

/// A claim, with the size of its volume.
pub fn with_volume(found: &PersistentVolumeClaim) -> Option<Claim> {
    let (spec, status) = (found.spec.as_ref()?, found.status.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let said = conditions.and_then(|all| all.iter().find_map(|condition| condition.message.clone()));
    let volume = Volume {
        asked: spec.resources.as_ref()?.requests.as_ref()?.get("storage")?.clone(),
        capacity: status.and_then(|status| status.capacity.as_ref()?.get("storage").cloned()),
        waits: said.filter(|message| !message.is_empty()),
    };
    Some(Claim {
        volume: Some(volume),
        ..claim(&found.metadata)?
    })
}
