//! Crashes at every write of the log: what was acknowledged is there, what was not is there whole or not at all.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{Machine, block_on, descriptor, read, write};
use partita_model::request::Refusal;
use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage as _;
use partita_replication::log::memory::Fault;

const TABLES: u64 = 2;
const KEYS: u64 = 3;
const ROUNDS: u64 = 12;

/// What a client knows of an item: the last acknowledged value, and one whose fate it was never told.
#[derive(Default, Debug)]
struct Known {
    acknowledged: Option<String>,
    unknown: Option<String>,
}

type Oracle = BTreeMap<(u64, String), Known>;

/// Writes until something fails; true when nothing did.
fn run(machine: &Machine, oracle: &mut Oracle) -> bool {
    let Ok(store) = machine.try_start() else { return false };
    let finished = block_on(async {
        for table in 1..=TABLES {
            if store.bootstrap(descriptor(table)).is_err() {
                return false;
            }
        }
        for round in 0..ROUNDS {
            let (table, id) = (1 + round % TABLES, format!("item-{}", round % KEYS));
            let group = store.group(GroupId(table)).unwrap();
            let known = oracle.entry((table, id.clone())).or_default();
            let value = format!("value-{round}");
            match write(&group, &id, &value).await {
                Ok(_) => known.acknowledged = Some(value),
                Err(refusal) => {
                    assert!(matches!(refusal, Refusal::UnknownFate | Refusal::Stopping), "{refusal}");
                    known.unknown = Some(value);
                    return false;
                }
            }
            match round {
                3 | 8 => machine.state.flush().unwrap(),
                5 | 9 => store.cut_log(),
                _ => {}
            }
        }
        true
    });
    machine.crash(store);
    finished
}

fn check(machine: &Machine, oracle: &Oracle) {
    let store = machine.start();
    block_on(async {
        for ((table, id), known) in oracle {
            let group = store.group(GroupId(*table)).unwrap();
            let found = read(&group, id).await;
            assert!(
                found == known.acknowledged || found == known.unknown,
                "{table}/{id}: {found:?}, {known:?}"
            );
            write(&group, "new", "after the crash").await.unwrap();
            assert_eq!(read(&group, "new").await.unwrap(), "after the crash");
        }
    });
    store.shutdown();
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_disk_dies() {
    for fault in [Fault::Lost, Fault::Kept] {
        let mut failed = 0;
        for at in 1.. {
            let machine = Machine::default();
            machine.log.fail_at(at, fault);
            let mut oracle = Oracle::new();
            let finished = run(&machine, &mut oracle);
            machine.log.recover();
            check(&machine, &oracle);
            if finished {
                break;
            }
            assert_eq!(machine.deaths.all().len(), 1, "write {at}: {:?}", machine.deaths.all());
            failed += 1;
        }
        assert!(failed > ROUNDS, "only {failed} writes of the log failed");
    }
}

#[test]
fn a_crash_during_recovery_is_recovered_from() {
    for at in 1..=4 {
        let machine = Machine::default();
        let mut oracle = Oracle::new();
        assert!(run(&machine, &mut oracle));
        machine.log.fail_at(machine.log.writes() + at, Fault::Kept);
        match machine.try_start() {
            Ok(store) => machine.crash(store),
            Err(_) => machine.log.recover(),
        }
        machine.state.crash();
        check(&machine, &oracle);
    }
}
