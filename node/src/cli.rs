//! Flags, each also an environment variable.

mod admin;

use std::convert::Infallible;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use partita_model::table::Throughput;
use partita_model::table::record::PartitionLimits;
use partita_planning::prices::Price;
use partita_planning::repartition::{Limits, PARTITION_BYTES};
use partita_planning::requests::{self, Rates};
use partita_planning::{PARTITIONS_MAX, STORAGE_SIZE};
use partita_transport::protocol::{ADDRESS_BYTES_MAX, CLUSTER_BYTES_MAX};
use tracing_subscriber::EnvFilter;

use crate::directory::Location;
use crate::serving::admission::Mode;
pub use admin::{AdminCall, AdminCommand, Output};

/// DynamoDB tables on your own machines.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
pub struct Cli {
    /// The role of this process.
    #[command(subcommand)]
    pub command: Command,
}

/// Roles.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Gateway, tables and storage in one process: Table manifests in, the DynamoDB API out
    #[command(after_help = EXAMPLES)]
    Standalone(Standalone),
    /// Storage of partitions, behind routers: a data folder, the transport, an admin API for the operator
    Replica(Replica),
    /// The DynamoDB API in front of replicas: no disk, any number of them
    Router(Router),
    /// Shows groups and their members, moves replicas and leaders: the admin API of replicas, from a shell
    Admin(AdminCall),
    /// Three replicas and a router as processes on this machine, to try: kill one and watch
    ClusterLocal(ClusterLocal),
    /// What Table manifests would occupy on a cluster, and what a change of them would: nothing is written
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Plan),
}

const PLAN_EXAMPLES: &str = "\
Examples:
  What the tables of a file would occupy:
    partita plan -f orders.yaml

  What a change would do to the tables of the cluster that kubectl talks to, with its cost:
    partita plan -f orders.yaml --current kubernetes --price-cpu 21 --price-memory-gib 2.8 --price-storage-gib 0.1

  The same offline, from what `kubectl get tables -o yaml > now.yaml` has written:
    partita plan -f orders.yaml --current now.yaml --output json";

/// What is to be planned, and with what.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// File with Table manifests, or - for standard input; can be given more than once
    #[arg(short, long, value_name = "FILE", required = true)]
    pub file: Vec<PathBuf>,

    /// The tables as they are: kubernetes (of the cluster that kubectl talks to) or a file with their resources. Without it
    /// every table begins
    #[arg(long, value_name = "SOURCE")]
    pub current: Option<CurrentSource>,

    /// How the plan is printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// Price of one CPU and month, in any currency
    #[arg(long, value_name = "PRICE")]
    pub price_cpu: Option<Price>,

    /// Price of one GiB of memory and month
    #[arg(long, value_name = "PRICE")]
    pub price_memory_gib: Option<Price>,

    /// Price of one GiB of claims and month
    #[arg(long, value_name = "PRICE")]
    pub price_storage_gib: Option<Price>,

    /// Size of a storage node's volume where the Table names none, as the operator has it
    #[arg(long, value_name = "QUANTITY", env = "PARTITA_STORAGE_SIZE", default_value = STORAGE_SIZE)]
    pub storage_size: String,

    /// CPU that a storage node requests, as the operator has it: for itself, for each RCU and for each WCU that it serves
    #[arg(long, value_name = "BASE,RCU,WCU", env = "PARTITA_POD_CPU", default_value = requests::CPU,
          value_parser = Rates::cpu)]
    pub pod_cpu: Rates,

    /// Memory that a storage node requests, as the operator has it: for itself, for each RCU and for each WCU that it serves
    #[arg(long, value_name = "BASE,RCU,WCU", env = "PARTITA_POD_MEMORY", default_value = requests::MEMORY,
          value_parser = Rates::memory)]
    pub pod_memory: Rates,

    /// RCU that one partition serves, as the operator has it: units ask for ceil(RCU / this + WCU / that) partitions
    #[arg(long, value_name = "RCU", env = "PARTITA_PARTITION_READ_UNITS", default_value_t = PartitionLimits::UNITS.read,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub partition_read_units: u64,

    /// WCU that one partition serves, as the operator has it
    #[arg(long, value_name = "WCU", env = "PARTITA_PARTITION_WRITE_UNITS", default_value_t = PartitionLimits::UNITS.write,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub partition_write_units: u64,

    /// Bytes of items that a partition may hold, as the operator has it
    #[arg(long, value_name = "BYTES", env = "PARTITA_PARTITION_BYTES", default_value_t = PARTITION_BYTES,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub partition_bytes: u64,

    /// The most partitions that a table or an index may have, as the operator has it
    #[arg(long, value_name = "N", env = "PARTITA_PARTITIONS_MAX", default_value_t = PARTITIONS_MAX,
          value_parser = clap::value_parser!(u64).range(1..=PartitionLimits::COUNT_MAX))]
    pub partitions_max: u64,
}

