//! What a footprint costs a month.

use std::str::FromStr;

use serde::Serialize;

use crate::amounts::GIB;
use crate::footprint::Footprint;

/// A price for one of something and a month, in any currency.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Price(f64);

impl FromStr for Price {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(price) if price.is_finite() && price >= 0.0 => Ok(Self(price)),
            Ok(_) | Err(_) => Err(format!("{text:?} is no price: write a number such as 21.50")),
        }
    }
}

/// Prices; what has none is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prices {
    /// Of one CPU.
    pub cpu: Option<Price>,
    /// Of one GiB of memory.
    pub memory_gib: Option<Price>,
    /// Of one GiB of claims.
    pub storage_gib: Option<Price>,
}

impl Prices {
    /// What it costs a month, if anything has a price.
    pub fn cost(&self, of: &Footprint) -> Option<f64> {
        let gib = |bytes: u64| bytes as f64 / GIB as f64;
        let parts = [
            (self.cpu, of.cpu_millis as f64 / 1000.0),
            (self.memory_gib, gib(of.memory_bytes)),
            (self.storage_gib, gib(of.claim_bytes)),
        ];
        let priced = parts
            .iter()
            .filter_map(|(price, amount)| Some(price.as_ref()?.0 * amount));
        priced.reduce(|sum, part| sum + part)
    }

    /// What is counted: `CPU and claims`; nothing if nothing has a price.
    pub fn counted(&self) -> Option<String> {
        let parts = [
            (self.cpu, "CPU"),
            (self.memory_gib, "memory"),
            (self.storage_gib, "claims"),
        ];
        let priced: Vec<&str> = parts
            .iter()
            .filter(|(price, _)| price.is_some())
            .map(|(_, name)| *name)
            .collect();
        let (last, others) = priced.split_last()?;
        Some(match others {
            [] => (*last).to_owned(),
            others => format!("{} and {last}", others.join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_no_price() {
        for wrong in ["", "cheap", "-1", "NaN", "inf", "1,5"] {
            let error = wrong.parse::<Price>().unwrap_err();
            assert!(error.contains("is no price: write a number"), "{error}");
        }
        assert_eq!("0".parse::<Price>(), Ok(Price(0.0)));
    }

    #[test]
    fn what_has_a_price_is_counted() {
        let footprint = Footprint {
            cpu_millis: 500,
            memory_bytes: 2 * GIB,
            claim_bytes: 30 * GIB,
            ..Footprint::default()
        };
        let mut prices = Prices::default();
        assert_eq!((prices.cost(&footprint), prices.counted()), (None, None));
        prices.cpu = Some(Price(20.0));
        assert_eq!(prices.cost(&footprint), Some(10.0));
        assert_eq!(prices.counted().unwrap(), "CPU");
        prices.memory_gib = Some(Price(3.0));
        prices.storage_gib = Some(Price(0.1));
        assert_eq!(prices.cost(&footprint), Some(19.0));
        assert_eq!(prices.counted().unwrap(), "CPU, memory and claims");
    }
}
