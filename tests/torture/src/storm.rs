//! The write storm: workers with a connection each, until the server is gone.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use anyhow::{Result, bail, ensure};
use partita_test_client::{Connection, Reply};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::model::{COUNTER, Item, Model, PLAIN, Place, STORM};

/// Connections that write at the same time.
pub const WORKERS: usize = 8;
/// Places of each worker in each table: few, so that they are written again and again.
const PLACES: usize = 24;
/// Most items are small; now and then one spans many blocks.
const SMALL_BYTES: usize = 600;
const LARGE_BYTES: usize = 60_000;
/// One in so many is large.
const LARGE_ONE_IN: u32 = 40;
/// Most of what a BatchWriteItem takes.
const BATCH_MAX: usize = 25;

/// A worker between two storms.
pub struct Worker {
    owner: String,
    pub model: Model,
    next_version: u64,
    rng: SmallRng,
}

impl Worker {
    /// Workers that write to different places.
    pub fn all(seed: u64) -> Vec<Worker> {
        (0..WORKERS as u64)
            .map(|index| Worker {
                owner: format!("w{index}-"),
                model: Model::default(),
                next_version: 1,
                rng: SmallRng::seed_from_u64(seed * WORKERS as u64 + index),
            })
            .collect()
    }

    /// Writes until the connection breaks. An answer that contradicts the model is an error.
    fn storm(&mut self, address: SocketAddr) -> Result<u64> {
        let Ok(mut connection) = Connection::open(address) else {
            return Ok(0);
        };
        let mut acknowledged = 0;
        while self.one(&mut connection)? {
            acknowledged += 1;
        }
        Ok(acknowledged)
    }

    /// One request; false when its fate is unknown.
    fn one(&mut self, connection: &mut Connection) -> Result<bool> {
        match self.rng.random_range(0..100) {
            0..25 => self.put(connection),
            25..40 => self.put_on_condition(connection),
            40..60 => self.update(connection),
            60..70 => self.delete(connection),
            70..85 => self.batch(connection),
            _ => self.count(connection),
        }
    }

    fn place(&mut self) -> Place {
        let index = self.rng.random_range(0..PLACES * 2);
        let table = if index < PLACES { STORM } else { PLAIN };
        Place {
            table,
            owner: self.owner.clone(),
            name: format!("k{}", index % PLACES),
        }
    }

    fn item(&mut self) -> Item {
        let limit = if self.rng.random_ratio(1, LARGE_ONE_IN) {
            LARGE_BYTES
        } else {
            SMALL_BYTES
        };
        self.next_version += 1;
        Item {
            version: self.next_version,
            size: self.rng.random_range(1..limit),
            updates: 0,
        }
    }

    fn put(&mut self, connection: &mut Connection) -> Result<bool> {
        let (place, item) = (self.place(), self.item());
        let body = json!({"TableName": place.table, "Item": place.item(&item)});
        self.settle(connection.call("PutItem", &body), place, Some(item))
    }

    /// The condition is true as often as not; either way the answer must agree.
    fn put_on_condition(&mut self, connection: &mut Connection) -> Result<bool> {
        let (place, item) = (self.place(), self.item());
        let held = self.model.known(&place).map(|item| item.version);
        let holds = self.rng.random_bool(0.5);
        let version = if holds { held.unwrap_or(0) } else { 999_999_999 };
        let condition = match (held, holds) {
            (None, true) => "attribute_not_exists(version) AND attribute_not_exists(pk) AND :v = :v",
            _ => "version = :v",
        };
        let body = json!({
            "TableName": place.table, "Item": place.item(&item), "ConditionExpression": condition,
            "ExpressionAttributeValues": {":v": {"N": version.to_string()}}
        });
        let reply = connection.call("PutItem", &body);
        if let (false, Ok(reply)) = (holds, &reply) {
            ensure!(
                reply.error_name() == "ConditionalCheckFailedException",
                "a false condition was answered {}",
                String::from_utf8_lossy(&reply.body)
            );
            return Ok(true);
        }
        if !holds {
            // It could not have written.
            return Ok(false);
        }
        self.settle(reply, place, Some(item))
    }