impl Plan {
    /// What one partition can.
    pub fn limits(&self) -> Limits {
        Limits {
            units: Throughput {
                read: self.partition_read_units,
                write: self.partition_write_units,
            },
            bytes: self.partition_bytes,
            partitions_max: self.partitions_max,
            ..Limits::default()
        }
    }
}

/// Where the tables are known from as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrentSource {
    /// The API server.
    Kubernetes,
    /// A file with Table resources.
    File(PathBuf),
}

impl FromStr for CurrentSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "kubernetes" => Self::Kubernetes,
            path => Self::File(path.into()),
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  The tables of a folder, on 127.0.0.1:8000 with data in ./data:
    partita standalone --manifests examples

  For a test run: ports of the system's choice, written to a file once tables can be used:
    partita standalone --data /tmp/partita --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --ready-file ready.json

  For other machines, with the access keys of a file in the format of ~/.aws/credentials:
    partita standalone --listen 0.0.0.0:8000 --credentials /etc/partita/credentials";

/// Settings of a standalone process.
#[derive(Debug, Clone, Args)]
pub struct Standalone {
    /// Folder with Table manifests (*.yaml, *.yml): its tables are made, and kept as the files say
    #[arg(long, value_name = "DIR", env = "PARTITA_MANIFESTS")]
    pub manifests: Option<PathBuf>,

    /// Where the DynamoDB API is.
    #[command(flatten)]
    pub endpoint: Endpoint,

    /// File with access keys, in the format of ~/.aws/credentials; requests must be signed with one of them
    ///
    /// Each [profile] has aws_access_key_id and aws_secret_access_key; partita_account (12 digits, default
    /// 000000000000, whose tables the manifests declare) and partita_permission (tables, or data for items only) are
    /// optional. Without this flag any signature is accepted.
    #[arg(long, value_name = "FILE", env = "PARTITA_CREDENTIALS")]
    pub credentials: Option<PathBuf>,

    /// What is stored, and how.
    #[command(flatten)]
    pub storage: Storage,

    /// Who may use how much.
    #[command(flatten)]
    pub admission: Admission,

    /// What every role has.
    #[command(flatten)]
    pub process: Process,
}

/// Settings of a router.
#[derive(Debug, Clone, Args)]
pub struct Router {
    /// Where the DynamoDB API is.
    #[command(flatten)]
    pub endpoint: Endpoint,

    /// Where to learn of tables and their partitions: kubernetes (Table and Partition resources), another router's admin
    /// address (http://HOST:PORT, https://HOST:PORT with --peer-tls) or a file (file:PATH). Only with kubernetes can tables be made, changed and removed here
    #[arg(long, value_name = "SOURCE", env = "PARTITA_DIRECTORY", default_value = "kubernetes")]
    pub directory: Location,

    /// Folder in which the directory and the keys of --credentials kubernetes are kept, for a start while the API server is
    /// away; only this user can read what is in it
    #[arg(long, value_name = "DIR", env = "PARTITA_DIRECTORY_CACHE")]
    pub directory_cache: Option<PathBuf>,

    /// Where access keys come from: kubernetes (Secrets of --namespace with the label partita.dev/namespace) or a file in
    /// the format of ~/.aws/credentials; requests must be signed with one of them
    ///
    /// In a file each [profile] has aws_access_key_id and aws_secret_access_key; partita_namespace (whose tables it opens;
    /// that of --namespace by default) and partita_permission (tables, or data for items only) are optional. Without this
    /// flag any signature is accepted, for the tables of --namespace.
    #[arg(long, value_name = "SOURCE", env = "PARTITA_CREDENTIALS")]
    pub credentials: Option<CredentialsSource>,

