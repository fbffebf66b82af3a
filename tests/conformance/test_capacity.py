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
