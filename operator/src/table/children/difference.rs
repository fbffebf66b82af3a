//! Whether a resource is as it should be: whatever is applied is compared first, for an operator at rest writes nothing.
//!
//! A resource is applied when what it should be has changed since it was last applied (a hash of that is kept in an
//! annotation), or when somebody changed a field that we set. Fields of others and defaults are none of our business. What is empty is as good
//! as absent: most of such fields the API server leaves out.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Resource;
use partita_planning::quantity;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Annotation: the hash of a resource as it was last applied.
pub const APPLIED: &str = "partita.dev/applied";
/// Bytes of that hash that are kept.
const HASH_BYTES: usize = 8;

/// Marks a resource with its hash.
pub fn marked<K: Resource + Serialize>(mut desired: K) -> K {
    let hash = hash(&desired);
    let annotations = desired.meta_mut().annotations.get_or_insert_default();
    annotations.insert(APPLIED.to_owned(), hash);
    desired
}

/// The hash of a resource or a part of one.
pub fn hash(part: &impl Serialize) -> String {
    // Types of the API become JSON without fail.
    let json = serde_json::to_vec(part).unwrap_or_default();
    hex::encode(&Sha256::digest(json)[..HASH_BYTES])
}

/// Whether the resource that is there lacks anything of the (marked) one that should be.
pub fn differs<K: Serialize>(desired: &K, observed: Option<&K>) -> bool {
    let json = |resource: &K| serde_json::to_value(resource).unwrap_or(Value::Null);
    observed.is_none_or(|observed| !holds(&json(observed), &json(desired), false))
}

/// Whether everything of `part` is in `whole`.
fn holds(whole: &Value, part: &Value, amounts: bool) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(key, part)| {
            let amounts = amounts || matches!(key.as_str(), "requests" | "limits");
            whole.get(key).is_some_and(|whole| holds(whole, part, amounts))
                || !whole.contains_key(key) && is_empty(part)
        }),
        (Value::Array(whole), Value::Array(part)) => part
            .iter()
            .all(|part| whole.iter().any(|whole| holds(whole, part, false))),
        (Value::String(whole), Value::String(part)) if amounts => {
            quantity::same(&Quantity(whole.clone()), &Quantity(part.clone()))
        }
        (whole, part) => whole == part,
    }
}

fn is_empty(part: &Value) -> bool {
    match part {
        Value::Object(members) => members.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    fn service(json: Value) -> Service {
        serde_json::from_value(json).unwrap()
    }

    fn desired() -> Service {
        marked(service(json!({
            "metadata": {"name": "a", "labels": {"x": "1"}},
            "spec": {"clusterIP": "None", "ports": [{"port": 1}, {"port": 2}]},
        })))
    }

    #[test]
    fn defaults_and_fields_of_others_are_no_difference() {
        let mut observed = desired();
        assert!(!differs(&desired(), Some(&observed)));
        observed.metadata.resource_version = Some("7".into());
        observed
            .metadata
            .labels
            .as_mut()
            .unwrap()
            .insert("y".into(), "2".into());
        let spec = observed.spec.as_mut().unwrap();
        spec.ip_families = Some(vec!["IPv4".into()]);
        spec.ports.as_mut().unwrap()[0].protocol = Some("TCP".into());
        assert!(!differs(&desired(), Some(&observed)));
    }

    #[test]
    fn what_is_missing_changed_or_wanted_otherwise_is() {
        assert!(differs(&desired(), None));
        let mut observed = desired();
        observed
            .metadata
            .labels
            .as_mut()
            .unwrap()
            .insert("x".into(), "2".into());
        assert!(differs(&desired(), Some(&observed)));
        let mut observed = desired();
        observed.spec.as_mut().unwrap().ports.as_mut().unwrap().pop();
        assert!(differs(&desired(), Some(&observed)));
        // Nothing of ours is missing there, but a field that we no longer set is: the mark tells.
        let mut less = service(json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None"}}));
        less = marked(less);
        assert!(differs(&less, Some(&desired())));
    }

    #[test]
    fn what_is_empty_may_be_left_out() {
        let toleration = |value: Value| json!({"tolerations": [value]});
        let kept = toleration(json!({"key": "a", "operator": "Exists"}));
        let wanted = toleration(json!({"key": "a", "operator": "Exists", "value": "", "effect": ""}));
        assert!(holds(&kept, &wanted, false));
        assert!(!holds(
            &kept,
            &toleration(json!({"key": "", "operator": "Exists"})),
            false
        ));
        assert!(
            !holds(&json!({}), &json!({"automount": false}), false),
            "that is not what is meant by nothing"
        );
    }

    #[test]
    fn amounts_are_compared_as_such() {
        let whole = json!({"requests": {"cpu": "1", "memory": "1Gi"}});
        assert!(holds(
            &whole,
            &json!({"requests": {"cpu": "1000m", "memory": "1024Mi"}}),
            false
        ));
        assert!(!holds(&whole, &json!({"requests": {"cpu": "1001m"}}), false));
    }
}
