"""PutItem, GetItem, DeleteItem: values, keys, sizes, what comes back."""

import base64

import pytest

INVALID = "One or more parameter values were invalid: "
NOT_VALID = "One or more parameter values are not valid. "


def put(api, table, item, **more):
    return api.ok("PutItem", {"TableName": table, "Item": item, **more})


def get(api, table, item_key, **more):
    return api.ok("GetItem", {"TableName": table, "Key": item_key, "ConsistentRead": True, **more}).get("Item")


VALUES = {
    "string": {"S": "text"}, "empty string": {"S": ""}, "unicode": {"S": "\u0000 é 漢 \U0001f600 \" \\ / \n"},
    "number": {"N": "42"}, "binary": {"B": base64.b64encode(bytes(range(256))).decode()}, "empty binary": {"B": ""},
    "true": {"BOOL": True}, "false": {"BOOL": False}, "null": {"NULL": True}, "map": {"M": {"a": {"M": {}}}},
    "list": {"L": [{"S": "a"}, {"N": "1"}, {"L": []}]}, "string set": {"SS": ["a", "b"]},
    "number set": {"NS": ["1", "2"]}, "binary set": {"BS": ["AA==", "AQ=="]},
    "set with an empty string": {"SS": ["", "a"]},
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_come_back_as_they_were(api, simple, key, value):
    item = {"pk": {"S": key}, "v": value}
    put(api, simple, item)
    found = get(api, simple, {"pk": {"S": key}})
    for kind in ("SS", "NS", "BS"):
        if kind in found["v"]:
            found["v"][kind].sort()
    assert found == item


NUMBERS = {
    "0": "0", "-0": "0", "0.0": "0", "007": "7", "1.50": "1.5", "1e3": "1000", "1E-3": "0.001", "-1.0": "-1",
    "1e20": "100000000000000000000", "+5": "5", "0.00000001": "0.00000001",
    "123456789012345678901234567890.12345678": "123456789012345678901234567890.12345678",
    "9.9999999999999999999999999999999999999e125": "99999999999999999999999999999999999999" + "0" * 88,
    "1e-130": "0." + "0" * 129 + "1",
}


@pytest.mark.parametrize("written", NUMBERS)
def test_numbers_are_normalised(api, simple, key, written):
    put(api, simple, {"pk": {"S": key}, "n": {"N": written}, "set": {"NS": [written]}})
    found = get(api, simple, {"pk": {"S": key}})
    assert found["n"]["N"] == NUMBERS[written]
    assert found["set"]["NS"] == [NUMBERS[written]]


OVERFLOW = "Number overflow. Attempting to store a number with magnitude larger than supported range"
UNDERFLOW = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
DIGITS = "Attempting to store more than 38 significant digits in a Number"
NO_NUMBER = "The parameter cannot be converted to a numeric value"
EMPTY = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
BAD_VALUES = [
    ({"N": "1e126"}, OVERFLOW), ({"N": "-1e126"}, OVERFLOW), ({"N": "1e-131"}, UNDERFLOW), ({"N": "-1e-131"}, UNDERFLOW),
    ({"N": "1" * 39}, DIGITS), ({"N": "0." + "1" * 39}, DIGITS), ({"NS": ["1", "1e126"]}, OVERFLOW),
    ({"N": "abc"}, NO_NUMBER + ": abc"), ({"N": "1 "}, NO_NUMBER + ": 1 "), ({"N": ""}, NO_NUMBER),
    ({"N": "0x1"}, NO_NUMBER + ": 0x1"), ({"N": "1,0"}, NO_NUMBER + ": 1,0"), ({"N": "NaN"}, NO_NUMBER + ": NaN"),
    ({"N": "Infinity"}, NO_NUMBER + ": Infinity"),
    ({}, EMPTY), ({"M": {"a": {}}}, EMPTY), ({"L": [{}]}, EMPTY),
    ({"S": "a", "N": "1"},
     "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"),
    ({"NULL": False}, INVALID + "Null attribute value types must have the value of true"),
    ({"SS": []}, INVALID + "An string set  may not be empty"),
    ({"NS": []}, INVALID + "An number set  may not be empty"),
    ({"BS": []}, INVALID + "Binary sets should not be empty"),
    ({"SS": ["a", "b", "a"]}, INVALID + "Input collection [a, b, a] contains duplicates."),
    ({"NS": ["1", "1.0"]}, "Input collection contains duplicates"),
]


@pytest.mark.parametrize("value, message", BAD_VALUES, ids=[str(value)[:40] for value, _ in BAD_VALUES])
def test_bad_values_are_refused(api, simple, key, value, message):
    api.refuses("PutItem", {"TableName": simple, "Item": {"pk": {"S": key}, "v": value}},
                message if message.startswith("Supplied") else "1 validation error detected: " + message)


MISMATCH = "The provided key element does not match the schema"
BAD_KEYS = [
    ({}, MISMATCH), ({"other": {"S": "a"}}, MISMATCH), ({"pk": {"N": "1"}}, MISMATCH),
    ({"pk": {"S": "a"}, "more": {"S": "b"}}, MISMATCH), ({"pk": {"NULL": True}}, MISMATCH),
    ({"pk": {"S": ""}}, NOT_VALID + "The AttributeValue for a key attribute cannot contain an empty string value. Key: pk"),
]


@pytest.mark.parametrize("operation", ["GetItem", "DeleteItem"])
@pytest.mark.parametrize("item_key, message", BAD_KEYS, ids=[str(item_key) for item_key, _ in BAD_KEYS])
def test_keys_must_fit_the_schema(api, simple, operation, item_key, message):
    api.refuses(operation, {"TableName": simple, "Key": item_key}, message)


@pytest.mark.parametrize("item, message", [
    ({"a": {"S": "b"}}, INVALID + "Missing the key pk in the item"),
    ({"pk": {"N": "1"}}, INVALID + "Type mismatch for key pk expected: S actual: N"),
    ({"pk": {"S": ""}}, BAD_KEYS[-1][1]),
])
def test_items_must_have_their_key(api, simple, item, message):
    api.refuses("PutItem", {"TableName": simple, "Item": item}, message)


def test_keys_have_a_limit(api, simple, ranged, make_table):
    put(api, simple, {"pk": {"S": "x" * 2048}})
    assert get(api, simple, {"pk": {"S": "x" * 2048}})
    api.refuses("PutItem", {"TableName": simple, "Item": {"pk": {"S": "x" * 2049}}},
                INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes")
    binary = make_table({"pk": "B", "sk": "B"}, range_key="sk")
    long = base64.b64encode(b"x" * 1025).decode()
    api.refuses("PutItem", {"TableName": binary, "Item": {"pk": {"B": "AA=="}, "sk": {"B": long}}},
                INVALID + "Aggregated size of all range keys has exceeded the size limit of 1024 bytes")


def sized(key, size):
    """An item of just that many bytes: names and values count."""
    return {"pk": {"S": key}, "v": {"S": "x" * (size - len("pk") - len(key) - len("v"))}}


def test_items_have_a_limit(api, simple, key):
    put(api, simple, sized(key, 400 * 1024))
    api.refuses("PutItem", {"TableName": simple, "Item": sized(key, 400 * 1024 + 1)},
                "Item size has exceeded the maximum allowed size")
    api.refuses("UpdateItem", {
        "TableName": simple, "Key": {"pk": {"S": key}}, "UpdateExpression": "SET w = :w",
        "ExpressionAttributeValues": {":w": {"S": "x"}}}, "Item size to update has exceeded the maximum allowed size")


def nested(levels):
    value = {"S": "deep"}
    for _ in range(levels):
        value = {"L": [value]}
    return value


def test_nesting_has_a_limit(api, simple, key):
    put(api, simple, {"pk": {"S": key}, "v": nested(31)})
    too_deep = ("Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported "
                "limit")
    item, values = {"pk": {"S": key}, "v": nested(32)}, {":v": nested(32)}
    detected = "1 validation error detected: " + too_deep
    api.refuses("PutItem", {"TableName": simple, "Item": item}, detected)
    api.refuses("PutItem", {"TableName": simple, "Item": {"pk": {"S": key}}, "ConditionExpression": "v = :v",
                            "ExpressionAttributeValues": values}, detected)
    api.refuses("UpdateItem", {"TableName": simple, "Key": {"pk": {"S": key}}, "UpdateExpression": "SET v = :v",
                               "ExpressionAttributeValues": values}, detected)
    api.refuses("Scan", {"TableName": simple, "FilterExpression": "v = :v", "ExpressionAttributeValues": values}, too_deep)
    api.refuses("BatchWriteItem", {"RequestItems": {simple: [{"PutRequest": {"Item": item}}]}}, too_deep)


def test_what_put_and_delete_return(api, simple, key):
    item_key = {"pk": {"S": key}}
    assert put(api, simple, item_key, ReturnValues="ALL_OLD") == {}
    assert put(api, simple, {**item_key, "a": {"N": "1"}}, ReturnValues="ALL_OLD") == {"Attributes": item_key}
    assert put(api, simple, item_key, ReturnValues="NONE") == {}
    delete = {"TableName": simple, "Key": item_key, "ReturnValues": "ALL_OLD"}
    assert api.ok("DeleteItem", delete) == {"Attributes": item_key}
    assert api.ok("DeleteItem", delete) == {}
    assert api.ok("GetItem", {"TableName": simple, "Key": item_key}) == {}
    for operation in ("PutItem", "DeleteItem"):
        body = {"TableName": simple, "Item" if operation == "PutItem" else "Key": item_key, "ReturnValues": "ALL_NEW"}
        api.refuses(operation, body, "ReturnValues can only be ALL_OLD or NONE")


PATHS = [
    ("a", {"a": {"S": "1"}}), ("#a, m.x", {"a": {"S": "1"}, "m": {"M": {"x": {"N": "1"}}}}),
    ("l[1]", {"l": {"L": [{"N": "20"}]}}), ("l[0], l[2]", {"l": {"L": [{"N": "10"}, {"N": "30"}]}}),
    ("l[9]", {}), ("m.z", {}), ("m.mid.deep[0].q", {"m": {"M": {"mid": {"M": {"deep": {"L": [{"M": {"q": {"S": "!"}}}]}}}}}}),
    ("nope", {}), ("a.b", {}), ("a[0]", {}), ("l.b", {}),
]


@pytest.mark.parametrize("expression, expected", PATHS, ids=[path for path, _ in PATHS])
def test_projections(api, simple, key, expression, expected):
    put(api, simple, {
        "pk": {"S": key}, "a": {"S": "1"}, "l": {"L": [{"N": "10"}, {"N": "20"}, {"N": "30"}]},
        "m": {"M": {"x": {"N": "1"}, "y": {"N": "2"}, "mid": {"M": {"deep": {"L": [{"M": {"q": {"S": "!"}, "r": {"S": "?"}}}]}}}}}})
    more = {"ExpressionAttributeNames": {"#a": "a"}} if "#a" in expression else {}
    assert get(api, simple, {"pk": {"S": key}}, ProjectionExpression=expression, **more) == expected


BAD_PROJECTIONS = [
    ("", {}, "Invalid ProjectionExpression: The expression can not be empty;"),
    ("a, a", {}, "Invalid ProjectionExpression: Two document paths overlap with each other; "
     "must remove or rewrite one of these paths; path one: [a], path two: [a]"),
    ("a, a.b", {}, "Invalid ProjectionExpression: Two document paths overlap with each other; "
     "must remove or rewrite one of these paths; path one: [a], path two: [a, b]"),
    ("a.b, a[0]", {}, "Invalid ProjectionExpression: Two document paths conflict with each other; "
     "must remove or rewrite one of these paths; path one: [a, b], path two: [a, [0]]"),
    ("#x", {}, "Invalid ProjectionExpression: An expression attribute name used in the document path is not defined; "
     "attribute name: #x"),
    ("name", {}, "Invalid ProjectionExpression: Attribute name is a reserved keyword; reserved keyword: name"),
    ("a,", {}, 'Invalid ProjectionExpression: Syntax error; token: "<EOF>", near: ","'),
    ("a b", {}, 'Invalid ProjectionExpression: Syntax error; token: "b", near: "a b"'),
    ("a", {"#b": "b"}, "Value provided in ExpressionAttributeNames unused in expressions: keys: {#b}"),
    ("a", {"b": "b"}, 'ExpressionAttributeNames contains invalid key: Syntax error; key: "b"'),
]


@pytest.mark.parametrize("expression, names, message", BAD_PROJECTIONS, ids=[p for p, _, _ in BAD_PROJECTIONS])
def test_bad_projections(api, simple, expression, names, message):
    body = {"TableName": simple, "Key": {"pk": {"S": "a"}}, "ProjectionExpression": expression}
    if names:
        body["ExpressionAttributeNames"] = names
    api.refuses("GetItem", body, message)


def test_names_without_expressions(api, simple):
    base = {"TableName": simple, "Key": {"pk": {"S": "a"}}}
    api.refuses("GetItem", {**base, "ExpressionAttributeNames": {"#a": "a"}},
                "ExpressionAttributeNames can only be specified when using expressions")
    api.refuses("GetItem", {**base, "ProjectionExpression": "a", "ExpressionAttributeNames": {}},
                "ExpressionAttributeNames must not be empty")


@pytest.mark.parametrize("operation, member", [("GetItem", "Key"), ("PutItem", "Item"), ("DeleteItem", "Key"), ("UpdateItem", "Key")])
def test_tables_that_are_not_there(api, operation, member):
    api.refuses(operation, {"TableName": "conformance-nowhere", member: {"pk": {"S": "a"}}},
                "Requested resource not found", "ResourceNotFoundException")


def test_arns_name_tables_too(api, simple, key):
    arn = api.ok("DescribeTable", {"TableName": simple})["Table"]["TableArn"]
    put(api, arn, {"pk": {"S": key}})
    assert get(api, arn, {"pk": {"S": key}}) == {"pk": {"S": key}}
