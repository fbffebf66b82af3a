"""A range that stays at what one partition can is split where its load is, while the table has units left, also between the sort keys
of one partition key; a single item that does so is told of, and left alone. A partition is hot so soon that a few writers make it so."""

import pytest

from harness.manifests import table
from harness.waiting import wait_for

# Of one partition, from which part of them on it is hot, and how many of them the table has from its units.
WRITE_UNITS, HOT_PERCENT, PARTITIONS = 1000, 10, 4
# Keys whose places are asked for.
KEYS = 200
# Items of a batch.
BATCH = 25
# Looks of the operator are five seconds apart; a node of the test cluster starts a pod and it receives its data.
SPLIT_SECONDS = 240


@pytest.fixture(scope="module")
def limited(cluster):
    """The operator with a low limit, that soon splits and never merges. What units ask for stays: it has other tables, too."""
    values = {"hotPercent": HOT_PERCENT, "splitHotAfterSeconds": 10, "mergeAfterSeconds": 86400}
    cluster.install(*(f"--set=tables.partitions.{name}={value}" for name, value in values.items()))
    yield cluster
    cluster.install()


def made(place, name):
    """A table of four partitions; the client, and keys that are all in the first one: the first of four segments of a Scan."""
    place.ready(table(name, billingMode="PROVISIONED", provisionedThroughput={
        "readCapacityUnits": 100, "writeCapacityUnits": PARTITIONS * WRITE_UNITS}))
    assert len(partitions(place.kubectl)) == PARTITIONS
    sdk = place.sdk()
    keys = [{"pk": {"S": f"key-{number}"}} for number in range(KEYS)]
    in_batches(sdk, name, [{"PutRequest": {"Item": key}} for key in keys])
    first = sdk("scan", TableName=name, Segment=0, TotalSegments=PARTITIONS, ConsistentRead=True)["Items"]
    in_batches(sdk, name, [{"DeleteRequest": {"Key": key}} for key in keys])
    assert KEYS // 8 < len(first) < KEYS // 2, len(first)
    return sdk, sorted(item["pk"]["S"] for item in first)


def in_batches(sdk, name, requests):
    """Writes all of them."""
    while requests:
        answer = sdk("batch_write_item", RequestItems={name: requests[:BATCH]})
        requests = answer["UnprocessedItems"].get(name, []) + requests[BATCH:]


def partitions(kubectl):
    """The Partitions in key order."""
    return sorted(kubectl.items("partitions"), key=lambda found: found["spec"].get("start", ""))


def decisions(kubectl, name):
    """What was decided about a table."""
    return [f'{one["action"]}: {one["reason"]}' for one in kubectl.get("table", name)["status"].get("decisions", [])]


def finished(checker):
    """Ends a checker of which no call may have failed."""
    report = checker.finish()
    assert report["failed"] == 0, report


def test_a_hot_range_is_split_where_its_load_is(limited, place):
    sdk, keys = made(place, "hot")
    kubectl = place.kubectl
    # 144 units in each second make one partition hot, and no more than 72 each half.
    checker = sdk.check("hot", writers=4, per_second=18, repeats=True, keys=keys, text_bytes=7_900)

    def split():
        told = decisions(kubectl, "hot")
        assert any("is split: heat: it serves" in one for one in told), told
        found = partitions(kubectl)
        # A half that had more than its part may be split once more.
        assert PARTITIONS < len(found) <= PARTITIONS + 2, [one["metadata"]["name"] for one in found]
        for one in found:
            assert not {"movingTo", "mergingInto"} & set(one["spec"]) and one["status"]["replicas"] == "1/1", one
        assert len({one["spec"]["host"] for one in found}) == len(found)
        return found
    found = wait_for("a split by heat", split, SPLIT_SECONDS)
    starts = [one["spec"].get("start", "") for one in found]
    even = ["", "4000000000000000", "8000000000000000", "c000000000000000"]
    assert [start for start in starts if start not in even] == starts[1:len(starts) - PARTITIONS + 1], starts
    checker.progress()
    finished(checker)


def test_a_hot_collection_is_split_between_its_sort_keys(limited, place):
    place.ready(table("collection", range_key="sk", billingMode="PROVISIONED", provisionedThroughput={
        "readCapacityUnits": 100, "writeCapacityUnits": PARTITIONS * WRITE_UNITS}))
    kubectl = place.kubectl
    # One partition key, and as much load as above.
    checker = place.sdk().check("collection", writers=4, per_second=18, repeats=True, text_bytes=7_900, collection="one")

    def split():
        found = partitions(kubectl)
        assert len(found) > PARTITIONS, decisions(kubectl, "collection")
        for one in found:
            assert not {"movingTo", "mergingInto"} & set(one["spec"]) and one["status"]["replicas"] == "1/1", one
        return found
    found = wait_for("a split by heat", split, SPLIT_SECONDS)
    # Behind a hash of eight bytes stands the partition key, and behind that a sort key.
    within = [one["spec"]["start"] for one in found if len(one["spec"].get("start", "")) > 16]
    assert within and all(b"one".hex() in start for start in within), found
    assert not any(one.startswith("HotKey: ") for one in decisions(kubectl, "collection")), decisions(kubectl, "collection")
    checker.progress()
    finished(checker)


def test_a_single_hot_key_is_told_of_and_not_split(limited, place):
    sdk, keys = made(place, "single")
    kubectl = place.kubectl
    # 320 units in each second, where the client is fast enough.
    checker = sdk.check("single", writers=1, per_second=20, repeats=True, keys=keys[:1], text_bytes=15_900)

    def told():
        found = decisions(kubectl, "single")
        assert any(one.startswith("HotKey: ") and "a split would not help" in one for one in found), found
        return True
    wait_for("the report of a hot key", told, SPLIT_SECONDS)
    events = [event for event in kubectl.items("events") if event.get("reason") == "HotKey"]
    assert len(events) == 1, events
    # It stays hot, and is left alone.
    checker.progress(more=200, seconds=SPLIT_SECONDS)
    assert len(partitions(kubectl)) == PARTITIONS
    assert not any(one.startswith("Split: ") for one in decisions(kubectl, "single")), decisions(kubectl, "single")
    finished(checker)