    fn update(&mut self, connection: &mut Connection) -> Result<bool> {
        let place = self.place();
        let Some(old) = self.model.known(&place).cloned() else {
            return Ok(true);
        };
        let item = Item {
            updates: old.updates + 1,
            ..old
        };
        let body = json!({
            "TableName": place.table, "Key": place.key(), "UpdateExpression": "ADD updates :one",
            "ConditionExpression": "version = :v", "ReturnValues": "ALL_NEW",
            "ExpressionAttributeValues": {":one": {"N": "1"}, ":v": {"N": item.version.to_string()}}
        });
        let reply = connection.call("UpdateItem", &body);
        if let Ok(reply) = &reply
            && reply.status == 200
        {
            ensure!(
                reply.json()["Attributes"] == place.item(&item),
                "UpdateItem made something else of {place:?}"
            );
        }
        self.settle(reply, place, Some(item))
    }

    fn delete(&mut self, connection: &mut Connection) -> Result<bool> {
        let place = self.place();
        let body = json!({"TableName": place.table, "Key": place.key(), "ReturnValues": "ALL_OLD"});
        let reply = connection.call("DeleteItem", &body);
        if let Ok(reply) = &reply
            && reply.status == 200
        {
            let old = self.model.known(&place).map_or(Value::Null, |item| place.item(item));
            ensure!(
                reply.json()["Attributes"] == old,
                "DeleteItem removed something else from {place:?}"
            );
        }
        self.settle(reply, place, None)
    }

    /// Every item of a batch is a write of its own, of its own fate.
    fn batch(&mut self, connection: &mut Connection) -> Result<bool> {
        let mut writes: Vec<(Place, Option<Item>)> = Vec::new();
        for _ in 0..self.rng.random_range(2..=BATCH_MAX) {
            let (place, item) = (self.place(), self.item());
            if writes.iter().all(|(other, _)| *other != place) {
                let delete = self.rng.random_bool(0.2);
                writes.push((place, if delete { None } else { Some(item) }));
            }
        }
        let mut requests = json!({});
        for (place, item) in &writes {
            let request = match item {
                Some(item) => json!({"PutRequest": {"Item": place.item(item)}}),
                None => json!({"DeleteRequest": {"Key": place.key()}}),
            };
            match requests[place.table].as_array_mut() {
                Some(list) => list.push(request),
                None => requests[place.table] = json!([request]),
            }
        }
        let reply = connection.call("BatchWriteItem", &json!({ "RequestItems": requests }));
        let known = known(&reply)?;
        if known && let Ok(reply) = &reply {
            ensure!(
                reply.json()["UnprocessedItems"] == json!({}),
                "BatchWriteItem left items unprocessed"
            );
        }
        for (place, item) in writes {
            if known {
                self.model.acknowledged(place, item);
            } else {
                self.model.unknown(place, item);
            }
        }
        Ok(known)
    }

    fn count(&mut self, connection: &mut Connection) -> Result<bool> {
        let body = json!({
            "TableName": PLAIN, "Key": {"pk": {"S": COUNTER}}, "UpdateExpression": "ADD hits :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}}
        });
        let known = known(&connection.call("UpdateItem", &body))?;
        if known {
            self.model.added += 1;
        } else {
            self.model.perhaps_added += 1;
        }
        Ok(known)
    }

    fn settle(&mut self, reply: std::io::Result<Reply>, place: Place, item: Option<Item>) -> Result<bool> {
        let known = known(&reply)?;
        if known {
            self.model.acknowledged(place, item);
        } else {
            self.model.unknown(place, item);
        }
        Ok(known)
    }
}

/// Whether a write was acknowledged. A refusal is an error: nothing here asks for one. A 5xx says that the fate is
/// unknown, which a dying server may answer.
fn known(reply: &std::io::Result<Reply>) -> Result<bool> {
    match reply {
        Ok(reply) if reply.status == 200 => Ok(true),
        Ok(reply) if reply.status >= 500 => Ok(false),
        Ok(reply) => bail!("refused: {} {}", reply.status, String::from_utf8_lossy(&reply.body)),
        Err(_) => Ok(false),
    }
}

/// All workers at work.
pub struct Storm {
    threads: Vec<JoinHandle<(Worker, Result<u64>)>>,
}

impl Storm {
    /// Lets them loose on a server.
    pub fn start(address: SocketAddr, workers: Vec<Worker>) -> Self {
        let threads = workers
            .into_iter()
            .map(|mut worker| {
                std::thread::spawn(move || {
                    let result = worker.storm(address);
                    (worker, result)
                })
            })
            .collect();
        Storm { threads }
    }

    /// Waits until the server's end has stopped them; returns them, and how many requests were acknowledged.
    pub fn end(self) -> Result<(Vec<Worker>, u64)> {
        let (mut workers, mut total) = (Vec::new(), 0);
        for thread in self.threads {
            let (worker, result) = thread.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
            total += result?;
            workers.push(worker);
        }
        Ok((workers, total))
    }
}
