//! Updates: what is to be changed, and where.
//!
//! 1. `update_parser` makes the actions from an expression, `legacy` from `AttributeUpdates`.
//! 2. [`Update::apply`] (in `apply`) evaluates all of them against the item as it was, then copies the item once and
//!    puts in what has changed on the way.

use serde::{Deserialize, Serialize};

use super::projection::copy_paths;
use super::{Kind, Path, Placeholders, apply, update_parser};
use crate::error::ApiError;
use crate::item::{Item, ItemRef};
use crate::message::expression as text;
use crate::schema::KeySchema;
use crate::value::Value;

/// An update expression, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "(Vec<Action>, bool)", into = "(Vec<Action>, bool)")]
pub struct Update {
    /// Sorted by path, none below another.
    actions: Vec<Action>,
    /// Made from `AttributeUpdates`: lists can be added, and some texts differ.
    legacy: bool,
}

impl From<(Vec<Action>, bool)> for Update {
    fn from((actions, legacy): (Vec<Action>, bool)) -> Self {
        Self::new(actions, legacy)
    }
}

impl From<Update> for (Vec<Action>, bool) {
    fn from(update: Update) -> Self {
        (update.actions, update.legacy)
    }
}

/// A place and what is done to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Action {
    pub path: Path,
    pub change: Change,
}

/// What is done to a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// `SET path = :value`
    Put(Value),
    /// `SET path = …`: a program in postfix order.
    Set(Vec<Term>),
    /// `REMOVE path`
    Remove,
    /// `ADD path :value`
    Add(Value),
    /// `DELETE path :set`
    Delete(Value),
}

/// One step of the program after `SET path =`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Term {
    /// Push a value.
    Value(Value),
    /// Push what is at a path.
    Path(Path),
    /// Replace what was pushed by what is at a path, if there is something.
    IfNotExists(Path),
    /// Append the list pushed last to the one before.
    ListAppend,
    /// Add what was pushed last to what was pushed before.
    Plus,
    /// Take what was pushed last from what was pushed before.
    Minus,
}

impl Update {
    /// Parses an `UpdateExpression`.
    pub fn parse(text: &str, placeholders: &Placeholders<'_>) -> Result<Self, ApiError> {
        let actions = update_parser::parse(text, placeholders)?;
        let paths: Vec<&Path> = actions.iter().map(|action| &action.path).collect();
        super::path::check_disjoint(Kind::Update, &paths)?;
        Ok(Self::new(actions, false))
    }

    /// An update without actions: the item is made if there is none (UpdateItem without an expression).
    pub fn nothing() -> Self {
        Self::new(Vec::new(), false)
    }

    /// Actions on disjoint paths.
    pub(crate) fn new(mut actions: Vec<Action>, legacy: bool) -> Self {
        actions.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self { actions, legacy }
    }

    /// Refuses updates of the table's key attributes.
    pub fn check_not_on_keys(&self, keys: &KeySchema) -> Result<(), ApiError> {
        match keys
            .attributes()
            .find(|key| self.actions.iter().any(|a| a.path.root == key.name))
        {
            None => Ok(()),
            Some(key) => Err(ApiError::validation(text::key_updated(&key.name))),
        }
    }

    /// The top-level attributes it changes or may change, each as often as a path begins with it.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().map(|action| action.path.root.as_str())
    }

    /// The item as it is after the update, of time 0; `key` is the item's key attributes, used when there is no item
    /// yet. The new item's nesting and size are checked.
    pub fn apply(&self, old: Option<ItemRef<'_>>, key: ItemRef<'_>) -> Result<Item, ApiError> {
        apply::apply(&self.actions, self.legacy, old, key)
    }

    /// `UPDATED_OLD`: what the update touches, as it was; `None` when nothing of it was there.
    pub fn updated_old(&self, old: Option<ItemRef<'_>>) -> Option<Item> {
        touched(old?, &self.actions)
    }

    /// `UPDATED_NEW`: what is now at the places that the update touches; `None` when there is nothing. (An element that
    /// was appended by an index behind the end is at another place; behind a removed element, the next one has its
    /// place.)
    pub fn updated_new(&self, new: ItemRef<'_>) -> Option<Item> {
        touched(new, &self.actions)
    }

    /// Whether there is still no item after the update of one that is not there: one that only takes away makes none.
    /// (As measured against DynamoDB in scylladb/scylladb#5862 and #28544; an update without actions makes the item,
    /// ExtendDB/extenddb#118.)
    pub fn makes_no_item(&self) -> bool {
        let takes_away = |action: &Action| matches!(action.change, Change::Remove | Change::Delete(_));
        !self.actions.is_empty() && self.actions.iter().all(takes_away)
    }
}

/// What is at the places of the actions (sorted); `None` when nothing is.
fn touched(item: ItemRef<'_>, actions: &[Action]) -> Option<Item> {
    let copy = copy_paths(item, actions, |action| &action.path);
    (!copy.as_ref().is_empty()).then_some(copy)
}
