//! Texts of the operations on items: GetItem, PutItem, UpdateItem, DeleteItem, the batches, Query and Scan.

/// `ReturnValues` of PutItem and DeleteItem.
pub const RETURN_VALUES_OLD_ONLY: &str = "ReturnValues can only be ALL_OLD or NONE";
/// A retry may find a leader.
pub const NOT_AVAILABLE: &str = "The partition that holds this key cannot be reached at the moment; retry";
/// A retry may find another process.
pub const STOPPING: &str = "This endpoint is stopping; retry";
/// Reads go on; writes wait for room.
pub const OUT_OF_SPACE: &str = "Writes are refused: the storage volume is below its reserve of free space";
/// A retry may write twice.
pub const UNKNOWN_FATE: &str = "The write may or may not have taken effect";
/// The log names the file.
pub const CORRUPT: &str = "Stored data failed its check; the server's log names the file";

/// `ConditionalOperator` with one condition.
pub const OPERATOR_OF_ONE: &str =
    "ConditionalOperator can only be used when Filter or Expected has two or more elements";
/// `ConditionalOperator` without `Expected` or a filter.
pub const OPERATOR_ALONE: &str = "ConditionalOperator cannot be used without Filter or Expected";

/// Too many keys in a BatchGetItem, over all tables.
pub const BATCH_GET_TOO_MANY: &str = "Too many items requested for the BatchGetItem call";
/// Too many requests in a BatchWriteItem, over all tables.
pub const BATCH_WRITE_TOO_MANY: &str = "Too many items requested for the BatchWriteItem call";
/// The same item twice in a batch.
pub const BATCH_DUPLICATES: &str = "Provided list of item keys contains duplicates";
/// A write request with neither a put nor a delete: DynamoDB's text is that of attribute values.
pub const WRITE_REQUEST_EMPTY: &str =
    "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
/// A write request with both.
pub const WRITE_REQUEST_BOTH: &str =
    "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";

/// A BatchWriteItem about no table.
pub const BATCH_WRITE_EMPTY: &str = "The requestItems parameter is required for BatchWriteItem";

/// No index of that name.
pub fn index_not_found(name: &str) -> String {
    format!("The table does not have the specified index: {name}")
}

/// An index that is being built.
pub fn index_backfilling(name: &str) -> String {
    format!("Cannot read from backfilling global secondary index: {name}")
}

/// `ConsistentRead` on a global index.
pub const CONSISTENT_GLOBAL: &str = "Consistent reads are not supported on global secondary indexes";
/// A Query without a key condition.
pub const NO_KEY_CONDITION: &str =
    "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.";

/// `Select` and a projection that contradict each other.
pub fn select_conflict(parameter: &str, what: &str) -> String {
    format!("Cannot specify the {parameter} when choosing to get {what}")
}

/// `SPECIFIC_ATTRIBUTES` of nothing.
pub const SELECT_SPECIFIC_WITHOUT_PROJECTION: &str =
    "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES";
/// `ALL_PROJECTED_ATTRIBUTES` of a table.
pub const SELECT_PROJECTED_WITHOUT_INDEX: &str =
    "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName";

/// `ALL_ATTRIBUTES` of a global index that does not hold them.
pub fn select_all_on_global(index: &str) -> String {
    format!(
        "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global secondary \
         index {index} because its projection type is not ALL"
    )
}

/// Attributes that a global index does not hold.
pub fn not_projected(index: &str, attributes: &[&str]) -> String {
    format!(
        "One or more parameter values were invalid: Global secondary index {index} does not project [{}]",
        attributes.join(", ")
    )
}

/// Attributes that a filter looks at and a global index does not hold.
pub fn filter_not_projected(index: &str, attributes: &[&str]) -> String {
    format!(
        "One or more parameter values were invalid: Secondary index {index} does not project one or more filter \
         attributes: [{}]",
        attributes.join(", ")
    )
}

/// A start key that does not have the attributes, or the types, of the index's and the table's keys.
pub const START_KEY_INVALID: &str = "The provided starting key is invalid";
/// A start key with another partition key than the query's.
pub const START_KEY_OUTSIDE: &str =
    "The provided starting key is outside query boundaries based on provided conditions";
/// A start key for which the sort key's condition does not hold.
pub const START_KEY_RANGE: &str = "The provided starting key does not match the range key predicate";

/// A start key that is invalid for a reason.
pub fn start_key_invalid(reason: &str) -> String {
    format!("{START_KEY_INVALID}: {reason}")
}

/// A start key of another segment.
pub fn start_key_segment(segment: u32, total: u32) -> String {
    start_key_invalid(&format!(
        "Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: {total} Segment: \
         {segment}"
    ))
}

/// `Segment` alone.
pub const TOTAL_SEGMENTS_MISSING: &str =
    "The TotalSegments parameter is required but was not present in the request when Segment parameter is present";
/// `TotalSegments` alone.
pub const SEGMENT_MISSING: &str =
    "The Segment parameter is required but was not present in the request when parameter TotalSegments is present";

/// A segment that does not exist.
pub fn segment_too_large(segment: u32, total: u32) -> String {
    format!(
        "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {segment} is not \
         less than TotalSegments: {total}"
    )
}

/// A table's declared units are used up.
pub const TABLE_UNITS_EXCEEDED: &str = "The level of configured provisioned throughput for the table was exceeded. \
    Consider increasing your provisioning level with the UpdateTable API.";
/// A global index's declared units are used up.
pub const INDEX_UNITS_EXCEEDED: &str = "The level of configured provisioned throughput for one or more global \
    secondary indexes of the table was exceeded. Consider increasing your provisioning level for the \
    under-provisioned global secondary indexes with the UpdateTable API";
/// An on-demand table or index, or one of its partitions, cannot do more yet.
pub const ON_DEMAND_EXCEEDED: &str = "Throughput exceeds the current capacity of your table or index. DynamoDB is \
    automatically scaling your table or index so please try again shortly. If exceptions persist, check if you have a \
    hot key: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html";
/// `OnDemandThroughput`'s ceiling.
pub const ON_DEMAND_MAXIMUM_EXCEEDED: &str =
    "Throughput exceeds the maximum OnDemandThroughput configured on table or index";
/// An on-demand table grows no faster.
pub const ACCOUNT_UNITS_EXCEEDED: &str = "Throughput exceeds the current throughput limit for your account. Please \
    contact AWS Support at https://aws.amazon.com/support request a limit increase";
