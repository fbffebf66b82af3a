"""The parameters from before expressions: Expected, AttributeUpdates, AttributesToGet, KeyConditions, filters."""

import pytest

from conftest import DETECTED
from test_items import get, put

ITEM = {"n": {"N": "5"}, "s": {"S": "hello"}, "ss": {"SS": ["a", "b"]}, "l": {"L": [{"S": "x"}]}}


def compare(operator, *values):
    return {"ComparisonOperator": operator, **({"AttributeValueList": list(values)} if values else {})}


N5, N6, A, HE = {"N": "5"}, {"N": "6"}, {"S": "a"}, {"S": "he"}
EXPECTED = [
    ({"n": {"Value": N5}}, True), ({"n": {"Value": N6}}, False), ({"n": {"Exists": False}}, False), ({"x": {"Exists": False}}, True),
    ({"n": {"Exists": True, "Value": N5}}, True), ({"n": compare("EQ", N5)}, True), ({"n": compare("NE", N6)}, True),
    ({"n": compare("LT", N6)}, True), ({"n": compare("LE", N5)}, True), ({"n": compare("GT", N5)}, False), ({"n": compare("GE", N5)}, True),
    ({"n": compare("BETWEEN", {"N": "1"}, N6)}, True), ({"n": compare("IN", N6, N5)}, True), ({"n": compare("NOT_NULL")}, True),
    ({"x": compare("NULL")}, True), ({"n": compare("NULL")}, False), ({"s": compare("BEGINS_WITH", HE)}, True),
    ({"s": compare("CONTAINS", {"S": "ell"})}, True), ({"ss": compare("CONTAINS", A)}, True), ({"ss": compare("NOT_CONTAINS", A)}, False),
    ({"s": compare("NOT_CONTAINS", {"S": "q"})}, True), ({"n": compare("EQ", N5), "s": compare("EQ", HE)}, False),
    ({"l": compare("CONTAINS", {"S": "x"})}, True), ({"x": compare("NE", N5)}, True),
]


@pytest.mark.parametrize("expected, holds", EXPECTED, ids=[str(e) for e, _ in EXPECTED])
def test_expected(api, simple, key, expected, holds):
    put(api, simple, {"pk": {"S": key}, **ITEM})
    reply = api("PutItem", {"TableName": simple, "Item": {"pk": {"S": key}}, "Expected": expected})
    if holds:
        assert reply.status == 200, reply.body
    else:
        assert reply.error == ("ConditionalCheckFailedException", "The conditional request failed")


def test_or(api, simple, key):
    put(api, simple, {"pk": {"S": key}, **ITEM})
    body = {"TableName": simple, "Item": {"pk": {"S": key}, **ITEM}, "Expected": {"n": compare("EQ", N5), "s": compare("EQ", HE)}}
    assert api("PutItem", {**body, "ConditionalOperator": "AND"}).status == 400
    assert api("PutItem", {**body, "ConditionalOperator": "OR"}).status == 200


UPDATES = [
    ({"n": {"Value": N6}}, {"n": N6}), ({"n": {"Action": "PUT", "Value": A}}, {"n": A}), ({"n": {"Action": "ADD", "Value": N6}}, {"n": {"N": "11"}}),
    ({"x": {"Action": "ADD", "Value": N6}}, {"x": N6}), ({"s": {"Action": "DELETE"}}, {"s": None}),
    ({"ss": {"Action": "ADD", "Value": {"SS": ["c"]}}}, {"ss": {"SS": ["a", "b", "c"]}}),
    ({"ss": {"Action": "DELETE", "Value": {"SS": ["a"]}}}, {"ss": {"SS": ["b"]}}),
    ({"l": {"Action": "ADD", "Value": {"L": [N5]}}}, {"l": {"L": [{"S": "x"}, N5]}}),
]


@pytest.mark.parametrize("updates, changes", UPDATES, ids=[str(u) for u, _ in UPDATES])
def test_attribute_updates(api, simple, key, updates, changes):
    put(api, simple, {"pk": {"S": key}, **ITEM})
    answer = api.ok("UpdateItem", {"TableName": simple, "Key": {"pk": {"S": key}}, "AttributeUpdates": updates, "ReturnValues": "ALL_NEW"})
    expected = {name: value for name, value in {"pk": {"S": key}, **ITEM, **changes}.items() if value is not None}
    found = answer["Attributes"]
    for value in found.values():
        value.get("SS", []).sort()
    assert found == expected


def test_attributes_to_get(api, simple, key):
    put(api, simple, {"pk": {"S": key}, **ITEM})
    assert get(api, simple, {"pk": {"S": key}}, AttributesToGet=["n", "nope"]) == {"n": N5}
    answer = api.ok("BatchGetItem", {"RequestItems": {simple: {"Keys": [{"pk": {"S": key}}], "AttributesToGet": ["s"], "ConsistentRead": True}}})
    assert answer["Responses"][simple] == [{"s": {"S": "hello"}}]