    /// A further namespace whose Secrets may hold access keys, each for the tables of that namespace alone; can be given more
    /// than once
    #[arg(
        long = "credentials-namespace",
        value_name = "NAME",
        env = "PARTITA_CREDENTIALS_NAMESPACES",
        value_delimiter = ','
    )]
    pub credentials_namespaces: Vec<String>,

    /// Name of the cluster: stores of another one are not talked to
    #[arg(long, value_name = "NAME", env = "PARTITA_CLUSTER", default_value = CLUSTER, value_parser = cluster_name)]
    pub cluster: String,

    /// The namespace of this release: its Secrets hold access keys. By default that of the pod's service account
    #[arg(long, value_name = "NAME", env = "PARTITA_NAMESPACE")]
    pub namespace: Option<String>,

    /// Copies of each partition of tables that are made through the API: 1, 3 or 5
    #[arg(long, value_name = "N", env = "PARTITA_TABLE_REPLICAS", default_value = "3", value_parser = replicas)]
    pub table_replicas: i32,

    /// Size of the volumes of tables that are made through the API; the operator's default unless given
    #[arg(long, value_name = "QUANTITY", env = "PARTITA_TABLE_STORAGE_SIZE")]
    pub table_storage_size: Option<String>,

    /// Storage class of the volumes of tables that are made through the API; the cluster's default unless given
    #[arg(long, value_name = "NAME", env = "PARTITA_TABLE_STORAGE_CLASS")]
    pub table_storage_class: Option<String>,

    /// Certificates for other processes.
    #[command(flatten)]
    pub peers: Peers,

    /// What every role has.
    #[command(flatten)]
    pub process: Process,
}

/// How many copies a partition may have.
fn replicas(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(number @ (1 | 3 | 5)) => Ok(number),
        _ => Err("a partition has 1, 3 or 5 copies".to_owned()),
    }
}

/// Where access keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsSource {
    /// Secrets.
    Kubernetes,
    /// A file.
    File(PathBuf),
}

impl FromStr for CredentialsSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "kubernetes" => Self::Kubernetes,
            path => Self::File(path.into()),
        })
    }
}

/// The cluster of whoever does not say.
const CLUSTER: &str = "partita";

fn cluster_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= CLUSTER_BYTES_MAX;
    match fits && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "a name of 1 to {CLUSTER_BYTES_MAX} printable characters, without spaces"
        )),
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    let fits = parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
    match fits && text.len() <= ADDRESS_BYTES_MAX {
        true => Ok(text.to_owned()),
        false => Err("not HOST:PORT".to_owned()),
    }
}

/// Where a process answers the DynamoDB API.
#[derive(Debug, Clone, Args)]
pub struct Endpoint {
    /// Address of the DynamoDB API (port 0: any free one)
    #[arg(long, value_name = "ADDR", env = "PARTITA_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Address of the admin API: /metrics, /healthz, /readyz, and /tables (standalone) or /directory (router)
    #[arg(
        long,
        value_name = "ADDR",
        env = "PARTITA_ADMIN_LISTEN",
        default_value = "127.0.0.1:8001"
    )]
    pub admin_listen: SocketAddr,

    /// The region in ARNs and signatures
    #[arg(long, value_name = "NAME", env = "PARTITA_REGION", default_value = "us-east-1")]
    pub region: String,

    /// Speak HTTPS at --listen, and nothing else: file with the certificate and the intermediate ones behind it, in PEM format
    ///
    /// It is read again when it changes, and so is the key: no restart is needed.
    #[arg(long, value_name = "FILE", env = "PARTITA_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// File with the private key of --tls-cert, in PEM format
    #[arg(long, value_name = "FILE", env = "PARTITA_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Let everybody who can reach --listen read, change and delete everything: without --credentials only loopback
    /// addresses are accepted otherwise
    #[arg(long, env = "PARTITA_ALLOW_NON_LOOPBACK_WITHOUT_CREDENTIALS")]
    pub allow_non_loopback_without_credentials: bool,
}

