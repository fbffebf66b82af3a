"""Tables: making, changing, describing, listing and removing; tags, time to live, limits, endpoints."""

import time
import urllib.parse
import uuid

import pytest

from conftest import AWS, ENDPOINT, index

INVALID = "One or more parameter values were invalid: "


def spec(**changes):
    body = {
        "TableName": f"conformance-{uuid.uuid4().hex[:12]}", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}
    body.update(changes)
    return {name: value for name, value in body.items() if value is not None}


def attributes(*names):
    return [{"AttributeName": name, "AttributeType": "S"} for name in names]


def schema(*names):
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"))]


UNITS = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}
BAD = [
    (dict(KeySchema=schema("other")), INVALID + "Some index key attributes are not defined in AttributeDefinitions. "
     "Keys: [other], AttributeDefinitions: [pk]"),
    (dict(AttributeDefinitions=attributes("pk", "spare")), INVALID + "Number of attributes in KeySchema does not exactly match "
     "number of attributes defined in AttributeDefinitions"),
    (dict(KeySchema=[{"AttributeName": "pk", "KeyType": "RANGE"}]),
     "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"),
    (dict(KeySchema=schema("pk") + schema("sk"), AttributeDefinitions=attributes("pk", "sk")), "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"),
    (dict(KeySchema=schema("pk", "pk")), "Both the Hash Key and the Range Key element in the KeySchema have the same name"),
    (dict(BillingMode=None), INVALID + "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"),
    (dict(ProvisionedThroughput=UNITS), INVALID + "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when "
     "BillingMode is PAY_PER_REQUEST"),
    (dict(GlobalSecondaryIndexes=[]), INVALID + "List of GlobalSecondaryIndexes is empty"),
    (dict(LocalSecondaryIndexes=[]), INVALID + "List of LocalSecondaryIndexes is empty"),
    (dict(AttributeDefinitions=attributes("pk", "a"), LocalSecondaryIndexes=[index("lll", "pk", "a:RANGE")]),
     INVALID + "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex"),
    (dict(AttributeDefinitions=attributes("pk", "a"), GlobalSecondaryIndexes=[index("ggg", "a"), index("ggg", "a")]),
     INVALID + "Duplicate index name: ggg"),
    (dict(AttributeDefinitions=attributes("pk", "a"), GlobalSecondaryIndexes=[index("ggg", "a", projection="INCLUDE")]),
     INVALID + "ProjectionType is INCLUDE, but NonKeyAttributes is not specified"),
    (dict(AttributeDefinitions=attributes("pk", "a"), GlobalSecondaryIndexes=[index("ggg", "a", include=["x"])]),
     INVALID + "ProjectionType is ALL, but NonKeyAttributes is specified"),
    (dict(AttributeDefinitions=attributes("pk", "a"),
          GlobalSecondaryIndexes=[{"IndexName": "ggg", "KeySchema": schema("a"), "Projection": {}}]),
     INVALID + "Unknown ProjectionType: null"),
    (dict(KeySchema=schema("pk", "sk") + [{"AttributeName": "extra", "KeyType": "RANGE"}], AttributeDefinitions=attributes("pk", "sk", "extra")),
     "1 validation error detected: Value '[KeySchemaElement(attributeName=pk, keyType=HASH), KeySchemaElement(attributeName=sk, "
     "keyType=RANGE), KeySchemaElement(attributeName=extra, keyType=RANGE)]' at 'keySchema' failed to satisfy constraint: Member "
     "must have length less than or equal to 2"),
    (dict(StreamSpecification={"StreamEnabled": False, "StreamViewType": "NEW_AND_OLD_IMAGES"}),
     INVALID + "Table is being created with a stream disabled, UpdateViewType should not be specified"),
    (dict(BillingMode=None, ProvisionedThroughput=UNITS, AttributeDefinitions=attributes("pk", "a"),
          GlobalSecondaryIndexes=[index("ggg", "a")]), INVALID + "ProvisionedThroughput is not specified for index: ggg"),
    (dict(BillingMode=None, ProvisionedThroughput=UNITS, OnDemandThroughput={"MaxReadRequestUnits": 5}),
     INVALID + "MaxReadRequestUnits for OnDemandThroughput cannot be specified when table BillingMode is PROVISIONED."),
    (dict(OnDemandThroughput={"MaxReadRequestUnits": 5, "MaxWriteRequestUnits": 0}),
     INVALID + "Requested MaxWriteRequestUnits for OnDemandThroughput for table is outside of valid range"),
    (dict(SSESpecification={"Enabled": True, "SSEType": "AES256"}), INVALID + "SSEType AES256 is not supported"),
    (dict(TableName="ab"), "1 validation error detected: Value 'ab' at 'tableName' failed to satisfy constraint: "
     "Member must have length greater than or equal to 3"),
    (dict(TableName="no/slash"), "1 validation error detected: Value 'no/slash' at 'tableName' failed to satisfy constraint: "
     "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"),
]


