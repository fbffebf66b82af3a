//! The storage nodes of a partition: a StatefulSet of a pod with its volume for each replica, a headless Service that gives the
//! pods their names also while they are not ready, and a PodDisruptionBudget that lets a drain of nodes take one pod of the
//! partition at a time.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference,
    ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Service, ServicePort, ServiceSpec, TopologySpreadConstraint, Volume, VolumeMount,
    VolumeResourceRequirements, WeightedPodAffinityTerm,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use partita_crds::table::{Scheduling, Topology};
use partita_crds::{Table, names};
use partita_model::schema::TableId;
use partita_planning::requests::Requests;

use super::{difference, labels, metadata, selected};
use crate::settings::{Settings, StoragePods};
use crate::table::pods::{MADE_FROM, PEER_TLS};

/// The user and group of the image.
const USER: i64 = 65532;
/// Where the volume is mounted.
const DATA: &str = "/data";
/// Where the certificate is mounted.
const CERTIFICATE: &str = "/etc/partita/tls";
/// Mode of the certificate's files: the pod's group, and nobody else, reads them.
const GROUP_READS: i32 = 0o440;
/// The claim template's name: a claim is called `data-<pod>`.
const CLAIM: &str = "data";
/// How long a pod may take to stop: requests end within 20 s, then tables are flushed.
const STOP_SECONDS: i64 = 60;
/// How many pods of a partition a drain of nodes may take away at once: the others have a quorum. With one replica that is all
/// there are: zero would hold up every drain for ever.
const UNAVAILABLE_MAX: i32 = 1;
/// Labels of nodes: where they are.
const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
/// Among what the scheduler weighs nothing counts more (the most there is).
const APART_WEIGHT: i32 = 100;
/// How often a pod is probed.
const PROBE_EVERY_SECONDS: i32 = 10;
/// How long a probe may take: a loaded disk is no reason to kill.
const PROBE_MAX_SECONDS: i32 = 5;
/// A minute without an answer is a process that hangs.
const LIVENESS_FAILURES: i32 = 6;
/// Not ready is cheap to say and to take back. It says whether the replicas have caught up: a drain of nodes waits for that.
const READINESS_EVERY_SECONDS: i32 = 2;

/// The storage nodes of a partition to be.
#[derive(Debug, Clone)]
pub struct StorageNode<'a> {
    /// Whose.
    pub table: &'a Table,
    /// The table's id.
    pub id: TableId,
    /// The table's name.
    pub table_name: &'a str,
    /// The seed of the table's hash.
    pub seed: u64,
    /// Which of the table's.
    pub place: usize,
    /// How many there are.
    pub replicas: usize,
    /// A drain of nodes may take none of them away.
    pub closed: bool,
    /// What it asks of the scheduler, unless the Table says otherwise.
    pub requests: Requests,
    /// Its volume's size.
    pub storage_size: Quantity,
    /// Its volume's class.
    pub storage_class: Option<String>,
}