impl Endpoint {
    /// How clients begin its address.
    pub fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() { "https" } else { "http" }
    }

    /// Refuses an address that others can reach when everybody may do everything, unless that is waived.
    pub fn check_reachability(&self, credentials: bool) -> anyhow::Result<()> {
        if !credentials && !self.listen.ip().is_loopback() && !self.allow_non_loopback_without_credentials {
            anyhow::bail!(
                "--listen {} can be reached from other machines, and without --credentials everybody there could read, \
                 change and delete everything: give --credentials FILE, listen on 127.0.0.1, or say \
                 --allow-non-loopback-without-credentials",
                self.listen
            );
        }
        Ok(())
    }
}

/// Settings of a replica.
#[derive(Debug, Clone, Args)]
pub struct Replica {
    /// Address for routers and other replicas (port 0: any free one)
    ///
    /// Without --peer-tls, whoever reaches it reads and writes everything here.
    #[arg(long, value_name = "ADDR", env = "PARTITA_LISTEN", default_value = "127.0.0.1:8100")]
    pub listen: SocketAddr,

    /// Address of /metrics, /healthz, /readyz and of the operator's calls (/store, /groups)
    #[arg(
        long,
        value_name = "ADDR",
        env = "PARTITA_ADMIN_LISTEN",
        default_value = "127.0.0.1:8001"
    )]
    pub admin_listen: SocketAddr,

    /// Where other stores and routers reach --listen (HOST:PORT): they tell each other. By default the address that --listen is
    /// bound to, unless that is all of this machine's (0.0.0.0)
    #[arg(long, value_name = "HOST:PORT", env = "PARTITA_ADVERTISE", value_parser = host_and_port)]
    pub advertise: Option<String>,

    /// Name of the cluster: stores and routers of another one are refused
    #[arg(long, value_name = "NAME", env = "PARTITA_CLUSTER", default_value = CLUSTER, value_parser = cluster_name)]
    pub cluster: String,

    /// Where to learn of the partitions of global indexes: a router's admin address (http://HOST:PORT, https://HOST:PORT with
    /// --peer-tls) or a file (file:PATH)
    #[arg(long, value_name = "SOURCE", env = "PARTITA_DIRECTORY")]
    pub directory: Location,

    /// How fast a partition leaves for another store that gets a copy of it, and old log entries for one that was away, in MiB a
    /// second: requests share processors and disk with it
    #[arg(long, value_name = "MIB", env = "PARTITA_COPY_MIB_PER_SECOND", default_value_t = 32,
          value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub copy_mib_per_second: u64,

    /// What is stored, and how.
    #[command(flatten)]
    pub storage: Storage,

    /// Certificates for other processes.
    #[command(flatten)]
    pub peers: Peers,

    /// Who may use how much.
    #[command(flatten)]
    pub admission: Admission,

    /// What every role has.
    #[command(flatten)]
    pub process: Process,
}

/// Settings of a cluster on one machine.
#[derive(Debug, Clone, Args)]
pub struct ClusterLocal {
    /// Folder with Table manifests (*.yaml, *.yml): its tables are made
    #[arg(long, value_name = "DIR", default_value = "examples")]
    pub manifests: PathBuf,

    /// Folder for the data and the logs of all processes
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,

    /// Address of the DynamoDB API (port 0: any free one)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Address of the router's admin API
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8001")]
    pub admin_listen: SocketAddr,

    /// The replicas are on the three ports behind this one, their admin APIs ten further on (0: any free ones)
    #[arg(long, value_name = "PORT", default_value_t = 8100)]
    pub replica_ports: u16,

    /// File to write once all serve: JSON with each process's role, pid, addresses and command line
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// How processes know each other.
#[derive(Debug, Clone, Args)]
pub struct Peers {
    /// Folder with tls.crt, tls.key and ca.crt, such as a mounted Secret: processes then only speak mutual TLS with each
    /// other
    ///
    /// tls.crt has a DNS name like router.partita.internal or replica.partita.internal, and is good for servers and clients;
    /// ca.crt holds everybody who may have signed the others'. With a domain in between (replica.shop.partita.internal) a
    /// process only talks to those whose domain is its own, contains it or lies within it. The files are read again when
    /// they change.
    #[arg(long, value_name = "DIR", env = "PARTITA_PEER_TLS")]
    pub peer_tls: Option<PathBuf>,

