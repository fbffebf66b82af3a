"""A session of boto3: client and resource, waiters, paginators, batch writer. The endpoint comes from the environment."""

import decimal
import time

import boto3
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError

TABLE = "Sdk-Boto3"
ITEMS = 120


def expect_error(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response
    raise AssertionError(f"{code} expected")


def create(client):
    description = client.create_table(
        TableName=TABLE,
        AttributeDefinitions=[
            {"AttributeName": "Artist", "AttributeType": "S"},
            {"AttributeName": "Number", "AttributeType": "N"},
            {"AttributeName": "Genre", "AttributeType": "S"},
            {"AttributeName": "Year", "AttributeType": "N"},
        ],
        KeySchema=[
            {"AttributeName": "Artist", "KeyType": "HASH"}, {"AttributeName": "Number", "KeyType": "RANGE"}],
        LocalSecondaryIndexes=[{
            "IndexName": "ByYear",
            "KeySchema": [{"AttributeName": "Artist", "KeyType": "HASH"}, {"AttributeName": "Year", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"}}],
        GlobalSecondaryIndexes=[{
            "IndexName": "ByGenre",
            "KeySchema": [{"AttributeName": "Genre", "KeyType": "HASH"}, {"AttributeName": "Year", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["Title"]}}],
        BillingMode="PAY_PER_REQUEST",
        Tags=[{"Key": "team", "Value": "music"}],
    )["TableDescription"]
    assert description["TableStatus"] in ("CREATING", "ACTIVE")
    client.get_waiter("table_exists").wait(TableName=TABLE, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    description = client.describe_table(TableName=TABLE)["Table"]
    assert description["TableStatus"] == "ACTIVE" and description["TableArn"].endswith(f":table/{TABLE}")
    assert client.list_tags_of_resource(ResourceArn=description["TableArn"])["Tags"] == [
        {"Key": "team", "Value": "music"}]
    assert TABLE in [name for page in client.get_paginator("list_tables").paginate() for name in page["TableNames"]]


def write(table):
    with table.batch_writer() as batch:
        for number in range(ITEMS):
            batch.put_item(Item={
                "Artist": "Nina", "Number": number, "Genre": "jazz" if number % 3 else "blues",
                "Year": 1950 + number % 40, "Title": f"Song {number}", "Price": decimal.Decimal("12.340"),
                "Tags": {"a", f"t{number}"}, "Cover": b"\x00\x01", "Live": number % 2 == 0, "Notes": None,
                "Credits": [{"name": "Nina", "roles": ["voice", "piano"]}]})


def read(client, table):
    item = table.get_item(Key={"Artist": "Nina", "Number": 7}, ConsistentRead=True)["Item"]
    assert item["Price"] == decimal.Decimal("12.34") and item["Tags"] == {"a", "t7"} and item["Notes"] is None
    assert item["Cover"].value == b"\x00\x01" and item["Credits"][0]["roles"] == ["voice", "piano"]

    answer = table.query(
        KeyConditionExpression=Key("Artist").eq("Nina") & Key("Number").between(10, 29), ScanIndexForward=False,
        FilterExpression=Attr("Live").eq(True), ProjectionExpression="#n, Title",
        ExpressionAttributeNames={"#n": "Number"}, ReturnConsumedCapacity="TOTAL")
    assert [int(item["Number"]) for item in answer["Items"]] == list(range(28, 9, -2))
    assert answer["Count"] == 10 and answer["ScannedCount"] == 20 and answer["ConsumedCapacity"]["CapacityUnits"] > 0

    pages = list(client.get_paginator("query").paginate(
        TableName=TABLE, KeyConditionExpression="Artist = :a", ExpressionAttributeValues={":a": {"S": "Nina"}},
        PaginationConfig={"PageSize": 50}))
    assert [page["Count"] for page in pages] == [50, 50, 20]
    numbers = [int(item["Number"]["N"]) for page in pages for item in page["Items"]]
    assert numbers == list(range(ITEMS))

    scanned = set()
    for segment in range(4):
        for page in client.get_paginator("scan").paginate(TableName=TABLE, Segment=segment, TotalSegments=4):
            scanned |= {int(item["Number"]["N"]) for item in page["Items"]}
    assert scanned == set(range(ITEMS))

    keys = [{"Artist": {"S": "Nina"}, "Number": {"N": str(number)}} for number in (1, 2, 3, 1000)]
    found = client.batch_get_item(RequestItems={TABLE: {"Keys": keys}})
    assert len(found["Responses"][TABLE]) == 3 and found["UnprocessedKeys"] == {}


def indexes(client, table):
    years = [int(item["Year"]) for item in table.query(
        IndexName="ByYear", ConsistentRead=True,
        KeyConditionExpression=Key("Artist").eq("Nina") & Key("Year").gte(1985))["Items"]]
    assert years == sorted(years) and len(years) == 15
    deadline = time.monotonic() + 30
    while True:
        items = table.query(IndexName="ByGenre", KeyConditionExpression=Key("Genre").eq("blues"))["Items"]
        if len(items) == 40:
            break
        assert time.monotonic() < deadline, f"the index has {len(items)} items"
        time.sleep(0.05)
    assert set(items[0]) == {"Artist", "Number", "Genre", "Year", "Title"}
    response = expect_error("ValidationException", table.query, IndexName="ByGenre", ConsistentRead=True,
                            KeyConditionExpression=Key("Genre").eq("blues"))
    assert "Consistent reads are not supported on global secondary indexes" in response["Error"]["Message"]


def change(client, table):
    answer = table.update_item(
        Key={"Artist": "Nina", "Number": 1},
        UpdateExpression="SET Plays = if_not_exists(Plays, :zero) + :one, Credits[1] = :credit REMOVE Notes ADD Tags :tag",
        ConditionExpression=Attr("Title").begins_with("Song"),
        ExpressionAttributeValues={":zero": 0, ":one": 1, ":credit": {"name": "Al"}, ":tag": {"new"}},
        ReturnValues="ALL_NEW")["Attributes"]
    assert answer["Plays"] == 1 and "Notes" not in answer and answer["Tags"] == {"a", "t1", "new"}
    assert len(answer["Credits"]) == 2

    response = expect_error(
        "ConditionalCheckFailedException", client.put_item, TableName=TABLE,
        Item={"Artist": {"S": "Nina"}, "Number": {"N": "1"}}, ConditionExpression="attribute_not_exists(Artist)",
        ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert response["Error"]["Message"] == "The conditional request failed"
    assert response["Item"]["Plays"] == {"N": "1"}
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400

    old = table.delete_item(Key={"Artist": "Nina", "Number": 2}, ReturnValues="ALL_OLD")["Attributes"]
    assert old["Title"] == "Song 2"
    assert "Item" not in table.get_item(Key={"Artist": "Nina", "Number": 2}, ConsistentRead=True)
    expect_error("ResourceNotFoundException", client.get_item, TableName="Nowhere", Key={"a": {"S": "b"}})


def time_to_live(client):
    client.update_time_to_live(
        TableName=TABLE, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ExpiresAt"})
    description = client.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]
    assert description["AttributeName"] == "ExpiresAt" and description["TimeToLiveStatus"] in ("ENABLING", "ENABLED")


def main():
    client = boto3.client("dynamodb")
    table = boto3.resource("dynamodb").Table(TABLE)
    create(client)
    write(table)
    read(client, table)
    indexes(client, table)
    change(client, table)
    time_to_live(client)
    client.delete_table(TableName=TABLE)
    client.get_waiter("table_not_exists").wait(TableName=TABLE, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    print("boto3: every step as documented")


main()