@pytest.fixture(scope="module")
def filled(api, ranged):
    for number in range(10):
        api.ok("PutItem", {"TableName": ranged, "Item": {"pk": {"S": "legacy"}, "sk": {"N": str(number)}, "v": {"N": str(number % 3)}}})
    return ranged


P = {"pk": compare("EQ", {"S": "legacy"})}


@pytest.mark.parametrize("more, expected", [
    ({}, list(range(10))), ({"sk": compare("GT", N5)}, [6, 7, 8, 9]), ({"sk": compare("BETWEEN", N5, N6)}, [5, 6]), ({"sk": compare("EQ", N5)}, [5])])
def test_key_conditions(api, filled, more, expected):
    answer = api.ok("Query", {"TableName": filled, "KeyConditions": {**P, **more}})
    assert [int(item["sk"]["N"]) for item in answer["Items"]] == expected


def test_filters(api, filled):
    answer = api.ok("Query", {"TableName": filled, "KeyConditions": P, "QueryFilter": {"v": compare("EQ", {"N": "0"})}, "AttributesToGet": ["sk"]})
    assert answer["Items"] == [{"sk": {"N": str(n)}} for n in (0, 3, 6, 9)] and answer["ScannedCount"] == 10
    # Other tests fill the same table, with more than a page may hold: the six items can be on any page.
    pages = api.pages("Scan", {"TableName": filled, "ScanFilter": {
        "pk": compare("EQ", {"S": "legacy"}), "v": compare("IN", {"N": "1"}, {"N": "2"})}})
    assert sum(page["Count"] for page in pages) == 6


MIXED = "Can not use both expression and non-expression parameters in the same request: "
INVALID = "One or more parameter values were invalid: "
BAD = [
    ("GetItem", {"AttributesToGet": ["a"], "ProjectionExpression": "a"},
     MIXED + "Non-expression parameters: {AttributesToGet} Expression parameters: {ProjectionExpression}"),
    ("UpdateItem", {"AttributeUpdates": {"a": {"Value": N5}}, "UpdateExpression": "REMOVE a"},
     DETECTED + MIXED + "Non-expression parameters: {AttributeUpdates} Expression parameters: {UpdateExpression}"),
    ("DeleteItem", {"Expected": {"a": {"Exists": False}}, "ConditionExpression": "attribute_exists(a)"},
     DETECTED + MIXED + "Non-expression parameters: {Expected} Expression parameters: {ConditionExpression}"),
    ("DeleteItem", {"Expected": {"a": {"Exists": True}}}, DETECTED + INVALID + "Value must be provided when Exists is true for Attribute: a"),
    ("DeleteItem", {"Expected": {"a": {"Exists": False, "Value": N5}}}, DETECTED + INVALID + "Value cannot be used when Exists is false for Attribute: a"),
    ("DeleteItem", {"Expected": {"a": {}}}, DETECTED + INVALID + "Value must be provided when Exists is null for Attribute: a"),
    ("DeleteItem", {"Expected": {"a": compare("EQ")}},
     DETECTED + INVALID + "Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: a"),
    ("DeleteItem", {"Expected": {"a": compare("EQ", N5, N6)}}, DETECTED + INVALID + "Invalid number of argument(s) for the EQ ComparisonOperator"),
    ("DeleteItem", {"Expected": {"a": compare("NULL", N5)}}, DETECTED + INVALID + "Invalid number of argument(s) for the NULL ComparisonOperator"),
    ("DeleteItem", {"ConditionalOperator": "OR"}, DETECTED + "ConditionalOperator cannot be used without Filter or Expected"),
    ("UpdateItem", {"AttributeUpdates": {"pk": {"Value": A}}}, INVALID + "Cannot update attribute pk. This attribute is part of the key"),
    ("UpdateItem", {"AttributeUpdates": {"n" * 65536: {"Value": N5}}},
     DETECTED + INVALID + "Attribute name is too large, must be less than 65536 bytes"),
    ("UpdateItem", {"AttributeUpdates": {"a": {"Action": "PUT"}}},
     DETECTED + INVALID + "Only DELETE action is allowed when no attribute value is specified"),
]



@pytest.mark.parametrize("operation, more, message", BAD, ids=[str(more)[:60] for _, more, _ in BAD])
def test_bad(api, simple, operation, more, message):
    api.refuses(operation, {"TableName": simple, "Key": {"pk": {"S": "a"}}, **more}, message)


def test_deleting_attributes_makes_no_item(api, simple, key):
    item_key = {"TableName": simple, "Key": {"pk": {"S": key}}}
    delete = {"Action": "DELETE"}
    api.ok("UpdateItem", {**item_key, "AttributeUpdates": {"a": delete, "b": {**delete, "Value": {"SS": ["x"]}}}})
    assert api.ok("GetItem", {**item_key, "ConsistentRead": True}) == {}
    api.ok("UpdateItem", {**item_key, "AttributeUpdates": {"a": delete, "b": {"Value": N5}}})
    assert api.ok("GetItem", {**item_key, "ConsistentRead": True}) == {"Item": {"pk": {"S": key}, "b": N5}}
