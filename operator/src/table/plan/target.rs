//! A specification that has changed: the record gets another target.

use partita_model::table::Status;
use partita_model::table::record::{Circumstances, IndexPhase, Record};

use super::{Plan, Problem};
use crate::table::scale::Scaled;
use crate::table::validate::Valid;

/// A plan that changes the record, if the specification asks for it.
pub fn plan(record: &Record, valid: &Result<Valid, Problem>, at: Circumstances) -> Result<Option<Plan>, Problem> {
    let valid = valid.as_ref().map_err(Clone::clone)?;
    let mut next = record.clone();
    next.owner = valid.owner.clone();
    if record.settled() {
        let refused = |error| Problem::stalled("ChangeRefused", format!("spec.{error}"));
        next.retarget(valid.spec.clone(), at).map_err(refused)?;
    } else if record.status == Status::Active {
        give_up_indexes(&mut next, valid, at);
    }
    Ok((next != *record).then(|| Plan {
        news: valid
            .scaled
            .first()
            .map(|scaled| (scaled.action(), words(&valid.scaled))),
        decisions: valid
            .scaled
            .iter()
            .map(|scaled| (scaled.action(), scaled.to_string()))
            .collect(),
        record: Some(next),
        ..Plan::default()
    }))
}

/// All of it is one event.
fn words(scaled: &[Scaled]) -> String {
    let words: Vec<String> = scaled.iter().map(Scaled::to_string).collect();
    words.join("; ")
}

/// An index that is still being built is given up as soon as it is not wanted any more; whatever else has changed has to wait
/// until the table is settled.
fn give_up_indexes(record: &mut Record, valid: &Valid, at: Circumstances) {
    let unwanted: Vec<String> = record
        .global
        .iter()
        .filter(|index| index.phase == IndexPhase::Building)
        .filter(|index| !valid.spec.global.iter().any(|wanted| wanted.name == index.name))
        .map(|index| index.name.clone())
        .collect();
    if unwanted.is_empty() {
        return;
    }
    let mut spec = record.spec.clone();
    spec.global.retain(|index| !unwanted.contains(&index.name));
    // Nothing of the rest changes: there is nothing to refuse. If there were, the index would be built to its end.
    let mut next = record.clone();
    if next.retarget(spec, at).is_ok() {
        *record = next;
    }
}
