"""Conditions: every operator and function, through ConditionExpression; and how failure looks."""

import pytest

from conftest import DETECTED
from test_items import put

ITEM = {
    "n": {"N": "5"}, "s": {"S": "hello"}, "b": {"B": "AQID"}, "t": {"BOOL": True}, "z": {"NULL": True},
    "l": {"L": [{"N": "1"}, {"S": "x"}]}, "m": {"M": {"k": {"N": "1"}}}, "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2"]},
}
V = {":5": {"N": "5"}, ":6": {"N": "6.0"}, ":1": {"N": "1"}, ":h": {"S": "hello"}, ":he": {"S": "he"}, ":ell": {"S": "ell"},
     ":a": {"S": "a"}, ":x": {"S": "x"}, ":t": {"BOOL": True}, ":z": {"NULL": True}, ":b": {"B": "AQ=="}, ":N": {"S": "N"},
     ":SS": {"S": "SS"}, ":M": {"S": "M"}, ":BOOL": {"S": "BOOL"}, ":NULL": {"S": "NULL"}, ":set": {"SS": ["b", "a"]},
     ":list": {"L": [{"N": "1"}, {"S": "x"}]}, ":map": {"M": {"k": {"N": "1.0"}}}, ":2": {"N": "2"}}

TRUE = [
    "n = :5", "n <> :6", "n < :6", "n <= :5", "n > :1", "n >= :5", "n BETWEEN :1 AND :6", "n IN (:1, :5)",
    "s = :h", "s > :he", "begins_with(s, :he)", "contains(s, :ell)", "contains(ss, :a)", "contains(l, :x)", "contains(l, :1)",
    "begins_with(b, :b)", "attribute_exists(n)", "attribute_not_exists(nope)", "attribute_exists(m.k)",
    "attribute_exists(l[1])", "attribute_not_exists(l[2])", "attribute_type(n, :N)", "attribute_type(ss, :SS)",
    "attribute_type(m, :M)", "attribute_type(t, :BOOL)", "attribute_type(z, :NULL)", "size(s) = :5", "size(l) = :2",
    "size(ss) = :2", "size(m) = :1", "size(b) > :2", "t = :t", "z = :z", "ss = :set", "l = :list", "m = :map", "m.k = :1",
    "l[0] = :1", "NOT n = :6", "NOT (n = :6 OR n = :1)", "n = :6 OR n = :5", "n = :5 AND (n = :6 OR s = :h)",
    "(n = :5)", "n = :5 and not n = :6", "n <> s", ":5 = n", "nope <> :5", "NOT nope = :5", "n IN (s, :5)",
    "n = :6 OR n = :5 AND s = :h", "size(s) BETWEEN :1 AND :6", "NOT contains(s, :x)",
]
FALSE = [
    "n = :6", "n = :h", "n < :h", "nope = :5", "nope < :5", "attribute_exists(nope)", "begins_with(n, :he)",
    "begins_with(nope, :he)", "contains(n, :a)", "size(n) = :1", "size(nope) = :5", "n BETWEEN :6 AND :1", "attribute_type(n, :SS)",
    "s IN (:5)", "nope IN (:5)", "nope = s", "NOT (n = :5 OR n = :6)", "n = :5 AND NOT s = :h", "t < :t", "l[0] = :x",
    "contains(ns, :a)", "m.k.q = :1", "s[0] = :1",
]


def attempt(api, table, key, expression):
    values = {name: value for name, value in V.items()
              if any(token.strip("(),") == name for token in expression.replace("(", " ").replace(")", " ").replace(",", " ").split())}
    body = {"TableName": table, "Item": {"pk": {"S": key}, **ITEM}, "ConditionExpression": expression}
    if values:
        body["ExpressionAttributeValues"] = values
    return api("PutItem", body)


@pytest.fixture(scope="module")
def written(api, simple):
    put(api, simple, {"pk": {"S": "conditions"}, **ITEM})
    return "conditions"


@pytest.mark.parametrize("expression", TRUE)
def test_true(api, simple, written, expression):
    reply = attempt(api, simple, written, expression)
    assert reply.status == 200, reply.body


@pytest.mark.parametrize("expression", FALSE)
def test_false(api, simple, written, expression):
    reply = attempt(api, simple, written, expression)
    if reply.error[0] == "ValidationException":
        # Operands that cannot fit are refused before the item is looked at.
        assert "Incorrect operand type" in reply.error[1] or "BETWEEN operator" in reply.error[1]
        assert expression in ("n BETWEEN :6 AND :1", "t < :t"), reply.error
    else:
        assert reply.error == ("ConditionalCheckFailedException", "The conditional request failed")


