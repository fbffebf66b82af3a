//! What PutItem, UpdateItem and DeleteItem share: what comes back, and how it is rendered.

use partita_model::error::ApiError;
use partita_model::item::ItemRef;
use partita_model::json::Text;
use partita_model::message::data as message;
use partita_model::request::{Refusal, ReturnValues, WriteReply, WriteRequest};
use partita_model::schema::TableSchema;
use partita_model::value::json::write_string;

use super::consumed::{Consumed, ReturnConsumed};
use super::parameters;
use super::refusal::Failure;
use crate::api::Call;
use crate::api::constraint::Constraints;
use crate::backend::Backend;

/// What a request wants to know about its write.
#[derive(Debug, Clone, Copy)]
pub struct Returned {
    /// `ReturnConsumedCapacity`.
    pub consumed: ReturnConsumed,
    /// `ReturnItemCollectionMetrics`.
    pub metrics: bool,
    /// `ReturnValues`.
    pub values: ReturnValues,
    /// `ReturnValuesOnConditionCheckFailure`.
    pub on_failure: bool,
}

impl Returned {
    /// Checks the members' values.
    pub fn check(
        constraints: &mut Constraints,
        consumed: &Option<Text>,
        metrics: &Option<Text>,
        values: &Option<Text>,
        on_failure: &Option<Text>,
    ) -> Self {
        // In the order in which DynamoDB tells them.
        let consumed = parameters::return_consumed(constraints, consumed);
        let values = parameters::return_values(constraints, values);
        Self {
            consumed,
            values,
            metrics: parameters::return_metrics(constraints, metrics),
            on_failure: parameters::return_on_failure(constraints, on_failure),
        }
    }

    /// PutItem and DeleteItem can return the old item only.
    pub fn check_old_only(&self) -> Result<(), ApiError> {
        match self.values {
            ReturnValues::None | ReturnValues::AllOld => Ok(()),
            ReturnValues::UpdatedOld | ReturnValues::AllNew | ReturnValues::UpdatedNew => {
                Err(ApiError::validation(message::RETURN_VALUES_OLD_ONLY))
            }
        }
    }
}

/// Writes, and renders the answer. `name` is the table's as the request had it.
pub async fn send<B: Backend>(
    call: &Call<'_, B>,
    schema: &TableSchema,
    name: &str,
    returned: Returned,
    collection: Option<Collection>,
    request: WriteRequest,
) -> Result<Vec<u8>, Failure> {
    let reply = match call.backend.write(request).await {
        Ok(reply) => reply,
        Err(refusal) => {
            // A condition that does not hold has its price all the same.
            if let Refusal::Evaluated { error, cost } = &refusal {
                call.count_write(schema, Consumed::of_write(cost).total());
                call.count_refused(schema, error);
            }
            return Err(refusal.into());
        }
    };
    let consumed = Consumed::of_write(&reply.cost);
    call.count_write(schema, consumed.total());
    let mut out = Vec::with_capacity(128);
    let mut members = Members::open(&mut out);
    if let Some(attributes) = &reply.attributes {
        attributes.as_ref().write_json(members.member("Attributes"));
    }
    if returned.consumed != ReturnConsumed::None {
        consumed.write(members.member("ConsumedCapacity"), returned.consumed, name, schema);
    }
    if let Some(collection) = collection {
        collection.write(members.member("ItemCollectionMetrics"), &reply);
    }
    members.close();
    Ok(out)
}

/// The item collection of a write, when its size is asked for and known: tables with local indexes only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// The partition key, as JSON.
    pub key: Vec<u8>,
}

impl Collection {
    /// The collection that `item`, which has the key attributes, is in.
    pub fn of(schema: &TableSchema, item: ItemRef<'_>, wanted: bool) -> Option<Self> {
        if !wanted || schema.local.is_empty() {
            return None;
        }
        let mut key = Vec::new();
        let mut members = Members::open(&mut key);
        for attribute in &schema.keys.hash {
            let value = item.get(&attribute.name)?;
            value.write_json(members.member(&attribute.name));
        }
        members.close();
        Some(Self { key })
    }

    /// Writes an `ItemCollectionMetrics`. The estimate is the whole gigabytes around the size.
    pub fn write(&self, out: &mut Vec<u8>, reply: &WriteReply) {
        /// Item collections are counted in binary gigabytes.
        const GIGABYTE_BYTES: u64 = 1 << 30;
        let below = reply.collection_bytes.unwrap_or(0) / GIGABYTE_BYTES;
        out.extend_from_slice(b"{\"ItemCollectionKey\":");
        out.extend_from_slice(&self.key);
        out.extend_from_slice(b",\"SizeEstimateRangeGB\":[");
        for bound in [below, below + 1] {
            out.extend_from_slice(itoa::Buffer::new().format(bound).as_bytes());
            out.extend_from_slice(if bound == below { b".0," } else { b".0]" });
        }
        out.push(b'}');
    }
}

/// A JSON object that is being written.
#[derive(Debug)]
pub struct Members<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Members<'a> {
    /// Starts the object.
    pub fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes a member's name; the caller writes its value.
    pub fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        write_string(name.as_bytes(), self.out);
        self.out.push(b':');
        self.out
    }

    /// Ends the object.
    pub fn close(self) {
        self.out.push(b'}');
    }
}

/// Writes a JSON list.
pub fn write_list<T>(out: &mut Vec<u8>, elements: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, element) in elements.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, element);
    }
    out.push(b']');
}
