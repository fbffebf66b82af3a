"""Query and Scan: key conditions, filters, order, pages, segments, counts."""

import pytest

from conftest import DETECTED


@pytest.fixture(scope="module")
def filled(api, ranged):
    """One collection of 30 items, `sk` -10 to 19, `v` their square."""
    for number in range(-10, 20):
        api.ok("PutItem", {"TableName": ranged, "Item": {
            "pk": {"S": "query"}, "sk": {"N": str(number)}, "v": {"N": str(number * number)}, "odd": {"BOOL": number % 2 == 1}}})
    return ranged


def query(table, condition, values=None, **more):
    body = {"TableName": table, "KeyConditionExpression": condition, **more}
    body["ExpressionAttributeValues"] = {":p": {"S": "query"}, **(values or {})}
    return body


def numbers(answer):
    return [int(item["sk"]["N"]) for item in answer["Items"]]


A, B = {":a": {"N": "-3"}}, {":a": {"N": "-3"}, ":b": {"N": "4"}}
CONDITIONS = [
    ("pk = :p", {}, range(-10, 20)), ("pk = :p AND sk = :a", A, [-3]), ("pk = :p AND sk < :a", A, range(-10, -3)),
    ("pk = :p AND sk <= :a", A, range(-10, -2)), ("pk = :p AND sk > :a", A, range(-2, 20)),
    ("pk = :p AND sk >= :a", A, range(-3, 20)), ("pk = :p AND sk BETWEEN :a AND :b", B, range(-3, 5)),
    ("sk > :a AND pk = :p", A, range(-2, 20)), ("(pk = :p) AND (sk > :a)", A, range(-2, 20)), (":p = pk", {}, range(-10, 20)),
]


@pytest.mark.parametrize("condition, values, expected", CONDITIONS, ids=[c for c, _, _ in CONDITIONS])
@pytest.mark.parametrize("forward", [True, False])
def test_key_conditions(api, filled, condition, values, expected, forward):
    answer = api.ok("Query", query(filled, condition, values, ScanIndexForward=forward))
    assert numbers(answer) == (list(expected) if forward else list(expected)[::-1])
    assert answer["Count"] == answer["ScannedCount"] == len(expected) and "LastEvaluatedKey" not in answer


@pytest.mark.parametrize("limit", [1, 7, 30, 31])
@pytest.mark.parametrize("forward", [True, False])
def test_query_pages(api, filled, limit, forward):
    found, start = [], {}
    while True:
        answer = api.ok("Query", query(filled, "pk = :p", Limit=limit, ScanIndexForward=forward, **start))
        found += numbers(answer)
        assert answer["Count"] <= limit
        if "LastEvaluatedKey" not in answer:
            break
        assert set(answer["LastEvaluatedKey"]) == {"pk", "sk"}
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
    assert found == sorted(range(-10, 20), reverse=not forward)


def test_filters_come_after_limits(api, filled):
    answer = api.ok("Query", query(filled, "pk = :p", {":t": {"BOOL": True}}, FilterExpression="odd = :t", Limit=10))
    assert (answer["Count"], answer["ScannedCount"]) == (5, 10) and "LastEvaluatedKey" in answer
    answer = api.ok("Query", query(filled, "pk = :p", {":t": {"BOOL": True}}, FilterExpression="odd = :t", Select="COUNT"))
    assert (answer["Count"], answer["ScannedCount"]) == (15, 30) and "Items" not in answer
    answer = api.ok("Query", query(filled, "pk = :p", ProjectionExpression="v", Limit=1))
    assert answer["Items"] == [{"v": {"N": "100"}}]


def test_strings_sort_by_bytes(api, texts, key):
    words = ["", "A", "B", "a", "a\u0000", "aa", "b", "é", "漢", "\ud7ff", "\ue000", "\U0001f600"][1:]
    for word in reversed(words):
        api.ok("PutItem", {"TableName": texts, "Item": {"pk": {"S": key}, "sk": {"S": word}}})
    request = {"TableName": texts, "KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": key}}}
    assert [item["sk"]["S"] for item in api.ok("Query", request)["Items"]] == words
    request["KeyConditionExpression"] += " AND begins_with(sk, :a)"
    request["ExpressionAttributeValues"][":a"] = {"S": "a"}
    assert [item["sk"]["S"] for item in api.ok("Query", request)["Items"]] == ["a", "a\u0000", "aa"]


def test_numbers_sort_as_numbers(api, ranged, key):
    values = ["-9.9e125", "-100", "-10.5", "-10", "-1", "-0.1", "-1e-130", "0", "1e-130", "0.1", "0.11", "1", "9", "10", "99", "1e20", "9.9e125"]
    for value in reversed(values):
        api.ok("PutItem", {"TableName": ranged, "Item": {"pk": {"S": key}, "sk": {"N": value}}})
    items = api.ok("Query", {"TableName": ranged, "KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": key}}})["Items"]
    assert [float(item["sk"]["N"]) for item in items] == [float(value) for value in values]


