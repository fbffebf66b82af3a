"""A client of the cluster's API server in a few lines: one connection kept open, JSON in and out."""

import http.client
import json
import ssl

TIMEOUT_SECONDS = 30


class Refused(Exception):
    """The API server said no; `status` is its HTTP status."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status


class Api:
    """The API server at an address, as the user whom a token names."""

    def __init__(self, host, certificate, token):
        self.host, self.token = host, token
        self.context = ssl.create_default_context(cafile=certificate)
        self.connection = None

    def call(self, method, path, body=None, content_type="application/json"):
        """One request; the answer."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        try:
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(
                    self.host, 6443, timeout=TIMEOUT_SECONDS, context=self.context)
            self.connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = self.connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self.connection = None
            raise
        if response.status >= 400:
            raise Refused(response.status, text.decode(errors="replace"))
        return json.loads(text)

    def items(self, path):
        """The items of a list."""
        return self.call("GET", path)["items"]
