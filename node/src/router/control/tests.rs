//! The control plane in front of a scripted API server.

use std::sync::Arc;

use http::StatusCode;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use partita_crds::convert::Deployment;
use partita_crds::{Partition, Table, names};
use partita_gateway::backend::Account;
use partita_model::error::{ApiError, ErrorCode};
use partita_model::schema::ScalarType;
use partita_model::table::{
    DeclaredGlobalIndex, DeclaredProjection, GlobalIndexUpdate, KeyElement, KeyKind, ProjectionKind, Status,
    TableDescription, TableUpdate, Throughput, TimeToLiveStatus, resolve_global_index,
};
use partita_transport::{Client, ClientOptions, Identity, Role};
use serde_json::json;

use super::script::{Script, failure};
use super::{Control, Tables};
use crate::directory::kubernetes::Resources;
use crate::directory::kubernetes::samples::{ready, table};
use crate::directory::samples::{entry, spec};
use crate::directory::{Directory, Listing, Location};

struct Router {
    script: Arc<Script>,
    resources: Arc<Resources>,
    control: Control,
    shop: Account,
}

/// A directory that knows nothing, and stays like that.
fn directory() -> Arc<Directory> {
    let nowhere = Location::File("/nonexistent/directory.json".into());
    Directory::follow_location(&nowhere, None, None).unwrap().unwrap()
}

impl Router {
    /// One of several in front of the same API server.
    fn of(script: &Arc<Script>) -> Self {
        let resources = Arc::new(Resources::new());
        let deployment = Deployment {
            replicas: 1,
            storage: None,
        };
        let control = Control {
            directory: directory(),
            tables: Some(Tables::new(script.client(), Arc::clone(&resources), deployment)),
            client: Client::new(ClientOptions::new(Identity::new(Role::Router, "test"))),
        };
        Self {
            script: Arc::clone(script),
            resources,
            control,
            shop: Account::of_namespace("shop", names::account("shop")),
        }
    }

    fn new() -> Self {
        Self::of(&Arc::default())
    }

    /// The resource of the table that was made through the API.
    fn resource(&self, name: &str) -> Table {
        let tables = self.script.tables.lock();
        serde_json::from_value(tables[&names::api_table(name)].clone()).unwrap()
    }

    /// The operator has made the table.
    fn operate(&self, name: &str) {
        let mut table = self.resource(name);
        let version = table.resource_version();
        table = ready(table).0;
        table.metadata.resource_version = version;
        self.script.put(&table);
    }

    /// Makes a table, and lets the operator make it.
    async fn with_orders() -> Self {
        let router = Self::new();
        router.control.create(&router.shop, spec("orders", 2000)).await.unwrap();
        router.operate("orders");
        router.watch("orders");
        router.script.asked();
        router
    }

    /// The watch tells what is there.
    fn watch(&self, name: &str) {
        self.resources.table_event(Event::Apply(self.resource(name)));
    }

    async fn describe(&self, name: &str) -> Result<TableDescription, ApiError> {
        self.control.describe(&self.shop, name).await
    }
}

fn units(write: u64) -> TableUpdate {
    TableUpdate {
        throughput: Some(Throughput { read: 1, write }),
        ..TableUpdate::default()
    }
}

#[tokio::test]
async fn a_new_table_is_a_resource_and_known_at_once() {
    let router = Router::new();
    let created = router.control.create(&router.shop, spec("Orders", 2000)).await.unwrap();
    assert_eq!(created.status, Status::Creating);
    let resource = router.resource("Orders");
    assert_eq!(created.id, names::table_id(resource.metadata.uid.as_deref().unwrap()));
    assert_eq!(resource.labels()[names::CREATED_BY], names::API);
    assert_eq!(resource.spec.table_name, "Orders");
    assert_eq!(resource.spec.replicas, 1);
    router.script.asked();
    assert_eq!(router.describe("Orders").await.unwrap(), created);
    assert_eq!(router.script.asked(), [""; 0]);
    // It is one table to callers who have not heard of it from the watch.
    let other = Router::of(&router.script);
    assert_eq!(other.describe("Orders").await.unwrap(), created);
    assert_eq!(router.script.asked(), ["GET -"]);
}

