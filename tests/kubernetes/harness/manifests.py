"""Tables as manifests."""

import copy

import yaml

from .session import ROOT

SMALL_VOLUME = "1Gi"


def table(name, hash_key="pk", range_key=None, **spec):
    """A small on-demand Table of one replica; its name is its tableName unless that is given. None removes a field."""
    keys = [(hash_key, "HASH")] + ([(range_key, "RANGE")] if range_key else [])
    whole = {
        "tableName": name, "billingMode": "PAY_PER_REQUEST", "replicas": 1, "storage": {"size": SMALL_VOLUME},
        "attributeDefinitions": [{"attributeName": key, "attributeType": "S"} for key, _ in keys],
        "keySchema": [{"attributeName": key, "keyType": kind} for key, kind in keys], **spec}
    return {"apiVersion": "partita.dev/v1alpha1", "kind": "Table", "metadata": {"name": name},
            "spec": {field: value for field, value in whole.items() if value is not None}}


def example(name, **spec):
    """A Table of examples/ as it stands there, but with small volumes and one replica."""
    manifest = yaml.safe_load((ROOT / f"examples/{name}.yaml").read_text())
    manifest["spec"].update({"storage": {"size": SMALL_VOLUME}, "replicas": 1, **spec})
    return manifest


def changed(manifest, **spec):
    """The same manifest with other fields; None removes one."""
    result = copy.deepcopy(manifest)
    for field, value in spec.items():
        if value is None:
            result["spec"].pop(field, None)
        else:
            result["spec"][field] = value
    return result


def global_index(name, hash_key, range_key=None, projection="ALL"):
    """A global index for `globalSecondaryIndexes`."""
    keys = [{"attributeName": hash_key, "keyType": "HASH"}]
    if range_key:
        keys.append({"attributeName": range_key, "keyType": "RANGE"})
    return {"indexName": name, "keySchema": keys, "projection": {"projectionType": projection}}
