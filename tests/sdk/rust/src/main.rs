//! A session of the AWS SDK for Rust. The endpoint and the credentials come from the environment.

use std::collections::HashMap;
use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::client::Waiters;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, PutRequest, ReturnValue, ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, WriteRequest,
};

const TABLE: &str = "Sdk-Rust";
const WAIT: Duration = Duration::from_secs(30);
const ITEMS: usize = 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let endpoint = env::var("PARTITA_ENDPOINT").context("PARTITA_ENDPOINT is not set")?;
    let credentials = Credentials::new(
        env::var("AWS_ACCESS_KEY_ID").unwrap_or_else(|_| "AKIDTEST".to_owned()),
        env::var("AWS_SECRET_ACCESS_KEY").unwrap_or_else(|_| "secret".to_owned()),
        None,
        None,
        "environment",
    );
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .build();
    let client = Client::from_conf(config);
    create(&client).await?;
    write(&client).await?;
    read(&client).await?;
    change(&client).await?;
    time_to_live(&client).await?;
    client.delete_table().table_name(TABLE).send().await?;
    until(async || client.describe_table().table_name(TABLE).send().await.is_err()).await?;
    client
        .wait_until_table_not_exists()
        .table_name(TABLE)
        .wait(WAIT)
        .await?;
    println!("rust: every step as documented");
    Ok(())
}

async fn create(client: &Client) -> Result<()> {
    let definition = |name: &str, kind| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
    };
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let index = GlobalSecondaryIndex::builder()
        .index_name("by-color")
        .key_schema(key("color", KeyType::Hash)?)
        .projection(Projection::builder().projection_type(ProjectionType::All).build())
        .build()?;
    client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(definition("shelf", ScalarAttributeType::S)?)
        .attribute_definitions(definition("slot", ScalarAttributeType::N)?)
        .attribute_definitions(definition("color", ScalarAttributeType::S)?)
        .key_schema(key("shelf", KeyType::Hash)?)
        .key_schema(key("slot", KeyType::Range)?)
        .global_secondary_indexes(index)
        .send()
        .await?;
    // The SDK's waiter looks every 20 s; looking first lets it succeed at its first look.
    until(async || {
        let answer = client.describe_table().table_name(TABLE).send().await;
        answer.is_ok_and(|answer| answer.table().and_then(|table| table.table_status()) == Some(&TableStatus::Active))
    })
    .await?;
    client.wait_until_table_exists().table_name(TABLE).wait(WAIT).await?;
    Ok(())
}

/// Asks until the answer is yes.
async fn until(mut done: impl AsyncFnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !done().await {
        ensure!(began.elapsed() < WAIT, "nothing happened in {WAIT:?}");
    }
    Ok(())
}

fn item(slot: usize) -> HashMap<String, AttributeValue> {
    let color = if slot.is_multiple_of(2) { "red" } else { "blue" };
    HashMap::from([
        ("shelf".to_owned(), AttributeValue::S("a".to_owned())),
        ("slot".to_owned(), AttributeValue::N(slot.to_string())),
        ("color".to_owned(), AttributeValue::S(color.to_owned())),
        (
            "owners".to_owned(),
            AttributeValue::Ss(vec!["ann".to_owned(), "bob".to_owned()]),
        ),
    ])
}

fn item_key(slot: usize) -> HashMap<String, AttributeValue> {
    item(slot)
        .into_iter()
        .filter(|(name, _)| name == "shelf" || name == "slot")
        .collect()
}

async fn write(client: &Client) -> Result<()> {
    for start in (0..ITEMS).step_by(20) {
        let mut requests = Vec::new();
        for slot in start..start + 20 {
            let put = PutRequest::builder().set_item(Some(item(slot))).build()?;
            requests.push(WriteRequest::builder().put_request(put).build());
        }
        let answer = client.batch_write_item().request_items(TABLE, requests).send().await?;
        ensure!(
            answer.unprocessed_items().is_some_and(HashMap::is_empty),
            "items were left unprocessed"
        );
    }
    Ok(())
}

