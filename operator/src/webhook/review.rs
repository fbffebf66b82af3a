//! What the API server is answered about a Table that somebody writes: whether it may, and what will come of it. Pure.
//!
//! 1. Only one thing is not allowed, for it cannot be told afterwards from the specification alone: room taken away from what is stored.
//! 2. What the operator will refuse is said at once, with its field, though it is not forbidden: the operator says so again, and does
//!    nothing.
//! 3. What the change does to the cluster is a sentence ([`partita_planning::forecast`]).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_crds::{Partition, Table, convert};
use partita_planning::forecast::{Current, forecast};
use partita_planning::{Settings, amounts, quantity};

use crate::table::children::growth::is_less;
use crate::table::validate::validate;

/// Of [`quantity::nanos`].
const NANO: i128 = 1_000_000_000;

/// The API server may cut longer ones. Source: "AdmissionResponse", kube-apiserver Admission (v1).
const CHARS_MAX: usize = 256;
/// What stands for the rest of a longer one.
const CUT: &str = "…";

/// Warnings about a Table as it is to be; `old` is the one that is there, with its Partitions.
pub fn warnings(old: Option<&Table>, new: &Table, partitions: &[Partition], settings: &Settings) -> Vec<String> {
    if is_the_same(old, new) {
        return Vec::new();
    }
    let mut warnings = refusals(old, new);
    let current = old.map(|old| Current::new(old, partitions, &settings.limits));
    // A specification that is wrong is among the refusals.
    if let Ok(forecast) = forecast(current.as_ref(), &new.spec, settings)
        && forecast.changes()
    {
        warnings.extend(forecast.lines());
    }
    warnings.into_iter().map(cut).collect()
}

/// Why a change is not allowed: with less room than one of its storage nodes needs, the table could have no other volume for what is stored.
pub fn refusal(old: Option<&Table>, new: &Table, partitions: &[Partition]) -> Option<String> {
    if is_the_same(old, new) {
        return None;
    }
    let (_, before) = room(old?)?;
    let (field, after) = room(new)?;
    let mut stored: BTreeMap<&str, i128> = BTreeMap::new();
    for partition in partitions {
        let bytes = partition.status.as_ref().and_then(|status| status.size_bytes);
        *stored.entry(&partition.spec.host).or_default() += i128::from(bytes.unwrap_or(0));
    }
    let (host, bytes) = stored.into_iter().max_by_key(|(_, bytes)| *bytes)?;
    let is_less_than_stored = quantity::nanos(&after)? < bytes.checked_mul(NANO)?;
    (is_less(&after, &before) && is_less_than_stored).then(|| {
        let bytes = amounts::bytes(u64::try_from(bytes).unwrap_or(u64::MAX));
        format!(
            "spec.storage.{field}: {} is less than {bytes}, which each storage node of {host} stores: at least that much, or {} as before",
            after.0, before.0
        )
    })
}

/// How large volumes may become, by the field that says it.
fn room(table: &Table) -> Option<(&'static str, Quantity)> {
    let storage = table.spec.storage.as_ref()?;
    let most = storage.max_size.clone().map(|most| ("maxSize", most));
    most.or_else(|| Some(("size", storage.size.clone()?)))
}

/// Whether there is nothing to be said: the operator's own writes, labels, a deletion.
pub fn is_the_same(old: Option<&Table>, new: &Table) -> bool {
    new.metadata.deletion_timestamp.is_some() || old.is_some_and(|old| old.spec == new.spec)
}

fn refusals(old: Option<&Table>, new: &Table) -> Vec<String> {
    let name = &new.spec.table_name;
    let refused = |why: &str| format!("{name}: the operator will refuse this: {why}");
    let valid = match validate(new, None) {
        Ok(valid) => valid,
        Err(problem) => return vec![refused(&problem.message)],
    };
    let before = old.and_then(|old| convert::to_model(&old.spec).ok());
    match before.map(|before| before.check_unchangeable(&valid.spec)) {
        Some(Err(error)) => vec![refused(&format!("spec.{error}"))],
        Some(Ok(())) | None => Vec::new(),
    }
}

