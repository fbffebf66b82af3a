"""The tests' client in a pod: an SDK, told over HTTP what to do. Port 9000; every answer is 200 and JSON.

    POST /call           {"operation": "put_item", "parameters": {...}}: one call of boto3's client, as it is
    POST /check/NAME     {"table": ..., "writers": ..., "writesPerSecond": ..., "keys": null, "textBytes": ..., "collection": null,
                          "repeats": false}:
                         starts a checker; if it repeats, calls that fail are made again as the SDK does by default
    GET  /check/NAME     its counts so far
    GET  /finish/NAME    ends it and answers with its counts, every acknowledged write looked at
    GET  /healthz

Endpoint and keys are in the environment, as any SDK reads them.
"""

import base64
import http.server
import json
import signal
import sys
import traceback

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from checker import Checker

PORT = 9000
CONNECT_SECONDS_MAX = 2
ANSWER_SECONDS_MAX = 10
CONNECTIONS_MAX = 32


def client(**config):
    """A client, as applications have it but for what is said."""
    return boto3.client("dynamodb", config=Config(
        connect_timeout=CONNECT_SECONDS_MAX, read_timeout=ANSWER_SECONDS_MAX, max_pool_connections=CONNECTIONS_MAX, **config))


class Binary(json.JSONEncoder):
    """Bytes as base64 and times as text: what JSON has no type for."""

    def default(self, value):
        return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


class Handler(http.server.BaseHTTPRequestHandler):
    """Routes; one thread per request."""

    dynamodb = None    # repeats nothing: what failed is told
    repeating = None
    checkers = {}

    def do_GET(self):
        _, action, *name = self.path.split("/")
        self.answer(lambda: {
            "healthz": lambda: {"ok": True},
            "check": lambda: self.checkers[name[0]].status(),
            "finish": lambda: self.checkers.pop(name[0]).finish(),
        }[action]())

    def do_POST(self):
        _, action, *name = self.path.split("/")
        asked = json.loads(self.body())
        self.answer(lambda: {
            "call": lambda: self.call(asked),
            "check": lambda: self.start(name[0], asked),
        }[action]())

    def body(self):
        """The request's body. kubectl sends it in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def call(self, asked):
        answer = getattr(self.dynamodb, asked["operation"])(**asked["parameters"])
        answer.pop("ResponseMetadata", None)
        return answer

    def start(self, name, asked):
        client = self.repeating if asked["repeats"] else self.dynamodb
        self.checkers[name] = Checker(
            client, asked["table"], asked["writers"], asked["writesPerSecond"], asked["keys"], asked["textBytes"],
            asked["collection"])
        return {"started": name}

    def answer(self, act):
        try:
            body = {"answer": act()}
        except ClientError as error:
            body = {"error": {"code": error.response["Error"]["Code"], "message": error.response["Error"]["Message"]}}
        except Exception as error:   # the test that asked shall see it
            body = {"error": {"code": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}}
        text = json.dumps(body, cls=Binary).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """No line per request."""


if __name__ == "__main__":
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    Handler.dynamodb, Handler.repeating = client(retries={"total_max_attempts": 1}), client()
    http.server.ThreadingHTTPServer(("", PORT), Handler).serve_forever()
