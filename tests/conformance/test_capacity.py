"""ReturnConsumedCapacity: exact units. <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>"""

import pytest

from test_items import sized


def used(answer):
    return answer["ConsumedCapacity"]["CapacityUnits"]


def total(api, operation, body):
    return used(api.ok(operation, {**body, "ReturnConsumedCapacity": "TOTAL"}))


@pytest.mark.parametrize("size, write, strong, eventual", [
    (100, 1, 1, 0.5), (1024, 1, 1, 0.5), (1025, 2, 1, 0.5), (4096, 4, 1, 0.5), (4097, 5, 2, 1), (10_000, 10, 3, 1.5)])
def test_single_items(api, simple, key, size, write, strong, eventual):
    item, item_key = sized(key, size), {"pk": {"S": key}}
    assert total(api, "PutItem", {"TableName": simple, "Item": item}) == write
    get = {"TableName": simple, "Key": item_key}
    assert total(api, "GetItem", {**get, "ConsistentRead": True}) == strong
    assert total(api, "GetItem", get) == eventual
    # A projection saves nothing.
    assert total(api, "GetItem", {**get, "ProjectionExpression": "pk"}) == eventual
    # Replacing costs the larger one of both.
    assert total(api, "PutItem", {"TableName": simple, "Item": item_key}) == write
    assert total(api, "PutItem", {"TableName": simple, "Item": item}) == write
    # What a failed condition looked at was paid for.
    reply = api("PutItem", {"TableName": simple, "Item": item_key, "ConditionExpression": "attribute_not_exists(pk)"})
    assert reply.status == 400
    assert total(api, "DeleteItem", {"TableName": simple, "Key": item_key}) == write


def test_what_is_not_there(api, simple, key):
    item_key = {"TableName": simple, "Key": {"pk": {"S": key}}}
    assert total(api, "GetItem", item_key) == 0.5
    assert total(api, "GetItem", {**item_key, "ConsistentRead": True}) == 1
    assert total(api, "DeleteItem", item_key) == 1
    assert total(api, "UpdateItem", item_key) == 1


def test_forms(api, simple, indexed, key):
    item = {"pk": {"S": key}}
    def consumed(table, body, mode):
        return api.ok("PutItem", {"TableName": table, "Item": body, "ReturnConsumedCapacity": mode}).get("ConsumedCapacity")
    assert consumed(simple, item, "NONE") is None
    assert consumed(simple, item, "TOTAL") == {"TableName": simple, "CapacityUnits": 1.0}
    assert consumed(simple, item, "INDEXES") == {"TableName": simple, "CapacityUnits": 1.0, "Table": {"CapacityUnits": 1.0}}
    both = {**item, "sk": {"N": "1"}, "lk": {"N": "1"}, "gk": {"S": key}, "gs": {"N": "1"}}
    assert consumed(indexed, both, "INDEXES") == {
        "TableName": indexed, "CapacityUnits": 6.0, "Table": {"CapacityUnits": 1.0},
        "LocalSecondaryIndexes": {"local": {"CapacityUnits": 1.0}, "local-keys": {"CapacityUnits": 1.0}},
        "GlobalSecondaryIndexes": {name: {"CapacityUnits": 1.0} for name in ("all", "keys", "some")}}


def test_index_writes(api, indexed, key):
    """A changed index key is a removal and an insertion; an index that is not touched costs nothing."""
    item_key = {"pk": {"S": key}, "sk": {"N": "1"}}
    def change(expression, values=None):
        body = {"TableName": indexed, "Key": item_key, "UpdateExpression": expression, "ReturnConsumedCapacity": "INDEXES"}
        if values:
            body["ExpressionAttributeValues"] = values
        consumed = api.ok("UpdateItem", body)["ConsumedCapacity"]
        return {name: units["CapacityUnits"] for name, units in consumed.get("GlobalSecondaryIndexes", {}).items()}
    assert change("SET gk = :g", {":g": {"S": key}}) == {"keys": 1.0}
    assert change("SET gs = :n", {":n": {"N": "1"}}) == {"all": 1.0, "some": 1.0}
    assert change("SET gs = :n", {":n": {"N": "2"}}) == {"all": 2.0, "some": 2.0}
    assert change("SET extra = :n", {":n": {"N": "2"}}) == {"all": 1.0, "some": 1.0}
    assert change("SET unprojected = :n", {":n": {"N": "2"}}) == {"all": 1.0}
    assert change("REMOVE gs") == {"all": 1.0, "some": 1.0}


