//! TagResource: adds tags to a table, or gives them new values.

use partita_model::error::ApiError;
use partita_model::json::{self, List, Structure, Text};
use partita_model::message::table as message;
use partita_model::table::check_tags;
use serde::Deserialize;

use super::constraint::Constraints;
use super::control::members::{Tag, tags_of};
use super::control::resource;
use super::list_tags_of_resource::tagged_table;
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagResourceInput {
    resource_arn: Option<Text>,
    tags: Option<List<Structure<Tag>>>,
}

/// Answers a request. There is nothing to say: the body is empty.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: TagResourceInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let arn = resource::resource_arn(&mut constraints, input.resource_arn)?;
    let tags = constraints.required("tags", input.tags);
    let tags = tags.map(|tags| tags_of(&mut constraints, tags));
    let tags = constraints.finish_with(tags)?;
    let name = resource::table_of_arn(call, &arn)?;
    if tags.is_empty() {
        return Err(ApiError::validation(message::TAGS_EMPTY));
    }
    check_tags(&tags)?;

    let table = tagged_table(call, &arn, name).await?;
    let mut all = table.spec.tags;
    all.retain(|(known, _)| !tags.iter().any(|(key, _)| key == known));
    all.extend(tags.iter().cloned());
    check_tags(&all)?;
    call.backend.tag_table(call.account, name, tags, Vec::new()).await?;
    Ok(Vec::new())
}
