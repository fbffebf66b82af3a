//! What all tables have in common: how storage nodes are run.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_model::table::Throughput;
use partita_planning::repartition::Limits;
use partita_planning::requests::Formula;

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
