"""The golden scripts, as `script.rs` beside this file describes them, sent to the endpoint."""

import itertools
import json
import pathlib
import time

import pytest

SCRIPTS = sorted(pathlib.Path(__file__).with_name("scripts").glob("*.txt"))


def steps(text):
    """(line, operation, body, marks): marks are the answer's (mark, text) pairs."""
    blocks = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line[0] == "#":
            continue
        if line[0] in "@><~!+":
            blocks.append([number, line[0], line[1:].strip()])
        else:
            blocks[-1][2] += "\n" + line
    found = []
    for number, mark, block in blocks:
        if mark in "@>":
            operation, _, body = block.partition(" ")
            found.append((number, mark + operation, body.strip(), []))
        else:
            found[-1][3].append((mark, block))
    return found


def normal(value, unordered):
    """1 and 1.0 are the same; with `unordered` arrays are multisets."""
    if isinstance(value, dict):
        return {name: normal(member, unordered) for name, member in value.items()}
    if isinstance(value, list):
        members = [normal(member, unordered) for member in value]
        return sorted(members, key=json.dumps) if unordered else members
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def difference(reply, marks):
    mark, text = marks[0]
    body = reply.json
    if mark in "<~":
        expected = json.loads(text)
        same = reply.status == 200 and normal(body, mark == "~") == normal(expected, mark == "~")
    else:
        name, _, message = text.partition(": ")
        extra = {member: value for _, more in marks[1:] for member, value in json.loads(more).items()}
        others = {member: value for member, value in body.items() if member not in ("__type", "message", "Message")}
        same = reply.status >= 400 and reply.error == (name, message) and others == extra
        expected = text
    return None if same else f"\n  expected {expected}\n  answered {reply.status} {reply.body.decode()}"


@pytest.fixture(scope="module")
def tables(api, request):
    """The tables of the scripts that run, made all at once where making one takes its time: names by script."""
    chosen = {item.callspec.params["path"] for item in request.session.items if item.path == request.path}
    made = {path: [] for path in chosen}
    for path in sorted(chosen):
        for _, operation, body, _ in steps(path.read_text()):
            if operation == "@table":
                api.ok("CreateTable", body)
                made[path].append(json.loads(body)["TableName"])
    yield made
    for name in itertools.chain(*made.values()):
        api("DeleteTable", {"TableName": name})


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(api, tables, path):
    for name in tables[path]:
        api.wait(name)
    differences = []
    for line, operation, body, marks in steps(path.read_text()):
        if operation == "@table":
            continue
        found = difference(api(operation[1:], body), marks)
        # A global index follows its table: a read of one is repeated for a while.
        deadline = time.monotonic() + 10
        while found and '"IndexName"' in body and time.monotonic() < deadline:
            found = difference(api(operation[1:], body), marks)
        if found:
            differences.append(f"{path.name}:{line}: {operation[1:]}: {found}")
    assert not differences, "\n".join(differences)
