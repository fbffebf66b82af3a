"""Tables whose units and bytes grow are split, each partition moves to storage nodes of its own, and what is too many is merged
again: under a client that writes and checks all the while, no call fails and nothing is lost. What one partition may hold is so
little, and waits are so short, that it does not take long."""

import pytest

from harness.manifests import table
from harness.waiting import wait_for

STORAGE = "app.kubernetes.io/component=storage"
# Of one partition.
WRITE_UNITS, BYTES = 1000, 1_000_000
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
    for number in range(50):
        sdk("put_item", TableName="large", Item={"pk": {"S": f"large-{number}"}, "text": {"S": "x" * (BYTES // 30)}})
    # The first split may come before all of it is there, and its halves grow on.
    settled(place.kubectl, "large", [2, 3, 4], 1, GROWN_SECONDS)
    told = reasons(place.kubectl, "large")
    assert any("size: it holds" in reason for reason in told), told
    finished(checker)
    assert {name for name in names(sdk) if name.startswith("large-")} == {f"large-{number}" for number in range(50)}


def names(sdk):
    """The keys of all items, page by page."""
    behind = {}
    while True:
        page = sdk("scan", TableName="large", ProjectionExpression="pk", ConsistentRead=True, **behind)
        yield from (item["pk"]["S"] for item in page["Items"])
        if "LastEvaluatedKey" not in page:
            return
        behind = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
