"""JSON schemas for kubeconform, from what Kubernetes itself publishes.

1. swagger.json (Kubernetes' own API) becomes one self-contained file per kind;
2. each definition of crds/yaml becomes one per version.

In both an unknown field is an error, as it is for `kubectl apply --validate=strict`.
"""

import json

import yaml

# Types that Kubernetes describes as strings, and reads more generously.
GENEROUS = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
}


def write(folder, swagger, custom_resources):
    """Writes <kind>-<group>-<version>.json into the folder, in lower case, as kubeconform's -schema-location wants it."""
    definitions = json.loads(swagger.read_text())["definitions"]
    definitions = {name: GENEROUS.get(name) or strict(schema) for name, schema in definitions.items()}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            parts = [kind["kind"], kind["group"].split(".")[0], kind["version"]]
            needed = reachable(name, definitions)
            content = {**needed.pop(name), "definitions": needed | {name: definitions[name]}}
            save(folder, parts, content)
    for path in custom_resources:
        definition = yaml.safe_load(path.read_text())["spec"]
        for version in definition["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
            save(folder, [definition["names"]["kind"], definition["group"].split(".")[0], version["name"]], schema)


def save(folder, parts, schema):
    """One file. The core group has no name."""
    name = "-".join(part for part in parts if part).lower()
    (folder / f"{name}.json").write_text(json.dumps(schema))


def strict(schema):
    """The same schema, where objects have no fields but those that it names, and references stay in the file."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(part) for key, part in schema.items()}
    if isinstance(result.get("$ref"), str):
        return {"$ref": result["$ref"]}
    if result.get("type") == "object" and "properties" in result:
        result.setdefault("additionalProperties", False)
    if result.get("x-kubernetes-int-or-string") is True:
        result["type"] = ["string", "integer"]
    if result.get("nullable") is True:
        types = result["type"]
        result["type"] = [*([types] if isinstance(types, str) else types), "null"]
    return result


def reachable(name, definitions):
    """The definitions that one needs, itself included."""
    found, open_ = {}, [name]
    while open_:
        name = open_.pop()
        if name not in found:
            found[name] = definitions[name]
            open_ += [part.removeprefix("#/definitions/") for part in references(definitions[name])]
    return found


def references(schema):
    """Every $ref in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from references(part)