P = "Invalid ConditionExpression: "
BAD = [
    ("", P + "The expression can not be empty;"),
    ("n", P + 'Syntax error; token: "<EOF>", near: "n"'),
    ("n =", P + 'Syntax error; token: "<EOF>", near: "="'),
    ("n = :5 AND", P + 'Syntax error; token: "<EOF>", near: "AND"'),
    ("n = :5)", P + 'Syntax error; token: ")", near: ":5)"'),
    ("(n = :5", P + 'Syntax error; token: "<EOF>", near: ":5"'),
    ("((n = :5))", P + "The expression has redundant parentheses;"),
    ("n = n", P + "The first operand must be distinct from the remaining operands for this operator or function; "
     "operator: =, first operand: [n]"),
    ("n != :5", P + 'Syntax error; token: "!", near: "n !="'),
    ("n = 5", P + 'Syntax error; token: "5", near: "= 5"'),
    ("foo(n)", P + "Invalid function name; function: foo"),
    ("Size(s) = :5", P + "Invalid function name; function: Size"),
    ("attribute_exists(n, s)", P + "Incorrect number of operands for operator or function; "
     "operator or function: attribute_exists, number of operands: 2"),
    ("begins_with(s)", P + "Incorrect number of operands for operator or function; "
     "operator or function: begins_with, number of operands: 1"),
    ("begins_with(s, :5)", P + "Incorrect operand type for operator or function; "
     "operator or function: begins_with, operand type: N"),
    ("attribute_type(n, :h)", P + "Invalid attribute type name found; type: hello, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}"),
    ("size(s)", P + "The function is not allowed to be used this way in an expression; function: size"),
    ("n = attribute_exists(s)", P + "The function is not allowed to be used this way in an expression; function: attribute_exists"),
    ("if_not_exists(n, :5) = :5", P + "The function is not allowed in a condition expression; function: if_not_exists"),
    ("n = :nope", P + "An expression attribute value used in expression is not defined; attribute value: :nope"),
    ("#n = :5", P + "An expression attribute name used in the document path is not defined; attribute name: #n"),
    ("status = :5", P + "Attribute name is a reserved keyword; reserved keyword: status"),
    ("n < :t", P + "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL"),
    ("n BETWEEN :6 AND :1", P + "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; "
     "lower bound operand: AttributeValue: {N:6.0}, upper bound operand: AttributeValue: {N:1}"),
    ("n BETWEEN :1 AND :h", P + "The BETWEEN operator requires same data type for lower and upper bounds; "
     "lower bound operand: AttributeValue: {N:1}, upper bound operand: AttributeValue: {S:hello}"),
]


@pytest.mark.parametrize("expression, message", BAD, ids=[e or "empty" for e, _ in BAD])
def test_bad_conditions(api, simple, written, expression, message):
    reply = attempt(api, simple, written, expression)
    assert reply.status == 400 and reply.error[0] == "ValidationException", reply.body
    message = DETECTED + message
    if "{N:6.0}" in message:
        assert reply.error[1] in (message, message.replace("6.0", "6"))
    else:
        assert reply.error[1] == message


def test_operators_have_a_limit(api, simple, written):
    expression = " AND ".join(["n = :5"] * 301)
    reply = attempt(api, simple, written, expression)
    assert reply.error[0] == "ValidationException" and "too many operators" in reply.error[1]
    deep = "(" * 1000 + "n = :5" + ")" * 1000
    assert attempt(api, simple, written, deep).error[0] == "ValidationException"
    many = "n IN (" + ", ".join(["s"] * 101) + ")"
    assert attempt(api, simple, written, many).error[0] == "ValidationException"


def test_the_old_item_on_failure(api, simple, key):
    item = {"pk": {"S": key}, "a": {"N": "1"}}
    put(api, simple, item)
    condition = {"ConditionExpression": "attribute_not_exists(pk)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    for operation, member in (("PutItem", {"Item": item}), ("DeleteItem", {"Key": {"pk": {"S": key}}}),
                              ("UpdateItem", {"Key": {"pk": {"S": key}}})):
        reply = api(operation, {"TableName": simple, **member, **condition})
        assert reply.status == 400 and reply.json["Item"] == item
        assert reply.error == ("ConditionalCheckFailedException", "The conditional request failed")


def test_in_takes_a_hundred_values(api, simple, key):
    def attempted(count):
        values = {f":v{number}": {"N": str(number)} for number in range(count)}
        return api("PutItem", {
            "TableName": simple, "Item": {"pk": {"S": key}}, "ExpressionAttributeValues": values,
            "ConditionExpression": f"attribute_not_exists(pk) OR n IN ({', '.join(values)})"})

    assert attempted(100).status == 200
    refused = attempted(101)
    assert refused.status == 400
    assert refused.json["message"] == (
        DETECTED + "Invalid ConditionExpression: The IN operator is provided with too many operands; number of operands: 101")
