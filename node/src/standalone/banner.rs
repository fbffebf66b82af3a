//! What a person sees once tables can be used: where, which, and three lines to copy.

use std::net::SocketAddr;

use partita_model::schema::{KeyAttribute, ScalarType};
use partita_model::table::TableSpec;
use serde_json::{Map, Value, json};

use super::manifests::ACCOUNT;
use super::tables::Tables;
use crate::cli::Standalone;

/// Table names that are printed.
const NAMES_MAX: usize = 20;

/// Prints it to standard output.
pub fn print(options: &Standalone, listen: SocketAddr, admin: SocketAddr, tables: &Tables) {
    let (names, more) = tables.catalog.names(ACCOUNT, None, NAMES_MAX);
    let listed = match (names.is_empty(), more) {
        (true, _) => "none yet".to_owned(),
        (false, false) => names.join(", "),
        (false, true) => format!("{}, …", names.join(", ")),
    };
    let checked = match &options.credentials {
        Some(path) => format!("signatures are verified with the keys of {}", path.display()),
        None => "any signature is accepted".to_owned(),
    };
    println!("Partita {}, standalone", env!("CARGO_PKG_VERSION"));
    println!(
        "  endpoint  {}://{listen}  (region {}, {checked})",
        options.endpoint.scheme(),
        options.endpoint.region
    );
    println!("  data      {}", options.storage.data.display());
    println!("  tables    {listed}");
    println!();

    // Dummy keys, when any will do, make the lines work on a machine that has none.
    let keys = match options.credentials {
        Some(_) => "",
        None => "AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local ",
    };
    let aws = |operation: &str, arguments: String| {
        println!(
            "{keys}aws dynamodb {operation} --endpoint-url {}://{listen} --region {} {arguments}",
            options.endpoint.scheme(),
            options.endpoint.region
        );
    };
    match names.iter().find_map(|name| tables.catalog.table(ACCOUNT, name)) {
        Some(table) => {
            let record = table.record();
            aws("put-item", put_item(&record.spec));
            aws("query", query(&record.spec));
        }
        None => {
            let (keys, kinds) = ("AttributeName=id,KeyType=HASH", "AttributeName=id,AttributeType=S");
            let schema = format!("--key-schema {keys} --attribute-definitions {kinds}");
            aws(
                "create-table",
                format!("--table-name demo {schema} --billing-mode PAY_PER_REQUEST"),
            );
        }
    }
    println!("curl http://{admin}/metrics");
}

fn put_item(spec: &TableSpec) -> String {
    let item: Map<String, Value> = spec
        .keys
        .attributes()
        .map(|key| (key.name.clone(), sample(key)))
        .collect();
    format!("--table-name {} --item {}", spec.name, quoted(&Value::Object(item)))
}

fn query(spec: &TableSpec) -> String {
    let hash = &spec.keys.hash[0];
    format!(
        "--table-name {} --key-condition-expression '#k = :v' --expression-attribute-names {} \
         --expression-attribute-values {}",
        spec.name,
        quoted(&json!({"#k": hash.name})),
        quoted(&json!({":v": sample(hash)})),
    )
}

/// A value that a key attribute could have.
fn sample(key: &KeyAttribute) -> Value {
    match key.kind {
        ScalarType::S => json!({"S": format!("{}-1", key.name)}),
        ScalarType::N => json!({"N": "1"}),
        ScalarType::B => json!({"B": "AQ=="}),
    }
}

/// One word for a shell.
fn quoted(value: &Value) -> String {
    format!("'{}'", value.to_string().replace('\'', "'\\''"))
}
