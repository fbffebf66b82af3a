"""UpdateItem: what each clause does, what comes back, and what is refused."""

import pytest

from conftest import DETECTED
from test_items import INVALID, get, put

START = {
    "n": {"N": "5"}, "s": {"S": "text"}, "l": {"L": [{"N": "1"}, {"N": "2"}]}, "m": {"M": {"x": {"N": "1"}}},
    "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2"]}, "z": {"NULL": True},
}


def update(table, key, expression, values=None, names=None, **more):
    body = {"TableName": table, "Key": {"pk": {"S": key}}, "UpdateExpression": expression, **more}
    if values:
        body["ExpressionAttributeValues"] = values
    if names:
        body["ExpressionAttributeNames"] = names
    return body


ONE = {":v": {"N": "1"}}
GOOD = [
    ("SET a = :v", ONE, {"a": {"N": "1"}}), ("SET n = n + :v", ONE, {"n": {"N": "6"}}),
    ("SET n = :v - n", ONE, {"n": {"N": "-4"}}), ("SET a = s, s = :v", ONE, {"a": {"S": "text"}, "s": {"N": "1"}}),
    ("SET a = if_not_exists(a, :v) + :v", ONE, {"a": {"N": "2"}}), ("SET n = if_not_exists(n, :v)", ONE, {}),
    ("SET l = list_append(l, :v)", {":v": {"L": [{"S": "x"}]}}, {"l": {"L": [{"N": "1"}, {"N": "2"}, {"S": "x"}]}}),
    ("SET l = list_append(:v, l)", {":v": {"L": [{"S": "x"}]}}, {"l": {"L": [{"S": "x"}, {"N": "1"}, {"N": "2"}]}}),
    ("SET l[0] = :v", {":v": {"S": "x"}}, {"l": {"L": [{"S": "x"}, {"N": "2"}]}}),
    ("SET l[7] = :v", {":v": {"S": "x"}}, {"l": {"L": [{"N": "1"}, {"N": "2"}, {"S": "x"}]}}),
    ("SET m.y = :v", ONE, {"m": {"M": {"x": {"N": "1"}, "y": {"N": "1"}}}}),
    ("SET m.y = m.x + :v", ONE, {"m": {"M": {"x": {"N": "1"}, "y": {"N": "2"}}}}),
    ("REMOVE n", None, {"n": None}), ("REMOVE nope, m.nope, l[9]", None, {}),
    ("REMOVE l[0]", None, {"l": {"L": [{"N": "2"}]}}), ("REMOVE l[0], l[1]", None, {"l": {"L": []}}),
    ("REMOVE m.x", None, {"m": {"M": {}}}),
    ("ADD n :v", ONE, {"n": {"N": "6"}}), ("ADD a :v", ONE, {"a": {"N": "1"}}), ("ADD m.y :v", ONE, {"m": {"M": {"x": {"N": "1"}, "y": {"N": "1"}}}}),
    ("ADD ss :v", {":v": {"SS": ["b", "c"]}}, {"ss": {"SS": ["a", "b", "c"]}}),
    ("ADD a :v", {":v": {"NS": ["3"]}}, {"a": {"NS": ["3"]}}),
    ("DELETE ss :v", {":v": {"SS": ["a", "q"]}}, {"ss": {"SS": ["b"]}}), ("DELETE ns :v", {":v": {"NS": ["2", "1.0"]}}, {"ns": None}),
    ("DELETE a :v", {":v": {"SS": ["a"]}}, {}),
    ("SET a = :v REMOVE s ADD n :v DELETE ss :d", {":v": {"N": "1"}, ":d": {"SS": ["a"]}},
     {"a": {"N": "1"}, "s": None, "n": {"N": "6"}, "ss": {"SS": ["b"]}}),
    ("set a = :v remove s", ONE, {"a": {"N": "1"}, "s": None}),
    ("SET a = n + n", None, {"a": {"N": "10"}}),
    ("SET a = :v", {":v": {"N": "0.1"}}, {"a": {"N": "0.1"}}),
]


@pytest.mark.parametrize("expression, values, changes", GOOD, ids=[e for e, _, _ in GOOD])
def test_what_clauses_do(api, simple, key, expression, values, changes):
    put(api, simple, {"pk": {"S": key}, **START})
    answer = api.ok("UpdateItem", update(simple, key, expression, values, ReturnValues="ALL_NEW"))["Attributes"]
    expected = {"pk": {"S": key}, **START, **changes}
    expected = {name: value for name, value in expected.items() if value is not None}
    for item in (answer, get(api, simple, {"pk": {"S": key}})):
        for kind in ("SS", "NS"):
            for value in item.values():
                value.get(kind, []).sort()
        assert item == expected


