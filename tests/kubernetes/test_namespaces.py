"""A namespace is an account: tables of the same name in two of them know nothing of each other."""

from harness.manifests import table
from harness.waiting import wait_for


def account(arn):
    return arn.split(":")[4]


def test_two_namespaces_have_tables_of_the_same_name(places):
    one, two = places("one"), places("two")
    for place in (one, two):
        place.apply(table("books"))
    for place in (one, two):
        place.kubectl.ready("table", "books")
    sdks = [one.sdk(), two.sdk()]
    checkers = [sdk.check("books") for sdk in sdks]
    for number, sdk in enumerate(sdks):
        sdk("put_item", TableName="books", Item={"pk": {"S": "whose"}, "owner": {"N": str(number)}})
    for number, sdk in enumerate(sdks):
        found = sdk("get_item", TableName="books", Key={"pk": {"S": "whose"}}, ConsistentRead=True)
        assert found["Item"]["owner"] == {"N": str(number)}
        assert sdk("list_tables")["TableNames"] == ["books"]
    accounts = [account(sdk("describe_table", TableName="books")["Table"]["TableArn"]) for sdk in sdks]
    assert all(len(number) == 12 and number.isdigit() for number in accounts) and len(set(accounts)) == 2, accounts
    one.kubectl.delete("table", "books")
    wait_for("the first namespace without tables", lambda: sdks[0]("list_tables")["TableNames"] == [])
    checkers[1].progress()
    assert checkers[1].finish()["failed"] == 0


def test_a_table_in_another_namespace_is_not_there(places):
    one, two = places("one"), places("two")
    one.ready(table("secrets"))
    stranger = two.sdk()
    refused = stranger.refused("get_item", TableName="secrets", Key={"pk": {"S": "x"}})
    assert refused.code == "ResourceNotFoundException"
    arn = one.sdk()("describe_table", TableName="secrets")["Table"]["TableArn"]
    assert stranger.refused("get_item", TableName=arn, Key={"pk": {"S": "x"}}).code in (
        "AccessDeniedException", "ResourceNotFoundException")


def test_keys_are_followed_without_a_restart(place):
    place.ready(table("notes"))
    started = sorted((pod["metadata"]["name"], pod["status"]["startTime"]) for pod in place.session.pods("router"))
    old = place.sdk("old")
    wrong = place.sdk("wrong", key=("AK-nobody", "secret"))
    assert wrong.refused("list_tables").code == "UnrecognizedClientException"
    forged = place.sdk("forged", key=(place.key()[0], "guessed"))
    assert forged.refused("list_tables").code == "InvalidSignatureException"
    # The same key with another secret: the old signatures stop being good, the new ones are.
    new = place.sdk("new", key=place.key(secret="changed"))
    new.eventually("list_tables")
    wait_for("the old secret being refused", lambda: fails(old, "InvalidSignatureException"))
    assert started == sorted(
        (pod["metadata"]["name"], pod["status"]["startTime"]) for pod in place.session.pods("router"))


def test_a_key_for_data_changes_no_tables(place):
    place.ready(table("notes"))
    sdk = place.sdk(key=place.key(permission="data"))
    sdk.eventually("put_item", TableName="notes", Item={"pk": {"S": "a"}})
    assert sdk("get_item", TableName="notes", Key={"pk": {"S": "a"}}, ConsistentRead=True)["Item"] == {"pk": {"S": "a"}}
    assert sdk.refused("delete_table", TableName="notes").code == "AccessDeniedException"
    assert sdk.refused(
        "create_table", TableName="more", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}]).code == "AccessDeniedException"
    assert place.kubectl.names("tables") == ["notes"]


def fails(sdk, code):
    try:
        sdk("list_tables")
    except AssertionError as error:
        return getattr(error, "code", None) == code
    return False
