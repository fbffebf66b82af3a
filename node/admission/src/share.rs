//! Shares of a table's rate for partitions that live in different processes.
//!
//! The leader of the table's first partition hears what each partition would use, and grants rates that never sum above the
//! table's. A grant expires, so one that got lost takes nothing away for long.

use partita_model::capacity::HalfUnits;

/// Divides a rate by demand: who wants little gets it, the rest is shared evenly among those who want more, up to what one
/// partition can do. What nobody wants is given out evenly too, so that a partition that wakes up can begin at once.
pub fn divide(rate: HalfUnits, partition_most: HalfUnits, demands: &[HalfUnits]) -> Vec<HalfUnits> {
    let mut shares = vec![0_u64; demands.len()];
    let mut left = rate.0;
    let wanted: Vec<u64> = demands.iter().map(|demand| demand.0.min(partition_most.0)).collect();
    left = level_up(&mut shares, &wanted, left);
    let most = vec![partition_most.0; demands.len()];
    level_up(&mut shares, &most, left);
    shares.into_iter().map(HalfUnits).collect()
}

/// Raises all shares towards their bounds, the smallest distances first; what is left.
fn level_up(shares: &mut [u64], bounds: &[u64], mut left: u64) -> u64 {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|&place| bounds[place].saturating_sub(shares[place]));
    for (done, &place) in order.iter().enumerate() {
        let even = left / (order.len() - done) as u64;
        let given = bounds[place].saturating_sub(shares[place]).min(even);
        shares[place] += given;
        left -= given;
    }
    left
}
