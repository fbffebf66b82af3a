"""Data that a deleted Table left is adopted on purpose, never by accident."""

import pytest

from harness.manifests import changed, table
from harness.waiting import wait_for

STORAGE = "app.kubernetes.io/component=storage"
LEDGER = table("ledger", deletionPolicy="Retain")


@pytest.fixture
def left(place):
    """A table with items was deleted and its data retained: (place, sdk, its id)."""
    place.ready(LEDGER)
    sdk = place.sdk()
    for number in range(20):
        sdk("put_item", TableName="ledger", Item={"pk": {"S": f"entry-{number}"}, "amount": {"N": str(number)}})
    table_id = place.kubectl.get("table", "ledger")["status"]["tableId"]
    place.kubectl.delete("table", "ledger")
    place.kubectl.gone("statefulsets", STORAGE)
    [claim] = place.kubectl.items("pvc", STORAGE)
    assert claim["metadata"]["labels"]["partita.dev/table-id"] == table_id
    assert claim["metadata"]["annotations"]["partita.dev/table-name"] == "ledger"
    return place, sdk, table_id


def amounts(sdk, table="ledger"):
    return sorted(int(item["amount"]["N"]) for item in sdk("scan", TableName=table, ConsistentRead=True)["Items"])


def test_a_manifest_waits_until_it_names_the_data(left):
    place, sdk, table_id = left
    place.apply(LEDGER)
    message = place.kubectl.reason("table", "ledger", "RetainedDataFound")
    assert table_id in message and "adopt" in message, message
    # Waiting it makes nothing, and nothing of the data is touched.
    assert place.kubectl.names("statefulsets", STORAGE) == []
    place.apply(changed(LEDGER, bootstrap={"adopt": "0123456789abcdef"}))
    assert "0123456789abcdef" in place.kubectl.reason("table", "ledger", "NothingToAdopt")
    assert place.kubectl.names("statefulsets", STORAGE) == []
    place.ready(changed(LEDGER, bootstrap={"adopt": table_id}))
    assert place.kubectl.get("table", "ledger")["status"]["tableId"] == table_id
    sdk.active("ledger")
    assert amounts(sdk) == list(range(20))
    checker = sdk.check("ledger")
    checker.progress()
    assert checker.finish()["failed"] == 0


def test_a_table_made_with_an_sdk_begins_empty(left):
    place, sdk, table_id = left
    sdk("create_table", TableName="ledger", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
    sdk.active("ledger")
    assert amounts(sdk) == []
    [resource] = place.kubectl.items("tables")
    assert resource["status"]["tableId"] != table_id
    sdk("delete_table", TableName="ledger")
    place.kubectl.gone("tables")
    # Its own data went with it; what was retained before is still there for whoever names it.
    wait_for("the new table's claim being gone", lambda: len(place.kubectl.names("pvc", STORAGE)) == 1)
    place.ready(changed(LEDGER, bootstrap={"adopt": table_id}))
    sdk.active("ledger")
    assert amounts(sdk) == list(range(20))


def test_other_data_is_not_adopted(left):
    place, sdk, table_id = left
    other = table("journal", bootstrap={"adopt": table_id})
    place.apply(other)
    # What is kept of `ledger` is no `journal`.
    condition = wait_for("a refusal", lambda: refusal(place, "journal"))
    assert condition["reason"] in ("AdoptionRefused", "NothingToAdopt"), condition
    assert place.kubectl.names("statefulsets", STORAGE) == []
    place.kubectl.delete("table", "journal")
    place.ready(changed(LEDGER, bootstrap={"adopt": table_id}))
    sdk.active("ledger")
    assert amounts(sdk) == list(range(20))


def refusal(place, name):
    condition = place.kubectl.condition("table", name, "Ready")
    return condition if condition and condition["status"] == "False" and condition["reason"] != "Creating" else None