@pytest.mark.parametrize("changes, message", BAD, ids=[message[:60] for _, message in BAD])
def test_bad_tables(api, changes, message):
    body = spec(**changes)
    name, found = api.error("CreateTable", body)
    assert name == "ValidationException"
    # For a table's name AWS has worded two checks, one of them since ARNs are names too.
    assert found == message or (changes.get("TableName") and "TableName must be at least 3" in found) or \
        (changes.get("TableName") and "regular expression" in found), found


def test_the_life_of_a_table(api):
    body = spec(BillingMode=None, ProvisionedThroughput=UNITS, Tags=[{"Key": "a", "Value": "1"}])
    name = body["TableName"]
    made = api.ok("CreateTable", body)["TableDescription"]
    assert made["TableStatus"] in ("CREATING", "ACTIVE") and made["TableName"] == name
    table = api.wait(name)
    assert api.error("CreateTable", body) == ("ResourceInUseException", f"Table already exists: {name}")
    assert table["TableArn"].endswith(f":table/{name}") and table["TableArn"].startswith("arn:aws:dynamodb:")
    assert table["ItemCount"] == 0 and table["TableSizeBytes"] == 0 and table["KeySchema"] == schema("pk")
    assert abs(table["CreationDateTime"] - time.time()) < 300
    units = table["ProvisionedThroughput"]
    assert (units["ReadCapacityUnits"], units["WriteCapacityUnits"], units["NumberOfDecreasesToday"]) == (5, 5, 0)
    assert table["DeletionProtectionEnabled"] is False and len(table["TableId"]) == 36
    assert "BillingModeSummary" not in table

    update = {"TableName": name, "ProvisionedThroughput": {"ReadCapacityUnits": 6, "WriteCapacityUnits": 7}}
    answer = api.ok("UpdateTable", update)["TableDescription"]
    # Until it is done, the units are those from before.
    assert (answer["TableName"], answer["TableStatus"]) == (name, "UPDATING")
    units = answer["ProvisionedThroughput"]
    assert (units["ReadCapacityUnits"], units["WriteCapacityUnits"]) == (5, 5) and "LastIncreaseDateTime" in units
    assert api.wait(name)["ProvisionedThroughput"]["WriteCapacityUnits"] == 7
    api.refuses("UpdateTable", update, "The provisioned throughput for the table will not change. The requested value equals the "
                "current value. Current ReadCapacityUnits provisioned for the table: 6. Requested ReadCapacityUnits: 6. "
                "Current WriteCapacityUnits provisioned for the table: 7. Requested WriteCapacityUnits: 7. "
                "Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits.")
    api.ok("UpdateTable", {"TableName": name, "BillingMode": "PAY_PER_REQUEST"})
    table = api.wait(name)
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 0

    api.ok("UpdateTable", {"TableName": name, "DeletionProtectionEnabled": True})
    api.wait(name)
    kind, message = api.error("DeleteTable", {"TableName": name})
    assert kind == "ValidationException" and "deletion protection" in message.lower()
    api.ok("UpdateTable", {"TableName": name, "DeletionProtectionEnabled": False})
    api.wait(name)
    assert api.ok("DeleteTable", {"TableName": name})["TableDescription"]["TableStatus"] == "DELETING"
    api.eventually(lambda: api("DescribeTable", {"TableName": name}).status, 400)
    assert api.error("DescribeTable", {"TableName": name}) == (
        "ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")
    assert api.error("DeleteTable", {"TableName": name}) == (
        "ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")