#[tokio::test]
async fn of_two_that_make_a_table_one_does() {
    let router = Router::new();
    let rival = table("shop", &names::api_table("orders"), "orders");
    let theirs = serde_json::to_value(&rival).unwrap();
    *router.script.meanwhile.lock() = Some(Box::new(move |tables| {
        tables.insert(rival.name_any(), theirs);
    }));
    let refused = router
        .control
        .create(&router.shop, spec("orders", 1))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::ResourceInUse);
    assert_eq!(
        refused.message,
        "Attempt to change a resource which is still in use: Table is being created: orders"
    );
    router.operate("orders");
    let refused = router
        .control
        .create(&router.shop, spec("orders", 1))
        .await
        .unwrap_err();
    assert_eq!(refused.message, "Table already exists: orders");
}

#[tokio::test]
async fn a_manifests_table_has_its_name_too() {
    let router = Router::new();
    router.script.put(&ready(table("shop", "mine", "orders")).0);
    let refused = router
        .control
        .create(&router.shop, spec("orders", 1))
        .await
        .unwrap_err();
    assert_eq!(refused.message, "Table already exists: orders");
}

#[tokio::test]
async fn a_change_is_shown_until_the_operator_has_made_it() {
    let router = Router::with_orders().await;
    assert_eq!(router.describe("orders").await.unwrap().status, Status::Active);
    let updated = router
        .control
        .update(&router.shop, "orders", &units(3000))
        .await
        .unwrap();
    assert_eq!(updated.status, Status::Updating);
    assert_eq!(
        router.script.asked(),
        ["GET -", &format!("PATCH {}", names::api_table("orders"))]
    );
    let resource = router.resource("orders");
    assert_eq!(
        resource.spec.provisioned_throughput.unwrap().write_capacity_units,
        Some(3000)
    );
    let shown = router.describe("orders").await.unwrap();
    assert_eq!((shown.status, shown.spec.throughput.write), (Status::Updating, 3000));
    let refused = router
        .control
        .update(&router.shop, "orders", &units(4000))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::ResourceInUse);
    router.operate("orders");
    router.watch("orders");
    let shown = router.describe("orders").await.unwrap();
    assert_eq!((shown.status, shown.spec.throughput.write), (Status::Active, 3000));
}

#[tokio::test]
async fn indexes_come_and_go_with_their_attributes() {
    let router = Router::with_orders().await;
    let before = router.resource("orders").spec;
    let colour = ("colour".to_owned(), ScalarType::S);
    let index = DeclaredGlobalIndex {
        name: "by-colour".to_owned(),
        keys: vec![KeyElement {
            name: "colour".to_owned(),
            kind: KeyKind::Hash,
        }],
        projection: DeclaredProjection {
            kind: Some(ProjectionKind::All),
            attributes: None,
        },
        throughput: Some(Throughput { read: 1, write: 1 }),
        on_demand: None,
        warm: None,
    };
    let index = resolve_global_index(&index, std::slice::from_ref(&colour), "").unwrap();
    let create = TableUpdate {
        attributes: vec![colour],
        global: vec![GlobalIndexUpdate::Create(index)],
        ..TableUpdate::default()
    };
    router.control.update(&router.shop, "orders", &create).await.unwrap();
    assert_eq!(router.resource("orders").spec.attribute_definitions.len(), 2);
    let shown = router.describe("orders").await.unwrap();
    assert_eq!(
        (shown.status, shown.global[0].status),
        (Status::Updating, Status::Creating)
    );
    router.operate("orders");
    router.watch("orders");
    let remove = TableUpdate {
        global: vec![GlobalIndexUpdate::Delete("by-colour".to_owned())],
        ..TableUpdate::default()
    };
    router.control.update(&router.shop, "orders", &remove).await.unwrap();
    let shown = router.describe("orders").await.unwrap();
    assert_eq!(
        (shown.status, shown.global[0].status),
        (Status::Updating, Status::Deleting)
    );
    assert_eq!(router.resource("orders").spec, before);
}

#[tokio::test]
async fn a_change_that_comes_second_begins_anew() {
    let router = Router::with_orders().await;
    *router.script.meanwhile.lock() = Some(Box::new(|tables| {
        for table in tables.values_mut() {
            table["spec"]["tags"] = json!([{"key": "team", "value": "a"}]);
        }
    }));
    router
        .control
        .update(&router.shop, "orders", &units(3000))
        .await
        .unwrap();
    let spec = router.resource("orders").spec;
    assert_eq!(spec.provisioned_throughput.unwrap().write_capacity_units, Some(3000));
    assert_eq!(spec.tags.len(), 1);
}

