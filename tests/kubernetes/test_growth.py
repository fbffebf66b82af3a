"""Tables whose units and bytes grow are split, each partition moves to storage nodes of its own, and what is too many is merged
again: under a client that writes and checks all the while, no call fails and nothing is lost. What one partition may hold is so
little, and waits are so short, that it does not take long."""

import pytest

from harness.manifests import global_index, table
from harness.waiting import wait_for

STORAGE = "app.kubernetes.io/component=storage"
# Of one partition.
WRITE_UNITS, BYTES = 1000, 1_000_000
# Each a thirtieth of what one may hold.
ITEMS = 50
# A node of the test cluster starts several pods at once, and each of them receives its data.
GROWN_SECONDS = 240
# A merge that a busy machine does not finish in five seconds is given up, and asked for again after five minutes.
MERGED_SECONDS = 600


@pytest.fixture(scope="module")
def limited(cluster):
    """The operator with a low limit and short waits."""
    values = {"bytes": BYTES, "mergeAfterSeconds": 5, "measureEverySeconds": 3}
    cluster.install(*(f"--set=tables.partitions.{name}={value}" for name, value in values.items()))
    yield cluster
    cluster.install()


def provisioned(name, units, replicas):
    """A Table with so many write units."""
    return table(name, billingMode="PROVISIONED", replicas=replicas,
                 provisionedThroughput={"readCapacityUnits": 100, "writeCapacityUnits": units})


def partitions(kubectl):
    """The Partitions in key order."""
    return sorted(kubectl.items("partitions"), key=lambda found: found["spec"].get("start", ""))


def settled(kubectl, name, counts, replicas, seconds):
    """Waits until a table has so many partitions, each with storage nodes of its own, and nothing more is under way; they hold
    every key once."""
    def there():
        found = partitions(kubectl)
        count = len(found)
        assert count in counts, [one["metadata"]["name"] for one in found]
        assert len({one["spec"]["host"] for one in found}) == count
        for one in found:
            assert not {"movingTo", "mergingInto"} & set(one["spec"]), one["spec"]
            assert one["status"]["replicas"] == f"{replicas}/{replicas}", one["status"]
        ends = [one["spec"].get("end") for one in found]
        assert [None, *ends] == [*(one["spec"].get("start") for one in found), None]
        for kind, each in (("statefulsets", 1), ("services", 1), ("poddisruptionbudgets", 1), ("pods", replicas), ("pvc", replicas)):
            names = kubectl.names(kind, STORAGE)
            assert len(names) == count * each, (kind, names)
        reconciling = kubectl.condition("table", name, "Reconciling")
        assert reconciling["status"] == "False", reconciling
        return True
    wait_for(f"{counts} partitions of {name}", there, seconds)
    kubectl.ready("table", name)


def reasons(kubectl, name):
    """What was decided about a table."""
    return [f'{one["action"]}: {one["reason"]}' for one in kubectl.get("table", name)["status"].get("decisions", [])]


def finished(checker):
    """Ends a checker of which no call may have failed."""
    report = checker.finish()
    assert report["failed"] == 0, report


