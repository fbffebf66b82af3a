//! Flags, each also an environment variable.

use std::io::IsTerminal;
use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use partita_model::table::record::PartitionLimits;
use partita_planning::repartition::PARTITION_BYTES;
use partita_planning::requests::{self, Rates};
use partita_planning::{PARTITIONS_MAX, STORAGE_SIZE};
use tracing_subscriber::EnvFilter;

use crate::settings::StoragePods;

/// Makes storage nodes and partitions from Table resources.
#[derive(Debug, Clone, Parser)]
#[command(name = "partita-operator", version, about, after_help = EXAMPLES)]
pub struct Options {
    /// Image of the storage nodes; the chart gives its own
    #[arg(long, value_name = "IMAGE", env = "PARTITA_IMAGE")]
    pub image: String,

    /// When a node pulls that image: Always, IfNotPresent or Never
    #[arg(
        long,
        value_name = "POLICY",
        env = "PARTITA_IMAGE_PULL_POLICY",
        default_value = "IfNotPresent"
    )]
    pub image_pull_policy: String,

    /// Secret with a registry's credentials, in each namespace that has Tables; can be given more than once
    #[arg(
        long = "image-pull-secret",
        value_name = "NAME",
        env = "PARTITA_IMAGE_PULL_SECRETS",
        value_delimiter = ','
    )]
    pub image_pull_secrets: Vec<String>,

    /// Namespace of the Lease by which one of several operators is the active one: the one it runs in
    #[arg(long, value_name = "NAMESPACE", env = "PARTITA_NAMESPACE")]
    pub namespace: String,

    /// What this operator is called in the Lease and in events; its pod's name
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "partita-operator")]
    pub identity: String,

    /// Admin address of the routers, from which storage nodes learn where the others are
    #[arg(long, value_name = "URL", env = "PARTITA_ROUTER_DIRECTORY")]
    pub router_directory: String,

    /// Make certificates, and let operator, routers and storage nodes speak mutual TLS with each other
    ///
    /// The authority is the Secret partita-authority of --namespace. Each namespace with Tables gets the Secrets
    /// partita-replica-tls (for its storage nodes) and partita-router-tls (for routers beside applications); --namespace gets
    /// partita-router-tls for the routers. All are renewed in time, without a restart of anything. The annotation
    /// partita.dev/rotate on the authority, set to any other value than before, has it replaced.
    #[arg(long, env = "PARTITA_PEER_TLS")]
    pub peer_tls: bool,

    /// How long a changed Secret may take to reach every process, in seconds: each step of a rotation waits for it
    #[arg(
        long,
        value_name = "S",
        env = "PARTITA_CERTIFICATE_SETTLE_SECONDS",
        default_value_t = 600
    )]
    pub certificate_settle_seconds: u64,

    /// Size of a storage node's volume where the Table names none: three times a partition's size limit of 10 GB
    #[arg(long, value_name = "QUANTITY", env = "PARTITA_STORAGE_SIZE", default_value = STORAGE_SIZE)]
    pub storage_size: String,

    /// CPU that a storage node requests: for itself, for each RCU and for each WCU that it serves, rounded up to 10m
    #[arg(long, value_name = "BASE,RCU,WCU", env = "PARTITA_POD_CPU", default_value = requests::CPU, value_parser = Rates::cpu)]
    pub pod_cpu: Rates,

    /// Memory that a storage node requests: for itself, for each RCU and for each WCU that it serves, rounded up to 16Mi
    #[arg(long, value_name = "BASE,RCU,WCU", env = "PARTITA_POD_MEMORY", default_value = requests::MEMORY, value_parser = Rates::memory)]
    pub pod_memory: Rates,

    /// What the pods of all storage nodes have, as a JSON object: nodeSelector, tolerations, topology (Preferred or Required) and
    /// priorityClassName, where a Table's spec.scheduling does not name its own; and affinity, labels and annotations
    ///
    /// A change restarts all storage nodes, one replica after the other.
    #[arg(long, value_name = "JSON", env = "PARTITA_STORAGE_PODS", default_value = "{}", value_parser = StoragePods::parse)]
    pub storage_pods: StoragePods,

    /// RCU that one partition serves: a table is split while its units ask for more partitions than there are
    #[arg(long, value_name = "RCU", env = "PARTITA_PARTITION_READ_UNITS", default_value_t = PartitionLimits::UNITS.read, value_parser = clap::value_parser!(u64).range(1..))]
    pub partition_read_units: u64,

    /// WCU that one partition serves
    #[arg(long, value_name = "WCU", env = "PARTITA_PARTITION_WRITE_UNITS", default_value_t = PartitionLimits::UNITS.write, value_parser = clap::value_parser!(u64).range(1..))]
    pub partition_write_units: u64,

    /// Bytes of items that a partition may hold (at most 40 % of its volume): it is split at more
    #[arg(long, value_name = "BYTES", env = "PARTITA_PARTITION_BYTES", default_value_t = PARTITION_BYTES, value_parser = clap::value_parser!(u64).range(1..))]
    pub partition_bytes: u64,

    /// The most partitions that a table or an index may have, whatever asks for more
    #[arg(long, value_name = "N", env = "PARTITA_PARTITIONS_MAX", default_value_t = PARTITIONS_MAX, value_parser = clap::value_parser!(u64).range(1..=PartitionLimits::COUNT_MAX))]
    pub partitions_max: u64,

    /// From which part of what one partition serves on it is hot, in percent; two that together serve at most half of that are
    /// cold
    #[arg(long, value_name = "PERCENT", env = "PARTITA_HOT_PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(10..=100))]
    pub hot_percent: u8,

    /// How long a partition must have been hot before it is split at the middle of its load, in seconds
    #[arg(long, value_name = "S", env = "PARTITA_SPLIT_HOT_AFTER_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(2..))]
    pub split_hot_after_seconds: u64,

    /// How long a table must have had more partitions than it needs, and two neighbours must have been cold and left alone,
    /// before these are merged, in seconds
    #[arg(long, value_name = "S", env = "PARTITA_MERGE_AFTER_SECONDS", default_value_t = 3600)]
    pub merge_after_seconds: u64,

    /// Two partitions are merged only if both together hold at most this part of what one may, in percent
    #[arg(long, value_name = "PERCENT", env = "PARTITA_MERGE_BELOW_PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=90))]
    pub merge_below_percent: u8,

    /// How often the storage nodes of a table at rest are asked what they hold, in seconds
    #[arg(long, value_name = "S", env = "PARTITA_MEASURE_EVERY_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub measure_every_seconds: u64,

    /// What storage nodes do about requests for which there are no units: enforce (refuse them), shadow (count them) or off
    #[arg(long, value_enum, value_name = "MODE", env = "PARTITA_ADMISSION", default_value_t = Admission::Enforce)]
    pub admission: Admission,

    /// For how long a table keeps units that are not used, in seconds
    #[arg(long, value_name = "S", env = "PARTITA_BURST_SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub burst_seconds: u64,

    /// How many partitions' storage nodes may be restarting at once when their image or settings have changed
    #[arg(long, value_name = "N", env = "PARTITA_ROLLING_GROUPS_MAX", default_value_t = 1)]
    pub rolling_groups_max: usize,

    /// How long a Table may wait for the same before it says so in its condition Stalled, in seconds
    #[arg(
        long,
        value_name = "S",
        env = "PARTITA_PROGRESS_DEADLINE_SECONDS",
        default_value_t = 600
    )]
    pub progress_deadline_seconds: u64,

    /// Address of /metrics, /healthz and /readyz
    #[arg(
        long,
        value_name = "ADDR",
        env = "PARTITA_ADMIN_LISTEN",
        default_value = "0.0.0.0:8001"
    )]
    pub admin_listen: SocketAddr,

    /// Name of the webhook's Service, Secret and ValidatingWebhookConfiguration: it answers what a change of a Table does to the
    /// cluster. Without it there is no webhook
    #[arg(long, value_name = "NAME", env = "PARTITA_WEBHOOK")]
    pub webhook: Option<String>,

    /// Address of the webhook
    #[arg(
        long,
        value_name = "ADDR",
        env = "PARTITA_WEBHOOK_LISTEN",
        default_value = "0.0.0.0:8443"
    )]
    pub webhook_listen: SocketAddr,

    /// Format of the log (on standard error), also of the storage nodes'
    #[arg(long, value_enum, env = "PARTITA_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged, also by the storage nodes: error, warn, info, debug, trace, also by module (info,kube=debug)
    #[arg(long, value_name = "FILTER", env = "PARTITA_LOG", default_value = "info")]
    pub log: String,
}