def test_queries(api, ranged, key):
    """Sizes are added up before they are rounded: 10 items of 1 KB are 3 units, not 10."""
    for number in range(10):
        item = {"pk": {"S": key}, "sk": {"N": str(number)}}
        item["v"] = {"S": "x" * (1000 - 2 - len(key) - 2 - 2 - 1)}
        api.ok("PutItem", {"TableName": ranged, "Item": item})
    query = {"TableName": ranged, "KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": key}}}
    assert total(api, "Query", {**query, "ConsistentRead": True}) == 3
    assert total(api, "Query", query) == 1.5
    assert total(api, "Query", {**query, "Limit": 1}) == 0.5
    assert total(api, "Query", {**query, "FilterExpression": "attribute_exists(nope)"}) == 1.5
    assert total(api, "Query", {**query, "Select": "COUNT"}) == 1.5
    query["ExpressionAttributeValues"] = {":p": {"S": key + "-none"}}
    assert total(api, "Query", query) == 0.5


def test_batches(api, simple, ranged, key):
    requests = [{"PutRequest": {"Item": {"pk": {"S": f"{key}{n}"}, "v": {"S": "x" * 1500}}}} for n in range(3)]
    answer = api.ok("BatchWriteItem", {"RequestItems": {simple: requests}, "ReturnConsumedCapacity": "TOTAL"})
    assert answer["ConsumedCapacity"] == [{"TableName": simple, "CapacityUnits": 6.0}]
    keys = [{"pk": {"S": f"{key}{n}"}} for n in range(4)]
    answer = api.ok("BatchGetItem", {"RequestItems": {simple: {"Keys": keys}}, "ReturnConsumedCapacity": "TOTAL"})
    assert answer["ConsumedCapacity"] == [{"TableName": simple, "CapacityUnits": 2.0}]


def indexes(answer):
    consumed = answer["ConsumedCapacity"]
    parts = {"table": consumed["Table"]["CapacityUnits"]}
    for kind in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes"):
        parts.update({name: units["CapacityUnits"] for name, units in consumed.get(kind, {}).items()})
    assert consumed["CapacityUnits"] == sum(parts.values())
    return parts


def test_index_rows_cost_what_is_projected(api, indexed, key):
    """A row has the size of what is projected; the larger of its old and new size is paid; a row that moves is paid twice."""
    item = {"pk": {"S": key}, "sk": {"N": "1"}, "lk": {"N": "1"}, "gk": {"S": key}, "gs": {"N": "1"}}
    def put(**members):
        body = {"TableName": indexed, "Item": {**item, **members}, "ReturnConsumedCapacity": "INDEXES"}
        return indexes(api.ok("PutItem", body))
    long, short = {"S": "x" * 2500}, {"S": "x"}
    assert put(other=long) == {"table": 3, "local": 3, "local-keys": 1, "all": 3, "keys": 1, "some": 1}
    # The same again: nothing changes, and no index is written to.
    assert put(other=long) == {"table": 3}
    # Shorter: the old size is paid, where it is projected.
    assert put(other=short) == {"table": 3, "local": 3, "all": 3}
    # Another key of the global indexes: their rows are removed and inserted.
    assert put(gk={"S": key + "'"}, other=short) == {"table": 1, "local": 1, "all": 2, "keys": 2, "some": 2}
    # Another one of the local indexes: the same; global ones that project everything have it, too.
    assert put(lk={"N": "2"}, gk={"S": key + "'"}, other=short) == {"table": 1, "local": 2, "local-keys": 2, "all": 1}
    delete = {"TableName": indexed, "Key": {"pk": {"S": key}, "sk": {"N": "1"}}, "ReturnConsumedCapacity": "INDEXES"}
    assert indexes(api.ok("DeleteItem", delete)) == {
        "table": 1, "local": 1, "local-keys": 1, "all": 1, "keys": 1, "some": 1}
    assert indexes(api.ok("DeleteItem", delete)) == {"table": 1}


def test_updates_cost_the_larger_size(api, simple, key):
    def update(size):
        return total(api, "UpdateItem", {
            "TableName": simple, "Key": {"pk": {"S": key}}, "UpdateExpression": "SET v = :v",
            "ExpressionAttributeValues": {":v": sized(key, size)["v"]}})
    assert [update(size) for size in (100, 2048, 2049, 100, 100)] == [1, 2, 3, 3, 1]
    # Nothing changes: it is paid all the same.
    assert update(100) == 1