def test_multi_attribute_keys_have_an_order(api):
    """The words are AWS's; what it says in front of them is not asked for."""
    def refused(*kinds):
        names = [f"k{number}" for number in range(len(kinds))]
        keys = [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, kinds)]
        gsi = {"IndexName": "ggg", "KeySchema": keys, "Projection": {"ProjectionType": "ALL"}}
        name, message = api.error("CreateTable", spec(AttributeDefinitions=attributes("pk", *names), GlobalSecondaryIndexes=[gsi]))
        assert name == "ValidationException"
        return message
    assert "All HASH key attributes must precede RANGE key attributes in the KeySchema" in refused("HASH", "RANGE", "HASH")
    assert "exceeds the maximum allowed number of HASH key attributes" in refused(*["HASH"] * 5)
    assert "The first KeySchemaElement is not a HASH key type" in refused("RANGE", "HASH")


def test_on_demand_ceilings(api, make_table):
    table = make_table({"pk": "S", "a": "S"}, OnDemandThroughput={"MaxReadRequestUnits": 20, "MaxWriteRequestUnits": 15},
                       GlobalSecondaryIndexes=[{**index("ggg", "a"), "OnDemandThroughput": {"MaxReadRequestUnits": 200}}])

    def ceilings():
        return api.wait(table).get("OnDemandThroughput")
    assert ceilings() == {"MaxReadRequestUnits": 20, "MaxWriteRequestUnits": 15}
    assert api.wait(table)["GlobalSecondaryIndexes"][0]["OnDemandThroughput"] == {"MaxReadRequestUnits": 200}
    api.ok("UpdateTable", {"TableName": table, "OnDemandThroughput": {"MaxReadRequestUnits": 40}})
    assert ceilings() == {"MaxReadRequestUnits": 40, "MaxWriteRequestUnits": 15}
    answer = api.ok("UpdateTable", {"TableName": table, "OnDemandThroughput": {"MaxReadRequestUnits": -1}})
    assert answer["TableDescription"]["OnDemandThroughput"]["MaxReadRequestUnits"] == -1
    assert ceilings() == {"MaxWriteRequestUnits": 15}
    api.ok("UpdateTable", {"TableName": table, "BillingMode": "PROVISIONED", "ProvisionedThroughput": UNITS,
                           "GlobalSecondaryIndexUpdates": [{"Update": {"IndexName": "ggg", "ProvisionedThroughput": UNITS}}]})
    assert ceilings() is None and "OnDemandThroughput" not in api.wait(table)["GlobalSecondaryIndexes"][0]
    api.refuses("UpdateTable", {"TableName": table, "OnDemandThroughput": {"MaxReadRequestUnits": 40}}, INVALID +
                "MaxReadRequestUnits for OnDemandThroughput cannot be specified when the table BillingMode is PROVISIONED")


def test_warm_throughput_only_grows(api, make_table):
    table = make_table({"pk": "S", "a": "S"}, GlobalSecondaryIndexes=[index("ggg", "a")])

    def warm():
        found = api.wait(table)["WarmThroughput"]
        return found["ReadUnitsPerSecond"], found["WriteUnitsPerSecond"]
    assert warm() == (12_000, 4_000)
    api.ok("UpdateTable", {"TableName": table, "WarmThroughput": {"ReadUnitsPerSecond": 13_000}})
    assert warm() == (13_000, 4_000)
    api.ok("UpdateTable", {"TableName": table, "WarmThroughput": {"WriteUnitsPerSecond": 5_000}})
    assert warm() == (13_000, 5_000)
    lower = INVALID + "Requested {} for WarmThroughput for {} is lower than current WarmThroughput, decreasing WarmThroughput is not supported"
    api.refuses("UpdateTable", {"TableName": table, "WarmThroughput": {"ReadUnitsPerSecond": 12_999, "WriteUnitsPerSecond": 6_000}},
                lower.format("ReadUnitsPerSecond", "table"))
    update = {"Update": {"IndexName": "ggg", "WarmThroughput": {"WriteUnitsPerSecond": 3_999}}}
    api.refuses("UpdateTable", {"TableName": table, "GlobalSecondaryIndexUpdates": [update]}, lower.format("WriteUnitsPerSecond", "index"))
    assert warm() == (13_000, 5_000)