    /// With --peer-tls: address of the admin API over mutual TLS. --admin-listen then has nothing but /metrics, /healthz
    /// and /readyz
    #[arg(
        long,
        value_name = "ADDR",
        env = "PARTITA_ADMIN_TLS_LISTEN",
        default_value = "127.0.0.1:8002"
    )]
    pub admin_tls_listen: SocketAddr,
}

/// Settings of whoever has a store.
#[derive(Debug, Clone, Args)]
pub struct Storage {
    /// Folder for everything that is stored; made when there is none, and used by one process at a time
    #[arg(long, value_name = "DIR", env = "PARTITA_DATA", default_value = "data")]
    pub data: PathBuf,

    /// Memory for blocks of the stored files, in MiB
    #[arg(long, value_name = "MIB", env = "PARTITA_BLOCK_CACHE_MIB", default_value_t = 256)]
    pub block_cache_mib: usize,

    /// Refuse writes (reads go on) while the volume has less free space than this, in MiB
    #[arg(
        long,
        value_name = "MIB",
        env = "PARTITA_FREE_SPACE_RESERVE_MIB",
        default_value_t = 256
    )]
    pub free_space_reserve_mib: u64,

    /// How often items are looked for whose time to live has run out, in milliseconds
    #[arg(long, value_name = "MS", env = "PARTITA_EXPIRY_INTERVAL_MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(10..))]
    pub expiry_interval_ms: u64,
}

/// Settings of admission: what tables' capacity units allow.
#[derive(Debug, Clone, Args)]
pub struct Admission {
    /// What becomes of requests beyond a table's capacity units
    ///
    /// Units are counted in any case. A new table has its whole burst, so that a few hundred requests pass on a table with
    /// one unit; on-demand tables begin with 12,000 read and 4,000 write units per second.
    #[arg(long = "admission", value_name = "MODE", value_enum, env = "PARTITA_ADMISSION", default_value_t = Mode::Enforce)]
    pub mode: Mode,

    /// For how long units that are not used can be used later, in seconds
    #[arg(long, value_name = "S", env = "PARTITA_BURST_SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub burst_seconds: u64,

    /// Read units per second that one partition serves at most (more where the table has fewer partitions than its units ask
    /// for)
    #[arg(long, value_name = "UNITS", env = "PARTITA_PARTITION_READ_UNITS", default_value_t = 3000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub partition_read_units: u64,

    /// The same for write units
    #[arg(long, value_name = "UNITS", env = "PARTITA_PARTITION_WRITE_UNITS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub partition_write_units: u64,

    /// How far a table's global indexes may be behind, in seconds, while they do not catch up: then writes that touch them are
    /// throttled
    ///
    /// Long beside an election or a slow sync, which hold nobody back.
    #[arg(long, value_name = "S", env = "PARTITA_INDEX_LAG_SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub index_lag_seconds: u64,
}

/// Settings of every process.
#[derive(Debug, Clone, Args)]
pub struct Process {
    /// How long open requests may take once the process is told to stop, in seconds
    #[arg(long, value_name = "S", env = "PARTITA_DRAIN_SECONDS", default_value_t = 20)]
    pub drain_seconds: u64,

    /// File to write once the process serves: JSON with the bound addresses ("listen", "admin") and the "pid"
    #[arg(long, value_name = "FILE", env = "PARTITA_READY_FILE")]
    pub ready_file: Option<PathBuf>,

    /// Format of the log (on standard error)
    #[arg(long, value_enum, env = "PARTITA_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, also by module (info,partita::standalone=debug)
    #[arg(long, value_name = "FILTER", env = "PARTITA_LOG", default_value = "info")]
    pub log: String,
}

/// Formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Process {
    /// Sends the log to standard error.
    pub fn log_to_stderr(&self) {
        let filter = EnvFilter::builder().parse_lossy(&self.log);
        let colours = std::io::stderr().is_terminal();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(colours)
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
    }
}
