//! Measured values in Prometheus' text format: read when they are asked for, so that nothing has to keep them up to date.
//!
//! Source of the format: "Exposition formats", Prometheus documentation.

use std::fmt::{Display, Write};

use partita_replication::stats::{Histogram, LATENCY_BOUNDS_US};

/// One metric: its head, and a line for each set of labels.
pub fn family<V: Display>(text: &mut String, name: &str, kind: &str, help: &str, rows: &[(String, V)]) {
    head(text, name, kind, help);
    for (labels, value) in rows {
        // Writing to a string does not fail.
        let _ = match labels.as_str() {
            "" => writeln!(text, "{name} {value}"),
            labels => writeln!(text, "{name}{{{labels}}} {value}"),
        };
    }
}

/// A distribution of latencies, in seconds.
pub fn histogram(text: &mut String, name: &str, help: &str, histogram: &Histogram) {
    head(text, name, "histogram", help);
    let mut below = 0;
    for (bound_us, count) in LATENCY_BOUNDS_US.iter().zip(&histogram.buckets) {
        below += count;
        let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {below}", *bound_us as f64 / 1e6);
    }
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {}", histogram.count);
    let _ = writeln!(text, "{name}_sum {}", histogram.sum_us as f64 / 1e6);
    let _ = writeln!(text, "{name}_count {}", histogram.count);
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}