@pytest.mark.parametrize("changes, member, of", [
    (dict(WarmThroughput={"ReadUnitsPerSecond": 11_999, "WriteUnitsPerSecond": 4_000}), "ReadUnitsPerSecond", "table"),
    (dict(WarmThroughput={"WriteUnitsPerSecond": 3_999}), "WriteUnitsPerSecond", "table"),
    (dict(BillingMode=None, ProvisionedThroughput=UNITS, WarmThroughput={"ReadUnitsPerSecond": 4}), "ReadUnitsPerSecond", "table"),
    (dict(AttributeDefinitions=attributes("pk", "a"),
          GlobalSecondaryIndexes=[{**index("ggg", "a"), "WarmThroughput": {"WriteUnitsPerSecond": 1}}]), "WriteUnitsPerSecond", "index"),
])
def test_new_tables_are_as_warm_as_they_are_anyway(api, changes, member, of):
    """The least is the mode's, or the units'. What AWS says of it is not known."""
    name, message = api.error("CreateTable", spec(**changes))
    assert name == "ValidationException" and (AWS or f"Requested {member} for WarmThroughput for {of} is lower" in message), message


def test_provisioned_tables_may_be_a_little_warm(api):
    body = spec(BillingMode=None, ProvisionedThroughput=UNITS, WarmThroughput={"ReadUnitsPerSecond": 6, "WriteUnitsPerSecond": 5})
    api.ok("CreateTable", body)
    warm = api.wait(body["TableName"])["WarmThroughput"]
    api.ok("DeleteTable", {"TableName": body["TableName"]})
    assert (warm["ReadUnitsPerSecond"], warm["WriteUnitsPerSecond"]) == (6, 5)


@pytest.mark.skipif(AWS, reason="what is not supported here")
@pytest.mark.parametrize("member, value", [
    ("GlobalTableSourceArn", "arn:aws:dynamodb:us-east-1:000000000000:table/x"), ("GlobalTableSettingsReplicationMode", "ENABLED"),
    ("ResourcePolicy", "{}"), ("VectorIndexes", [])])
def test_what_new_tables_cannot_have(api, member, value):
    api.refuses("CreateTable", spec(**{member: value}), f"{member} is not supported")