def test_more_units_split_a_table_and_fewer_merge_it(limited, place):
    units = {"fewer": WRITE_UNITS // 2, "more": 3 * WRITE_UNITS}
    place.ready(provisioned("grow", units["fewer"], 3))
    kubectl = place.kubectl
    checker = place.sdk().check("grow", repeats=True)
    checker.progress()
    place.apply(provisioned("grow", units["more"], 3))
    # The operator is killed in the middle of it: another one goes on.
    wait_for("a second partition", lambda: len(partitions(kubectl)) > 1)
    limited.system("delete", "pods", "-l", "app.kubernetes.io/component=operator", "--grace-period=0", "--force")
    settled(kubectl, "grow", [3], 3, GROWN_SECONDS)
    checker.progress()
    told = reasons(kubectl, "grow")
    assert any("units: 100 RCU and 3000 WCU ask for 3 partitions" in reason for reason in told), told
    place.apply(provisioned("grow", units["fewer"], 3))
    settled(kubectl, "grow", [1], 3, MERGED_SECONDS)
    checker.progress()
    assert any(reason.startswith("Merge: ") for reason in reasons(kubectl, "grow"))
    finished(checker)


def test_more_bytes_split_a_table(limited, place):
    place.ready(table("large"))
    sdk = place.sdk()
    checker = sdk.check("large", repeats=True)
    for number in range(ITEMS):
        sdk("put_item", TableName="large", Item={"pk": {"S": f"large-{number}"}, "text": {"S": "x" * (BYTES // 30)}})
    # The first split may come before all of it is there, and its halves grow on.
    settled(place.kubectl, "large", [2, 3, 4], 1, GROWN_SECONDS)
    told = reasons(place.kubectl, "large")
    assert any("size: it holds" in reason for reason in told), told
    finished(checker)
    keys = {item["pk"]["S"] for item in pages(sdk, TableName="large", ProjectionExpression="pk", ConsistentRead=True)}
    assert {key for key in keys if key.startswith("large-")} == {f"large-{number}" for number in range(ITEMS)}


def pages(sdk, **parameters):
    """All items of a Scan, page by page."""
    behind = {}
    while True:
        page = sdk("scan", **parameters, **behind)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        behind = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def test_more_bytes_split_an_index(limited, place):
    """Its partitions are its own, and stay on the storage nodes of the table, which is split, too."""
    attributes = [{"attributeName": key, "attributeType": "S"} for key in ("pk", "owner")]
    place.ready(table("indexed", attributeDefinitions=attributes, globalSecondaryIndexes=[global_index("byOwner", "owner")]))
    kubectl, sdk = place.kubectl, place.sdk()
    checker = sdk.check("indexed", repeats=True)
    for number in range(ITEMS):
        sdk("put_item", TableName="indexed", Item={
            "pk": {"S": f"item-{number}"}, "owner": {"S": f"owner-{number}"}, "text": {"S": "x" * (BYTES // 30)}})

    def split():
        found = partitions(kubectl)
        of_index = [one for one in found if one["spec"].get("indexName") == "byOwner"]
        assert len(of_index) > 1, [one["metadata"]["name"] for one in of_index]
        ends = [one["spec"].get("end") for one in of_index]
        assert [None, *ends] == [*(one["spec"].get("start") for one in of_index), None]
        assert {one["spec"]["host"] for one in of_index} <= {one["spec"]["host"] for one in found if one not in of_index}
        reconciling = kubectl.condition("table", "indexed", "Reconciling")
        assert reconciling["status"] == "False", reconciling
        return True
    wait_for("an index of several partitions", split, GROWN_SECONDS)
    kubectl.ready("table", "indexed")
    # Each item is in it once, wherever its row has gone; and so are those that come now.
    sdk("put_item", TableName="indexed", Item={"pk": {"S": "late"}, "owner": {"S": "owner-late"}})
    expected = {f"owner-{number}" for number in (*range(ITEMS), "late")}

    def indexed():
        owners = [item["owner"]["S"] for item in pages(sdk, TableName="indexed", IndexName="byOwner", ProjectionExpression="#owner",
                                                       ExpressionAttributeNames={"#owner": "owner"})]
        assert sorted(owners) == sorted(expected), owners
        return True
    wait_for("every item in the index", indexed)
    for owner in sorted(expected)[::5]:
        found = sdk("query", TableName="indexed", IndexName="byOwner", KeyConditionExpression="#owner = :owner", Select="COUNT",
                    ExpressionAttributeNames={"#owner": "owner"}, ExpressionAttributeValues={":owner": {"S": owner}})
        assert found["Count"] == 1, (owner, found)
    finished(checker)


@pytest.mark.own_cluster
@pytest.mark.long
def test_a_node_is_drained_while_partitions_move(limited, place):
    """Who moves is not taken apart: the drain waits for it. Then it takes one replica of each partition, and they come back."""
    place.ready(provisioned("grow", WRITE_UNITS // 2, 3))
    kubectl = place.kubectl
    checker = place.sdk().check("grow", repeats=True)
    checker.progress()
    place.apply(provisioned("grow", 3 * WRITE_UNITS, 3))
    wait_for("a partition on its way", lambda: any("movingTo" in one["spec"] for one in partitions(kubectl)), GROWN_SECONDS)
    # Not the client's node: it is to tell what it saw.
    ours = kubectl.get("pod", "client")["spec"]["nodeName"]
    node = next(name for name in limited.kubectl.names("nodes") if name != ours)
    try:
        limited.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--pod-selector={STORAGE}",
                        f"--timeout={GROWN_SECONDS}s")
        checker.progress()
    finally:
        limited.kubectl("uncordon", node)
    settled(kubectl, "grow", [3], 3, GROWN_SECONDS)
    checker.progress()
    finished(checker)