def test_what_comes_back(api, simple, key):
    put(api, simple, {"pk": {"S": key}, "a": {"N": "1"}, "b": {"M": {"x": {"N": "1"}, "y": {"N": "2"}}}, "c": {"S": "c"}})
    expression, values = "SET a = a + :v, b.x = :v, d = :v REMOVE c", {":v": {"N": "10"}}
    def run(mode):
        return api.ok("UpdateItem", update(simple, key, expression, values, ReturnValues=mode)).get("Attributes")
    assert run("UPDATED_OLD") == {"a": {"N": "1"}, "b": {"M": {"x": {"N": "1"}}}, "c": {"S": "c"}}
    assert run("UPDATED_NEW") == {"a": {"N": "21"}, "b": {"M": {"x": {"N": "10"}}}, "d": {"N": "10"}}
    assert run("ALL_OLD")["a"] == {"N": "21"}
    assert run("ALL_NEW")["a"] == {"N": "41"}
    assert run("NONE") is None


def test_update_makes_items(api, simple, key):
    assert api.ok("UpdateItem", {"TableName": simple, "Key": {"pk": {"S": key}}, "ReturnValues": "ALL_OLD"}) == {}
    assert get(api, simple, {"pk": {"S": key}}) == {"pk": {"S": key}}


ABSENT = "The provided expression refers to an attribute that does not exist in the item"
PATH = "The document path provided in the update expression is invalid for update"
OPERAND = "An operand in the update expression has an incorrect data type"
PREFIX = "Invalid UpdateExpression: "
BAD = [
    ("SET a = nope", None, ABSENT), ("SET a = n + nope", None, ABSENT), ("SET a = m.nope", None, ABSENT),
    ("SET nope.x = :v", ONE, PATH), ("SET s.x = :v", ONE, PATH), ("SET m[0] = :v", ONE, PATH), ("REMOVE s.x", None, PATH),
    ("SET a = s + :v", ONE, OPERAND), ("SET n = list_append(n, :v)", {":v": {"L": []}}, OPERAND),
    ("ADD s :v", ONE, OPERAND), ("ADD ss :v", {":v": {"NS": ["1"]}}, OPERAND), ("DELETE n :v", {":v": {"SS": ["1"]}}, OPERAND),
    ("ADD a :v", {":v": {"S": "x"}}, PREFIX + "Incorrect operand type for operator or function; operator: ADD, "
     "operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND"),
    ("DELETE a :v", ONE, PREFIX + "Incorrect operand type for operator or function; operator: DELETE, "
     "operand type: NUMBER, typeSet: ALLOWED_FOR_DELETE_OPERAND"),
    ("SET a = :v + :s", {":v": {"N": "1"}, ":s": {"S": "x"}},
     PREFIX + "Incorrect operand type for operator or function; operator or function: +, operand type: S"),
    ("SET pk = :v", ONE, INVALID + "Cannot update attribute pk. This attribute is part of the key"),
    ("REMOVE pk", None, INVALID + "Cannot update attribute pk. This attribute is part of the key"),
    ("", None, PREFIX + "The expression can not be empty;"),
    ("SET", None, PREFIX + 'Syntax error; token: "<EOF>", near: "SET"'),
    ("SET a", None, PREFIX + 'Syntax error; token: "<EOF>", near: "a"'),
    ("SET a = ", None, PREFIX + 'Syntax error; token: "<EOF>", near: "="'),
    ("SET a = :v,", ONE, PREFIX + 'Syntax error; token: "<EOF>", near: ","'),
    ("a = :v", ONE, PREFIX + 'Syntax error; token: "a", near: "a ="'),
    ("SET a = :v SET b = :v", ONE, PREFIX + 'The "SET" section can only be used once in an update expression;'),
    ("REMOVE a REMOVE b", None, PREFIX + 'The "REMOVE" section can only be used once in an update expression;'),
    ("SET a = :v, a = :v", ONE, PREFIX + "Two document paths overlap with each other; must remove or rewrite one of "
     "these paths; path one: [a], path two: [a]"),
    ("SET a.b = :v REMOVE a", ONE, PREFIX + "Two document paths overlap with each other; must remove or rewrite one of "
     "these paths; path one: [a, b], path two: [a]"),
    ("SET a.b = :v, a[1] = :v", ONE, PREFIX + "Two document paths conflict with each other; must remove or rewrite one "
     "of these paths; path one: [a, b], path two: [a, [1]]"),
    ("SET a = :w", ONE, PREFIX + "An expression attribute value used in expression is not defined; attribute value: :w"),
    ("SET #a = :v", ONE, PREFIX + "An expression attribute name used in the document path is not defined; attribute name: #a"),
    ("SET a = foo(:v)", ONE, PREFIX + "Invalid function name; function: foo"),
    ("SET a = size(s)", None, PREFIX + "The function is not allowed in an update expression; function: size"),
    ("SET a = if_not_exists(a)", None, PREFIX + "Incorrect number of operands for operator or function; "
     "operator or function: if_not_exists, number of operands: 1"),
    ("SET size = :v", ONE, PREFIX + "Attribute name is a reserved keyword; reserved keyword: size"),
    ("SET a = :v", {**ONE, ":w": {"N": "2"}}, "Value provided in ExpressionAttributeValues unused in expressions: keys: {:w}"),
    ("REMOVE a", ONE, "Value provided in ExpressionAttributeValues unused in expressions: keys: {:v}"),
    ("SET a = :v", {"v": {"N": "1"}}, 'ExpressionAttributeValues contains invalid key: Syntax error; key: "v"'),
    ("SET a = :v", {":v": {"N": "x"}},
     "The parameter cannot be converted to a numeric value: x"),
    ("SET n = n + :v", {":v": {"N": "9" * 38 + "E88"}}, None),
]