const EXAMPLES: &str = "\
Example (the chart in charts/partita runs it in the cluster):
  partita-operator --namespace partita --image localhost/partita:0.1.0 \\
    --router-directory http://partita-routers.partita.svc:8001";

/// Formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is done about requests for which there are no units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Admission {
    /// They are refused, as DynamoDB does.
    Enforce,
    /// They are counted, and go ahead.
    Shadow,
    /// Nothing.
    Off,
}

impl Admission {
    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

impl LogFormat {
    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Sends the log to standard error.
pub fn log_to_stderr(format: LogFormat, filter: &str) {
    let filter = EnvFilter::builder().parse_lossy(filter);
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_fit_each_other() {
        use clap::CommandFactory;
        Options::command().debug_assert();
        let options = Options::parse_from([
            "partita-operator",
            "--image=i",
            "--namespace=n",
            "--router-directory=http://r:8001",
            "--image-pull-secret=a",
            "--image-pull-secret=b",
        ]);
        assert_eq!(options.image_pull_secrets, ["a", "b"]);
        assert_eq!(options.storage_size, "30Gi");
        assert!(!options.peer_tls);
        assert_eq!(options.partitions_max, 256);
    }

    #[test]
    fn partitions_are_bounded_by_what_the_rest_can_bear() {
        let with = |max: &str| {
            let flag = format!("--partitions-max={max}");
            let others = [
                "partita-operator",
                "--image=i",
                "--namespace=n",
                "--router-directory=http://r:8001",
            ];
            Options::try_parse_from(others.into_iter().chain([flag.as_str()]))
        };
        assert_eq!(with("1024").unwrap().partitions_max, 1024);
        assert!(
            with("1025")
                .unwrap_err()
                .to_string()
                .contains("1025 is not in 1..=1024")
        );
        assert!(with("0").is_err());
    }
}
