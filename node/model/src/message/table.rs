//! Texts of the table operations.

/// What DynamoDB puts in front of most of its complaints about parameters.
fn invalid(complaint: impl std::fmt::Display) -> String {
    format!("One or more parameter values were invalid: {complaint}")
}

/// An encryption that is not a table's to choose.
pub const SSE_TYPE: &str = "One or more parameter values were invalid: SSEType AES256 is not supported";
/// A provisioned table without units.
pub const UNITS_REQUIRED: &str = "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits \
                                  must both be specified when BillingMode is PROVISIONED";
/// An on-demand table with units.
pub const UNITS_WITH_ON_DEMAND: &str = "One or more parameter values were invalid: Neither ReadCapacityUnits nor \
                                        WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST";
/// A key schema that does not begin with the partition key.
pub const FIRST_KEY_NOT_HASH: &str = "Invalid KeySchema: The first KeySchemaElement is not a HASH key type";
/// A key schema whose second element is a partition key too.
pub const SECOND_KEY_NOT_RANGE: &str = "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type";
/// A global index whose partition key attributes do not stand together at the front.
pub const HASH_AFTER_RANGE: &str =
    "Invalid KeySchema: All HASH key attributes must precede RANGE key attributes in the KeySchema";
/// Partition key and sort key of one name.
pub const SAME_KEY_TWICE: &str = "Both the Hash Key and the Range Key element in the KeySchema have the same name";
/// More key attributes than definitions.
pub const KEY_NOT_DEFINED: &str = "Invalid KeySchema: Some index key attribute have no definition";
/// More definitions than key attributes, on a table without indexes.
pub const KEYS_AND_DEFINITIONS_DIFFER: &str = "One or more parameter values were invalid: Number of attributes in \
                                               KeySchema does not exactly match number of attributes defined in \
                                               AttributeDefinitions";
/// A local index on a table without a sort key.
pub const LOCAL_INDEX_WITHOUT_TABLE_RANGE: &str = "One or more parameter values were invalid: Table KeySchema does \
                                                   not have a range key, which is required when specifying a \
                                                   LocalSecondaryIndex";
/// `"LocalSecondaryIndexes": []`.
pub const LOCAL_INDEXES_EMPTY: &str = "One or more parameter values were invalid: List of LocalSecondaryIndexes is \
                                       empty";
/// `"GlobalSecondaryIndexes": []`.
pub const GLOBAL_INDEXES_EMPTY: &str = "One or more parameter values were invalid: List of GlobalSecondaryIndexes is \
                                        empty";
/// Too many local indexes.
pub const LOCAL_INDEXES_TOO_MANY: &str = "One or more parameter values were invalid: Number of LocalSecondaryIndexes \
                                          exceeds per-table limit of 5";
/// Too many global indexes.
pub const GLOBAL_INDEXES_TOO_MANY: &str = "One or more parameter values were invalid: GlobalSecondaryIndex count \
                                           exceeds the per-table limit of 20";
/// Too many projected attributes.
pub const PROJECTED_TOO_MANY: &str = "One or more parameter values were invalid: Total number of NonKeyAttributes \
                                      projected across all indexes exceeds the per-table limit of 100";
/// CreateTable with a stream without its view. (DynamoDB calls the view `UpdateViewType` here.)
pub const NEW_STREAM_WITHOUT_VIEW: &str = "One or more parameter values were invalid: Table is being created with a \
                                           stream enabled, UpdateViewType should be specified";
/// CreateTable with a view without a stream.
pub const NEW_VIEW_WITHOUT_STREAM: &str = "One or more parameter values were invalid: Table is being created with a \
                                           stream disabled, UpdateViewType should not be specified";
/// UpdateTable to a stream without its view.
pub const STREAM_ON_WITHOUT_VIEW: &str = "One or more parameter values were invalid: If stream is being enabled, then \
                                          UpdateViewType must be specified";
/// UpdateTable to a view without a stream.
pub const STREAM_OFF_WITH_VIEW: &str = "One or more parameter values were invalid: If stream is being disabled, then \
                                        UpdateViewType must not be specified";
/// UpdateTable without anything to update.
pub const NOTHING_TO_UPDATE: &str = "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, \
                                     GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required";
/// A second index built or removed at the same time.
pub const ONE_INDEX_AT_A_TIME: &str = "Subscriber limit exceeded: Only 1 online index can be created or deleted \
                                       simultaneously per table";
/// A new index of a name that is taken.
pub const INDEX_EXISTS: &str = "Attempting to create an index which already exists";
/// DeleteTable of a protected table.
pub const DELETION_PROTECTED: &str = "Resource cannot be deleted as it is currently protected against deletion. \
                                      Disable deletion protection first.";
