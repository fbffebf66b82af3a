//! Table resources: what the API asks for is written here, and the operator carries it out.
//!
//! 1. A change looks at the resource as it is now, not as the watch last said: whose it is, and whether the change is
//!    allowed. DynamoDB's rules are the record's own.
//! 2. It is written on condition that nobody else has changed the resource meanwhile; if somebody has, it begins anew.
//! 3. What the API server answers is known here at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use partita_crds::convert::{self, Deployment};
use partita_crds::{Partition, Table, names};
use partita_model::error::{ApiError, ErrorCode};
use partita_model::message::table as text;
use partita_model::table::record::Record;
use partita_model::table::{BillingMode, Status, TableSpec};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::not_found;
use super::patch::difference;
use super::view::{circumstances, foreign_manager, resource, view};
use crate::directory::kubernetes::{Resources, rank};
use crate::process::now_ms;

/// How long the API server may take for one request: clients wait no longer than a minute for all of them.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often a change begins anew because somebody else's came first.
const ATTEMPTS_MAX: usize = 5;

/// Table resources.
pub struct Tables {
    client: Client,
    /// What the watch knows.
    resources: Arc<Resources>,
    /// How new tables are deployed.
    deployment: Deployment,
}

impl Tables {
    /// Through this client.
    pub fn new(client: Client, resources: Arc<Resources>, deployment: Deployment) -> Self {
        Self {
            client,
            resources,
            deployment,
        }
    }

    /// Whether everything that there is has been listed.
    pub fn synced(&self) -> bool {
        self.resources.synced()
    }

    /// The names of a namespace's tables.
    pub fn names(&self, namespace: &str) -> BTreeSet<String> {
        let mut tables = self.resources.tables_of(namespace);
        tables.retain(|table| view(table, now_ms()).is_some());
        tables.iter().map(|table| table.spec.table_name.clone()).collect()
    }

    /// The Partitions of a table.
    pub fn partitions(&self, table: &Table) -> Vec<Arc<Partition>> {
        self.resources.partitions_of(table)
    }

    /// The resource of a table: the one that is known here, else the API server's (another router may have made it).
    ///
    /// # Errors
    /// `ResourceNotFound` when there is none.
    pub async fn find(&self, namespace: &str, name: &str) -> Result<Arc<Table>, ApiError> {
        let mut known = self.resources.tables_of(namespace);
        known.retain(|table| table.spec.table_name == name);
        if let Some(table) = known.into_iter().min_by_key(|table| rank(table)) {
            return Ok(table);
        }
        let found = self.look_up(namespace, name).await?;
        found.map(Arc::new).ok_or_else(|| not_found(name))
    }

    /// Asks the API server for the resource of a table.
    async fn look_up(&self, namespace: &str, name: &str) -> Result<Option<Table>, ApiError> {
        let of_name = ListParams::default().fields(&format!("spec.tableName={name}"));
        let found = asked("list", self.api(namespace).list(&of_name)).await?;
        let table = found.items.into_iter().min_by_key(rank);
        if let Some(table) = &table {
            self.resources.put_table(forgetful(table));
        }
        Ok(table)
    }

    /// Makes a table.
    ///
    /// # Errors
    /// `ResourceInUse` when there is one of that name.
    pub async fn create(&self, namespace: &str, spec: &TableSpec) -> Result<Table, ApiError> {
        if let Some(taken) = self.look_up(namespace, &spec.name).await? {
            return Err(in_use(&taken));
        }
        let name = names::api_table(&spec.name);
        let mut table = Table::new(&name, convert::from_model(spec, &self.deployment));
        table
            .labels_mut()
            .insert(names::CREATED_BY.to_owned(), names::API.to_owned());
        let parameters = PostParams {
            field_manager: Some(names::ROUTER.to_owned()),
            ..PostParams::default()
        };
        let api = self.api(namespace);
        let created = timeout(ANSWER_MAX, api.create(&parameters, &table)).await;
        match created {
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => {
                let taken = asked("get", api.get(&name)).await?;
                Err(in_use(&taken))
            }
            created => {
                let table = answered("create", created)?;
                self.resources.put_table(forgetful(&table));
                Ok(table)
            }
        }
    }

    /// Changes a table as its record is changed.
    pub async fn change(
        &self,
        namespace: &str,
        name: &str,
        change: &(dyn Fn(&mut Record) -> Result<(), ApiError> + Sync),
    ) -> Result<(Table, Record), ApiError> {
        let api = self.api(namespace);
        for _attempt in 0..ATTEMPTS_MAX {
            let (table, mut record) = self.changeable(namespace, name).await?;
            let before = record.intended();
            change(&mut record)?;
            let Some(patch) = change_of(&table, &before, record.intended())? else {
                return Ok((table, record));
            };
            let parameters = PatchParams {
                field_manager: Some(names::ROUTER.to_owned()),
                ..PatchParams::default()
            };
            let (resource, patch) = (table.name_any(), Patch::Merge(patch));
            let patched = api.patch(&resource, &parameters, &patch);
            match timeout(ANSWER_MAX, patched).await {
                Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {}
                patched => {
                    let table = answered("patch", patched)?;
                    self.resources.put_table(forgetful(&table));
                    return Ok((table, record));
                }
            }
        }
        Err(too_many_changes(name))
    }