fn cut(warning: String) -> String {
    if warning.chars().count() <= CHARS_MAX {
        return warning;
    }
    let kept: String = warning.chars().take(CHARS_MAX - 1).collect();
    format!("{kept}{CUT}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use serde_json::{Value, json};

    fn table(write_units: u64, change: impl FnOnce(&mut Value)) -> Table {
        let mut table = testing::table(write_units, 1);
        change(&mut table);
        serde_json::from_value(table).unwrap()
    }

    fn said(old: Option<&Table>, new: &Table) -> Vec<String> {
        warnings(old, new, &[], &Settings::default())
    }

    #[test]
    fn a_change_of_units_is_one_sentence() {
        let old = table(1000, |table| {
            table["status"] = json!({"partitions": 2, "tableSizeBytes": 3_u64 << 30})
        });
        let new = table(9000, |_| ());
        let found = said(Some(&old), &new);
        assert_eq!(
            found,
            [
                "Orders: write units 1000 → 9000: 1 → 9 partitions, +8 pods, +1.67 CPU, +3.25 GiB of memory, +240 GiB of \
              claims, about 2.67 GiB to copy"
            ]
        );
    }

    #[test]
    fn nothing_is_said_of_what_changes_nothing() {
        let old = table(1000, |_| ());
        let labelled = table(1000, |table| table["metadata"]["labels"] = json!({"team": "shop"}));
        let going = table(9000, |table| {
            table["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")
        });
        let tagged = table(1000, |table| {
            table["spec"]["tags"] = json!([{"key": "team", "value": "shop"}])
        });
        for new in [labelled, going, tagged] {
            assert_eq!(said(Some(&old), &new), Vec::<String>::new());
        }
    }

    #[test]
    fn what_will_be_refused_is_said_with_its_field() {
        let new = table(1, |table| {
            table["spec"]["storage"] = json!({"size": "2Ti", "maxSize": "1Ti"})
        });
        let found = said(None, &new);
        assert!(
            found[0].starts_with("Orders: the operator will refuse this: spec.storage.maxSize: "),
            "{found:?}"
        );
        let wrong = table(1, |table| {
            table["spec"]["keySchema"][0]["attributeName"] = json!("other")
        });
        let found = said(None, &wrong);
        assert!(found[0].contains("spec.keySchema") && found.len() == 1, "{found:?}");
        let old = table(1, |_| ());
        let rekeyed = table(1, |table| {
            table["spec"]["attributeDefinitions"][0]["attributeName"] = json!("other");
            table["spec"]["keySchema"][0]["attributeName"] = json!("other");
        });
        let found = said(Some(&old), &rekeyed);
        assert!(found[0].contains("will refuse this: spec.keySchema"), "{found:?}");
    }

    #[test]
    fn room_is_not_taken_away_from_what_is_stored() {
        let of = |storage: Value| table(1, |table| table["spec"]["storage"] = storage);
        let partition =
            |host: &str, bytes: u64| -> Partition { serde_json::from_value(testing::stored(host, bytes)).unwrap() };
        // A table's partition and its index's are on the same volume.
        let partitions = [
            partition("a", 4 << 30),
            partition("a", 2 << 30),
            partition("b", 5 << 30),
        ];
        let old = of(json!({"size": "80Gi"}));
        let refused = |new: Value| refusal(Some(&old), &of(new), &partitions);
        assert_eq!(
            refused(json!({"size": "5Gi"})).as_deref(),
            Some(
                "spec.storage.size: 5Gi is less than 6 GiB, which each storage node of a stores: at least that much, or 80Gi as before"
            )
        );
        assert_eq!(refused(json!({"size": "6Gi"})), None);
        assert_eq!(refused(json!({"size": "5Gi", "maxSize": "10Gi"})), None, "it may grow");
        let grows = of(json!({"size": "1Gi", "maxSize": "100Gi"}));
        let found = refusal(Some(&grows), &of(json!({"size": "1Gi", "maxSize": "2Gi"})), &partitions);
        assert!(found.is_some_and(|found| found.starts_with("spec.storage.maxSize: 2Gi is less than 6 GiB")));
        // What was too small before may be enlarged step by step; and nothing is known of a new table.
        let small = of(json!({"size": "1Gi"}));
        assert_eq!(refusal(Some(&small), &of(json!({"size": "2Gi"})), &partitions), None);
        assert_eq!(refusal(None, &small, &[]), None);
    }

    #[test]
    fn a_warning_is_as_long_as_the_api_server_allows() {
        let cut = cut("é".repeat(300));
        assert_eq!(cut.chars().count(), CHARS_MAX);
        assert!(cut.ends_with(CUT));
        assert_eq!(super::cut("short".to_owned()), "short");
    }
}