/// UpdateTimeToLive on what is on.
pub const TIME_TO_LIVE_ALREADY_ON: &str = "TimeToLive is already enabled";
/// UpdateTimeToLive off what is off.
pub const TIME_TO_LIVE_ALREADY_OFF: &str = "TimeToLive is already disabled";
/// UpdateTimeToLive while the last change is still going on.
pub const TIME_TO_LIVE_CHANGING: &str = "Time to live has been modified multiple times within a fixed interval";
/// A tag key of AWS's own.
pub const TAG_RESERVED: &str = "One or more parameter values were invalid: Tag keys starting with 'aws:' are reserved \
                                for system use";
/// TagResource without tags. (The spelling is DynamoDB's.)
pub const TAGS_EMPTY: &str = "Atleast one Tag needs to be provided as Input.";
/// UntagResource without keys.
pub const TAG_KEYS_EMPTY: &str = "Atleast one Tag Key needs to be provided as Input.";
/// An operation on tags without a resource.
pub const ARN_MISSING: &str = "Invalid TableArn";
/// More tags than a table may have.
pub const TAGS_TOO_MANY: &str =
    "One or more parameter values were invalid: Too many tags: a resource can have up to 50 tags";

/// An operation on a table without its name.
pub const TABLE_NAME_MISSING: &str = "The parameter 'TableName' is required but was not present in the request";
/// An operation on an existing table with a name that none has.
pub const TABLE_NAME_LENGTH: &str = "TableName must be at least 3 characters long and at most 255 characters long";
/// A name that is not a table's.
pub const TABLE_NAME_INVALID: &str = "Invalid table/index name.  Table/index names must be between 3 and 255 \
                                      characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', \
                                      and '.'";

/// An index update with no or several actions.
pub const INDEX_UPDATE_NOT_ONE: &str = "One or more parameter values were invalid: One of \
                                        GlobalSecondaryIndexUpdate's Create, Update or Delete must be specified";
/// A token that was never given out.
pub const NEXT_TOKEN_INVALID: &str = "The provided NextToken is invalid";

/// A tagged resource that does not exist. (The spelling is DynamoDB's.)
pub fn resource_not_found(arn: &str) -> String {
    format!("Requested resource not found: ResourcArn: {arn} not found")
}

/// Backups of a table that does not exist.
pub fn backed_up_table_not_found(name: &str) -> String {
    format!("Table not found: {name}")
}

/// The policy of a table, of which there is none.
pub fn policy_not_found(arn: &str) -> String {
    format!("Resource-based policy not found for the provided ResourceArn: {arn}")
}

/// What is said of a table's global index, of which there is none.
pub fn table_index_not_found(table: &str, index: &str) -> String {
    format!("Requested resource not found: Table: {table}, Index: {index} not found")
}

/// CreateTable of a name that is taken.
pub fn table_exists(name: &str) -> String {
    format!("Table already exists: {name}")
}

/// A change of a table that is being created, updated or deleted.
pub fn table_in_use(name: &str, being: &str) -> String {
    format!("Attempt to change a resource which is still in use: Table is being {being}: {name}")
}

/// A change of an index that is being created, updated or deleted.
pub fn index_in_use(table: &str, index: &str, being: &str) -> String {
    format!("Attempt to change a resource which is still in use: Index is being {being}: {index}, Table: {table}")
}

/// Key attributes without definitions.
pub fn keys_not_defined<'a>(
    keys: impl IntoIterator<Item = &'a str>,
    defined: impl IntoIterator<Item = &'a str>,
) -> String {
    invalid(format_args!(
        "Some index key attributes are not defined in AttributeDefinitions. Keys: {}, AttributeDefinitions: {}",
        list(keys),
        list(defined)
    ))
}

/// Definitions that no key uses, on a table with indexes.
pub fn definitions_not_used<'a>(
    defined: impl IntoIterator<Item = &'a str>,
    used: impl IntoIterator<Item = &'a str>,
) -> String {
    invalid(format_args!(
        "Some AttributeDefinitions are not used. AttributeDefinitions: {}, keys used: {}",
        list(defined),
        list(used)
    ))
}

/// One attribute defined twice.
pub fn definition_duplicate(name: &str) -> String {
    format!("Attribute Name is duplicated: {name}")
}

/// An attribute that is of another type in the table already.
pub fn definition_conflict(name: &str) -> String {
    invalid(format_args!("Attribute {name} is already defined with another type"))
}

/// A local index without a sort key.
pub fn index_without_range(index: &str) -> String {
    invalid(format_args!(
        "Index KeySchema does not have a range key for index: {index}"
    ))
}

/// A local index with a partition key of its own.
pub fn index_with_other_hash(index: &str, index_hash: &str, table_hash: &str) -> String {
    invalid(format_args!(
        "Index KeySchema does not have the same leading hash key as table KeySchema for index: {index}. index hash \
         key: {index_hash}, table hash key: {table_hash}"
    ))
}

