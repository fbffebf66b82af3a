"""Access keys that the chart makes: as given, or random and then the same ones for ever."""

import base64
import json
import re

from conftest import documents, named, of_kind, rendered
import api_server

RANDOM = [{"name": "app", "namespace": "shop"}]


def secrets(keys, *arguments, **options):
    """The Secrets of a rendering with these credentials."""
    return of_kind(documents(rendered("--set-json", f"credentials.create={json.dumps(keys)}", *arguments, **options)), "Secret")


def content(secret):
    """A Secret's data, decoded."""
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


def test_none_without_being_asked():
    assert of_kind(documents(rendered()), "Secret") == []


def test_given_keys_are_taken():
    given = {"name": "app", "namespace": "shop", "permission": "data", "accessKeyId": "AKID", "secretAccessKey": "s3cr3t/+="}
    secret, = secrets([given])
    assert secret["metadata"]["namespace"] == "partita-system"
    assert secret["metadata"]["labels"]["partita.dev/namespace"] == "shop"
    assert content(secret) == {"accessKeyId": "AKID", "secretAccessKey": "s3cr3t/+=", "permission": "data"}


def test_left_out_keys_are_random():
    (one,), (other,) = secrets(RANDOM), secrets(RANDOM)
    assert re.fullmatch("PK[A-Z0-9]{18}", content(one)["accessKeyId"])
    assert re.fullmatch("[A-Za-z0-9]{40}", content(one)["secretAccessKey"])
    assert content(one)["permission"] == "tables"
    assert content(one)["secretAccessKey"] != content(other)["secretAccessKey"]


def test_random_keys_survive_an_upgrade(tmp_path):
    def upgrade(present, keys):
        with api_server.serving(present, tmp_path) as kubeconfig:
            return secrets(keys, "--dry-run=server", env={"KUBECONFIG": str(kubeconfig)})

    first = upgrade([], RANDOM)
    assert content(first[0])["secretAccessKey"]
    assert upgrade(first, RANDOM) == first
    # Another Secret beside it does not change it, and what is given in the end wins.
    both = upgrade(first, RANDOM + [{"name": "other", "namespace": "shop"}])
    assert named(both, "Secret", "app") == first[0]
    assert content(named(both, "Secret", "other"))["secretAccessKey"] != content(first[0])["secretAccessKey"]
    given, = upgrade(first, [RANDOM[0] | {"accessKeyId": "AKID", "secretAccessKey": "given"}])
    assert content(given)["secretAccessKey"] == "given"
    # A Secret that is there but holds nothing is filled.
    bare = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app", "namespace": "partita-system"}}
    assert len(content(upgrade([bare], RANDOM)[0])["secretAccessKey"]) == 40
