//! `partita admin`: the admin API from a shell.
//!
//! 1. Ask every node of `--nodes` what it has ([`fleet`]); one that does not answer is said to be silent.
//! 2. A question is answered from that; an order goes to the node that it is for, which is found among them: the leader of the
//!    group, or the store that is named ([`members`], [`split`], [`merge`], [`recover`]). [`verify`] asks many questions.
//! 3. Print what was found or what came of it: columns for people, or JSON ([`print`]).
//!
//! Every order has an id (`--id`), which is drawn and printed when it is not given: with the same id it is carried out once,
//! however often it is repeated.

mod fleet;
mod members;
mod merge;
mod order;
mod print;
mod recover;
mod split;
mod verify;

use partita_model::hexadecimal;
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_model::wire::WireItem;

use partita_tls::Role;

use crate::cli::{AdminCall, AdminCommand};
use crate::tls;
use fleet::{Fleet, Nodes};
use print::Printer;

/// Carries one command out.
pub fn run(call: AdminCall) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_in(call))
}

async fn run_in(call: AdminCall) -> anyhow::Result<()> {
    let printer = Printer::new(call.output);
    let tls = tls::in_folder(call.peer_tls.as_deref(), Role::Admin)?;
    let nodes = Nodes::new(call.nodes, tls)?;
    let fleet = Fleet::ask(&nodes).await?;
    match call.command {
        AdminCommand::Stores => printer.stores(&fleet),
        AdminCommand::Groups => printer.groups(&fleet),
        AdminCommand::Group { group } => printer.group(&fleet.group(group)?),
        AdminCommand::Transfer { group, to } => members::transfer(&fleet, &printer, group, &to).await,
        AdminCommand::AddLearner { group, store, id } => {
            let added = members::add_learner(&fleet, group, &store, id.unwrap_or_else(fresh)).await?;
            printer.changed(&added)
        }
        AdminCommand::Promote { group, replica, id } => {
            let step = partita_model::admin::ChangeStep::Promote(replica);
            members::change(&fleet, &printer, group, step, id.unwrap_or_else(fresh)).await
        }
        AdminCommand::Remove { group, replica, id } => {
            members::remove(&fleet, &printer, group, replica, id.unwrap_or_else(fresh)).await
        }
        AdminCommand::Replace { group, replica, store } => {
            members::replace(&fleet, &printer, group, replica, &store).await
        }
        AdminCommand::Split {
            group,
            at,
            at_key,
            child,
            expected_epoch,
            id,
        } => {
            let order = split::Order {
                group,
                place: split::Place::from_flags(at, at_key),
                child,
                expected_epoch,
                id: id.unwrap_or_else(fresh),
            };
            split::split(&nodes, &fleet, &printer, order).await
        }
        AdminCommand::Verify { table } => {
            let checks = verify::verify(&fleet, &table).await?;
            printer.checks(&table, &checks)
        }
        AdminCommand::Merge { group, source, id } => {
            merge::merge(&nodes, &fleet, &printer, group, source, id.unwrap_or_else(fresh)).await
        }
        AdminCommand::Recover {
            group,
            from,
            i_accept_loss,
            id,
        } => {
            let order = recover::Order {
                group,
                from,
                accepted: i_accept_loss,
                id,
            };
            recover::recover(&fleet, &printer, order).await
        }
        AdminCommand::SplitPoint { group } => split::point(&fleet, &printer, group).await,
        AdminCommand::Drain { store } => members::drain(&fleet, &printer, &store, true).await,
        AdminCommand::Undrain { store } => members::drain(&fleet, &printer, &store, false).await,
    }
}

fn fresh() -> uuid::Uuid {
    let id = uuid::Uuid::new_v4();
    eprintln!("id {id}");
    id
}

/// A group's id, as flags have it.
pub fn group_id(text: &str) -> Result<GroupId, String> {
    let id = hexadecimal::parse_id(text).filter(|id| *id != 0);
    id.map(GroupId)
        .ok_or_else(|| "a group's id has 16 hexadecimal digits: `partita admin groups` lists them".to_owned())
}

/// A key's bytes, as flags have them.
pub fn key_bytes(text: &str) -> Result<KeyBytes, String> {
    let bytes =
        hex::decode(text).map_err(|error| format!("{error}: a key's bytes are hexadecimal digits, two a byte"))?;
    match bytes.is_empty() {
        true => Err("an empty key is in front of every other one: nothing can be cut off there".to_owned()),
        false => Ok(KeyBytes(bytes)),
    }
}

/// An item's key, as flags have it.
pub fn item_key(text: &str) -> Result<Item, String> {
    let example = r#"an item's key in DynamoDB's JSON, such as {"pk": {"S": "a"}}"#;
    let item: WireItem = serde_json::from_str(text).map_err(|error| format!("{error}: {example}"))?;
    item.into_item().map_err(|error| error.to_string())
}

/// A group in paths and columns.
fn shown(group: GroupId) -> String {
    format!("{:016x}", group.0)
}
