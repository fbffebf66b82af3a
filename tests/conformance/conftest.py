"""What the suite shares: signed raw requests, boto3, and tables: some that are made once and removed at the end, and those
that a test makes for itself, removed after it.

The endpoint is PARTITA_ENDPOINT. Nothing here knows what is behind it, but whether it is AWS itself.
"""

import http.client
import json
import os
import time
import urllib.parse
import uuid
import zlib

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

ENDPOINT = os.environ.get("PARTITA_ENDPOINT", "http://127.0.0.1:8000")
REGION = os.environ.get("AWS_REGION", "us-east-1")
os.environ.setdefault("AWS_ACCESS_KEY_ID", "AKIDTEST")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "secret")
READY_SECONDS_MAX = 120
# In front of what is wrong with the expressions (and their older equivalents) of PutItem, UpdateItem and DeleteItem, and with
# a Query's Select.
DETECTED = "1 validation error detected: "
AWS = (urllib.parse.urlsplit(ENDPOINT).hostname or "").endswith(".amazonaws.com")
POLL_SECONDS = 1.0 if AWS else 0.02


class Reply:
    """An HTTP answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """An error's short name, and its text however the member is spelt."""
        body = self.json
        return body["__type"].rsplit("#")[-1], body.get("message", body.get("Message", ""))


class Raw:
    """One keep-alive connection that sends what it is told."""

    def __init__(self):
        self.url = urllib.parse.urlsplit(ENDPOINT)
        self.connection = None
        self.credentials = boto3.Session().get_credentials()

    def send(self, method, path, headers, body, retried=False):
        if self.connection is None:
            kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
            self.connection = kind(self.url.hostname, self.url.port, timeout=30)
        try:
            self.connection.request(method, path, body, headers)
            response = self.connection.getresponse()
            reply = Reply(response.status, response.getheaders(), response.read())
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            # A connection kept alive may be closed at any time by the other end: once more, on a new one.
            fresh, self.connection = self.connection.sock is None, None
            if retried or fresh:
                raise
            return self.send(method, path, headers, body, retried=True)
        if response.will_close:
            self.connection = None
        return reply

    def __call__(self, operation, body, headers=None, signed=True, target=None):
        """An operation; `body` is a dict, text or bytes."""
        if isinstance(body, dict):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        all_headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": target or f"DynamoDB_20120810.{operation}",
        }
        all_headers.update(headers or {})
        if signed:
            request = AWSRequest("POST", ENDPOINT + "/", dict(all_headers), body)
            SigV4Auth(self.credentials, "dynamodb", REGION).add_auth(request)
            all_headers = dict(request.headers.items())
        return self.send("POST", "/", all_headers, body)

    def ok(self, operation, body):
        """The answer to an operation that must succeed."""
        reply = self(operation, body)
        assert reply.status == 200, reply.body
        assert int(reply.headers["x-amz-crc32"]) == zlib.crc32(reply.body)
        return reply.json

    def pages(self, operation, body):
        """The answers to a Query or Scan, page by page to the last."""
        while True:
            answer = self.ok(operation, body)
            yield answer
            if "LastEvaluatedKey" not in answer:
                return
            body = {**body, "ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def error(self, operation, body):
        """Name and text of the error of an operation that must fail."""
        reply = self(operation, body)
        assert reply.status >= 400, f"{operation} should fail: {body} answers {reply.body}"
        return reply.error

    def refuses(self, operation, body, message, name="ValidationException"):
        """The operation must fail with just this."""
        assert self.error(operation, body) == (name, message)

    def wait(self, table):
        """Waits until a table and its indexes are active."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            description = self.ok("DescribeTable", {"TableName": table})["Table"]
            states = [index["IndexStatus"] for index in description.get("GlobalSecondaryIndexes", [])]
            if set(states + [description["TableStatus"]]) == {"ACTIVE"}:
                return description
            assert time.monotonic() < deadline, description
            time.sleep(POLL_SECONDS)

    def eventually(self, look, expected):
        """Waits until what is eventually consistent is as expected."""
        deadline = time.monotonic() + 30
        while (found := look()) != expected:
            assert time.monotonic() < deadline, f"{found} is not {expected}"
            time.sleep(POLL_SECONDS)


@pytest.fixture(scope="session")
def api():
    return Raw()


@pytest.fixture(scope="session")
def client():
    return boto3.client("dynamodb", endpoint_url=ENDPOINT, region_name=REGION,
                        config=Config(retries={"total_max_attempts": 1}))


def maker(api):
    """Makes tables, and removes them in the end: make({"pk": "S", ...}, hash, range, **other parameters of CreateTable).
    With wait=False the caller waits."""
    made = []

    def make(attributes, hash_key="pk", range_key=None, wait=True, **parameters):
        name = f"conformance-{uuid.uuid4().hex[:12]}"
        schema = [{"AttributeName": hash_key, "KeyType": "HASH"}]
        if range_key:
            schema.append({"AttributeName": range_key, "KeyType": "RANGE"})
        parameters.setdefault("BillingMode", "PAY_PER_REQUEST")
        api.ok("CreateTable", {
            "TableName": name, "KeySchema": schema,
            "AttributeDefinitions": [
                {"AttributeName": attribute, "AttributeType": kind} for attribute, kind in attributes.items()],
            **parameters})
        made.append(name)
        if wait:
            api.wait(name)
        return name

    yield make
    for name in made:
        api("DeleteTable", {"TableName": name})


@pytest.fixture
def make_table(api):
    """Makes tables for one test."""
    yield from maker(api)


@pytest.fixture(scope="session")
def make_shared_table(api):
    """Makes tables that several tests use."""
    yield from maker(api)


@pytest.fixture(scope="session")
def simple(make_shared_table):
    """A table with the string key `pk`."""
    return make_shared_table({"pk": "S"})


@pytest.fixture(scope="session")
def texts(make_shared_table):
    """A table with `pk` (S) and `sk` (S)."""
    return make_shared_table({"pk": "S", "sk": "S"}, range_key="sk")


@pytest.fixture(scope="session")
def ranged(make_shared_table):
    """A table with `pk` (S) and `sk` (N)."""
    return make_shared_table({"pk": "S", "sk": "N"}, range_key="sk")


def index(name, *keys, projection="ALL", include=None):
    """An index of CreateTable; keys as "attribute" (hash) and "attribute:RANGE"."""
    schema = [dict(zip(("AttributeName", "KeyType"), (key + ":HASH").split(":")[:2])) for key in keys]
    described = {"ProjectionType": projection}
    if include:
        described["NonKeyAttributes"] = include
    return {"IndexName": name, "KeySchema": schema, "Projection": described}


@pytest.fixture(scope="session")
def indexed(make_shared_table):
    """A table with an LSI on `lk` (N), and GSIs: `all`, `keys`, `some` (INCLUDE extra) on `gk` (S) and `gs` (N)."""
    return make_shared_table(
        {"pk": "S", "sk": "N", "lk": "N", "gk": "S", "gs": "N"}, range_key="sk",
        LocalSecondaryIndexes=[
            index("local", "pk", "lk:RANGE"), index("local-keys", "pk", "lk:RANGE", projection="KEYS_ONLY")],
        GlobalSecondaryIndexes=[
            index("all", "gk", "gs:RANGE"), index("keys", "gk", projection="KEYS_ONLY"),
            index("some", "gk", "gs:RANGE", projection="INCLUDE", include=["extra"])])


@pytest.fixture
def key():
    """A partition key that no other test uses."""
    return uuid.uuid4().hex
