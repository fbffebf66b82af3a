//! Bytes of the stored files flip: the server says which file, and never answers with data that nobody wrote.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use partita_test_client::{Server, ServerOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::Order;
use crate::disk;
use crate::scenarios::Outcome;

const TABLE: &str = "torture";
const ITEMS: usize = 2_000;
/// Flips of one byte tried in each kind of file.
const FLIPS: usize = 4;
/// A file shorter than this holds nothing of the items.
const WORTH_BYTES: u64 = 4096;

/// Tables of items in sorted files, then items that are in the log alone.
pub fn run(order: &Order) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(order.seed);
    let original = disk::fast_folder()?;
    let options = ServerOptions::at(original.path());
    // In between, a clean stop puts the items into sorted files.
    let server = Server::start(&options)?;
    server.create_table(&json!({
        "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "N"}],
    }))?;
    write(&server, 0..ITEMS / 2)?;
    server.stop()?;
    let server = Server::start(&options)?;
    write(&server, ITEMS / 2..ITEMS)?;
    server.kill()?;

    let all = disk::files(&options.data())?;
    let of = |suffix: &str, under: &str| -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for (name, path) in &all {
            let matches = name.starts_with(under) && name.extension().is_some_and(|extension| extension == suffix);
            if matches && fs::metadata(path)?.len() > WORTH_BYTES {
                found.push(name.clone());
            }
        }
        Ok(found)
    };
    let tables = of("sst", "state")?;
    let logs = of("log", "log")?;
    ensure!(
        !tables.is_empty() && !logs.is_empty(),
        "no files worth corrupting: {:?}",
        all.keys()
    );
    for flip in 0..FLIPS {
        for (kind, files) in [("sorted", &tables), ("log", &logs)] {
            let name = &files[rng.random_range(0..files.len())];
            let outcome = corrupt(original.path(), name, &mut rng)
                .with_context(|| format!("{kind} file {}, flip {flip}", name.display()))?;
            println!("  {kind} file {}: {outcome}", name.display());
        }
    }
    Ok(None)
}

/// Flips a byte of a copy and looks at what the server makes of it.
fn corrupt(original: &Path, name: &Path, rng: &mut SmallRng) -> Result<String> {
    let copy = disk::fast_folder()?;
    let options = ServerOptions::at(copy.path());
    for (name, path) in disk::files(&original.join("data"))? {
        let target = options.data().join(&name);
        fs::create_dir_all(target.parent().context("no parent")?)?;
        fs::copy(path, target)?;
    }
    let path = options.data().join(name);
    let mut bytes = fs::read(&path)?;
    // In the middle of what was written: a file may end in room that was allocated and never used.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let at = rng.random_range(used / 4..used / 2);
    bytes[at] ^= 0x40;
    fs::write(&path, &bytes)?;

    let server = match Server::start(&options) {
        Ok(server) => server,
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(
                names(&said, name),
                "it refuses to start, but does not name the file:\n{said}"
            );
            return Ok("refuses to start, and names it".to_owned());
        }
    };
    let mut errors = 0;
    for index in 0..ITEMS {
        let request = json!({"TableName": TABLE, "Key": {"pk": {"N": index.to_string()}}, "ConsistentRead": true});
        // A process that ends rather than answer has not lied either.
        let Ok(reply) = server
            .connect()
            .and_then(|mut connection| Ok(connection.call("GetItem", &request)?))
        else {
            errors += 1;
            break;
        };
        match reply.status {
            200 => ensure!(
                reply.json()["Item"] == item(index),
                "byte {at} flipped: item {index} is answered as {}",
                shown(&reply.json())
            ),
            500..=599 => errors += 1,
            _ => bail!("GetItem answers {}", String::from_utf8_lossy(&reply.body)),
        }
    }
    let log = fs::read_to_string(options.home.join("server.log"))?;
    if errors == 0 {
        return Ok("every item is as written (the byte was in nothing that counts)".to_owned());
    }
    ensure!(
        names(&log, name),
        "{errors} reads fail, but the log does not name the file:\n{}",
        server.log_tail()
    );
    Ok(format!("{errors} reads are refused, and the log names it"))
}

/// Whether a text names a file.
fn names(text: &str, file: &Path) -> bool {
    file.file_name()
        .is_some_and(|name| text.contains(&*name.to_string_lossy()))
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

fn item(index: usize) -> Value {
    json!({"pk": {"N": index.to_string()}, "text": {"S": format!("{index}-").repeat(60)}})
}

fn write(server: &Server, range: std::ops::Range<usize>) -> Result<()> {
    let mut connection = server.connect()?;
    for start in range.step_by(25) {
        let requests: Vec<Value> = (start..start + 25)
            .map(|index| json!({"PutRequest": {"Item": item(index)}}))
            .collect();
        let reply = connection.call("BatchWriteItem", &json!({"RequestItems": {TABLE: requests}}))?;
        ensure!(
            reply.status == 200 && reply.json()["UnprocessedItems"] == json!({}),
            "{reply:?}"
        );
    }
    Ok(())
}