def test_pages_of_a_megabyte(api, ranged, key):
    for number in range(6):
        api.ok("PutItem", {"TableName": ranged, "Item": {"pk": {"S": key}, "sk": {"N": str(number)}, "v": {"S": "x" * 300_000}}})
    request = {"TableName": ranged, "KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": key}}}
    first = api.ok("Query", request)
    assert first["Count"] == 4 and first["LastEvaluatedKey"]["sk"] == {"N": "3"}
    second = api.ok("Query", {**request, "ExclusiveStartKey": first["LastEvaluatedKey"]})
    assert numbers(second) == [4, 5]
    # What a filter drops counts too.
    filtered = api.ok("Query", {**request, "FilterExpression": "attribute_exists(nope)"})
    assert (filtered["Count"], filtered["ScannedCount"]) == (0, 4) and "LastEvaluatedKey" in filtered


def everything(api, request):
    return [item for page in api.pages("Scan", request) for item in page.get("Items", [])]


@pytest.fixture(scope="module")
def scanned(api, make_shared_table):
    table = make_shared_table({"pk": "S"})
    for start in range(0, 100, 25):
        api.ok("BatchWriteItem", {"RequestItems": {table: [
            {"PutRequest": {"Item": {"pk": {"S": f"k{n}"}, "n": {"N": str(n)}}}} for n in range(start, start + 25)]}})
    return table


@pytest.mark.parametrize("limit", [None, 1, 9, 100])
def test_scan_pages(api, scanned, limit):
    request = {"TableName": scanned, **({"Limit": limit} if limit else {})}
    assert sorted(int(item["n"]["N"]) for item in everything(api, request)) == list(range(100))


@pytest.mark.parametrize("segments", [1, 3, 16])
def test_scan_segments(api, scanned, segments):
    found = []
    for segment in range(segments):
        found += everything(api, {"TableName": scanned, "Segment": segment, "TotalSegments": segments, "Limit": 7})
    assert sorted(int(item["n"]["N"]) for item in found) == list(range(100))


def test_a_start_key_belongs_to_its_segment(api, scanned):
    keys = [everything(api, {"TableName": scanned, "Segment": segment, "TotalSegments": 3}) for segment in range(3)]
    api.refuses("Scan", {"TableName": scanned, "Segment": 0, "TotalSegments": 3, "ExclusiveStartKey": {"pk": keys[2][0]["pk"]}},
                "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct "
                "Segment. TotalSegments: 3 Segment: 0")


def test_scan_filters(api, scanned):
    answer = api.ok("Scan", {"TableName": scanned, "FilterExpression": "n < :n", "ExpressionAttributeValues": {":n": {"N": "10"}}})
    assert (answer["Count"], answer["ScannedCount"]) == (10, 100)
    answer = api.ok("Scan", {"TableName": scanned, "Select": "COUNT"})
    assert answer == {"Count": 100, "ScannedCount": 100}


