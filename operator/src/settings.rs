//! What all tables have in common: how storage nodes are run.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_crds::table::Topology;
use partita_model::table::Throughput;
use partita_planning::repartition::Limits;
use partita_planning::requests::Formula;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::Options;

/// How storage nodes are run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Their image.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: String,
    /// With which Secrets.
    pub image_pull_secrets: Vec<String>,
    /// Where they learn about each other.
    pub router_directory: String,
    /// Whether they speak mutual TLS, with the certificates of their namespace.
    pub peer_tls: bool,
    /// How many partitions' nodes may be restarting at once.
    pub rolling_groups_max: usize,
    /// How long something may be waited for before a person is asked.
    pub progress_deadline: Duration,
    /// How often the nodes of a settled table are asked what they hold: measured columns are written at most that often.
    pub measure_every: Duration,
    /// What their pods have beside that.
    pub storage_pods: StoragePods,
    /// What they ask of the cluster, where the Table does not say it.
    pub planning: partita_planning::Settings,
    /// What they do about requests for which there are no units.
    pub admission: String,
    /// For how long unused units are kept, in seconds.
    pub burst_seconds: u64,
    /// Format of their log.
    pub log_format: String,
    /// What they log.
    pub log: String,
}

/// What the pods of all storage nodes have (`tables.pods` of the chart). What a Table's `spec.scheduling` gives takes the place of what is
/// here of the same name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StoragePods {
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    pub tolerations: Vec<Toleration>,
    /// Affinity rules, beside those that keep the replicas of a partition apart.
    pub affinity: Affinity,
    /// How strictly these are.
    pub topology: Topology,
    /// Priority class; the cluster's default if empty.
    pub priority_class_name: String,
    /// Labels, beside those by which Partita finds them.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl StoragePods {
    /// From JSON. What would be left out of it is refused: a rule that does not count is worse than none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let given: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let parsed: Self = serde_json::from_value(given.clone()).map_err(|error| error.to_string())?;
        let kept = serde_json::to_value(&parsed).map_err(|error| error.to_string())?;
        match ignored(&given, &kept, String::new()) {
            Some(path) => Err(format!("{path} is no field of a pod's specification there")),
            None => Ok(parsed),
        }
    }
}

/// The first field that is given and not kept.
fn ignored(given: &Value, kept: &Value, path: String) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(name, value)| {
            let path = match path.as_str() {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let kept = kept.get(name).unwrap_or(&Value::Null);
            ignored(value, kept, path)
        }),
        (Value::Array(given), Value::Array(kept)) => {
            let pairs = given.iter().zip(kept).enumerate();
            pairs
                .map(|(place, (given, kept))| ignored(given, kept, format!("{path}[{place}]")))
                .find_map(|found| found)
        }
        (Value::Null, _) => None,
        (_, Value::Null) => Some(path),
        _ => None,
    }
}

impl From<&Options> for Settings {
    fn from(options: &Options) -> Self {
        Self {
            image: options.image.clone(),
            image_pull_policy: options.image_pull_policy.clone(),
            image_pull_secrets: options.image_pull_secrets.clone(),
            router_directory: options.router_directory.clone(),
            peer_tls: options.peer_tls,
            rolling_groups_max: options.rolling_groups_max,
            progress_deadline: Duration::from_secs(options.progress_deadline_seconds),
            measure_every: Duration::from_secs(options.measure_every_seconds),
            storage_pods: options.storage_pods.clone(),
            planning: partita_planning::Settings {
                formula: Formula {
                    cpu: options.pod_cpu,
                    memory: options.pod_memory,
                },
                storage_size: Quantity(options.storage_size.clone()),
                limits: Limits {
                    units: Throughput {
                        read: options.partition_read_units,
                        write: options.partition_write_units,
                    },
                    bytes: options.partition_bytes,
                    partitions_max: options.partitions_max,
                    hot: f64::from(options.hot_percent) / 100.0,
                    hot_for_ms: options.split_hot_after_seconds.saturating_mul(1000),
                    // What is merged must not be hot at once.
                    idle: f64::from(options.hot_percent) / 200.0,
                    small: f64::from(options.merge_below_percent) / 100.0,
                    cool_down_ms: options.merge_after_seconds.saturating_mul(1000),
                    ..Limits::default()
                },
            },
            admission: options.admission.name().to_owned(),
            burst_seconds: options.burst_seconds,
            log_format: options.log_format.name().to_owned(),
            log: options.log.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_read_as_the_chart_writes_them() {
        let pods = StoragePods::parse(
            r#"{"nodeSelector": {"pool": "data"}, "tolerations": [{"key": "data", "operator": "Exists"}], "topology": "Required",
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                    [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["nvme"]}]}]}}},
                "priorityClassName": "high", "labels": {"team": "data"}, "annotations": {"mesh": "off"}}"#,
        )
        .unwrap();
        assert_eq!(pods.topology, Topology::Required);
        assert_eq!(pods.tolerations[0].key.as_deref(), Some("data"));
        assert!(pods.affinity.node_affinity.is_some());
        assert_eq!(StoragePods::parse("{}"), Ok(StoragePods::default()));
        assert_eq!(
            StoragePods::parse(r#"{"affinity": {}, "tolerations": [], "priorityClassName": ""}"#),
            Ok(StoragePods::default())
        );
    }

    #[test]
    fn what_would_not_count_is_refused() {
        for (wrong, said) in [
            ("", "EOF"),
            (r#"{"nodeSelektor": {}}"#, "unknown field `nodeSelektor`"),
            (r#"{"topology": "strict"}"#, "unknown variant `strict`"),
            (
                r#"{"tolerations": [{"key": "a"}, {"kee": "a"}]}"#,
                "tolerations[1].kee is no field",
            ),
            (
                r#"{"affinity": {"nodeAffinity": {"required": {}}}}"#,
                "affinity.nodeAffinity.required is no field",
            ),
        ] {
            let error = StoragePods::parse(wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
