//! A plan, for people and for programs.

use partita_planning::amounts;
use partita_planning::footprint::Footprint;
use partita_planning::prices::Prices;
use serde::Serialize;

use super::Planned;

/// Between two columns.
const GAP: &str = "   ";

/// A row of the table: what it is called, before, after, what is copied.
struct Row<'a> {
    name: &'a str,
    before: Option<Footprint>,
    after: Footprint,
    copied_bytes: Option<u64>,
}

impl Row<'_> {
    fn cells(&self, prices: &Prices) -> Vec<String> {
        let becomes = |words: &dyn Fn(&Footprint) -> String| {
            let after = words(&self.after);
            match self.before.as_ref().map(words) {
                Some(before) if before != after => format!("{before} → {after}"),
                Some(_) | None => after,
            }
        };
        let mut cells = vec![
            self.name.to_owned(),
            becomes(&|of| of.partitions.to_string()),
            becomes(&|of| of.index_partitions.to_string()),
            becomes(&|of| of.pods.to_string()),
            becomes(&|of| amounts::cpu(of.cpu_millis).trim_end_matches(" CPU").to_owned()),
            becomes(&|of| amounts::bytes(of.memory_bytes)),
            becomes(&|of| amounts::bytes(of.claim_bytes)),
            match self.copied_bytes {
                Some(0) => "-".to_owned(),
                Some(bytes) => amounts::bytes(bytes),
                None => "unknown".to_owned(),
            },
        ];
        if prices.counted().is_some() {
            cells.push(becomes(&|of| format!("{:.2}", prices.cost(of).unwrap_or_default())));
        }
        cells
    }
}

/// All tables together: those that begin were nothing before.
fn total<'a>(planned: &[Planned]) -> Row<'a> {
    let mut total = Row {
        name: "total",
        before: Some(Footprint::default()),
        after: Footprint::default(),
        copied_bytes: Some(0),
    };
    for planned in planned {
        let forecast = &planned.forecast;
        total.before = total.before.map(|sum| sum.and(forecast.before.unwrap_or_default()));
        total.after = total.after.and(forecast.after);
        total.copied_bytes = total
            .copied_bytes
            .zip(forecast.copied_bytes)
            .map(|(sum, bytes)| sum.saturating_add(bytes));
    }
    if planned.iter().all(|planned| planned.forecast.before.is_none()) {
        total.before = None;
    }
    total
}

/// A table for people, and beneath it what is behind the numbers.
pub fn table(planned: &[Planned], prices: &Prices) -> String {
    let head = [
        "TABLE",
        "PARTITIONS",
        "OF INDEXES",
        "PODS",
        "CPU",
        "MEMORY",
        "CLAIMS",
        "TO COPY",
    ];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    if prices.counted().is_some() {
        rows[0].push("COST/MONTH".to_owned());
    }
    for planned in planned {
        let row = Row {
            name: &planned.forecast.table,
            before: planned.forecast.before,
            after: planned.forecast.after,
            copied_bytes: planned.forecast.copied_bytes,
        };
        rows.push(row.cells(prices));
    }
    if planned.len() > 1 {
        rows.push(total(planned).cells(prices));
    }
    let mut text = aligned(&rows);
    text.push_str(&remarks(planned, prices));
    text
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let padded = row.iter().enumerate().map(|(column, cell)| {
            let missing = width(column) - cell.chars().count();
            format!("{cell}{}", " ".repeat(missing))
        });
        let line = padded.collect::<Vec<_>>().join(GAP);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Causes and notes of each table, and what the costs count.
fn remarks(planned: &[Planned], prices: &Prices) -> String {
    let mut lines = Vec::new();
    for planned in planned {
        let forecast = &planned.forecast;
        let causes = Some(forecast.causes.join(", ")).filter(|causes| !causes.is_empty());
        for remark in causes.iter().chain(&forecast.notes) {
            lines.push(format!("{}: {remark}\n", forecast.table));
        }
    }
    if let Some(counted) = prices.counted() {
        lines.push(format!("The cost counts {counted}.\n"));
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("\n{}", lines.concat())
}

/// What programs read.
#[derive(Serialize)]
struct Document<'a> {
    tables: Vec<Entry<'a>>,
    total: Total,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    resource: &'a str,
    #[serde(flatten)]
    forecast: &'a partita_planning::forecast::Forecast,
    #[serde(flatten)]
    costs: Costs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Footprint>,
    after: Footprint,
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_bytes: Option<u64>,
    #[serde(flatten)]
    costs: Costs,
}

/// A month's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Costs {
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_after: Option<f64>,
}

impl Costs {
    fn new(prices: &Prices, before: Option<&Footprint>, after: &Footprint) -> Self {
        Self {
            cost_before: before.and_then(|before| prices.cost(before)),
            cost_after: prices.cost(after),
        }
    }
}

/// JSON, with bytes and thousandths of a core.
pub fn json(planned: &[Planned], prices: &Prices) -> String {
    let tables = planned.iter().map(|planned| {
        let forecast = &planned.forecast;
        Entry {
            resource: &planned.resource,
            forecast,
            costs: Costs::new(prices, forecast.before.as_ref(), &forecast.after),
        }
    });
    let sum = total(planned);
    let document = Document {
        tables: tables.collect(),
        total: Total {
            costs: Costs::new(prices, sum.before.as_ref(), &sum.after),
            before: sum.before,
            after: sum.after,
            copied_bytes: sum.copied_bytes,
        },
    };
    // Its keys are text and its numbers finite: it becomes JSON.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