#[tokio::test]
async fn how_a_table_is_deployed_stays() {
    let router = Router::with_orders().await;
    let mut edited = router.resource("orders");
    edited.spec.replicas = 3;
    edited.spec.deletion_policy = partita_crds::table::DeletionPolicy::Retain;
    router.script.put(&edited);
    router
        .control
        .update(&router.shop, "orders", &units(3000))
        .await
        .unwrap();
    let changed = router.resource("orders").spec;
    edited
        .spec
        .provisioned_throughput
        .as_mut()
        .unwrap()
        .write_capacity_units = Some(3000);
    assert_eq!(changed, edited.spec);
}

#[tokio::test]
async fn units_that_follow_the_use_are_changed_in_their_range() {
    let router = Router::with_orders().await;
    let mut edited = router.resource("orders");
    let units_before = edited.spec.provisioned_throughput.as_mut().unwrap();
    units_before.write_capacity_units = None;
    edited.spec.autoscaling = serde_json::from_value(json!({"write": {"min": 1, "max": 5000}})).unwrap();
    router.script.put(&edited);
    router.watch("orders");
    let refused = router
        .control
        .update(&router.shop, "orders", &units(3000))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Validation);
    assert_eq!(
        refused.message,
        "Units of the table orders follow its use: its resource has a range for them (spec.autoscaling). Change the range there."
    );
    assert_eq!(router.resource("orders").spec, edited.spec);
    // Everything else can be changed, and the range stays.
    let tags = TableUpdate {
        deletion_protection: Some(true),
        ..TableUpdate::default()
    };
    router.control.update(&router.shop, "orders", &tags).await.unwrap();
    let changed = router.resource("orders").spec;
    assert!(changed.deletion_protection_enabled);
    assert_eq!(changed.autoscaling, edited.spec.autoscaling);
    assert_eq!(changed.provisioned_throughput, edited.spec.provisioned_throughput);
}

#[tokio::test]
async fn a_declared_table_is_its_declarers() {
    let router = Router::with_orders().await;
    let mut declared = router.resource("orders");
    declared.metadata.managed_fields = serde_json::from_value(json!([
        {"manager": "flux", "operation": "Apply", "fieldsV1": {"f:spec": {}}},
    ]))
    .unwrap();
    router.script.put(&declared);
    let resource = format!("shop/{}", names::api_table("orders"));
    let text = format!(
        "Table orders is declared by the Table resource {resource}, whose specification belongs to the field manager \
         flux: change it there."
    );
    let refused = router
        .control
        .update(&router.shop, "orders", &units(3000))
        .await
        .unwrap_err();
    assert_eq!((refused.code, &*refused.message), (ErrorCode::Validation, &*text));
    let refused = router.control.delete(&router.shop, "orders").await.unwrap_err();
    assert_eq!(refused.message, text);
    assert_eq!(router.resource("orders").spec, declared.spec);
}

#[tokio::test]
async fn a_deleted_table_says_so_until_it_is_gone() {
    let router = Router::with_orders().await;
    let deleted = router.control.delete(&router.shop, "orders").await.unwrap();
    assert_eq!(deleted.status, Status::Deleting);
    assert_eq!(router.describe("orders").await.unwrap().status, Status::Deleting);
    let refused = router
        .control
        .create(&router.shop, spec("orders", 1))
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "Attempt to change a resource which is still in use: Table is being deleted: orders"
    );
    let resource = router.resource("orders");
    router.script.tables.lock().clear();
    router.resources.table_event(Event::Delete(resource));
    let gone = router.describe("orders").await.unwrap_err();
    assert_eq!(gone.message, "Requested resource not found: Table: orders not found");
    router.control.create(&router.shop, spec("orders", 1)).await.unwrap();
}

#[tokio::test]
async fn a_protected_table_is_not_deleted() {
    let router = Router::with_orders().await;
    let protect = |on| TableUpdate {
        deletion_protection: Some(on),
        ..TableUpdate::default()
    };
    router
        .control
        .update(&router.shop, "orders", &protect(true))
        .await
        .unwrap();
    router.operate("orders");
    let refused = router.control.delete(&router.shop, "orders").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Validation);
    router
        .control
        .update(&router.shop, "orders", &protect(false))
        .await
        .unwrap();
    router.operate("orders");
    router.control.delete(&router.shop, "orders").await.unwrap();
}

