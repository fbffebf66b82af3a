//! One process of the cluster.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::process;

/// How long a process may take until it serves: it recovers what a crash left behind.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long it may take to stop before it is killed: its drain, and a flush.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// A process that was started, and is ended at the latest when this is dropped.
pub struct Child {
    role: &'static str,
    name: String,
    child: std::process::Child,
    arguments: Vec<String>,
    ready: PathBuf,
    log: PathBuf,
    listen: String,
    admin: String,
}

impl Child {
    /// Starts it. Its log goes to a file of its name; Ctrl-C in the terminal does not reach it, so that all can be stopped in
    /// order.
    pub fn start(role: &'static str, name: &str, data: &Path, arguments: Vec<String>) -> anyhow::Result<Self> {
        let (ready, log) = (data.join(format!("{name}.ready")), data.join(format!("{name}.log")));
        let _ = std::fs::remove_file(&ready);
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| log.display().to_string())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&arguments).arg("--ready-file").arg(&ready);
        command
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command.process_group(0).spawn().with_context(|| name.to_owned())?;
        Ok(Self {
            role,
            name: name.to_owned(),
            child,
            arguments,
            ready,
            log,
            listen: String::new(),
            admin: String::new(),
        })
    }

    /// Waits until it serves.
    pub async fn ready(mut self) -> anyhow::Result<Self> {
        let begin = Instant::now();
        loop {
            if let Ok(text) = std::fs::read(&self.ready) {
                let ready: Value = serde_json::from_slice(&text)?;
                let address = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
                (self.listen, self.admin) = (address("listen"), address("admin"));
                return Ok(self);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended while it started ({}); its last words:\n{}",
                    self.name,
                    how(status),
                    self.last_words()
                );
            }
            if begin.elapsed() > READY_MAX {
                bail!(
                    "{} does not serve after {READY_MAX:?}: see {}",
                    self.name,
                    self.log.display()
                );
            }
            sleep(LOOK).await;
        }
    }

    fn last_words(&self) -> String {
        const LINES: usize = 5;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(how)
    }

    /// Tells it to stop, and waits until it has.
    pub async fn stop(mut self) {
        let _ = kill(self.id(), Signal::SIGTERM);
        // One that was stopped hears nothing.
        let _ = kill(self.id(), Signal::SIGCONT);
        let begin = Instant::now();
        while self.ended().is_none() && begin.elapsed() < STOP_MAX {
            sleep(LOOK).await;
        }
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.pid() as i32)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it answers.
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// Where its admin API is.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Where its log goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What starts it again, at the same addresses.
    pub fn command_line(&self) -> String {
        let mut arguments = self.arguments.clone();
        for (flag, bound) in [("--listen", &self.listen), ("--admin-listen", &self.admin)] {
            if let Some(place) = arguments.iter().position(|argument| argument == flag) {
                arguments[place + 1].clone_from(bound);
            }
        }
        format!("{} {}", process::program(), arguments.join(" "))
    }

    /// For whoever started the cluster by a program.
    pub fn shown(&self) -> Value {
        json!({
            "role": self.role, "name": self.name, "pid": self.pid(), "listen": self.listen, "admin": self.admin,
            "command": self.command_line(),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(0)) => "it was told to stop".to_owned(),
        (None, code) => format!("status {}", code.unwrap_or(-1)),
    }
}