impl StorageNode<'_> {
    /// The name of its resources.
    pub fn name(&self) -> String {
        names::partition(&names::prefix(self.table_name, self.id), self.place)
    }

    /// Gives its pods names.
    pub fn service(&self, settings: &Settings) -> Service {
        let port = |name: &str, port: u16| ServicePort {
            name: Some(name.to_owned()),
            port: i32::from(port),
            target_port: Some(IntOrString::String(name.to_owned())),
            ..ServicePort::default()
        };
        let place = self.place.to_string();
        let mut ports = vec![
            port("transport", names::TRANSPORT_PORT),
            port("admin", names::ADMIN_PORT),
        ];
        if settings.peer_tls {
            ports.push(port("admin-tls", names::ADMIN_TLS_PORT));
        }
        Service {
            metadata: metadata(self.table, self.id, &self.name(), &place),
            spec: Some(ServiceSpec {
                cluster_ip: Some("None".to_owned()),
                publish_not_ready_addresses: Some(true),
                selector: Some(selected(self.id, &place)),
                ports: Some(ports),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    /// What a drain may take away.
    pub fn disruption_budget(&self) -> PodDisruptionBudget {
        let place = self.place.to_string();
        PodDisruptionBudget {
            metadata: metadata(self.table, self.id, &self.name(), &place),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(if self.closed { 0 } else { UNAVAILABLE_MAX })),
                // A pod that does not serve holds up no drain.
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                selector: Some(LabelSelector {
                    match_labels: Some(selected(self.id, &place)),
                    ..LabelSelector::default()
                }),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        }
    }

    /// Its pods and volumes.
    pub fn stateful_set(&self, settings: &Settings) -> StatefulSet {
        let (name, place) = (self.name(), self.place.to_string());
        StatefulSet {
            metadata: metadata(self.table, self.id, &name, &place),
            spec: Some(StatefulSetSpec {
                replicas: i32::try_from(self.replicas).ok(),
                service_name: Some(name),
                selector: LabelSelector {
                    match_labels: Some(selected(self.id, &place)),
                    ..LabelSelector::default()
                },
                pod_management_policy: Some("Parallel".to_owned()),
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some("OnDelete".to_owned()),
                    ..StatefulSetUpdateStrategy::default()
                }),
                template: made_from_itself(PodTemplateSpec {
                    metadata: Some(self.pod_metadata(settings, &place)),
                    spec: Some(self.pod(settings)),
                }),
                volume_claim_templates: Some(vec![self.claim(&place)]),
                ..StatefulSetSpec::default()
            }),
            status: None,
        }
    }

    /// The labels that somebody else wants do not replace those by which pods are found.
    fn pod_metadata(&self, settings: &Settings, place: &str) -> ObjectMeta {
        let mut all = settings.storage_pods.labels.clone();
        all.extend(labels(self.table, self.id, place));
        let annotations = settings.storage_pods.annotations.clone();
        ObjectMeta {
            labels: Some(all),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        }
    }

    fn claim(&self, place: &str) -> PersistentVolumeClaim {
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(CLAIM.to_owned()),
                labels: Some(labels(self.table, self.id, place)),
                annotations: Some(BTreeMap::from([
                    (names::TABLE_NAME.to_owned(), self.table_name.to_owned()),
                    (names::SEED.to_owned(), format!("{:016x}", self.seed)),
                ])),
                ..ObjectMeta::default()
            },
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                storage_class_name: self.storage_class.clone(),
                resources: Some(VolumeResourceRequirements {
                    requests: Some(BTreeMap::from([("storage".to_owned(), self.storage_size.clone())])),
                    ..VolumeResourceRequirements::default()
                }),
                ..PersistentVolumeClaimSpec::default()
            }),
            status: None,
        }
    }

    fn pod(&self, settings: &Settings) -> PodSpec {
        let scheduling = scheduling(self.table, &settings.storage_pods);
        let topology = scheduling.topology.unwrap_or_default();
        let secrets = settings.image_pull_secrets.iter();
        let secrets: Vec<LocalObjectReference> = secrets
            .map(|name| LocalObjectReference { name: name.clone() })
            .collect();
        PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: some_if_any(secrets),
            termination_grace_period_seconds: Some(STOP_SECONDS),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            topology_spread_constraints: Some(self.spread(topology)),
            affinity: Some(self.apart(topology, &settings.storage_pods.affinity)),
            node_selector: Some(scheduling.node_selector.clone()).filter(|selector| !selector.is_empty()),
            tolerations: some_if_any(scheduling.tolerations.clone()),
            priority_class_name: scheduling.priority_class_name.clone().filter(|name| !name.is_empty()),
            containers: vec![self.container(settings, &scheduling)],
            volumes: settings.peer_tls.then(|| vec![certificate_volume()]),
            ..PodSpec::default()
        }
    }

    /// A table's nodes go to different places as far as there are any; where that is required, the replicas of a partition use
    /// all zones evenly.
    fn spread(&self, topology: Topology) -> Vec<TopologySpreadConstraint> {
        let ours = BTreeMap::from([(names::TABLE_ID.to_owned(), names::id_label(self.id))]);
        let spread = |key: &str, when: &str, labels: &BTreeMap<String, String>| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: when.to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(labels.clone()),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        };
        let mut all = vec![
            spread(ZONE, "ScheduleAnyway", &ours),
            spread(HOST, "ScheduleAnyway", &ours),
        ];
        if topology == Topology::Required {
            let partition = selected(self.id, &self.place.to_string());
            all.push(spread(ZONE, "DoNotSchedule", &partition));
        }
        all
    }

    /// The replicas of a partition do not share a host, or a zone: a loss of one is to be the loss of one. Beside that, what is wanted of
    /// all storage nodes.
    fn apart(&self, topology: Topology, further: &Affinity) -> Affinity {
        let term = |key: &str| PodAffinityTerm {
            topology_key: key.to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(selected(self.id, &self.place.to_string())),
                ..LabelSelector::default()
            }),
            ..PodAffinityTerm::default()
        };
        let preferred = [ZONE, HOST].map(|key| WeightedPodAffinityTerm {
            weight: APART_WEIGHT,
            pod_affinity_term: term(key),
        });
        let required = (topology == Topology::Required).then(|| term(HOST));
        let also = further.pod_anti_affinity.clone().unwrap_or_default();
        let preferred = preferred.into_iter().chain(
            also.preferred_during_scheduling_ignored_during_execution
                .into_iter()
                .flatten(),
        );
        let required = required.into_iter().chain(
            also.required_during_scheduling_ignored_during_execution
                .into_iter()
                .flatten(),
        );
        Affinity {
            pod_anti_affinity: Some(PodAntiAffinity {
                preferred_during_scheduling_ignored_during_execution: Some(preferred.collect()),
                required_during_scheduling_ignored_during_execution: some_if_any(required.collect()),
            }),
            ..further.clone()
        }
    }

    /// Where others reach a pod: as `names::host` has it, with what only the pod knows of itself. The kubelet puts it in.
    fn advertised(&self) -> String {
        let (name, port) = (self.name(), names::TRANSPORT_PORT);
        format!("$(POD_NAME).{name}.$(POD_NAMESPACE).svc:{port}")
    }

    fn container(&self, settings: &Settings, scheduling: &Scheduling) -> Container {
        let port = |name: &str, port: u16| ContainerPort {
            name: Some(name.to_owned()),
            container_port: i32::from(port),
            ..ContainerPort::default()
        };
        let (transport, admin) = (names::TRANSPORT_PORT, names::ADMIN_PORT);
        // What the operator splits partitions by is what one may use.
        let units = settings.planning.limits.units;
        let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        };
        let mut args = vec![
            "replica".to_owned(),
            format!("--data={DATA}"),
            format!("--listen=0.0.0.0:{transport}"),
            format!("--admin-listen=0.0.0.0:{admin}"),
            format!("--directory={}", settings.router_directory),
        ];
        let mut ports = vec![port("transport", transport), port("admin", admin)];
        let mut mounts = vec![mount(CLAIM, DATA, false)];
        if settings.peer_tls {
            args.push(format!("{PEER_TLS}{CERTIFICATE}"));
            args.push(format!("--admin-tls-listen=0.0.0.0:{}", names::ADMIN_TLS_PORT));
            ports.push(port("admin-tls", names::ADMIN_TLS_PORT));
            mounts.push(mount("tls", CERTIFICATE, true));
        }
        Container {
            name: "replica".to_owned(),
            image: Some(settings.image.clone()),
            image_pull_policy: Some(settings.image_pull_policy.clone()),
            command: Some(vec!["/usr/local/bin/partita".to_owned()]),
            args: Some(args),
            env: Some(vec![
                value("PARTITA_LOG_FORMAT", &settings.log_format),
                value("PARTITA_LOG", &settings.log),
                value("PARTITA_ADMISSION", &settings.admission),
                value("PARTITA_BURST_SECONDS", &settings.burst_seconds.to_string()),
                value("PARTITA_PARTITION_READ_UNITS", &units.read.to_string()),
                value("PARTITA_PARTITION_WRITE_UNITS", &units.write.to_string()),
                field("POD_NAME", "metadata.name"),
                field("POD_NAMESPACE", "metadata.namespace"),
                value("PARTITA_ADVERTISE", &self.advertised()),
            ]),
            ports: Some(ports),
            resources: Some(ResourceRequirements {
                requests: Some(BTreeMap::from([
                    (
                        "cpu".to_owned(),
                        scheduling.cpu.clone().unwrap_or_else(|| self.requests.cpu()),
                    ),
                    (
                        "memory".to_owned(),
                        scheduling.memory.clone().unwrap_or_else(|| self.requests.memory()),
                    ),
                ])),
                ..ResourceRequirements::default()
            }),
            liveness_probe: Some(probe("/healthz", PROBE_EVERY_SECONDS, Some(LIVENESS_FAILURES))),
            readiness_probe: Some(probe("/readyz/replicas", READINESS_EVERY_SECONDS, None)),
            volume_mounts: Some(mounts),
            // Why it ended is then in the pod's status, and from there in the Table's.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".to_owned()]),
                    add: None,
                }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }
    }
}

