"""Apply a manifest, use the table with an SDK, change it, delete it."""

import json
import os
import pathlib
import subprocess

import pytest

from harness.manifests import changed, example, global_index
from harness.session import ROOT
from harness.waiting import wait_for

STORAGE = "app.kubernetes.io/component=storage"
# What differs between two tables of the same manifest: who and when they are.
IDENTITY = {"TableArn", "TableId", "CreationDateTime", "IndexArn", "LatestStreamArn", "LatestStreamLabel",
            "LastIncreaseDateTime", "LastDecreaseDateTime", "LastUpdateToPayPerRequestDateTime"}


def test_an_example_is_applied_used_and_deleted(place):
    orders = example("orders")
    place.ready(orders)
    sdk = place.sdk()
    check_children(place.kubectl)
    description = sdk.active("orders")
    assert description["ProvisionedThroughput"]["WriteCapacityUnits"] == orders["spec"]["provisionedThroughput"]["writeCapacityUnits"]
    checker = sdk.check("orders")
    use(sdk)
    change(place, sdk, orders)
    checker.progress()
    report = checker.finish()
    assert report["failed"] == 0, report
    # `orders` keeps its data when it is deleted: everything else goes.
    place.kubectl.delete("table", "orders")
    for kind in ("partitions", "statefulsets", "services", "pods"):
        place.kubectl.gone(kind, None if kind == "partitions" else STORAGE)
    assert len(place.kubectl.names("pvc", STORAGE)) == 4
    wait_for("the API forgetting the table", lambda: sdk("list_tables")["TableNames"] == [])
    assert sdk.refused("get_item", TableName="orders", Key=key("c", "1")).code == "ResourceNotFoundException"


def test_a_table_with_policy_delete_takes_its_data_along(place):
    place.ready(example("sessions"))
    sdk = place.sdk()
    sdk("put_item", TableName="sessions", Item={"sessionId": {"S": "a"}})
    assert len(place.kubectl.names("pvc", STORAGE)) == 1
    place.kubectl.delete("table", "sessions")
    place.kubectl.gone("pvc", STORAGE)


def test_a_protected_table_is_not_deleted_however_it_is_asked_for(place):
    kubectl, kept = place.kubectl, changed(example("sessions"), deletionProtectionEnabled=True)
    place.ready(kept)
    sets = kubectl.names("statefulsets")
    for how in ("background", "foreground", "orphan"):
        done = kubectl.attempt("delete", "table", "sessions", f"--cascade={how}", "--wait=false")
        assert done.returncode != 0 and "spec.deletionProtectionEnabled" in done.stderr, done.stderr
    assert "deletionTimestamp" not in kubectl.get("table", "sessions")["metadata"]
    assert kubectl.names("statefulsets") == sets
    place.apply(changed(kept, deletionProtectionEnabled=False))
    kubectl.delete("table", "sessions")


@pytest.mark.own_cluster
def test_a_manifest_is_the_same_table_in_standalone(place):
    names = ["orders", "sessions", "threads"]
    place.ready(*(example(name) for name in names))
    sdk = place.sdk()
    here = {name: without_identity(sdk.active(name)) for name in names}
    assert here == {name: without_identity(described) for name, described in standalone(names).items()}


def standalone(names):
    """The same examples in a standalone process of this machine."""
    program = """
import boto3, json, sys, time
client = boto3.client("dynamodb")
result = {}
for name in sys.argv[1:]:
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    result[name] = client.describe_table(TableName=name)["Table"]
print(json.dumps(result, default=str))
"""
    python = subprocess.run([ROOT / "tests/python/environment"], capture_output=True, text=True, check=True).stdout.strip()
    binaries = os.environ.get("IMAGE_BINARIES") or pathlib.Path(os.environ["CARGO_TARGET_DIR"], "debug")
    done = subprocess.run(
        [ROOT / "tests/serve", f"{python}/bin/python", "-c", program, *names], capture_output=True, text=True, check=True,
        env={**os.environ, "PARTITA_MANIFESTS": str(ROOT / "examples"), "PARTITA_BIN": f"{binaries}/partita"})
    return json.loads(done.stdout)


def without_identity(value):
    if isinstance(value, dict):
        return {name: without_identity(part) for name, part in value.items() if name not in IDENTITY}
    if isinstance(value, list):
        return [without_identity(part) for part in value]
    return value