async fn read(client: &Client) -> Result<()> {
    let answer = client
        .get_item()
        .table_name(TABLE)
        .set_key(Some(item_key(7)))
        .consistent_read(true)
        .send()
        .await?;
    let owners = answer
        .item()
        .and_then(|item| item.get("owners"))
        .and_then(|value| value.as_ss().ok());
    ensure!(
        owners.is_some_and(|owners| owners.len() == 2),
        "GetItem answered {answer:?}"
    );

    let query = client
        .query()
        .table_name(TABLE)
        .key_condition_expression("shelf = :s AND slot >= :n")
        .expression_attribute_values(":s", AttributeValue::S("a".to_owned()))
        .expression_attribute_values(":n", AttributeValue::N("10".to_owned()));
    let items: Result<Vec<_>, _> = query.into_paginator().page_size(15).items().send().collect().await;
    let items = items?;
    ensure!(
        items.len() == ITEMS - 10,
        "the paginator of Query found {} items",
        items.len()
    );
    ensure!(
        items[0]["slot"] == AttributeValue::N("10".to_owned()),
        "Query starts at {:?}",
        items[0]
    );

    let scanned: Result<Vec<_>, _> = client
        .scan()
        .table_name(TABLE)
        .into_paginator()
        .page_size(7)
        .items()
        .send()
        .collect()
        .await;
    ensure!(scanned?.len() == ITEMS, "the paginator of Scan missed items");

    let began = Instant::now();
    loop {
        let answer = client
            .query()
            .table_name(TABLE)
            .index_name("by-color")
            .key_condition_expression("color = :c")
            .expression_attribute_values(":c", AttributeValue::S("red".to_owned()))
            .send()
            .await?;
        if answer.count() as usize == ITEMS / 2 {
            return Ok(());
        }
        ensure!(began.elapsed() < WAIT, "the index has {} items", answer.count());
        tokio::task::yield_now().await;
    }
}

async fn change(client: &Client) -> Result<()> {
    let answer = client
        .update_item()
        .table_name(TABLE)
        .set_key(Some(item_key(1)))
        .update_expression("SET hits = if_not_exists(hits, :zero) + :one DELETE owners :gone")
        .expression_attribute_values(":zero", AttributeValue::N("0".to_owned()))
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .expression_attribute_values(":gone", AttributeValue::Ss(vec!["ann".to_owned()]))
        .return_values(ReturnValue::AllNew)
        .send()
        .await?;
    let attributes = answer.attributes().context("no attributes")?;
    ensure!(
        attributes["owners"] == AttributeValue::Ss(vec!["bob".to_owned()]),
        "UpdateItem made {attributes:?}"
    );

    let refused = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item(1)))
        .condition_expression("attribute_not_exists(shelf)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .err()
        .context("the condition should have failed")?
        .into_service_error();
    ensure!(
        refused.message() == Some("The conditional request failed"),
        "the message is {:?}",
        refused.message()
    );
    ensure!(
        refused.is_conditional_check_failed_exception(),
        "the error is {refused:?}"
    );

    let old = client
        .delete_item()
        .table_name(TABLE)
        .set_key(Some(item_key(2)))
        .return_values(ReturnValue::AllOld)
        .send()
        .await?;
    ensure!(
        old.attributes()
            .is_some_and(|old| old["color"] == AttributeValue::S("red".to_owned())),
        "DeleteItem: {old:?}"
    );
    Ok(())
}

async fn time_to_live(client: &Client) -> Result<()> {
    let specification = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("expires")
        .build()?;
    client
        .update_time_to_live()
        .table_name(TABLE)
        .time_to_live_specification(specification)
        .send()
        .await?;
    let answer = client.describe_time_to_live().table_name(TABLE).send().await?;
    let attribute = answer.time_to_live_description().and_then(|ttl| ttl.attribute_name());
    ensure!(attribute == Some("expires"), "time to live is on {attribute:?}");
    Ok(())
}
