"""Bad manifests: what a schema can see is refused by the API server, which names the field; what it cannot see ends in
a condition."""

from harness.manifests import changed, global_index, table

GOOD = table("good", range_key="sk")
UNITS = {"readCapacityUnits": 5, "writeCapacityUnits": 5}
RANGE = {"min": 5, "max": 10}


def indexed(**index):
    """A global index whose key is defined, with other fields."""
    whole = {**global_index("byOther", "other"), **index}
    return {"globalSecondaryIndexes": [whole], "attributeDefinitions": [
        *GOOD["spec"]["attributeDefinitions"], {"attributeName": "other", "attributeType": "S"}]}


# What is wrong, and the field that the answer names.
REFUSED = {
    "no key": (dict(keySchema=None), 'required field "keySchema"'),
    "three keys": (dict(keySchema=[{"attributeName": name, "keyType": "HASH"} for name in ("pk", "sk", "x")]), "spec.keySchema"),
    "a key that is not defined": (dict(keySchema=[{"attributeName": "nobody", "keyType": "HASH"}]), "spec.attributeDefinitions"),
    "an attribute of no type": (
        dict(attributeDefinitions=[{"attributeName": "pk", "attributeType": "BOOL"}]), "spec.attributeDefinitions[0].attributeType"),
    "a table name of two letters": (dict(tableName="ab"), "spec.tableName"),
    "a table name with a blank": (dict(tableName="my table"), "spec.tableName"),
    "an unknown billing mode": (dict(billingMode="FREE"), "spec.billingMode"),
    "provisioned without units": (dict(billingMode="PROVISIONED"), "spec.provisionedThroughput"),
    "on demand with units": (dict(provisionedThroughput=UNITS), "spec.provisionedThroughput"),
    "no units at all": (
        dict(billingMode="PROVISIONED", provisionedThroughput={"readCapacityUnits": 0, "writeCapacityUnits": 5}),
        "spec.provisionedThroughput.readCapacityUnits"),
    "units beyond all limits": (
        dict(billingMode="PROVISIONED", provisionedThroughput={**UNITS, "writeCapacityUnits": 10**13}),
        "spec.provisionedThroughput.writeCapacityUnits"),
    "units and a range": (
        dict(billingMode="PROVISIONED", provisionedThroughput=UNITS, autoscaling={"write": RANGE}), "spec.provisionedThroughput"),
    "a range upside down": (
        dict(billingMode="PROVISIONED", autoscaling={"read": RANGE, "write": {"min": 6, "max": 5}}), "spec.autoscaling.write.min"),
    "a range on demand": (dict(autoscaling={"write": RANGE}), "spec.autoscaling"),
    "two replicas": (dict(replicas=2), "spec.replicas"),
    "replicas kept apart at times": (dict(scheduling={"topology": "Sometimes"}), "spec.scheduling.topology"),
    "a size in the units of a shop": (dict(storage={"size": "60GB"}), "spec.storage.size"),
    "a largest size of letters": (dict(storage={"maxSize": "large"}), "spec.storage.maxSize"),
    "CPU in words": (dict(scheduling={"cpu": "2 cores"}), "spec.scheduling.cpu"),
    "memory that is owed": (dict(scheduling={"memory": "-1Gi"}), "spec.scheduling.memory"),
    "a projection of nothing": (
        indexed(projection={"projectionType": "INCLUDE"}), "spec.globalSecondaryIndexes[0].projection"),
    "a stream without a view": (dict(streamSpecification={"streamEnabled": True}), "spec.streamSpecification"),
    "adopting what is no id": (dict(bootstrap={"adopt": "latest"}), "spec.bootstrap.adopt"),
    "a deletion policy of one's own": (dict(deletionPolicy="Archive"), "spec.deletionPolicy"),
}

