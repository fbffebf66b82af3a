//! A Table that nothing is kept of: a new table begins, or one whose data was retained is taken up on purpose.

use std::collections::BTreeSet;

use partita_crds::names;
use partita_model::hexadecimal::parse_id;
use partita_model::schema::TableId;
use partita_model::table::record::{Circumstances, Record};

use super::{Plan, Problem, recover};
use crate::settings::Settings;
use crate::table::observe::{Observed, own_id};
use crate::table::validate::{Valid, is_from_api};

/// Plans a pass.
pub fn plan(observed: &Observed, valid: &Valid, settings: &Settings, at: Circumstances) -> Plan {
    let bootstrap = observed.table.spec.bootstrap.as_ref();
    let own = own_id(&observed.table);
    if let Some(adopt) = bootstrap.and_then(|bootstrap| bootstrap.adopt.as_deref()) {
        return match parse_id(adopt) {
            Some(id) => adopted(observed, valid, TableId(id), settings, at),
            None => Plan::problem(
                None,
                Problem::stalled(
                    "InvalidSpec",
                    "spec.bootstrap.adopt: a table's id has 16 hexadecimal digits",
                ),
            ),
        };
    }
    // Claims of the very table whose record is gone: its status was lost, not its data.
    if observed.claims.iter().any(|claim| claim.table == own) {
        return adopted(observed, valid, own, settings, at);
    }
    let retained = retained(observed, own);
    if !retained.is_empty() && !is_from_api(&observed.table) {
        return Plan::problem(None, Problem::stalled("RetainedDataFound", found(observed, &retained)));
    }
    let record = Record::create(
        &names::account(&observed.namespace),
        valid.spec.clone(),
        valid.owner.clone(),
        own,
        at,
    );
    let news = format!(
        "begins as {} with {} partitions",
        names::id_label(own),
        record.partitions.len()
    );
    Plan {
        record: Some(record),
        news: Some(("Creating", news)),
        ..Plan::default()
    }
}

/// Ids of tables of this name whose claims are there.
fn retained(observed: &Observed, own: TableId) -> BTreeSet<TableId> {
    let name = Some(&observed.table.spec.table_name);
    let claims = observed.claims.iter();
    claims
        .filter(|claim| claim.table != own && claim.table_name.as_ref() == name)
        .map(|claim| claim.table)
        .collect()
}

fn found(observed: &Observed, retained: &BTreeSet<TableId>) -> String {
    let ids: Vec<String> = retained.iter().map(|id| names::id_label(*id)).collect();
    let first = ids.first().map(String::as_str).unwrap_or_default();
    format!(
        "data of a former table {} is here, with the id {}. To go on with it, add `bootstrap: {{adopt: \"{first}\"}}` to the \
         spec. To begin with an empty table, delete it for good: `kubectl -n {} delete pvc -l {}={first}`",
        observed.table.spec.table_name,
        ids.join(" and "),
        observed.namespace,
        names::TABLE_ID,
    )
}

/// A table whose data is there.
fn adopted(observed: &Observed, valid: &Valid, id: TableId, settings: &Settings, at: Circumstances) -> Plan {
    let claims: Vec<_> = observed.claims.iter().filter(|claim| claim.table == id).collect();
    let label = names::id_label(id);
    if claims.is_empty() {
        let message = format!(
            "spec.bootstrap.adopt: there are no claims of a table {label} in this namespace; remove it to begin with an empty table"
        );
        return Plan::problem(None, Problem::stalled("NothingToAdopt", message));
    }
    let name = &observed.table.spec.table_name;
    if let Some(other) = claims
        .iter()
        .find_map(|claim| claim.table_name.as_ref().filter(|other| *other != name))
    {
        let message = format!("spec.bootstrap.adopt: {label} is a table called {other}, not {name}");
        return Plan::problem(None, Problem::stalled("AdoptionRefused", message));
    }
    recover::record(observed, valid, id, settings, at)
}
