"""BatchGetItem and BatchWriteItem."""

import pytest


def keys(prefix, count):
    return [{"pk": {"S": f"{prefix}{n}"}} for n in range(count)]


def write(api, table, requests):
    return api.ok("BatchWriteItem", {"RequestItems": {table: requests}})


def test_write_read_delete(api, simple, ranged, key):
    puts = [{"PutRequest": {"Item": {**item, "v": {"N": "1"}}}} for item in keys(key, 20)]
    other = {"pk": {"S": key}, "sk": {"N": "1"}}
    answer = api.ok("BatchWriteItem", {"RequestItems": {simple: puts, ranged: [{"PutRequest": {"Item": other}}]}})
    assert answer == {"UnprocessedItems": {}}
    answer = api.ok("BatchGetItem", {"RequestItems": {
        simple: {"Keys": keys(key, 25), "ConsistentRead": True, "ProjectionExpression": "v"}, ranged: {"Keys": [other], "ConsistentRead": True}}})
    assert answer["Responses"] == {simple: [{"v": {"N": "1"}}] * 20, ranged: [other]} and answer["UnprocessedKeys"] == {}
    assert write(api, simple, [{"DeleteRequest": {"Key": item}} for item in keys(key, 25)]) == {"UnprocessedItems": {}}
    answer = api.ok("BatchGetItem", {"RequestItems": {simple: {"Keys": keys(key, 25), "ConsistentRead": True}}})
    assert answer["Responses"] == {simple: []}


def test_sixteen_megabytes(api, simple, key):
    for start in range(0, 45, 15):
        write(api, simple, [{"PutRequest": {"Item": {**item, "v": {"S": "x" * 390_000}}}} for item in keys(key, 45)[start:start + 15]])
    left, found, rounds = {simple: {"Keys": keys(key, 45), "ConsistentRead": True}}, 0, 0
    while left:
        answer = api.ok("BatchGetItem", {"RequestItems": left})
        left, found, rounds = answer["UnprocessedKeys"], found + len(answer["Responses"][simple]), rounds + 1
        if left:
            assert left[simple]["ConsistentRead"] is True
    assert found == 45 and rounds == 2


DUPLICATES = "Provided list of item keys contains duplicates"


def put(pk):
    return {"PutRequest": {"Item": {"pk": {"S": pk}}}}


def test_bad_writes(api, simple):
    def refuses(requests, message, name="ValidationException"):
        api.refuses("BatchWriteItem", {"RequestItems": {simple: requests}}, message, name)
    refuses([put("a"), {"DeleteRequest": {"Key": {"pk": {"S": "a"}}}}], DUPLICATES)
    refuses([put("")], "One or more parameter values are not valid. "
            "The AttributeValue for a key attribute cannot contain an empty string value. Key: pk")
    refuses([{"DeleteRequest": {"Key": {"x": {"S": "a"}}}}], "The provided key element does not match the schema")
    refuses([{"PutRequest": {"Item": {"x": {"S": "a"}}}}], "The provided key element does not match the schema")
    name, message = api.error("BatchWriteItem", {"RequestItems": {simple: [put(f"k{n}") for n in range(26)]}})
    assert name == "ValidationException" and (message == "Too many items requested for the BatchWriteItem call" or
                                              "Member must have length less than or equal to 25" in message)
    api.refuses("BatchWriteItem", {"RequestItems": {"conformance-nowhere": [put("a")]}},
                "Requested resource not found", "ResourceNotFoundException")
    big = [{"PutRequest": {"Item": {"pk": {"S": "big"}, "v": {"S": "x" * 409_600}}}}]
    refuses(big, "Item size has exceeded the maximum allowed size")


@pytest.mark.parametrize("body", [{}, {"RequestItems": {}}])
@pytest.mark.parametrize("operation", ["BatchWriteItem", "BatchGetItem"])
def test_nothing_requested(api, operation, body):
    name, message = api.error(operation, body)
    # AWS has worded this in three ways, and regions differ.
    assert name == "ValidationException" and "requestItems" in message.replace("RequestItems", "requestItems")


def test_bad_reads(api, simple):
    def refuses(request, message, name="ValidationException"):
        api.refuses("BatchGetItem", {"RequestItems": {simple: request}}, message, name)
    refuses({"Keys": [{"pk": {"S": "a"}}, {"pk": {"S": "a"}}]}, DUPLICATES)
    refuses({"Keys": [{"x": {"S": "a"}}]}, "The provided key element does not match the schema")
    refuses({"Keys": [{"pk": {"S": "a"}}], "ProjectionExpression": ""},
            "Invalid ProjectionExpression: The expression can not be empty;")
    name, message = api.error("BatchGetItem", {"RequestItems": {simple: {"Keys": keys("k", 101)}}})
    assert name == "ValidationException" and (message == "Too many items requested for the BatchGetItem call" or
                                              "Member must have length less than or equal to 100" in message)
    api.refuses("BatchGetItem", {"RequestItems": {"conformance-nowhere": {"Keys": keys("k", 1)}}},
                "Requested resource not found", "ResourceNotFoundException")
