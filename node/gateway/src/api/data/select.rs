//! `Select`, `ProjectionExpression` and `AttributesToGet`: what a Query or Scan returns of each row.
//!
//! 1. [`Select::check`] holds the rules that need only the request;
//! 2. [`View::new`] those that need the table or index.

use partita_model::error::ApiError;
use partita_model::expression::Projection;
use partita_model::json::{List, Text};
use partita_model::message::data as message;

use super::rows::Rows;

/// `Select`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// Whole items.
    AllAttributes,
    /// What an index's rows hold.
    AllProjectedAttributes,
    /// What the projection names.
    SpecificAttributes,
    /// No items, only their number.
    Count,
}

impl Select {
    /// The name of the parameter that projects, if one is given.
    pub fn projected_by(expression: &Option<Text>, attributes: &Option<List<Text>>) -> Option<&'static str> {
        let expression = expression.as_ref().map(|_| "ProjectionExpression");
        expression.or(attributes.as_ref().map(|_| "AttributesToGet"))
    }

    /// Refuses what cannot be asked for together. `projection` is the name of the parameter that projects, if one is
    /// given.
    pub fn check(select: Option<Self>, projection: Option<&'static str>, on_index: bool) -> Result<(), ApiError> {
        let text = match (select, projection) {
            (Some(Self::AllAttributes), Some(name)) => message::select_conflict(name, "ALL_ATTRIBUTES"),
            (Some(Self::AllProjectedAttributes), Some(name)) => {
                message::select_conflict(name, "ALL_PROJECTED_ATTRIBUTES")
            }
            (Some(Self::Count), Some(name)) => message::select_conflict(name, "only the Count"),
            (Some(Self::SpecificAttributes), None) => message::SELECT_SPECIFIC_WITHOUT_PROJECTION.into(),
            (Some(Self::AllProjectedAttributes), None) if !on_index => message::SELECT_PROJECTED_WITHOUT_INDEX.into(),
            _ => return Ok(()),
        };
        Err(ApiError::validation(text))
    }
}

/// What is returned of each row.
#[derive(Debug)]
pub struct View {
    /// Only these attributes.
    pub projection: Option<Projection>,
    /// Only how many there are.
    pub count_only: bool,
    /// Whole items are read from the table for a local index's rows.
    pub fetch_from_table: bool,
}

impl View {
    /// Matches what is asked for with what the rows hold.
    pub fn new(select: Option<Select>, projection: Option<Projection>, rows: Rows<'_>) -> Result<Self, ApiError> {
        let whole = select == Some(Select::AllAttributes);
        let missing = match &projection {
            Some(projection) => missing_attributes(projection, rows),
            None => Vec::new(),
        };
        if let Rows::Global(_, index) = rows {
            if whole && !rows.hold_all() {
                return Err(ApiError::validation(message::select_all_on_global(&index.name)));
            }
            if !missing.is_empty() {
                return Err(ApiError::validation(message::not_projected(&index.name, &missing)));
            }
        }
        let fetch_from_table = (whole && !rows.hold_all()) || !missing.is_empty();
        Ok(Self {
            projection,
            count_only: select == Some(Select::Count),
            fetch_from_table,
        })
    }
}

/// The projected top-level attributes that the rows do not hold.
fn missing_attributes<'a>(projection: &'a Projection, rows: Rows<'_>) -> Vec<&'a str> {
    let roots = projection.paths().iter().map(|path| path.root.as_str());
    let mut missing: Vec<&str> = roots.filter(|name| !rows.hold(name)).collect();
    missing.dedup();
    missing
}