#[tokio::test]
async fn tags_and_time_to_live_are_in_the_resource() {
    let router = Router::with_orders().await;
    let tags = [("team".to_owned(), "a".to_owned())];
    router
        .control
        .change_tags(&router.shop, "orders", &tags, &[])
        .await
        .unwrap();
    router
        .control
        .update_time_to_live(&router.shop, "orders", "until", true)
        .await
        .unwrap();
    let shown = router.describe("orders").await.unwrap();
    assert_eq!(
        (shown.status, shown.time_to_live),
        (Status::Active, TimeToLiveStatus::Enabling)
    );
    assert_eq!(shown.spec.tags, tags);
    router.operate("orders");
    let on = router
        .control
        .update_time_to_live(&router.shop, "orders", "until", true)
        .await;
    assert_eq!(on.unwrap_err().message, "TimeToLive is already enabled");
    router
        .control
        .update_time_to_live(&router.shop, "orders", "until", false)
        .await
        .unwrap();
    assert_eq!(router.resource("orders").spec.time_to_live, None);
    router
        .control
        .change_tags(&router.shop, "orders", &[], &["team".to_owned()])
        .await
        .unwrap();
    assert_eq!(router.resource("orders").spec.tags, []);
    assert_eq!(router.resource("orders").spec.time_to_live, None);
}

#[tokio::test]
async fn names_are_the_namespaces() {
    let router = Router::new();
    let watched = [
        table("shop", "b", "b-table"),
        table("shop", "a", "a-table"),
        table("other", "c", "c-table"),
    ];
    router.resources.table_event(Event::Init);
    router.resources.partition_event(Event::<Partition>::Init);
    for table in watched {
        router.resources.table_event(Event::InitApply(table));
    }
    router.resources.table_event(Event::InitDone);
    router.resources.partition_event(Event::InitDone);
    let names = |start, limit| router.control.names(&router.shop, start, limit);
    assert_eq!(
        names(None, 10),
        (vec!["a-table".to_owned(), "b-table".to_owned()], false)
    );
    assert_eq!(names(None, 1), (vec!["a-table".to_owned()], true));
    assert_eq!(names(Some("a-table"), 1), (vec!["b-table".to_owned()], false));
}

#[tokio::test]
async fn what_the_api_server_does_not_do_is_said() {
    let router = Router::with_orders().await;
    let fail = |status, reason| router.script.failures.lock().push(failure(status, reason));
    fail(StatusCode::FORBIDDEN, "Forbidden");
    let refused = router
        .control
        .update(&router.shop, "orders", &units(3000))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code, &*refused.message),
        (ErrorCode::InternalServerError, "Internal server error")
    );
    fail(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
    let refused = router.control.create(&router.shop, spec("other", 1)).await.unwrap_err();
    assert_eq!(
        (refused.code, &*refused.message),
        (ErrorCode::Validation, "the server says Invalid")
    );
    fail(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    assert_eq!(
        router.describe("unknown").await.unwrap_err().code,
        ErrorCode::InternalServerError
    );
}

#[tokio::test]
async fn what_was_kept_is_shown_while_the_api_server_is_away() {
    let router = Router::new();
    let mut kept = entry("orders", 1, "127.0.0.1:1");
    kept.account = names::account("shop");
    router.control.directory.set(Listing::of(vec![Arc::new(kept)]));
    let fail = || {
        let away = failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        router.script.failures.lock().push(away);
    };
    fail();
    assert_eq!(router.describe("orders").await.unwrap().status, Status::Active);
    assert_eq!(router.control.names(&router.shop, None, 9).0, ["orders"]);
    fail();
    assert_eq!(
        router.describe("unknown").await.unwrap_err().code,
        ErrorCode::InternalServerError
    );
}

#[tokio::test]
async fn without_the_api_server_tables_are_what_the_directory_says() {
    let mut router = Router::new();
    router.control.tables = None;
    router
        .control
        .directory
        .set(Listing::of(vec![Arc::new(entry("orders", 1, "127.0.0.1:1"))]));
    let account = Account::new("123456789012");
    assert_eq!(
        router.control.describe(&account, "orders").await.unwrap().status,
        Status::Active
    );
    assert_eq!(
        router.control.describe(&account, "unknown").await.unwrap_err().code,
        ErrorCode::ResourceNotFound
    );
    assert_eq!(router.control.names(&account, None, 9).0, ["orders"]);
    let refused = router.control.delete(&account, "orders").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::AccessDenied);
    assert!(refused.message.contains("no access to Table resources"));
}
