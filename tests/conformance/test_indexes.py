"""Local and global secondary indexes: what is in them, in which order, and what may be asked of them."""

import pytest


@pytest.fixture(scope="module")
def filled(api, indexed):
    for number in range(12):
        item = {"pk": {"S": "p"}, "sk": {"N": str(number)}, "extra": {"S": f"e{number}"}, "other": {"S": "o"}}
        if number % 3:
            item["lk"] = {"N": str(-number)}
        if number % 2:
            item.update(gk={"S": "g"}, gs={"N": str(100 - number)})
        api.ok("PutItem", {"TableName": indexed, "Item": item})
    api.eventually(lambda: query(api, indexed, "all", "gk", "g")["Count"], 6)
    api.eventually(lambda: query(api, indexed, "keys", "gk", "g")["Count"], 6)
    api.eventually(lambda: query(api, indexed, "some", "gk", "g")["Count"], 6)
    return indexed


def query(api, table, name, attribute, value, **more):
    return api.ok("Query", {"TableName": table, "IndexName": name, "KeyConditionExpression": f"{attribute} = :v",
                            "ExpressionAttributeValues": {":v": {"S": value}}, **more})


def numbers(answer):
    return [int(item["sk"]["N"]) for item in answer["Items"]]


def test_local(api, filled):
    answer = query(api, filled, "local", "pk", "p", ConsistentRead=True)
    assert numbers(answer) == [11, 10, 8, 7, 5, 4, 2, 1]
    assert query(api, filled, "local", "pk", "p", Limit=1)["Items"][0]["other"] == {"S": "o"}
    keys = query(api, filled, "local-keys", "pk", "p", Limit=1)["Items"]
    assert keys == [{"pk": {"S": "p"}, "sk": {"N": "11"}, "lk": {"N": "-11"}}]
    # An LSI fetches what it does not hold from the table.
    fetched = query(api, filled, "local-keys", "pk", "p", Limit=1, ProjectionExpression="extra, sk")["Items"]
    assert fetched == [{"sk": {"N": "11"}, "extra": {"S": "e11"}}]