def test_what_a_local_index_does_not_project_is_fetched(api, indexed, key):
    for number in range(3):
        item = {"pk": {"S": key}, "sk": {"N": str(number)}, "lk": {"N": "1"}, "other": {"S": "x" * 4200}}
        api.ok("PutItem", {"TableName": indexed, "Item": item})
    query = {"TableName": indexed, "IndexName": "local-keys", "KeyConditionExpression": "pk = :p",
             "ExpressionAttributeValues": {":p": {"S": key}}, "ReturnConsumedCapacity": "INDEXES"}
    assert indexes(api.ok("Query", query)) == {"table": 0, "local-keys": 0.5}
    # Each item is rounded up by itself, from the table.
    assert indexes(api.ok("Query", {**query, "Select": "ALL_ATTRIBUTES"})) == {"table": 3, "local-keys": 0.5}
    strong = {**query, "Select": "ALL_ATTRIBUTES", "ConsistentRead": True}
    assert indexes(api.ok("Query", strong)) == {"table": 6, "local-keys": 1}


def test_scans(api, make_table, key):
    """What is evaluated is paid for: whatever a filter, a projection or Select leaves of it, up to the limit."""
    table = make_table({"pk": "S"})
    for number in range(10):
        api.ok("PutItem", {"TableName": table, "Item": sized(f"{key}{number}", 1000)})
    scan = {"TableName": table}
    assert total(api, "Scan", scan) == 1.5
    assert total(api, "Scan", {**scan, "ConsistentRead": True}) == 3
    assert total(api, "Scan", {**scan, "Select": "COUNT"}) == 1.5
    assert total(api, "Scan", {**scan, "FilterExpression": "attribute_exists(nope)"}) == 1.5
    assert total(api, "Scan", {**scan, "ProjectionExpression": "pk"}) == 1.5
    assert total(api, "Scan", {**scan, "Limit": 4}) == 0.5
    assert total(api, "Scan", {**scan, "Limit": 5, "ConsistentRead": True}) == 2


def test_a_page_is_a_megabyte(api, ranged, key):
    for number in range(14):
        item = {"pk": {"S": key}, "sk": {"N": str(number)}, "v": {"S": "x" * 100_000}}
        api.ok("PutItem", {"TableName": ranged, "Item": item})
    query = {"TableName": ranged, "KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": key}},
             "Select": "COUNT", "ConsistentRead": True, "ReturnConsumedCapacity": "TOTAL"}
    pages = [(answer["ScannedCount"], used(answer)) for answer in api.pages("Query", query)]
    assert sum(count for count, _ in pages) == 14 and len(pages) == 2
    for count, units in pages:
        # 100,000 bytes, and some 40 of the key and the names.
        assert units == -(-count * (100_000 + len("pk") + 32 + len("sk") + len("v") + 2) // 4096), pages


def test_batches_by_table(api, simple, ranged, indexed, key):
    """Every item is rounded by itself, strong or not, there or not, and each table is told of."""
    long = {"S": "x" * 4200}
    api.ok("PutItem", {"TableName": simple, "Item": {"pk": {"S": key}, "v": long}})
    requests = {
        simple: {"Keys": [{"pk": {"S": key}}, {"pk": {"S": key + "-none"}}], "ConsistentRead": True},
        ranged: {"Keys": [{"pk": {"S": key}, "sk": {"N": "1"}}]}}
    answer = api.ok("BatchGetItem", {"RequestItems": requests, "ReturnConsumedCapacity": "INDEXES"})
    assert sorted(answer["ConsumedCapacity"], key=lambda one: one["CapacityUnits"]) == [
        {"TableName": ranged, "CapacityUnits": 0.5, "Table": {"CapacityUnits": 0.5}},
        {"TableName": simple, "CapacityUnits": 3.0, "Table": {"CapacityUnits": 3.0}}]
    rows = [{"PutRequest": {"Item": {"pk": {"S": key}, "sk": {"N": str(n)}, "gk": {"S": key}}}} for n in range(2)]
    writes = {
        indexed: rows,
        simple: [{"DeleteRequest": {"Key": {"pk": {"S": key}}}}, {"DeleteRequest": {"Key": {"pk": {"S": key + "-none"}}}}]}
    answer = api.ok("BatchWriteItem", {"RequestItems": writes, "ReturnConsumedCapacity": "INDEXES"})
    assert sorted(answer["ConsumedCapacity"], key=lambda one: one["CapacityUnits"]) == [
        {"TableName": indexed, "CapacityUnits": 4.0, "Table": {"CapacityUnits": 2.0},
         "GlobalSecondaryIndexes": {"keys": {"CapacityUnits": 2.0}}},
        {"TableName": simple, "CapacityUnits": 6.0, "Table": {"CapacityUnits": 6.0}}]
    assert "ConsumedCapacity" not in api.ok("BatchGetItem", {"RequestItems": requests})
    none = {"RequestItems": {simple: [{"PutRequest": {"Item": {"pk": {"S": key}}}}]}}
    assert "ConsumedCapacity" not in api.ok("BatchWriteItem", {**none, "ReturnConsumedCapacity": "NONE"})