    /// Removes a table.
    pub async fn delete(&self, namespace: &str, name: &str) -> Result<(Table, Record), ApiError> {
        let api = self.api(namespace);
        for _attempt in 0..ATTEMPTS_MAX {
            let (table, mut record) = self.changeable(namespace, name).await?;
            record.delete(circumstances(now_ms()))?;
            let parameters = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: table.uid(),
                    resource_version: table.resource_version(),
                }),
                ..DeleteParams::default()
            };
            let resource = table.name_any();
            let deleted = api.delete(&resource, &parameters);
            match timeout(ANSWER_MAX, deleted).await {
                Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {}
                deleted => {
                    let deleted = answered("delete", deleted)?;
                    deleted
                        .map_left(|table| self.resources.put_table(forgetful(&table)))
                        .map_right(|_| self.resources.table_gone(&table));
                    return Ok((table, record));
                }
            }
        }
        Err(too_many_changes(name))
    }

    /// A table as it is now, if the API may change it.
    async fn changeable(&self, namespace: &str, name: &str) -> Result<(Table, Record), ApiError> {
        let table = self.look_up(namespace, name).await?.ok_or_else(|| not_found(name))?;
        if let Some(manager) = foreign_manager(&table) {
            return Err(ApiError::validation(format!(
                "Table {name} is declared by the Table resource {}, whose specification belongs to the field manager \
                 {manager}: change it there.",
                resource(&table)
            )));
        }
        let record = view(&table, now_ms()).ok_or_else(|| unusable(&table))?;
        Ok((table, record))
    }

    fn api(&self, namespace: &str) -> Api<Table> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The patch that changes a resource's specification as the table's has changed; `None` when it has not. How the table is
/// deployed stays as it is.
fn change_of(table: &Table, before: &TableSpec, mut after: TableSpec) -> Result<Option<Value>, ApiError> {
    let declared = convert::to_model(&table.spec).ok();
    // An attribute that has to wait for another one's end is not in the record yet.
    if after.time_to_live == before.time_to_live
        && let Some(declared) = declared
    {
        after.time_to_live = declared.time_to_live;
    }
    let deployment = Deployment {
        replicas: table.spec.replicas,
        storage: table.spec.storage.clone(),
    };
    let mut spec = partita_crds::TableSpec {
        scheduling: table.spec.scheduling.clone(),
        deletion_policy: table.spec.deletion_policy,
        bootstrap: table.spec.bootstrap.clone(),
        paused: table.spec.paused,
        ..convert::from_model(&after, &deployment)
    };
    if after.billing == BillingMode::Provisioned {
        spec.keep_ranges(&table.spec);
    }
    // The operator would refuse anything else, long after the caller was told that it is on its way.
    let checked = convert::to_model_with(&spec, &|index| before.units(index))?;
    if checked.throughput != after.throughput {
        return Err(ApiError::validation(format!(
            "Units of the table {} follow its use: its resource has a range for them (spec.autoscaling). Change the range there.",
            after.name
        )));
    }
    let json = |spec: &partita_crds::TableSpec| serde_json::to_value(spec).unwrap_or_default();
    let change = difference(&json(&table.spec), &json(&spec));
    let version = table.resource_version();
    Ok(change.map(|change| json!({"metadata": {"resourceVersion": version}, "spec": change})))
}

/// Without what nobody here reads, as the watch keeps it.
fn forgetful(table: &Table) -> Table {
    let mut table = table.clone();
    table.managed_fields_mut().clear();
    table
}

/// CreateTable of a name that is taken.
fn in_use(taken: &Table) -> ApiError {
    let name = &taken.spec.table_name;
    let status = view(taken, now_ms()).map_or(Status::Creating, |record| record.status);
    let message = match status {
        Status::Creating => text::table_in_use(name, "created"),
        Status::Deleting => text::table_in_use(name, "deleted"),
        Status::Active | Status::Updating => text::table_exists(name),
    };
    ApiError::new(ErrorCode::ResourceInUse, message)
}

/// A resource that says nothing that DynamoDB understands.
pub fn unusable(table: &Table) -> ApiError {
    ApiError::validation(format!(
        "The Table resource {} is not valid: its status says why.",
        resource(table)
    ))
}

fn too_many_changes(name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceInUse, text::table_in_use(name, "updated"))
}

/// Waits for the API server's answer.
async fn asked<T>(verb: &str, request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    answered(verb, timeout(ANSWER_MAX, request).await)
}

/// The API server's answer, or what a client hears instead.
fn answered<T>(verb: &str, answer: Result<kube::Result<T>, tokio::time::error::Elapsed>) -> Result<T, ApiError> {
    let failed = || ApiError::new(ErrorCode::InternalServerError, "Internal server error");
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        // The API server's own rules (bounds, CEL) name the field.
        Ok(Err(kube::Error::Api(status))) if status.code == 422 => Err(ApiError::validation(status.message)),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            tracing::error!(
                verb,
                message = status.message,
                "not allowed: the service account needs get, list, watch, create, patch and delete on \
                 tables.partita.dev, in every namespace that has tables"
            );
            Err(failed())
        }
        Ok(Err(error)) => {
            tracing::warn!(verb, %error, "the Kubernetes API server did not do it");
            Err(failed())
        }
        Err(_) => {
            tracing::warn!(verb, "the Kubernetes API server does not answer");
            Err(failed())
        }
    }
}
