"""CreateTable, UpdateTable and DeleteTable are Table resources, and nobody changes another one's."""

import json

from harness.manifests import table
from harness.waiting import wait_for

DEFINITION = dict(
    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
STORAGE = "app.kubernetes.io/component=storage"


def resource_of(place, name):
    """The Table resource of a table."""
    found = [item for item in place.kubectl.items("tables") if item["spec"]["tableName"] == name]
    assert len(found) == 1, found
    return found[0]


def managers(resource):
    return {entry["manager"] for entry in resource["metadata"]["managedFields"] if not entry.get("subresource")}


def test_a_table_made_with_an_sdk_is_a_resource(place):
    sdk = place.sdk()
    created = sdk("create_table", TableName="My.Table_1", **DEFINITION)["TableDescription"]
    assert created["TableStatus"] == "CREATING"
    sdk.active("My.Table_1")
    resource = resource_of(place, "My.Table_1")
    assert resource["metadata"]["labels"]["partita.dev/created-by"] == "api"
    assert resource["spec"]["deletionPolicy"] == "Delete" and resource["spec"]["replicas"] == 1
    assert "partita-router" in managers(resource), managers(resource)
    place.kubectl.ready("table", resource["metadata"]["name"])
    assert sdk.refused("create_table", TableName="My.Table_1", **DEFINITION).code == "ResourceInUseException"

    checker = sdk.check("My.Table_1")
    update(place, sdk)
    assert checker.finish()["failed"] == 0

    deleted = sdk("delete_table", TableName="My.Table_1")["TableDescription"]
    assert deleted["TableStatus"] == "DELETING"
    wait_for("the end of the table", lambda: sdk("list_tables")["TableNames"] == [])
    for kind in ("tables", "partitions"):
        place.kubectl.gone(kind)
    place.kubectl.gone("pvc", STORAGE)


def update(place, sdk):
    """UpdateTable changes the resource, and then the table."""
    sdk("update_table", TableName="My.Table_1", BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 7, "WriteCapacityUnits": 9})
    described = sdk.active("My.Table_1")
    assert described["ProvisionedThroughput"]["WriteCapacityUnits"] == 9
    assert resource_of(place, "My.Table_1")["spec"]["provisionedThroughput"] == {"readCapacityUnits": 7, "writeCapacityUnits": 9}
    sdk("update_table", TableName="My.Table_1",
        AttributeDefinitions=[*DEFINITION["AttributeDefinitions"], {"AttributeName": "color", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[{"Create": {
            "IndexName": "byColor", "KeySchema": [{"AttributeName": "color", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"}, "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 50}}}])
    sdk.active("My.Table_1")
    [index] = resource_of(place, "My.Table_1")["spec"]["globalSecondaryIndexes"]
    assert index["indexName"] == "byColor"
    sdk("put_item", TableName="My.Table_1", Item={"pk": {"S": "a"}, "color": {"S": "red"}})
    wait_for("the item in the index", lambda: sdk(
        "query", TableName="My.Table_1", IndexName="byColor", KeyConditionExpression="color = :c",
        ExpressionAttributeValues={":c": {"S": "red"}})["Count"] == 1)
    sdk("update_table", TableName="My.Table_1", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "byColor"}}])
    wait_for("the end of the index", lambda: "GlobalSecondaryIndexes" not in sdk("describe_table", TableName="My.Table_1")["Table"])
    assert "globalSecondaryIndexes" not in resource_of(place, "My.Table_1")["spec"]


def test_two_creators_race_and_one_wins(places):
    place = places()
    sdks = [place.sdk("one"), place.sdk("two")]
    sdks[0]("create_table", TableName="raced", **DEFINITION)
    assert sdks[1].refused("create_table", TableName="raced", **DEFINITION).code == "ResourceInUseException"
    assert len(place.kubectl.names("tables")) == 1


def test_deletion_protection_holds(place):
    sdk = place.sdk()
    sdk("create_table", TableName="guarded", DeletionProtectionEnabled=True, **DEFINITION)
    sdk.active("guarded")
    assert sdk.refused("delete_table", TableName="guarded").code == "ValidationException"
    sdk("update_table", TableName="guarded", DeletionProtectionEnabled=False)
    sdk.active("guarded")
    sdk("delete_table", TableName="guarded")
    place.kubectl.gone("tables")


def test_a_manifests_table_is_changed_by_its_manifest_alone(place):
    manifest = table("declared")
    place.apply(manifest, manager="gitops")
    place.kubectl.ready("table", "declared")
    sdk = place.sdk()
    for operation, parameters in (
            ("update_table", {"DeletionProtectionEnabled": True}), ("delete_table", {}),
            ("update_time_to_live", {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": "until"}})):
        refused = sdk.refused(operation, TableName="declared", **parameters)
        assert "gitops" in refused.message, f"{operation}: {refused}"
    # And what the manifest says wins over no one's wishes: kubectl sees no difference.
    place.kubectl("diff", "--server-side", "--field-manager=gitops", "-f", "-", stdin=json.dumps(manifest))
    assert place.kubectl.get("table", "declared")["spec"].get("deletionProtectionEnabled", False) is False
    assert sdk.refused("create_table", TableName="declared", **DEFINITION).code == "ResourceInUseException"