def check_children(kubectl):
    """What kubectl shows of `orders`: its units are four partitions."""
    uid = kubectl.get("table", "orders")["metadata"]["uid"]
    own = [partition for partition in kubectl.items("partitions") if "indexName" not in partition["spec"]]
    assert len(own) == 4 and all(partition["status"]["phase"] == "Ready" for partition in own), own
    names = sorted(partition["metadata"]["name"] for partition in own)
    assert [name.rpartition("-")[2] for name in names] == ["0", "1", "2", "3"]
    # The whole key space, each part of it once.
    bounds = [(partition["spec"].get("start"), partition["spec"].get("end"))
              for partition in sorted(own, key=lambda partition: partition["spec"].get("start", ""))]
    assert bounds[0][0] is None and bounds[-1][1] is None
    assert all(before[1] == after[0] for before, after in zip(bounds, bounds[1:])), bounds
    sets, services = kubectl.items("statefulsets", STORAGE), kubectl.items("services", STORAGE)
    assert sorted(item["metadata"]["name"] for item in sets) == names
    assert sorted(item["metadata"]["name"] for item in services) == names
    for item in sets + services:
        assert [owner["uid"] for owner in item["metadata"]["ownerReferences"]] == [uid], item["metadata"]
    assert all(service["spec"]["clusterIP"] == "None" for service in services)
    for item in sets:
        [container] = item["spec"]["template"]["spec"]["containers"]
        assert set(container["resources"]["requests"]) >= {"cpu", "memory"}, container["resources"]
    claims = kubectl.items("pvc", STORAGE)
    assert sorted(claim["metadata"]["name"] for claim in claims) == [f"data-{name}-0" for name in names]
    table_id = kubectl.get("table", "orders")["status"]["tableId"]
    for claim in claims:
        assert "ownerReferences" not in claim["metadata"], claim["metadata"]
        assert claim["metadata"]["labels"]["partita.dev/table-id"] == table_id
    shown = kubectl("get", "tables").splitlines()
    assert shown[0].split()[:5] == ["NAME", "TABLE", "STATUS", "READY", "PARTITIONS"], shown
    assert shown[1].split()[:4] == ["orders", "orders", "ACTIVE", "True"], shown
    assert len(kubectl("get", "partitions", "--no-headers").splitlines()) == len(kubectl.names("partitions")) > 4


def key(customer, order):
    return {"customerId": {"S": customer}, "orderId": {"S": order}}


def use(sdk):
    """A session as an application has it, over all partitions and the index."""
    items = [{**key(f"c{n % 20}", f"o{n:03}"), "status": {"S": "open" if n % 2 else "done"},
              "placedAt": {"S": f"2026-01-{n % 28 + 1:02}"}, "total": {"N": str(n)}} for n in range(100)]
    for start in range(0, 100, 25):
        answer = sdk("batch_write_item", RequestItems={
            "orders": [{"PutRequest": {"Item": item}} for item in items[start:start + 25]]})
        assert answer["UnprocessedItems"] == {}
    assert sdk("get_item", TableName="orders", Key=key("c3", "o003"), ConsistentRead=True)["Item"] == items[3]
    asked = sdk("query", TableName="orders", KeyConditionExpression="customerId = :c AND orderId > :o",
                ExpressionAttributeValues={":c": {"S": "c3"}, ":o": {"S": "o030"}})
    assert [item["orderId"]["S"] for item in asked["Items"]] == ["o043", "o063", "o083"]

    def open_orders():
        found = sdk("query", TableName="orders", IndexName="byStatus", KeyConditionExpression="#s = :s",
                    ExpressionAttributeNames={"#s": "status"}, ExpressionAttributeValues={":s": {"S": "open"}})
        return found["Count"] == 50 and set(found["Items"][0]) == {"customerId", "orderId", "status", "placedAt", "total"}

    wait_for("50 open orders in the index", open_orders)
    updated = sdk("update_item", TableName="orders", Key=key("c3", "o003"), UpdateExpression="ADD #t :n",
                  ExpressionAttributeNames={"#t": "total"}, ExpressionAttributeValues={":n": {"N": "7"}}, ReturnValues="UPDATED_NEW")
    assert updated["Attributes"] == {"total": {"N": "10"}}
    refused = sdk.refused("put_item", TableName="orders", Item=items[3],
                          ConditionExpression="attribute_not_exists(customerId)")
    assert refused.code == "ConditionalCheckFailedException"
    segments = [sdk("scan", TableName="orders", Segment=n, TotalSegments=3, FilterExpression="attribute_exists(#t)",
                    ExpressionAttributeNames={"#t": "total"}) for n in range(3)]
    assert sum(segment["Count"] for segment in segments) == 100
    got = sdk("batch_get_item", RequestItems={"orders": {"Keys": [key(f"c{n % 20}", f"o{n:03}") for n in range(50)]}})
    assert len(got["Responses"]["orders"]) == 50
    sdk("delete_item", TableName="orders", Key=key("c3", "o003"))
    assert "Item" not in sdk("get_item", TableName="orders", Key=key("c3", "o003"), ConsistentRead=True)


def change(place, sdk, orders):
    """Another index and no time to live, while the checker writes."""
    spec = orders["spec"]
    place.apply(changed(
        orders, timeToLive=None, tags=[{"key": "team", "value": "sales"}],
        globalSecondaryIndexes=[*spec["globalSecondaryIndexes"], {
            **global_index("byDay", "placedAt", "total"), "provisionedThroughput": {"readCapacityUnits": 5, "writeCapacityUnits": 50}}],
        attributeDefinitions=[*spec["attributeDefinitions"], {"attributeName": "total", "attributeType": "N"}]))

    def there():
        indexes = sdk("describe_table", TableName="orders")["Table"]["GlobalSecondaryIndexes"]
        return sorted((index["IndexName"], index["IndexStatus"]) for index in indexes) == [
            ("byDay", "ACTIVE"), ("byStatus", "ACTIVE")]

    wait_for("the new index", there, 120)
    arn = sdk("describe_table", TableName="orders")["Table"]["TableArn"]
    assert sdk("list_tags_of_resource", ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "sales"}]
    assert sdk("describe_time_to_live", TableName="orders")["TimeToLiveDescription"]["TimeToLiveStatus"] in ("DISABLED", "DISABLING")
    found = sdk("query", TableName="orders", IndexName="byDay", KeyConditionExpression="placedAt = :d",
                ExpressionAttributeValues={":d": {"S": "2026-01-05"}})
    assert sorted(item["total"]["N"] for item in found["Items"]) == ["32", "4", "60", "88"]
    place.kubectl.ready("table", "orders")
