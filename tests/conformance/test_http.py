"""The wire: paths, methods, headers, checksums, compression, CORS, signatures, and bodies that are no requests."""

import gzip
import json
import re
import zlib

import pytest

from conftest import AWS

LIST = b"{}"
CORAL = "com.amazon.coral.service#"


def test_headers(api):
    reply = api("ListTables", {})
    assert reply.status == 200 and reply.headers["content-type"] == "application/x-amz-json-1.0"
    assert re.fullmatch("[A-Z0-9]{52}", reply.headers["x-amzn-requestid"])
    assert int(reply.headers["x-amz-crc32"]) == zlib.crc32(reply.body)
    assert api("ListTables", {}).headers["x-amzn-requestid"] != reply.headers["x-amzn-requestid"]
    failed = api("DescribeTable", {"TableName": "conformance-nowhere"})
    assert failed.status == 400 and int(failed.headers["x-amz-crc32"]) == zlib.crc32(failed.body)
    assert failed.json["__type"] == "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"


def test_validation_errors_have_corals_name(api):
    reply = api("GetItem", {"TableName": "x"})
    assert reply.json["__type"] == "com.amazon.coral.validate#ValidationException" or \
        reply.json["__type"] == "com.amazonaws.dynamodb.v20120810#ValidationException" or \
        reply.json["__type"].endswith("#ValidationException")


@pytest.mark.parametrize("target", ["DynamoDB_20120810.NoSuchOperation", "DynamoDB_20111205.ListTables", "nonsense", ""])
def test_unknown_operations(api, target):
    reply = api("", {}, target=target or " ")
    assert reply.status == 400 and reply.json["__type"] == CORAL + "UnknownOperationException"


@pytest.mark.parametrize("operation", ["TransactWriteItems", "TransactGetItems", "ExecuteStatement", "CreateBackup", "CreateGlobalTable"])
@pytest.mark.skipif(AWS, reason="AWS has these")
def test_what_is_not_there_yet_says_so(api, operation):
    reply = api(operation, {})
    if reply.status != 200:
        assert reply.error[0] in ("UnknownOperationException", "ValidationException")
    else:
        raise AssertionError(f"{operation} answers a success: {reply.body}")


@pytest.mark.parametrize("target", ["DynamoDB_20120810.TransactWriteItems", "DynamoDBStreams_20120810.ListStreams"])
@pytest.mark.skipif(AWS, reason="AWS has these")
def test_who_asks_for_what_is_not_there_yet_is_told(api, target):
    name = target.split(".")[1]
    assert api("", {}, target=target).error == ("UnknownOperationException", f"Partita does not have {name} yet")


BODIES = [b"", b"{", b"nonsense", b"[]", b'"text"', b"null", b"{}x", b'{"TableName": }', b"\xff\xfe", b'{"TableName": "\xff"}',
          b'{"TableName": 5}', b'{"TableName": ["a"]}', b'{"TableName": {"a": "b"}}', b'{"Limit": "5"}', b'{"TableName": "abc", "Key": []}',
          b'{"TableName": "abc", "Key": {"pk": "a"}}', b'{"TableName": "abc", "Key": {"pk": {"S": 5}}}',
          b'{"TableName": "abc", "Key": {"pk": {"N": 5}}}', b'{"TableName": "abc", "Key": {"pk": {"BOOL": "true"}}}',
          b'{"TableName": "abc", "Key": {"pk": {"SS": "a"}}}', b'{"TableName": "abc", "Key": {"pk": {"B": "***"}}}',
          b'{"TableName": "abc", "ConsistentRead": "perhaps", "Key": {}}']


@pytest.mark.parametrize("body", BODIES, ids=[repr(body)[2:40] for body in BODIES])
def test_bodies_that_are_no_requests(api, body):
    reply = api("GetItem", body)
    assert reply.status == 400, reply.body
    assert reply.json["__type"] in (CORAL + "SerializationException", CORAL + "ValidationException",
                                    "com.amazon.coral.validate#ValidationException"), reply.body
    if b"***" not in body and b"Limit" not in body:
        assert reply.json["__type"] == CORAL + "SerializationException", reply.body


@pytest.mark.parametrize("body", [b"{", b"nonsense", b'{"TableName": }'])
def test_what_is_not_json_needs_no_message(api, body):
    assert api("GetItem", body).json == {"__type": CORAL + "SerializationException"}