@pytest.mark.parametrize("expression, values, message", BAD, ids=[e or "empty" for e, _, _ in BAD])
def test_what_is_refused(api, simple, key, expression, values, message):
    put(api, simple, {"pk": {"S": key}, **START})
    body = update(simple, key, expression, values)
    name, found = api.error("UpdateItem", body)
    assert name == "ValidationException"
    # What the item itself makes impossible is said without more ado.
    of_request = message and message.startswith((
        "Invalid UpdateExpression", "Value provided", "ExpressionAttribute", "The parameter cannot be converted"))
    assert message is None or found == (DETECTED + message if of_request else message)
    assert get(api, simple, {"pk": {"S": key}})["n"] == {"N": "5"}, "a refused update must change nothing"


def test_empty_values(api, simple):
    body = update(simple, "a", "REMOVE a")
    body["ExpressionAttributeValues"] = {}
    api.refuses("UpdateItem", body, DETECTED + "ExpressionAttributeValues must not be empty")
    del body["UpdateExpression"]
    body["ExpressionAttributeValues"] = ONE
    api.refuses("UpdateItem", body, DETECTED + "ExpressionAttributeValues can only be specified when using expressions: "
                "UpdateExpression and ConditionExpression are null")


def test_expressions_have_limits(api, simple, key):
    name, message = api.error("UpdateItem", update(simple, key, "SET a = :v" + " " * 4096, ONE))
    assert name == "ValidationException" and "Expression size has exceeded the maximum allowed size" in message


def test_updated_new_of_lists(api, simple, key):
    item_key = {"pk": {"S": key}}
    put(api, simple, {**item_key, "l": {"L": [{"N": "0"}, {"N": "1"}, {"N": "2"}]}})
    def updated(expression, values=None):
        body = {**update(simple, key, expression, values), "ReturnValues": "UPDATED_NEW"}
        return api.ok("UpdateItem", body).get("Attributes")
    # What is now at the place: the next element, and nothing where an element was appended before that place.
    assert updated("REMOVE l[0]") == {"l": {"L": [{"N": "1"}]}}
    assert updated("REMOVE l[1]") is None
    assert updated("SET l[1] = :v", {":v": {"N": "9"}}) == {"l": {"L": [{"N": "9"}]}}
    assert updated("SET l[4294967294] = :v", {":v": {"N": "10"}}) is None
    assert get(api, simple, item_key)["l"] == {"L": [{"N": n} for n in ("1", "9", "10")]}
    api.refuses("UpdateItem", update(simple, key, "SET l[4294967295] = :v", {":v": {"N": "1"}}),
                DETECTED + "Invalid UpdateExpression: List index is not within the allowable range; index: [4294967295]")