K = "Invalid KeyConditionExpression: "
BAD_QUERIES = [
    ({}, "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request."),
    ({"KeyConditionExpression": "sk = :a", "V": A}, "Query condition missed key schema element: pk"),
    ({"KeyConditionExpression": "pk = :p AND v = :a", "V": A}, "Query condition missed key schema element: sk"),
    ({"KeyConditionExpression": "pk > :p"}, "Query key condition not supported"),
    ({"KeyConditionExpression": "pk = :p AND sk <> :a", "V": A}, "Invalid operator used in KeyConditionExpression: <>"),
    ({"KeyConditionExpression": "pk = :p OR sk = :a", "V": A}, "Invalid operator used in KeyConditionExpression: OR"),
    ({"KeyConditionExpression": "pk = :p AND NOT sk = :a", "V": A}, "Invalid operator used in KeyConditionExpression: NOT"),
    ({"KeyConditionExpression": "pk = :a", "V": A, "P": False},
     "One or more parameter values were invalid: Condition parameter type does not match schema type"),
    ({"KeyConditionExpression": "pk = :p AND begins_with(sk, :a)", "V": A},
     K + "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N"),
    ({"KeyConditionExpression": "pk = :p AND sk BETWEEN :b AND :a", "V": B},
     K + "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; "
     "lower bound operand: AttributeValue: {N:4}, upper bound operand: AttributeValue: {N:-3}"),
    ({"KeyConditionExpression": "pk = :p AND pk = :p"},
     "Invalid KeyConditionExpression: KeyConditionExpressions must only contain one condition per key"),
    ({"KeyConditionExpression": "pk = :p", "FilterExpression": "sk > :a", "V": A},
     "Filter Expression can only contain non-primary key attributes: Primary key attribute: sk"),
    ({"KeyConditionExpression": "pk = :p", "IndexName": "nope"}, "The table does not have the specified index: nope"),
    ({"KeyConditionExpression": "pk = :p", "ExclusiveStartKey": {"pk": {"S": "query"}}},
     "The provided starting key is invalid"),
    ({"KeyConditionExpression": "pk = :p", "ExclusiveStartKey": {"pk": {"S": "query"}, "sk": {"N": "1"}, "v": {"N": "1"}}},
     "The provided starting key is invalid"),
    ({"KeyConditionExpression": "pk = :p", "ExclusiveStartKey": {"pk": {"S": "other"}, "sk": {"N": "1"}}},
     "The provided starting key is outside query boundaries based on provided conditions"),
    ({"KeyConditionExpression": "pk = :p AND sk > :b", "V": {":b": {"N": "4"}},
      "ExclusiveStartKey": {"pk": {"S": "query"}, "sk": {"N": "1"}}},
     "The provided starting key does not match the range key predicate"),
    ({"KeyConditionExpression": "pk = :p", "Select": "SPECIFIC_ATTRIBUTES"},
     DETECTED + "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"),
    ({"KeyConditionExpression": "pk = :p", "Select": "COUNT", "ProjectionExpression": "v"},
     DETECTED + "Cannot specify the ProjectionExpression when choosing to get only the Count"),
    ({"KeyConditionExpression": "pk = :p", "Select": "ALL_PROJECTED_ATTRIBUTES"},
     DETECTED + "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName"),
]


@pytest.mark.parametrize("more, message", BAD_QUERIES, ids=[str(more)[:70] for more, _ in BAD_QUERIES])
def test_bad_queries(api, filled, more, message):
    body = {"TableName": filled, **more}
    values = {**({} if body.pop("P", True) is False else {":p": {"S": "query"}}), **body.pop("V", {})}
    if ":p" in values and ":p" not in str(more):
        del values[":p"]
    if values:
        body["ExpressionAttributeValues"] = values
    name, found = api.error("Query", body)
    assert name == "ValidationException"
    assert found == message


@pytest.mark.parametrize("condition, values, part", [
    ("pk = :long", {}, "Size of hashkey has exceeded the maximum size limit of2048 bytes"),
    ("pk = :pk AND sk = :long", {}, "Aggregated size of all range keys has exceeded the size limit of 1024 bytes"),
    ("pk = :pk AND begins_with(sk, :long)", {}, "Aggregated size of all range keys has exceeded the size limit of 1024 bytes"),
    ("pk = :pk AND sk BETWEEN :a AND :long", {":a": {"S": "a"}},
     "Aggregated size of all range keys has exceeded the size limit of 1024 bytes"),
])
def test_no_key_is_that_long(api, texts, condition, values, part):
    def query(bytes_):
        used = {":pk": {"S": "p"}, ":long": {"S": "x" * bytes_}, **values}
        return {"TableName": texts, "KeyConditionExpression": condition,
                "ExpressionAttributeValues": {name: value for name, value in used.items() if name in condition.replace(",", " ").replace(")", " ").split()}}
    longest = 2048 if condition.startswith("pk = :long") else 1024
    assert api.ok("Query", query(longest))["Count"] == 0
    api.refuses("Query", query(longest + 1), "One or more parameter values were invalid: " + part)


BAD_SCANS = [
    ({"Segment": 1}, "The TotalSegments parameter is required but was not present in the request when Segment parameter is present"),
    ({"TotalSegments": 4}, "The Segment parameter is required but was not present in the request when parameter TotalSegments is present"),
    ({"Segment": 4, "TotalSegments": 4}, "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
     "Segment: 4 is not less than TotalSegments: 4"),
    ({"Limit": 0}, "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: "
     "Member must have value greater than or equal to 1"),
    ({"TotalSegments": 1000001, "Segment": 0}, "1 validation error detected: Value '1000001' at 'totalSegments' failed to satisfy "
     "constraint: Member must have value less than or equal to 1000000"),
    ({"ExclusiveStartKey": {"x": {"S": "y"}}}, "The provided starting key is invalid: The provided key element does not match the schema"),
    ({"IndexName": "nope"}, "The table does not have the specified index: nope"),
]


@pytest.mark.parametrize("more, message", BAD_SCANS, ids=[str(more) for more, _ in BAD_SCANS])
def test_bad_scans(api, scanned, more, message):
    api.refuses("Scan", {"TableName": scanned, **more}, message)
