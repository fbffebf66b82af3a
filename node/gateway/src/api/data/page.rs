//! What Query and Scan share: one page of rows, and how it is rendered.

use partita_model::capacity::{HalfUnits, ReadCost, read_units};
use partita_model::expression::Condition;
use partita_model::key::range::KeyRange;
use partita_model::request::{PageReply, PageRequest};

use super::consumed::{Consumed, ReturnConsumed};
use super::refusal::Failure;
use super::rows::Rows;
use super::select::View;
use super::write::{Members, write_list};
use crate::api::Call;
use crate::backend::Backend;

/// A page is full when this many bytes have been evaluated.
const PAGE_BYTES_MAX: u32 = 1 << 20;

/// What is read.
#[derive(Debug)]
pub struct Page<'a> {
    /// The rows.
    pub rows: Rows<'a>,
    /// Which of them, behind the start key.
    pub range: KeyRange,
    /// From the end of the range to its start.
    pub reverse: bool,
    /// `Limit`.
    pub limit: Option<u32>,
    /// `ConsistentRead`.
    pub consistent: bool,
    /// Only rows for which this holds.
    pub filter: Option<Condition>,
    /// What is returned of each.
    pub view: View,
}

/// Reads a page, and renders the answer. `name` is the table's as the request had it.
pub async fn send<B: Backend>(
    call: &Call<'_, B>,
    name: &str,
    mode: ReturnConsumed,
    page: Page<'_>,
) -> Result<Vec<u8>, Failure> {
    let Page {
        rows,
        range,
        reverse,
        limit,
        consistent,
        filter,
        view,
    } = page;
    let schema = rows.schema();
    let request = PageRequest {
        table: schema.id,
        schema_version: schema.version,
        target: rows.target(),
        range,
        reverse,
        limit,
        bytes_max: PAGE_BYTES_MAX,
        consistent,
        filter,
        projection: view.projection,
        count_only: view.count_only,
        fetch_from_table: view.fetch_from_table,
    };
    let reply = call.backend.page(request).await?;
    let consumed = consumed(rows, &reply, consistent);
    call.count_read(schema, consumed.total());
    call.count_returned(schema, reply.items.len());
    let mut out = Vec::new();
    let mut members = Members::open(&mut out);
    if !view.count_only {
        write_list(members.member("Items"), &reply.items, |out, item| {
            item.as_ref().write_json(out);
        });
    }
    for (member, count) in [("Count", reply.count), ("ScannedCount", reply.scanned)] {
        let out = members.member(member);
        out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    }
    if let Some((_, last)) = &reply.last {
        last.as_ref().write_json(members.member("LastEvaluatedKey"));
    }
    if mode != ReturnConsumed::None {
        consumed.write(members.member("ConsumedCapacity"), mode, name, schema);
    }
    members.close();
    Ok(out)
}

/// A page is priced by the sum of the sizes of what was evaluated, whole items fetched for a local index one by one.
fn consumed(rows: Rows<'_>, reply: &PageReply, consistent: bool) -> Consumed {
    let units = read_units(reply.bytes, consistent);
    match rows {
        Rows::Table(_) => Consumed::of_table(ReadCost(units)),
        Rows::Local(_, index) => Consumed::of_local(index.id, units, HalfUnits(reply.fetch_half_units)),
        Rows::Global(_, index) => Consumed::of_global(index.id, units),
    }
}