def test_streams_switch(api, make_table):
    table = make_table({"pk": "S"}, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    described = api.wait(table)
    assert described["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    assert described["LatestStreamArn"] == f"{described['TableArn']}/stream/{described['LatestStreamLabel']}"

    def switch(**stream):
        return {"TableName": table, "StreamSpecification": stream}
    api.refuses("UpdateTable", switch(StreamEnabled=True, StreamViewType="OLD_IMAGE"),
                f"Table already has an enabled stream: TableName: {table}")
    api.refuses("UpdateTable", switch(StreamEnabled=False, StreamViewType="NEW_IMAGE"),
                INVALID + "If stream is being disabled, then UpdateViewType must not be specified")
    api.ok("UpdateTable", switch(StreamEnabled=False))
    after = api.wait(table)
    assert "StreamSpecification" not in after and after["LatestStreamArn"] == described["LatestStreamArn"]


def test_list_tables(api, make_table):
    mine = {make_table({"pk": "S"}, wait=False) for _ in range(3)}
    for name in mine:
        api.wait(name)
    found, request, pages = [], {"Limit": 2}, 0
    while True:
        answer = api.ok("ListTables", request)
        found, pages = found + answer["TableNames"], pages + 1
        assert len(answer["TableNames"]) <= 2
        if "LastEvaluatedTableName" not in answer:
            break
        assert answer["LastEvaluatedTableName"] == answer["TableNames"][-1]
        request["ExclusiveStartTableName"] = answer["LastEvaluatedTableName"]
    assert mine <= set(found) and found == sorted(found) and pages >= 2
    for limit, words in ((0, "greater than or equal to 1"), (101, "less than or equal to 100")):
        api.refuses("ListTables", {"Limit": limit}, f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy "
                    f"constraint: Member must have value {words}")


def test_indexes_come_and_go(api, make_table):
    table = make_table({"pk": "S"})
    for number in range(60):
        api.ok("PutItem", {"TableName": table, "Item": {"pk": {"S": f"k{number}"}, "g": {"S": "even" if number % 2 == 0 else "odd"}}})
    create = {"Create": {**index("ggg", "g")}}
    made = api.ok("UpdateTable", {"TableName": table, "AttributeDefinitions": attributes("pk", "g"), "GlobalSecondaryIndexUpdates": [create]})
    states = [(entry["IndexStatus"], entry.get("Backfilling")) for entry in made["TableDescription"]["GlobalSecondaryIndexes"]]
    assert states in ([("CREATING", False)], [("ACTIVE", None)])
    description = api.wait(table)
    assert description["GlobalSecondaryIndexes"][0]["IndexArn"].endswith(f":table/{table}/index/ggg")
    request = {"TableName": table, "IndexName": "ggg", "KeyConditionExpression": "g = :g", "ExpressionAttributeValues": {":g": {"S": "odd"}}}
    assert api.ok("Query", request)["Count"] == 30
    api.refuses("UpdateTable", {"TableName": table, "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "nope"}}]},
                "Requested resource not found", "ResourceNotFoundException")
    again = {"TableName": table, "AttributeDefinitions": attributes("g"), "GlobalSecondaryIndexUpdates": [create]}
    api.refuses("UpdateTable", again, "Attempting to create an index which already exists")
    two = [{"Create": index(name, "g")} for name in ("hhh", "iii")]
    api.refuses("UpdateTable", {**again, "GlobalSecondaryIndexUpdates": two}, "Subscriber limit exceeded: Only 1 online index can be "
                "created or deleted simultaneously per table", "LimitExceededException")
    with_units = [{"Create": {**index("hhh", "g"), "ProvisionedThroughput": UNITS}}]
    api.refuses("UpdateTable", {**again, "GlobalSecondaryIndexUpdates": with_units}, INVALID + "Neither ReadCapacityUnits nor "
                "WriteCapacityUnits can be specified for index: hhh when BillingMode is PAY_PER_REQUEST")
    undefined = [{"Create": index("hhh", "g", "pk:RANGE")}]
    api.refuses("UpdateTable", {**again, "GlobalSecondaryIndexUpdates": undefined},
                "Invalid KeySchema: Some index key attribute have no definition")
    api.ok("UpdateTable", {"TableName": table, "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "ggg"}}]})
    api.eventually(lambda: "GlobalSecondaryIndexes" in api.ok("DescribeTable", {"TableName": table})["Table"], False)
    api.refuses("Query", request, "The table does not have the specified index: ggg")


def test_tags(api, make_table):
    table = make_table({"pk": "S"}, Tags=[{"Key": "a", "Value": "1"}])
    arn = api.ok("DescribeTable", {"TableName": table})["Table"]["TableArn"]

    def tags():
        return {tag["Key"]: tag["Value"] for tag in api.ok("ListTagsOfResource", {"ResourceArn": arn})["Tags"]}
    assert tags() == {"a": "1"}
    assert api("TagResource", {"ResourceArn": arn, "Tags": [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]}).status == 200
    assert tags() == {"a": "2", "b": ""}
    assert api("UntagResource", {"ResourceArn": arn, "TagKeys": ["a", "nope"]}).status == 200
    assert tags() == {"b": ""}
    assert api.error("ListTagsOfResource", {"ResourceArn": arn + "x"})[0] == "ResourceNotFoundException"
    api.refuses("ListTagsOfResource", {"ResourceArn": arn + "x"}, f"Requested resource not found: ResourcArn: {arn}x not found",
                "ResourceNotFoundException")
    other_account = arn.replace(arn.split(":")[4], "999999999999")
    assert api.error("ListTagsOfResource", {"ResourceArn": other_account})[0] == "AccessDeniedException"
    for other in (arn.replace(":dynamodb:", ":sqs:"), arn.replace("arn:aws:", "arn:aws-cn:")):
        api.refuses("ListTagsOfResource", {"ResourceArn": other}, "Invalid TableArn: Invalid ResourceArn provided as input " + other)
    assert api.error("ListTagsOfResource", {"ResourceArn": arn.replace(":table/", ":thing/")})[0] == "ValidationException"
    api.refuses("TagResource", {"ResourceArn": arn, "Tags": []}, "Atleast one Tag needs to be provided as Input.")
    api.refuses("UntagResource", {"ResourceArn": arn, "TagKeys": []}, "Atleast one Tag Key needs to be provided as Input.")
    assert api.error("TagResource", {"ResourceArn": "nonsense", "Tags": [{"Key": "a", "Value": "1"}]})[0] == "ValidationException"


def test_time_to_live(api, make_table):
    table = make_table({"pk": "S"})
    assert api.ok("DescribeTimeToLive", {"TableName": table}) == {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    enable = {"TableName": table, "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "expires"}}
    assert api.ok("UpdateTimeToLive", enable) == {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": "expires"}}
    assert api.error("UpdateTimeToLive", enable)[1] in (
        "TimeToLive is already enabled", "Time to live has been modified multiple times within a fixed interval")
    found = api.ok("DescribeTimeToLive", {"TableName": table})["TimeToLiveDescription"]
    assert found["AttributeName"] == "expires" and found["TimeToLiveStatus"] in ("ENABLING", "ENABLED")


@pytest.mark.skipif(AWS, reason="AWS takes up to days to expire an item")
def test_expired_items_go(api, make_table):
    table = make_table({"pk": "S", "g": "S"}, GlobalSecondaryIndexes=[index("ggg", "g")])
    api.ok("UpdateTimeToLive", {"TableName": table, "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "expires"}})
    now = int(time.time())
    values = {"past": {"N": str(now - 10)}, "future": {"N": str(now + 3600)}, "text": {"S": str(now - 10)},
              "ancient": {"N": str(now - 6 * 365 * 86400)}, "none": None}
    for name, expires in values.items():
        item = {"pk": {"S": name}, "g": {"S": "all"}, **({"expires": expires} if expires else {})}
        api.ok("PutItem", {"TableName": table, "Item": item})
    def left(**more):
        return sorted(item["pk"]["S"] for item in api.ok("Scan", {"TableName": table, **more})["Items"])
    # Older than five years is taken for a mistake and kept.
    api.eventually(lambda: left(ConsistentRead=True), ["ancient", "future", "none", "text"])
    api.eventually(lambda: left(IndexName="ggg"), ["ancient", "future", "none", "text"])


def test_limits_and_endpoints(api):
    limits = api.ok("DescribeLimits", {})
    assert set(limits) == {"AccountMaxReadCapacityUnits", "AccountMaxWriteCapacityUnits", "TableMaxReadCapacityUnits",
                           "TableMaxWriteCapacityUnits"}
    endpoints = api.ok("DescribeEndpoints", {})["Endpoints"]
    assert len(endpoints) == 1 and endpoints[0]["CachePeriodInMinutes"] == 1440
    # Where it was asked: a client that discovers endpoints goes there with its next request.
    assert endpoints[0]["Address"].split(":")[0] == urllib.parse.urlsplit(ENDPOINT).hostname


def test_continuous_backups_are_off(api, simple):
    found = api.ok("DescribeContinuousBackups", {"TableName": simple})["ContinuousBackupsDescription"]
    assert found["ContinuousBackupsStatus"] == "ENABLED"
    assert found["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "DISABLED"
    api.refuses("DescribeContinuousBackups", {"TableName": "conformance-nowhere"}, "Table not found: conformance-nowhere",
                "TableNotFoundException")


def test_point_in_time_recovery_can_be_switched_off(api, simple):
    """Which it is: what Terraform asks for when a table's block says so."""
    off = {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": False}}
    assert api.ok("UpdateContinuousBackups", {"TableName": simple, **off}) == api.ok("DescribeContinuousBackups", {"TableName": simple})
    api.refuses("UpdateContinuousBackups", {"TableName": "conformance-nowhere", **off}, "Table not found: conformance-nowhere",
                "TableNotFoundException")
    missing = "Value null at 'pointInTimeRecoverySpecification' failed to satisfy constraint: Member must not be null"
    assert missing in api.error("UpdateContinuousBackups", {"TableName": simple})[1]
    if not AWS:
        on = {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
        api.refuses("UpdateContinuousBackups", {"TableName": simple, **on}, "Partita does not have point-in-time recovery yet",
                    "UnknownOperationException")


def test_what_infrastructure_tools_ask(api, make_table):
    """What is off, or empty, on a table that was just made."""
    table = make_table({"pk": "S", "g": "S"}, GlobalSecondaryIndexes=[index("ggg", "g")])
    arn = api.ok("DescribeTable", {"TableName": table})["Table"]["TableArn"]
    named = {"TableName": table}
    assert api.ok("DescribeKinesisStreamingDestination", named) == {**named, "KinesisDataStreamDestinations": []}
    assert api.ok("DescribeContributorInsights", named)["ContributorInsightsStatus"] == "DISABLED"
    of_index = api.ok("DescribeContributorInsights", {**named, "IndexName": "ggg"})
    assert (of_index["IndexName"], of_index["ContributorInsightsStatus"]) == ("ggg", "DISABLED")
    assert api.error("DescribeContributorInsights", {**named, "IndexName": "nope"})[0] == "ResourceNotFoundException"
    assert api.ok("ListContributorInsights", named)["ContributorInsightsSummaries"] == []
    assert api.ok("ListBackups", named) == {"BackupSummaries": []}
    assert api.ok("ListExports", {"TableArn": arn}) == {"ExportSummaries": []}
    assert api.ok("ListImports", {"TableArn": arn}) == {"ImportSummaryList": []}
    assert "GlobalTables" in api.ok("ListGlobalTables", {"Limit": 10})
    name, message = api.error("GetResourcePolicy", {"ResourceArn": arn})
    assert name == "PolicyNotFoundException" and "policy not found for the provided ResourceArn" in message


@pytest.mark.parametrize("operation, body, constraint", [
    ("ListBackups", {"Limit": 0}, "Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"),
    ("ListBackups", {"TableName": "a b"}, "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"),
    ("ListExports", {"MaxResults": 26}, "Value '26' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 25"),
    ("ListImports", {"PageSize": 0}, "Value '0' at 'pageSize' failed to satisfy constraint"),
    ("ListGlobalTables", {"Limit": 0}, "Value '0' at 'limit' failed to satisfy constraint"),
    ("ListContributorInsights", {"MaxResults": 101}, "Value '101' at 'maxResults' failed to satisfy constraint"),
    ("DescribeContributorInsights", {}, "Value null at 'tableName' failed to satisfy constraint: Member must not be null"),
    ("DescribeKinesisStreamingDestination", {}, "Value null at 'tableName' failed to satisfy constraint: Member must not be null"),
])
def test_what_they_must_not_ask(api, operation, body, constraint):
    name, message = api.error(operation, body)
    assert name == "ValidationException" and constraint in message


@pytest.mark.parametrize("operation", ["DescribeKinesisStreamingDestination", "DescribeContributorInsights", "DescribeTable", "DeleteTable", "DescribeTimeToLive", "UpdateTable", "UpdateTimeToLive"])
def test_tables_that_are_not_there(api, operation):
    more = {"UpdateTable": {"DeletionProtectionEnabled": False},
            "UpdateTimeToLive": {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": "e"}}}.get(operation, {})
    api.refuses(operation, {"TableName": "conformance-nowhere", **more},
                "Requested resource not found: Table: conformance-nowhere not found", "ResourceNotFoundException")


def test_waiters(client):
    """What infrastructure tools do: make, wait, update, wait, remove, wait."""
    body = spec()
    client.create_table(**body)
    client.get_waiter("table_exists").wait(TableName=body["TableName"], WaiterConfig={"Delay": 1})
    client.delete_table(TableName=body["TableName"])
    client.get_waiter("table_not_exists").wait(TableName=body["TableName"], WaiterConfig={"Delay": 1})