def test_unknown_members_are_ignored(api, simple, key):
    api.ok("PutItem", {"TableName": simple, "Item": {"pk": {"S": key}}, "Nonsense": {"a": [1, None]}, "tableName": 5})
    assert api.ok("GetItem", {"TableName": simple, "Key": {"pk": {"S": key}}, "ReturnConsumedCapacity": None})["Item"]


@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=x", "application/xml", "application/x-amz-json-1.1"])
def test_other_content_types(api, kind):
    reply = api("ListTables", LIST, headers={"Content-Type": kind})
    assert reply.status in (200, 400, 404), reply.body
    if kind == "application/json; charset=x" and reply.status != 200:
        assert b"Exception" in reply.body


def test_other_methods_and_paths(api):
    reply = api.send("GET", "/", {}, None)
    assert reply.status == 200 and reply.body.startswith(b"healthy: ")
    assert api.send("GET", "/nowhere", {}, None).status == 404
    assert api.send("PUT", "/", {}, b"{}").status in (403, 404, 405)
    assert api.send("POST", "/nowhere", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, b"{}").status in (403, 404)


def test_cors(api):
    preflight = api.send("OPTIONS", "/", {
        "Origin": "https://example.com", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-amz-target"}, None)
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "content-type,x-amz-target"
    assert preflight.headers["access-control-allow-methods"] == "POST"
    assert preflight.headers["access-control-max-age"] == "172800"
    reply = api("ListTables", LIST, headers={"Origin": "https://example.com"})
    assert reply.headers["access-control-allow-origin"] == "*"
    exposed = reply.headers["access-control-expose-headers"].lower()
    assert "x-amzn-requestid" in exposed and "x-amz-crc32" in exposed


def test_gzip_both_ways(api, simple, key):
    body = json.dumps({"TableName": simple, "Item": {"pk": {"S": key}, "text": {"S": "x" * 20_000}}}).encode()
    assert api("PutItem", gzip.compress(body), headers={"Content-Encoding": "gzip"}).status == 200
    get = {"TableName": simple, "Key": {"pk": {"S": key}}, "ConsistentRead": True}
    reply = api("GetItem", get, headers={"Accept-Encoding": "gzip"})
    assert reply.status == 200
    plain = gzip.decompress(reply.body) if reply.headers.get("content-encoding") == "gzip" else reply.body
    assert json.loads(plain)["Item"]["text"]["S"] == "x" * 20_000
    assert int(reply.headers["x-amz-crc32"]) == zlib.crc32(reply.body)
    for coding in ("gzip", "deflate"):
        assert api("PutItem", b"not compressed", headers={"Content-Encoding": coding}).status == 400


def test_requests_may_be_deflated(api, simple, key):
    body = json.dumps({"TableName": simple, "Item": {"pk": {"S": key}}}).encode()
    assert api("PutItem", zlib.compress(body), headers={"Content-Encoding": "deflate"}).status == 200
    assert api.ok("GetItem", {"TableName": simple, "Key": {"pk": {"S": key}}, "ConsistentRead": True}) == {"Item": {"pk": {"S": key}}}


def test_without_signature(api):
    reply = api("ListTables", LIST, signed=False)
    assert reply.status == 400
    assert reply.json == {"__type": CORAL + "MissingAuthenticationTokenException",
                          "message": "Request is missing Authentication Token"}


@pytest.mark.parametrize("value, missing", [
    ("AWS4-HMAC-SHA256 SignedHeaders=a, Signature=b", "Authorization header requires 'Credential' parameter."),
    ("AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=a",
     "Authorization header requires 'Signature' parameter."),
    ("AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, Signature=b",
     "Authorization header requires 'SignedHeaders' parameter."),
])
def test_incomplete_signatures(api, value, missing):
    reply = api("ListTables", LIST, signed=False, headers={"Authorization": value, "X-Amz-Date": "20260101T000000Z"})
    assert reply.status == 400 and reply.json["__type"] == CORAL + "IncompleteSignatureException"
    assert missing in reply.json["message"]


def test_large_bodies(api, simple):
    """16 MB is the most that a request may be."""
    body = json.dumps({"TableName": simple, "Item": {"pk": {"S": "x"}, "v": {"S": "x" * (17 << 20)}}}).encode()
    try:
        reply = api("PutItem", body)
    except OSError:
        return
    assert reply.status in (400, 413)
    assert b"Exception" in reply.body or reply.status == 413
