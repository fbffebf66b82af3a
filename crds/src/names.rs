//! Names and labels of everything that belongs to a table on Kubernetes: what the operator makes and routers find.
//!
//! A table's name is case-sensitive and up to 255 characters long, a resource's is neither: names of children begin with
//! what is left of the table's name, for people, and a part of its id, which makes them unlike any other's.

use partita_model::schema::{IndexId, TableId};
use sha2::{Digest, Sha256};

/// The field manager of everything that the operator writes.
pub const OPERATOR: &str = "partita-operator";
/// The field manager of the Table resources that routers write.
pub const ROUTER: &str = "partita-router";
/// The finalizer on Table resources.
pub const FINALIZER: &str = "partita.dev/operator";
/// Label: the Table resource's name, on all of its children.
pub const TABLE: &str = "partita.dev/table";
/// Label: the table's id, on all of its children.
pub const TABLE_ID: &str = "partita.dev/table-id";
/// Label: the partition's place, on a storage node's children.
pub const PARTITION: &str = "partita.dev/partition";
/// Annotation on claims: the table's name.
pub const TABLE_NAME: &str = "partita.dev/table-name";
/// Annotation on claims: the seed of the table's hash.
pub const SEED: &str = "partita.dev/seed";
/// Label with the value [`API`]: a table made through the API.
pub const CREATED_BY: &str = "partita.dev/created-by";
/// See [`CREATED_BY`].
pub const API: &str = "api";
/// Label on credentials' Secrets: the namespace that they open.
pub const NAMESPACE: &str = "partita.dev/namespace";
/// The port of a storage node's transport.
pub const TRANSPORT_PORT: u16 = 8100;
/// The port of metrics, health and the admin API, on every role.
pub const ADMIN_PORT: u16 = 8001;
/// The port of the admin API over mutual TLS.
pub const ADMIN_TLS_PORT: u16 = 8002;
/// The Secret with the certificate of a namespace's storage nodes.
pub const REPLICA_SECRET: &str = "partita-replica-tls";
/// The Secret with the certificate of the routers in a namespace: of the release's in its own.
pub const ROUTER_SECRET: &str = "partita-router-tls";

/// Characters of a table's name that children's names begin with.
const READABLE_CHARS: usize = 24;

/// The id of a table that begins with this resource: `uid` is its `metadata.uid`.
pub fn table_id(uid: &str) -> TableId {
    TableId(first_64_bits(uid))
}

/// The account that a namespace is: twelve digits.
pub fn account(namespace: &str) -> String {
    format!("{:012}", first_64_bits(namespace) % 1_000_000_000_000)
}

/// The name of the resource of a table that is made through the API: two that make the same table at once meet there.
pub fn api_table(table_name: &str) -> String {
    let hash = first_64_bits(table_name) >> 32;
    format!("{}-{hash:08x}", readable(table_name))
}

/// A table id as labels and annotations have it.
pub fn id_label(id: TableId) -> String {
    format!("{:016x}", id.0)
}

/// What the names of a table's children begin with.
pub fn prefix(table_name: &str, id: TableId) -> String {
    format!("t-{}-{:08x}", readable(table_name), id.0 >> 32)
}

/// The name of a table's partition, of its StatefulSet and of its Service.
pub fn partition(prefix: &str, place: usize) -> String {
    format!("{prefix}-{place}")
}

/// The name of a global index's partition.
pub fn index_partition(prefix: &str, index: IndexId, place: usize) -> String {
    format!("{prefix}-i{}-{place}", index.0)
}

/// A storage node's pod: so many of its StatefulSet, from 0 on.
pub fn pod(stateful_set: &str, ordinal: usize) -> String {
    format!("{stateful_set}-{ordinal}")
}

/// The claim of a storage node's pod.
pub fn claim(pod: &str) -> String {
    format!("data-{pod}")
}

/// The host name of a storage node: it stays while pods come and go.
pub fn host(stateful_set: &str, ordinal: usize, namespace: &str) -> String {
    format!("{stateful_set}-{ordinal}.{stateful_set}.{namespace}.svc")
}

/// The host name of a storage node, from its pod's name.
pub fn host_of(pod: &str, namespace: &str) -> Option<String> {
    let (stateful_set, ordinal) = pod.rsplit_once('-')?;
    Some(host(stateful_set, ordinal.parse().ok()?, namespace))
}

fn readable(table_name: &str) -> String {
    let mut out = String::with_capacity(READABLE_CHARS);
    for character in table_name.chars().map(|c| c.to_ascii_lowercase()) {
        let kept = if character.is_ascii_alphanumeric() {
            character
        } else {
            '-'
        };
        if out.len() == READABLE_CHARS {
            break;
        }
        if kept != '-' || !(out.is_empty() || out.ends_with('-')) {
            out.push(kept);
        }
    }
    let trimmed = out.trim_end_matches('-');
    if trimmed.is_empty() {
        "table".to_owned()
    } else {
        trimmed.to_owned()
    }
}

fn first_64_bits(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        let id = TableId(0x1a2b_3c4d_0000_0000);
        assert_eq!(prefix("orders", id), "t-orders-1a2b3c4d");
        assert_eq!(
            prefix("Very_Long.Name-of--a-Table-with-more", id),
            "t-very-long-name-of-a-tabl-1a2b3c4d"
        );
        assert_eq!(prefix("...", id), "t-table-1a2b3c4d");
        assert_eq!(prefix("_A_", id), "t-a-1a2b3c4d");
        assert_eq!(partition("t-a-1a2b3c4d", 3), "t-a-1a2b3c4d-3");
        assert_eq!(index_partition("t-a-1a2b3c4d", IndexId(2), 0), "t-a-1a2b3c4d-i2-0");
        assert_eq!(claim(&pod("t-a-1a2b3c4d-3", 2)), "data-t-a-1a2b3c4d-3-2");
        assert_eq!(
            host("t-a-1a2b3c4d-3", 1, "shop"),
            "t-a-1a2b3c4d-3-1.t-a-1a2b3c4d-3.shop.svc"
        );
    }

    #[test]
    fn a_pod_has_a_host_name() {
        let host = host("t-a-1a2b3c4d-3", 1, "shop");
        assert_eq!(host_of("t-a-1a2b3c4d-3-1", "shop"), Some(host));
        assert_eq!(host_of("pod", "shop"), None);
    }

    #[test]
    fn tables_that_differ_by_case_have_different_resources() {
        assert_ne!(api_table("Orders"), api_table("orders"));
        assert_eq!(api_table("orders").len(), "orders-".len() + 8);
    }

    #[test]
    fn accounts_have_twelve_digits_and_stay() {
        // A contract: access keys and ARNs in use name them.
        assert_eq!(account("default"), "984327297149");
        assert!(account("shop").bytes().all(|b| b.is_ascii_digit()) && account("shop").len() == 12);
    }
}