def test_global(api, filled):
    assert numbers(query(api, filled, "all", "gk", "g")) == [11, 9, 7, 5, 3, 1]
    assert numbers(query(api, filled, "all", "gk", "g", ScanIndexForward=False)) == [1, 3, 5, 7, 9, 11]
    keys = query(api, filled, "keys", "gk", "g")["Items"]
    assert all(set(item) == {"pk", "sk", "gk"} for item in keys) and len(keys) == 6
    some = query(api, filled, "some", "gk", "g")["Items"]
    assert all(set(item) == {"pk", "sk", "gk", "gs", "extra"} for item in some)
    scan = {"TableName": filled, "IndexName": "all", "FilterExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "p"}}}
    assert api.ok("Scan", scan)["Count"] == 6


@pytest.mark.parametrize("name, attribute, value, size", [("all", "gk", "g", 6), ("keys", "gk", "g", 6), ("local", "pk", "p", 8)])
def test_index_pages(api, filled, name, attribute, value, size):
    found, start = [], {}
    while True:
        answer = query(api, filled, name, attribute, value, Limit=2, **start)
        found += numbers(answer)
        if "LastEvaluatedKey" not in answer:
            break
        expected = {"all": {"pk", "sk", "gk", "gs"}, "keys": {"pk", "sk", "gk"}, "local": {"pk", "sk", "lk"}}[name]
        assert set(answer["LastEvaluatedKey"]) == expected
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
    assert len(found) == len(set(found)) == size
    assert found == numbers(query(api, filled, name, attribute, value))


def test_indexes_follow(api, indexed, key):
    item_key = {"pk": {"S": key}, "sk": {"N": "1"}}
    rows = lambda: query(api, indexed, "all", "gk", key)["Items"]
    api.ok("PutItem", {"TableName": indexed, "Item": {**item_key, "gk": {"S": key}, "gs": {"N": "1"}}})
    api.eventually(lambda: len(rows()), 1)
    api.ok("UpdateItem", {"TableName": indexed, "Key": item_key, "UpdateExpression": "SET gs = :v, extra = :e",
                          "ExpressionAttributeValues": {":v": {"N": "2"}, ":e": {"S": "x"}}})
    api.eventually(rows, [{**item_key, "gk": {"S": key}, "gs": {"N": "2"}, "extra": {"S": "x"}}])
    api.ok("UpdateItem", {"TableName": indexed, "Key": item_key, "UpdateExpression": "REMOVE gs"})
    api.eventually(lambda: (len(rows()), query(api, indexed, "keys", "gk", key)["Count"]), (0, 1))
    api.ok("DeleteItem", {"TableName": indexed, "Key": item_key})
    api.eventually(lambda: query(api, indexed, "keys", "gk", key)["Count"], 0)


MISMATCH = "One or more parameter values were invalid: Type mismatch for Index Key "
BAD_WRITES = [
    ({"gk": {"N": "1"}}, MISMATCH + "gk Expected: S Actual: N IndexName: "),
    ({"lk": {"S": "x"}}, MISMATCH + "lk Expected: N Actual: S IndexName: "),
    ({"gk": {"S": ""}}, "One or more parameter values are not valid. A value specified for a secondary index key is not supported. "
     "The AttributeValue for a key attribute cannot contain an empty string value. IndexName: "),
]


@pytest.mark.parametrize("attributes, message", BAD_WRITES, ids=[str(a) for a, _ in BAD_WRITES])
def test_bad_index_keys(api, indexed, key, attributes, message):
    name, found = api.error("PutItem", {"TableName": indexed, "Item": {"pk": {"S": key}, "sk": {"N": "1"}, **attributes}})
    assert name == "ValidationException" and found.startswith(message)
    attribute, value = next(iter(attributes.items()))
    name, found = api.error("UpdateItem", {
        "TableName": indexed, "Key": {"pk": {"S": key}, "sk": {"N": "1"}}, "UpdateExpression": f"SET {attribute} = :v",
        "ExpressionAttributeValues": {":v": value}})
    assert name == "ValidationException"


@pytest.mark.parametrize("more, message", [
    ({"IndexName": "all", "ConsistentRead": True}, "Consistent reads are not supported on global secondary indexes"),
    ({"IndexName": "some", "Select": "ALL_ATTRIBUTES"},
     "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global secondary index some "
     "because its projection type is not ALL"),
    ({"IndexName": "some", "ProjectionExpression": "unprojected"},
     "One or more parameter values were invalid: Global secondary index some does not project [unprojected]"),
    ({"IndexName": "all", "KeyConditionExpression": "pk = :v"}, "Query condition missed key schema element: gk"),
    ({"IndexName": "nope"}, "The table does not have the specified index: nope"),
    ({"IndexName": "all", "ExclusiveStartKey": {"pk": {"S": "p"}, "sk": {"N": "1"}}}, "The provided starting key is invalid"),
])
def test_bad_index_queries(api, filled, more, message):
    api.refuses("Query", {"TableName": filled, "KeyConditionExpression": "gk = :v",
                          "ExpressionAttributeValues": {":v": {"S": "g"}}, **more}, message)


def test_collection_metrics(api, indexed, key):
    answer = api.ok("PutItem", {"TableName": indexed, "Item": {"pk": {"S": key}, "sk": {"N": "1"}}, "ReturnItemCollectionMetrics": "SIZE"})
    metrics = answer["ItemCollectionMetrics"]
    assert metrics["ItemCollectionKey"] == {"pk": {"S": key}}
    low, high = metrics["SizeEstimateRangeGB"]
    assert 0 <= low <= high <= 1


def test_keys_of_several_attributes(api, make_table):
    table = make_table(
        {"pk": "S", "a": "S", "b": "N", "c": "S", "d": "N"},
        GlobalSecondaryIndexes=[{
            "IndexName": "multi", "Projection": {"ProjectionType": "ALL"},
            "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "b", "KeyType": "HASH"},
                          {"AttributeName": "c", "KeyType": "RANGE"}, {"AttributeName": "d", "KeyType": "RANGE"}]}])
    for number in range(8):
        api.ok("PutItem", {"TableName": table, "Item": {
            "pk": {"S": f"k{number}"}, "a": {"S": "x"}, "b": {"N": str(number % 2)}, "c": {"S": "lo" if number < 4 else "hi"}, "d": {"N": str(number)}}})
    api.ok("PutItem", {"TableName": table, "Item": {"pk": {"S": "sparse"}, "a": {"S": "x"}, "b": {"N": "1"}, "c": {"S": "lo"}}})
    def found(condition, **values):
        answer = api.ok("Query", {"TableName": table, "IndexName": "multi", "KeyConditionExpression": condition,
                                  "ExpressionAttributeValues": {":" + name: value for name, value in values.items()}})
        return [item["pk"]["S"] for item in answer["Items"]]
    x, one, lo = {"S": "x"}, {"N": "1"}, {"S": "lo"}
    api.eventually(lambda: found("a = :a AND b = :b", a=x, b=one), ["k5", "k7", "k1", "k3"])
    assert found("a = :a AND b = :b AND c = :c AND d > :d", a=x, b=one, c=lo, d={"N": "1"}) == ["k3"]
    name, _ = api.error("Query", {"TableName": table, "IndexName": "multi", "KeyConditionExpression": "a = :a",
                                  "ExpressionAttributeValues": {":a": x}})
    assert name == "ValidationException"
