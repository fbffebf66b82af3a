"""values.yaml, values.schema.json and the templates say the same: every value is described, bounded, and does something."""

import functools
import json
import re

import pytest
import yaml

from conftest import CHART, HERE, helm_template, rendered

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
TEXT = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
EVERYTHING = yaml.safe_load((HERE / "cases" / "everything.yaml").read_text())
SENTENCE = re.compile(r"^[A-Z'].*\.$", re.S)


def resolved(schema):
    """A schema with what it refers to."""
    if "$ref" in schema:
        return {**SCHEMA["definitions"][schema["$ref"].removeprefix("#/definitions/")], **schema}
    return schema


def at(values, path):
    """The value at a path."""
    return functools.reduce(lambda value, key: value[key], path, values)


def leaves(schema, path=()):
    """The paths of all single values, with their schemas: a table of free names is one value."""
    for key, property_ in resolved(schema)["properties"].items():
        property_ = resolved(property_)
        if property_.get("properties") and "$ref" not in property_:
            yield from leaves(property_, (*path, key))
        else:
            yield (*path, key), property_


# Whole groups of values matter only when another one is set.
SWITCHES = [("podMonitors", "enabled"), ("networkPolicies", "enabled"), ("routers", "autoscaling", "enabled"),
            ("alerts", "enabled"), ("dashboards", "enabled")]
# Helm's own; nothing reads it.
LEAVES = [(path, schema) for path, schema in leaves(SCHEMA) if path != ("global",)]


def objects(schema):
    """Every object in the schema that names its properties."""
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_every_value_is_described_by_a_sentence():
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    for schema in objects(SCHEMA):
        assert schema["additionalProperties"] is False
        for name, property_ in schema["properties"].items():
            assert SENTENCE.match(property_.get("description", "")), name
            if "items" in resolved(property_):
                assert SENTENCE.match(resolved(property_)["items"]["description"]), name


def test_every_value_is_bounded():
    for path, schema in LEAVES:
        types = schema.get("type", [])
        for type_ in [types] if isinstance(types, str) else types:
            bounds = {"string": {"enum", "maxLength", "pattern"}, "integer": {"enum", "maximum"}, "array": {"maxItems"}}.get(type_)
            assert bounds is None or bounds & schema.keys(), path


def test_values_and_schema_have_the_same_keys():
    def keys(values, schema, path=()):
        for key, value in values.items():
            yield (*path, key)
            property_ = resolved(schema)["properties"][key]
            if property_.get("properties") and "$ref" not in property_:
                yield from keys(value, property_, (*path, key))

    described = {path[:length] for path, _ in LEAVES for length in range(1, len(path) + 1)}
    assert set(keys(VALUES, SCHEMA)) == described


def test_every_value_has_a_comment():
    lines = TEXT.splitlines()
    inside = None
    for number, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        if inside is not None and depth > inside:
            continue
        inside = None
        if re.match(r" *[A-Za-z]+:", line):
            assert lines[number - 1].lstrip().startswith("# "), line
            # The amounts inside speak for themselves.
            inside = depth if line.strip() == "resources:" else None


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=".".join)
def test_every_value_does_something(path, tmp_path):
    """The value of cases/everything.yaml, alone, changes what is rendered without it."""
    value = at(EVERYTHING, path)
    assert value != at(VALUES, path), "cases/everything.yaml has a default"
    given = value
    for key in reversed(path):
        given = {key: given}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(given))
    # The number of pods is the autoscaler's when there is one; every other switch is on for those behind it.
    on = [argument for switch in SWITCHES if path[:-1] == switch[:-1] and path != switch
          for argument in ("--set", f"{'.'.join(switch)}=true")]
    assert rendered(*on, "--values", tmp_path / "values.yaml", release="db") != rendered(*on, release="db")


@pytest.mark.parametrize("path, value", [
    ("image.tga", "1"),
    ("image.tag", "not a tag"),
    ("image.repository", "Upper/Case"),
    ("image.pullPolicy", "Sometimes"),
    ("image.pullSecrets", ["a", "a"]),
    ("region", ""),
    ("logging.format", "xml"),
    ("logging.filter", "a b"),
    ("crds.install", "yes"),
    ("tables.replicas", 2),
    ("tables.storage.size", "ten"),
    ("tables.partitions.maxCount", 1025),
    ("tables.storage.storageClassName", "-a"),
    ("tables.pods.topology", "strict"),
    ("tables.pods.labels", {"a": 1}),
    ("tables.pods.tolerations", [{"effect": "No"}]),
    ("rbac.aggregate", "yes"),
    ("operator.topology", "Required"),
    ("peerTls.enabled", "yes"),
    ("peerTls.settleSeconds", 1),
    ("routers.https.secretName", "Not_A_Name"),
    ("operator.replicas", 0),
    ("routers.replicas", 1000),
    ("routers.resources", {"requests": {"memory": "much"}}),
    ("routers.nodeSelector", {"a": 1}),
    ("routers.tolerations", [{"effect": "No"}]),
    ("routers.podLabels", ["a"]),
    ("routers.service.type", "ExternalName"),
    ("podMonitors.enabled", "perhaps"),
    ("operator.podDisruptionBudget.maxUnavailable", "half"),
    ("routers.podDisruptionBudget.maxUnavailable", "101%"),
    ("routers.autoscaling.minReplicas", 0),
    ("routers.autoscaling.targetCPUUtilizationPercentage", 5),
    ("networkPolicies.tableNamespaces", ["Upper"]),
    ("networkPolicies.clients", [{"pods": {}}]),
    ("credentials.namespaces", ["a", "a"]),
    ("podMonitors.interval", "often"),
    ("credentials.create", [{"name": "a"}]),
    ("credentials.create", [{"name": "a", "namespace": "x", "permission": "all"}]),
    ("credentials.create", [{"name": "a", "namespace": "x", "accessKeyId": "only"}]),
    ("credentials.create", [{"name": "a", "namespace": "x", "secretAccessKey": "only"}]),
    ("fullnameOverride", "a" * 47),
    ("nameOverride", "Upper"),
])
def test_a_bad_value_is_refused_by_name(path, value):
    process = helm_template("--set-json", f"{path}={json.dumps(value)}")
    assert process.returncode != 0
    # An unknown key is named beside the place where it is.
    place, _, key = path.rpartition(".")
    assert f"at '/{path.replace('.', '/')}" in process.stderr or f"at '/{place}': additional properties '{key}'" in process.stderr


def test_a_parent_chart_may_share_values():
    assert rendered("--set", "global.anything=1")
