//! UntagResource: removes tags from a table; one that is not there is no error.

use partita_model::error::ApiError;
use partita_model::json::{self, List, Text};
use partita_model::message::table as message;
use serde::Deserialize;

use super::constraint::Constraints;
use super::control::members::check_tag_key;
use super::control::resource;
use super::list_tags_of_resource::tagged_table;
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UntagResourceInput {
    resource_arn: Option<Text>,
    tag_keys: Option<List<Text>>,
}

/// Answers a request. There is nothing to say: the body is empty.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: UntagResourceInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let arn = resource::resource_arn(&mut constraints, input.resource_arn)?;
    let keys = constraints.required("tagKeys", input.tag_keys);
    for (place, key) in keys.iter().flat_map(|keys| keys.iter()).enumerate() {
        check_tag_key(&mut constraints, &format!("tagKeys.{}.member", place + 1), key);
    }
    let keys = constraints.finish_with(keys)?;
    let name = resource::table_of_arn(call, &arn)?;
    if keys.is_empty() {
        return Err(ApiError::validation(message::TAG_KEYS_EMPTY));
    }
    tagged_table(call, &arn, name).await?;
    let keys = keys.0.into_iter().map(|key| key.0).collect();
    call.backend.tag_table(call.account, name, Vec::new(), keys).await?;
    Ok(Vec::new())
}
