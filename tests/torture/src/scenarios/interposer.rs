//! The interposer itself: a program that syncs some of what it writes and kills itself must be left with just that.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::Order;
use crate::disk::{self, Loss};
use crate::scenarios::Outcome;

/// Runs the child under the interposer, takes what it did not sync, and looks.
pub fn run(_: &Order) -> Outcome {
    for lying in [false, true] {
        let folder = disk::fast_folder()?;
        let (data, shadow) = (folder.path().join("data"), folder.path().join("shadow"));
        fs::create_dir(&data)?;
        fs::create_dir(&shadow)?;
        let lie = folder.path().join("lie");
        if lying {
            fs::write(&lie, "")?;
        }
        let status = Command::new(std::env::current_exe()?)
            .arg("unsafe-child")
            .arg(&data)
            .envs(disk::environment(&data, &shadow, &lie)?)
            .status()?;
        ensure!(status.signal() == Some(libc::SIGKILL), "the child ended with {status}");
        ensure!(
            fs::read(data.join("lost"))? == b"never synced",
            "writes do not reach the file"
        );
        disk::lose_power(&data, &shadow, Loss::All, &mut SmallRng::seed_from_u64(1))?;
        if lying {
            ensure!(
                fs::read(data.join("kept"))?.is_empty(),
                "a sync that lies has made something durable"
            );
        } else {
            look(&data)?;
        }
    }
    Ok(None)
}

fn look(data: &Path) -> Result<()> {
    for (name, expected) in [
        ("kept", "synced"),
        ("lost", ""),
        ("half", "first half"),
        ("overwritten", "old text of old"),
        ("cut", "a long text"),
        ("cut-synced", "a lo\0\0!"),
        ("renamed", "moved"),
        ("closed", "written, closed, synced through another descriptor"),
        ("appended", "onetwo"),
        ("copied", "synced"),
        ("folder/inside", "deep"),
    ] {
        let found = fs::read(data.join(name))?;
        ensure!(
            found == expected.as_bytes(),
            "{name:?} holds {:?}",
            String::from_utf8_lossy(&found)
        );
    }
    ensure!(
        !data.join("removed").exists() && !data.join("old-name").exists(),
        "a removed name is back"
    );
    Ok(())
}

/// The program that is killed.
pub fn child(data: &str) -> Result<ExitCode> {
    let data = Path::new(data);
    let write = |name: &str, text: &str| -> Result<File> {
        let mut file = File::create(data.join(name))?;
        file.write_all(text.as_bytes())?;
        Ok(file)
    };
    write("kept", "synced")?.sync_all()?;
    write("lost", "never synced")?;

    let mut half = write("half", "first half")?;
    half.sync_data()?;
    half.write_all(b" and the second")?;

    let overwritten = write("overwritten", "old text of old")?;
    overwritten.sync_data()?;
    overwritten.write_all_at(b"new", 4)?;

    let cut = write("cut", "a long text")?;
    cut.sync_data()?;
    cut.set_len(3)?;

    let mut cut_synced = write("cut-synced", "a long text")?;
    cut_synced.sync_data()?;
    cut_synced.set_len(4)?;
    cut_synced.seek(SeekFrom::Start(6))?;
    cut_synced.write_all(b"!")?;
    cut_synced.sync_data()?;

    write("old-name", "moved")?.sync_all()?;
    fs::rename(data.join("old-name"), data.join("renamed"))?;

    drop(write("closed", "written, closed, synced through another descriptor")?);
    OpenOptions::new().write(true).open(data.join("closed"))?.sync_all()?;

    let mut appended = OpenOptions::new()
        .append(true)
        .create(true)
        .open(data.join("appended"))?;
    appended.write_all(b"one")?;
    let mut twin = appended.try_clone()?;
    twin.write_all(b"two")?;
    twin.sync_data()?;
    appended.write_all(b"three")?;

    fs::copy(data.join("kept"), data.join("copied"))?;
    OpenOptions::new().write(true).open(data.join("copied"))?.sync_all()?;

    write("removed", "gone")?.sync_all()?;
    fs::remove_file(data.join("removed"))?;

    fs::create_dir(data.join("folder"))?;
    write("folder/inside", "deep")?.sync_all()?;
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    Ok(ExitCode::FAILURE)
}