# What may not change, and the field that the answer names.
FIXED = {
    "its name": (dict(tableName="another"), "spec.tableName"),
    "its key": (dict(keySchema=[{"attributeName": "sk", "keyType": "HASH"}]), "spec.keySchema"),
    "the type of an attribute": (dict(attributeDefinitions=[
        {"attributeName": "pk", "attributeType": "N"}, {"attributeName": "sk", "attributeType": "S"}]), "spec.attributeDefinitions"),
    "the class of its volumes": (dict(storage={"storageClassName": "another"}), "spec.storage.storageClassName"),
    "local indexes, added": (dict(localSecondaryIndexes=[{
        "indexName": "byLocal", "projection": {"projectionType": "ALL"}, "keySchema": [
            {"attributeName": "pk", "keyType": "HASH"}, {"attributeName": "sk", "keyType": "RANGE"}]}]), "spec.localSecondaryIndexes"),
}

# What only the operator sees: the reason and a word of the message.
CONDITIONS = {
    "volumes that may not be as large as they are": (
        dict(storage={"size": "2Gi", "maxSize": "1Gi"}), "InvalidSpec", "spec.storage.maxSize"),
    "an attribute that no key uses": (dict(attributeDefinitions=[
        *GOOD["spec"]["attributeDefinitions"], {"attributeName": "other", "attributeType": "S"}]), "InvalidSpec", "AttributeDefinitions"),
    "an index over an undefined attribute": (
        dict(globalSecondaryIndexes=[global_index("byNobody", "nobody")]), "InvalidSpec", "nobody"),
    "an index whose first key is no hash": (
        indexed(keySchema=[{"attributeName": "other", "keyType": "RANGE"}]), "InvalidSpec", "KeySchema"),
    "one attribute as hash and range key": (dict(
        keySchema=[{"attributeName": "pk", "keyType": "HASH"}, {"attributeName": "pk", "keyType": "RANGE"}],
        attributeDefinitions=[{"attributeName": "pk", "attributeType": "S"}]), "InvalidSpec", ""),
}


def test_the_api_server_refuses_and_names_the_field(place):
    wrong = []
    for what, (spec, field) in REFUSED.items():
        said = place.kubectl.refuses(changed(GOOD, **spec))
        if field not in said:
            wrong.append(f"{what}: {field} is not named: {said}")
    assert not wrong, "\n".join(wrong)
    assert place.kubectl.names("tables") == []


def test_a_field_that_nobody_knows_is_refused(place):
    assert 'unknown field "readUnits"' in place.kubectl.refuses(changed(GOOD, readUnits=5))


def test_what_is_fixed_stays(place):
    place.ready(GOOD)
    wrong = []
    for what, (spec, field) in FIXED.items():
        said = place.kubectl.refuses(changed(GOOD, **spec))
        if field not in said:
            wrong.append(f"{what}: {field} is not named: {said}")
    assert not wrong, "\n".join(wrong)
    sdk = place.sdk()
    sdk("put_item", TableName="good", Item={"pk": {"S": "a"}, "sk": {"S": "b"}})


def test_the_rest_ends_in_a_condition(place):
    bad = {f"bad-{number}": case for number, case in enumerate(CONDITIONS.values())}
    place.apply(*(named(name, **spec) for name, (spec, _, _) in bad.items()))
    for name, (_, reason, word) in bad.items():
        message = place.kubectl.reason("table", name, reason)
        assert word.lower() in message.lower(), message
        assert place.kubectl.condition("table", name, "Stalled")["status"] == "True"
    assert place.kubectl.names("statefulsets") == place.kubectl.names("partitions") == []
    # Put right, they become the tables that were meant.
    place.ready(*(named(name) for name in bad if "keySchema" not in bad[name][0]))


def named(name, **spec):
    """The good table under another name, with other fields."""
    manifest = changed(GOOD, tableName=name, **spec)
    manifest["metadata"]["name"] = name
    return manifest


def test_a_change_that_cannot_be_leaves_the_table_as_it_is(place):
    place.ready(GOOD)
    checker = place.sdk().check("good")
    place.apply(changed(GOOD, storage={"size": "2Gi", "maxSize": "1Gi"}))
    place.kubectl.reason("table", "good", "InvalidSpec")
    checker.progress()
    place.ready(GOOD)
    assert checker.finish()["failed"] == 0


def test_two_manifests_want_one_table(place):
    place.ready(table("first"))
    second = table("second", tableName="first")
    place.apply(second)
    assert "first" in place.kubectl.reason("table", "second", "NameTaken")
    place.kubectl.ready("table", "first")
    # When the first one is gone, the name is free.
    place.kubectl.delete("table", "second")