/// More key attributes than an index may have; `kind` is `HASH` or `RANGE`.
pub fn index_keys_too_many(kind: &str) -> String {
    format!("Invalid KeySchema: The KeySchema exceeds the maximum allowed number of {kind} key attributes")
}

/// Two indexes of one name.
pub fn index_duplicate(index: &str) -> String {
    invalid(format_args!("Duplicate index name: {index}"))
}

/// An index without `ProjectionType`.
pub fn projection_unknown() -> String {
    invalid("Unknown ProjectionType: null")
}

/// Projected attributes where the type has none.
pub fn projection_with_attributes(kind: &str) -> String {
    invalid(format_args!(
        "ProjectionType is {kind}, but NonKeyAttributes is specified"
    ))
}

/// No projected attributes where the type needs them.
pub fn projection_without_attributes() -> String {
    invalid("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
}

/// CreateTable of a provisioned table with an index without units.
pub fn new_index_units_required(index: &str) -> String {
    invalid(format_args!(
        "ProvisionedThroughput is not specified for index: {index}"
    ))
}

/// UpdateTable that leaves an index of a provisioned table without units.
pub fn index_units_required(index: &str) -> String {
    invalid(format_args!(
        "Both ReadCapacityUnits and WriteCapacityUnits must be specified for index: {index}"
    ))
}

/// UpdateTable that gives an index of an on-demand table units.
pub fn index_units_with_on_demand(index: &str) -> String {
    invalid(format_args!(
        "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: {index} when BillingMode is \
         PAY_PER_REQUEST"
    ))
}

/// CreateTable of a provisioned table with a ceiling for on demand.
pub fn new_ceiling_with_provisioned(member: &str) -> String {
    invalid(format_args!(
        "{member} for OnDemandThroughput cannot be specified when table BillingMode is PROVISIONED."
    ))
}

/// UpdateTable of a provisioned table with a ceiling for on demand.
pub fn ceiling_with_provisioned(member: &str) -> String {
    invalid(format_args!(
        "{member} for OnDemandThroughput cannot be specified when the table BillingMode is PROVISIONED"
    ))
}

/// A ceiling that is no number of units; `of` is `table` or `index: i`.
pub fn ceiling_out_of_range(member: &str, of: &str) -> String {
    invalid(format_args!(
        "Requested {member} for OnDemandThroughput for {of} is outside of valid range"
    ))
}

/// CreateTable of an on-demand table with an index with units.
pub fn new_index_units_with_on_demand(index: &str) -> String {
    invalid(format_args!(
        "ProvisionedThroughput should not be specified for index: {index} when BillingMode is PAY_PER_REQUEST"
    ))
}

/// Units beyond what a table may have.
pub fn units_out_of_bounds(value: u64, member: &str) -> String {
    format!("Given value {value} for {member} is out of bounds")
}

/// Units that are what they were; `what` is `table` or `index i`.
pub fn units_unchanged(what: &str, kind: &str, read: u64, write: u64) -> String {
    format!(
        "The provisioned throughput for the {what} will not change. The requested value equals the current value. \
         Current ReadCapacityUnits provisioned for the {kind}: {read}. Requested ReadCapacityUnits: {read}. Current \
         WriteCapacityUnits provisioned for the {kind}: {write}. Requested WriteCapacityUnits: {write}. Refer to the \
         Amazon DynamoDB Developer Guide for current limits and how to request higher limits."
    )
}

/// Warm throughput below what the table or index takes at once already.
pub fn warm_lower(member: &str, of: &str) -> String {
    invalid(format_args!(
        "Requested {member} for WarmThroughput for {of} is lower than current WarmThroughput, decreasing \
         WarmThroughput is not supported"
    ))
}

/// Several changes of one index in one request.
pub fn index_changed_twice(index: &str) -> String {
    invalid(format_args!(
        "Only one global secondary index update per index is allowed simultaneously. Index: {index}"
    ))
}

/// A stream where there is one.
pub fn stream_already_on(table: &str) -> String {
    format!("Table already has an enabled stream: TableName: {table}")
}

/// No stream to switch off.
pub fn stream_already_off(table: &str) -> String {
    format!("Table has no enabled stream to disable: TableName: {table}")
}

/// UpdateTimeToLive with another attribute than the one that is on.
pub fn time_to_live_other_attribute(current: &str) -> String {
    format!("TimeToLive is active on a different AttributeName: current AttributeName is {current}")
}

/// A tag key given twice.
pub fn tag_duplicate(key: &str) -> String {
    invalid(format_args!("Duplicate tag key: {key}"))
}

/// An ARN that names no table of ours.
pub fn resource_arn_invalid(arn: &str) -> String {
    format!("Invalid TableArn: Invalid ResourceArn provided as input {arn}")
}

/// `[a, b]`.
fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    format!("[{}]", names.join(", "))
}
