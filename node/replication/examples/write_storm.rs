//! Writers against one store, beside what the disk can do: `cargo run --release -p partita-replication --example
//! write_storm -- [writers] [seconds] [folder]`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use partita_replication::{Store, StoreOptions};

/// Microseconds of an fdatasync of 4 KiB written over older bytes, and of one that makes the file longer: medians.
fn bare_sync(folder: &Path) -> std::io::Result<(u64, u64)> {
    let path = folder.join("sync");
    let mut file = std::fs::File::create(&path)?;
    let mut medians = [0; 2];
    for (overwrite, median) in [false, true].into_iter().zip(&mut medians) {
        let mut times = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        for _ in 0..500 {
            file.write_all(&[u8::from(overwrite); 4096])?;
            let start = Instant::now();
            file.sync_data()?;
            times.push(start.elapsed().as_micros() as u64);
        }
        times.sort_unstable();
        *median = times[times.len() / 2];
    }
    std::fs::remove_file(path)?;
    Ok((medians[1], medians[0]))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let writers: u64 = arguments.next().map_or(Ok(64), |n| n.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |n| n.parse())?;
    let folder = arguments
        .next()
        .map_or_else(|| std::env::temp_dir().join("write_storm"), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let (overwrite_us, append_us) = bare_sync(&folder)?;
    let store = Store::open(&folder.join("data"), StoreOptions::default())?;
    let group = store.bootstrap(common::descriptor(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let value: Arc<str> = "x".repeat(1000).into();
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut times = runtime.block_on(async {
        let mut tasks = Vec::new();
        for writer in 0..writers {
            let (group, done, value) = (Arc::clone(&group), Arc::clone(&done), Arc::clone(&value));
            tasks.push(tokio::spawn(async move {
                let mut times = Vec::new();
                let mut number = writer;
                while start.elapsed() < Duration::from_secs(seconds) {
                    number = number
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407)
                        % (1 << 40);
                    let before = Instant::now();
                    if let Err(refusal) = common::write(&group, &format!("item-{}", number % 100_000), &value).await {
                        eprintln!("refused: {refusal}");
                        break;
                    }
                    times.push(before.elapsed().as_micros() as u64);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                times
            }));
        }
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.unwrap_or_default());
        }
        times
    });
    let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    let stats = store.stats();
    let ceiling = writers as f64 * 1e6 / overwrite_us as f64;
    println!("bare fdatasync: {overwrite_us} us over older bytes, {append_us} us appending");
    println!("writes/s: {rate:.0} ({:.2} of {writers} per fdatasync)", rate / ceiling);
    let percentile = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!("latency us: p50 {} p99 {}", percentile(50), percentile(99));
    println!(
        "per sync: {:.1} writes, {} us; apply {} us",
        stats.log_effects as f64 / stats.log_sync.count as f64,
        stats.log_sync.sum_us / stats.log_sync.count.max(1),
        stats.apply.sum_us / stats.apply.count.max(1),
    );
    store.shutdown();
    Ok(())
}