/// Where a Table's pods run: what it does not say is as it is for all.
fn scheduling(table: &Table, all: &StoragePods) -> Scheduling {
    let own = table.spec.scheduling.clone().unwrap_or_default();
    let class = own.priority_class_name.filter(|name| !name.is_empty());
    Scheduling {
        node_selector: match own.node_selector.is_empty() {
            true => all.node_selector.clone(),
            false => own.node_selector,
        },
        tolerations: match own.tolerations.is_empty() {
            true => all.tolerations.clone(),
            false => own.tolerations,
        },
        topology: own.topology.or(Some(all.topology)),
        priority_class_name: class.or_else(|| Some(all.priority_class_name.clone())),
        cpu: own.cpu,
        memory: own.memory,
    }
}

/// Writes on pods what they are made from. What they ask of the scheduler is left out: units change often, and are no reason to
/// restart a pod.
fn made_from_itself(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let mut essential = template.clone();
    for container in essential.spec.iter_mut().flat_map(|pod| &mut pod.containers) {
        container.resources = None;
    }
    let hash = difference::hash(&essential);
    let annotations = template
        .metadata
        .get_or_insert_default()
        .annotations
        .get_or_insert_default();
    annotations.insert(MADE_FROM.to_owned(), hash);
    template
}

/// What the pods of a StatefulSet are made from.
pub fn made_from(set: &StatefulSet) -> Option<&String> {
    let template = set.spec.as_ref()?.template.metadata.as_ref()?;
    template.annotations.as_ref()?.get(MADE_FROM)
}

/// The certificate of the namespace's storage nodes. Files that change in it are seen without a restart.
fn certificate_volume() -> Volume {
    Volume {
        name: "tls".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names::REPLICA_SECRET.to_owned()),
            default_mode: Some(GROUP_READS),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn probe(path: &str, every_seconds: i32, failures: Option<i32>) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(every_seconds),
        timeout_seconds: Some(PROBE_MAX_SECONDS),
        failure_threshold: failures,
        ..Probe::default()
    }
}

fn some_if_any<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

/// The size and class of the volume of a StatefulSet that is there: they cannot be changed.
pub fn storage(set: &StatefulSet) -> Option<(Quantity, Option<String>)> {
    let claim = set.spec.as_ref()?.volume_claim_templates.as_ref()?.first()?;
    let spec = claim.spec.as_ref()?;
    let size = spec.resources.as_ref()?.requests.as_ref()?.get("storage")?;
    Some((size.clone(), spec.storage_class_name.clone()))
}
