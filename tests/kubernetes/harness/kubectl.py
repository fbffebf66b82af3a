"""kubectl, with JSON in and out."""

import json
import subprocess

from .waiting import wait_for

COMMAND_SECONDS_MAX = 300


class Failed(AssertionError):
    """A kubectl command failed; `text` is what it said."""

    def __init__(self, command, text):
        super().__init__(f"{' '.join(command)}: {text}")
        self.text = text


class Kubectl:
    """kubectl on one cluster, and on one namespace if it has one."""

    def __init__(self, command, namespace=None):
        self.command = command
        self.namespace = namespace

    def within(self, namespace):
        """The same for a namespace."""
        return Kubectl(self.command, namespace)

    def __call__(self, *arguments, stdin=None):
        """A command that must succeed; its output."""
        done = self.attempt(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise Failed(arguments, done.stderr)
        return done.stdout

    def attempt(self, *arguments, stdin=None):
        """A command that may fail."""
        where = [f"--namespace={self.namespace}"] if self.namespace else []
        return subprocess.run([*self.command, *where, *map(str, arguments)], input=stdin, capture_output=True, text=True,
                              timeout=COMMAND_SECONDS_MAX)

    def get(self, kind, name):
        """An object, or None."""
        text = self("get", kind, name, "--ignore-not-found", "--show-managed-fields", "-o", "json")
        return json.loads(text) if text else None

    def items(self, kind, selector=None, everywhere=False):
        """The objects of a kind."""
        chosen = ["-l", selector] if selector else []
        return json.loads(self("get", kind, *chosen, *(["-A"] if everywhere else []), "--show-managed-fields",
                               "-o", "json"))["items"]

    def names(self, kind, selector=None):
        """The names of the objects of a kind."""
        return sorted(item["metadata"]["name"] for item in self.items(kind, selector))

    def apply(self, *objects, manager=None):
        """Applies objects: server-side as `manager`, or as `kubectl apply` does by default."""
        how = ["--server-side", f"--field-manager={manager}"] if manager else []
        return self("apply", *how, "-f", "-", stdin=as_list(objects))

    def refuses(self, *objects):
        """What the API server says against these objects."""
        done = self.attempt("apply", "-f", "-", stdin=as_list(objects))
        assert done.returncode != 0, f"should be refused: {done.stdout}"
        return done.stderr

    def patch(self, kind, name, change):
        """A merge patch."""
        return self("patch", kind, name, "--type=merge", "-p", json.dumps(change))

    def delete(self, kind, *names, wait=True):
        """Deletes objects."""
        return self("delete", kind, *names, "--ignore-not-found", f"--wait={'true' if wait else 'false'}")

    def ready(self, kind, *names, condition="Ready", seconds=120):
        """Waits for a condition of objects."""
        return self("wait", f"--for=condition={condition}", kind, *names, f"--timeout={seconds}s")

    def condition(self, kind, name, type):
        """One condition of an object, or None."""
        found = self.get(kind, name) or {}
        conditions = found.get("status", {}).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == type), None)

    def reason(self, kind, name, reason, type="Ready", seconds=60):
        """Waits until a condition that is not True has this reason; its message."""
        def there():
            condition = self.condition(kind, name, type)
            assert condition and condition["status"] != "True" and condition["reason"] == reason, condition
            return condition
        return wait_for(f"{reason} of {kind} {name}", there, seconds)["message"]

    def gone(self, kind, selector=None, seconds=120):
        """Waits until no object of a kind is left."""
        def none():
            left = self.names(kind, selector)
            assert not left, left
            return True
        return wait_for(f"the end of all {kind}", none, seconds)

    def fetch(self, path):
        """A GET of the API server, JSON."""
        return json.loads(self("get", "--raw", path))

    def post(self, path, body):
        """A POST to the API server, JSON."""
        return json.loads(self("create", "--raw", path, "-f", "-", stdin=json.dumps(body)))


def as_list(objects):
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
