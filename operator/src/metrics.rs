//! The operator's own metrics.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Bounds of a reconcile's duration, in seconds: from one that finds nothing to do to one that waits for nodes.
const DURATION_BOUNDS_S: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// Counters and gauges.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Reconciles of Tables.
    pub reconciles: IntCounter,
    /// Those that failed and are repeated.
    pub errors: IntCounter,
    /// How long they took.
    durations: Histogram,
    /// Whether this operator is the active one.
    pub leader: IntGauge,
    /// Conditions of each Table: 1 is true.
    conditions: IntGaugeVec,
    /// Partitions of each Table that should serve and do not.
    partitions_away: IntGaugeVec,
    /// Whether a certificate, or the authority, is not what it should be.
    pub certificates_behind: IntGauge,
    /// Tables that the webhook was asked about, by outcome.
    pub webhook_reviews: IntCounterVec,
    /// When the webhook's certificate ends, in seconds since 1970; 0 before there is one.
    pub webhook_certificate_expiry: IntGauge,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            reconciles: IntCounter::new("partita_operator_reconciles_total", "Reconciles of Tables")?,
            errors: IntCounter::new(
                "partita_operator_reconcile_errors_total",
                "Reconciles of Tables that failed and are repeated",
            )?,
            durations: Histogram::with_opts(
                HistogramOpts::new("partita_operator_reconcile_seconds", "Duration of reconciles of Tables")
                    .buckets(DURATION_BOUNDS_S.to_vec()),
            )?,
            leader: IntGauge::new("partita_operator_leader", "Whether this operator is the active one")?,
            conditions: IntGaugeVec::new(
                Opts::new(
                    "partita_table_condition",
                    "Conditions of each Table: 1 is true, 0 is false",
                ),
                &["namespace", "table", "condition"],
            )?,
            partitions_away: IntGaugeVec::new(
                Opts::new(
                    "partita_table_partitions_away",
                    "Partitions of each Table that should serve and do not",
                ),
                &["namespace", "table"],
            )?,
            certificates_behind: IntGauge::new(
                "partita_operator_certificates_behind",
                "Whether a certificate, or the authority, is not what it should be",
            )?,
            webhook_reviews: IntCounterVec::new(
                Opts::new(
                    "partita_operator_webhook_reviews_total",
                    "Tables that the webhook was asked about: warned (there was something to say), silent or refused",
                ),
                &["outcome"],
            )?,
            webhook_certificate_expiry: IntGauge::new(
                "partita_operator_webhook_certificate_expiry_timestamp_seconds",
                "When the webhook's certificate ends, 0 before there is one",
            )?,
        };
        registry.register(Box::new(metrics.reconciles.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.conditions.clone()))?;
        registry.register(Box::new(metrics.partitions_away.clone()))?;
        registry.register(Box::new(metrics.certificates_behind.clone()))?;
        registry.register(Box::new(metrics.webhook_reviews.clone()))?;
        registry.register(Box::new(metrics.webhook_certificate_expiry.clone()))?;
        Ok(metrics)
    }

    /// A reconcile took this long.
    pub fn took(&self, duration: Duration) {
        self.durations.observe(duration.as_secs_f64());
    }

    /// A Table's condition.
    pub fn condition(&self, namespace: &str, table: &str, condition: &str, holds: bool) {
        let gauge = self.conditions.with_label_values(&[namespace, table, condition]);
        gauge.set(i64::from(holds));
    }

    /// So many partitions of a Table should serve and do not.
    pub fn away(&self, namespace: &str, table: &str, partitions: usize) {
        let gauge = self.partitions_away.with_label_values(&[namespace, table]);
        gauge.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    /// A Table is gone.
    pub fn forget(&self, namespace: &str, table: &str, conditions: &[&str]) {
        for condition in conditions {
            // It may never have had this one.
            let _ = self.conditions.remove_label_values(&[namespace, table, condition]);
        }
        let _ = self.partitions_away.remove_label_values(&[namespace, table]);
    }
}
