//! The storage nodes' pods, as far as the operator looks at them: from which template they were made, whether they serve, and what
//! keeps them from it, in words for people.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use partita_crds::names;
use serde_json::Value;

use crate::nodes::NodeName;

/// Annotation of a pod: the hash of what it was made from, but for what it asks of the scheduler (see `children::node`).
pub const MADE_FROM: &str = "partita.dev/made-from";
/// The argument of a storage node that makes it speak mutual TLS, with the folder of its certificate behind it.
pub const PEER_TLS: &str = "--peer-tls=";
/// What a container says of its end is cut off here.
const WORDS_CHARS_MAX: usize = 300;

/// The pod of a storage node.
#[derive(Debug, Clone, PartialEq)]
pub struct StoragePod {
    /// Its name.
    pub name: String,
    /// Which of that name.
    pub uid: String,
    /// The hash of the template that it was made from.
    pub made_from: Option<String>,
    /// It serves.
    pub ready: bool,
    /// It is being stopped.
    pub leaving: bool,
    /// No node takes it.
    pub unplaced: bool,
    /// Its container ends again and again.
    pub crashing: bool,
    /// What it asks of the scheduler.
    pub requests: BTreeMap<String, Quantity>,
    /// It speaks mutual TLS with others, and with nobody else.
    pub peer_tls: bool,
    /// Why it does not serve, as far as Kubernetes knows.
    pub trouble: Option<String>,
}

impl StoragePod {
    /// Reads a pod.
    pub fn of(pod: &Pod) -> Self {
        let leaving = pod.metadata.deletion_timestamp.is_some();
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            made_from: pod.annotations().get(MADE_FROM).cloned(),
            ready: !leaving && condition(pod, "Ready").is_some_and(|(holds, _)| holds),
            leaving,
            unplaced: condition(pod, "PodScheduled").is_some_and(|(holds, _)| !holds),
            crashing: is_crashing(pod),
            requests: requests(pod.spec.as_ref()),
            peer_tls: peer_tls(pod.spec.as_ref()),
            trouble: trouble(pod),
        }
    }
}

/// Which storage node a pod is, by its name.
pub fn node(pod: &Pod) -> Option<NodeName> {
    pod.labels().get(names::TABLE_ID)?;
    let name = pod.name_any();
    let (host, ordinal) = name.rsplit_once('-')?;
    Some(NodeName::new(host, ordinal.parse().ok()?))
}

/// What a pod asks of the scheduler.
pub fn requests(pod: Option<&PodSpec>) -> BTreeMap<String, Quantity> {
    let container = pod.and_then(|pod| pod.containers.first());
    let resources = container.and_then(|container| container.resources.as_ref());
    resources
        .and_then(|resources| resources.requests.clone())
        .unwrap_or_default()
}

/// Whether a pod speaks mutual TLS.
pub fn peer_tls(pod: Option<&PodSpec>) -> bool {
    let container = pod.and_then(|pod| pod.containers.first());
    let mut arguments = container.into_iter().flat_map(|container| &container.args).flatten();
    arguments.any(|argument| argument.starts_with(PEER_TLS))
}

/// Whether a condition holds, and its message.
fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(bool, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status == "True", found.message.as_deref().unwrap_or_default()))
}

fn trouble(pod: &Pod) -> Option<String> {
    if let Some((false, message)) = condition(pod, "PodScheduled") {
        return Some(format!("no node takes it: {}", cut(message)));
    }
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(of_container)
}

fn is_crashing(pod: &Pod) -> bool {
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().any(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    })
}

fn of_container(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(ended) = state.terminated.as_ref().filter(|ended| ended.exit_code != 0) {
        return Some(format!("its container ended with {}", end(ended)));
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| *reason != "ContainerCreating")?;
    let said = waiting.message.as_deref().map(|message| format!(" ({})", cut(message)));
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let ended = last.map(|ended| format!("; it last ended with {}", end(ended)));
    Some(format!(
        "its container does not run: {reason}{}{}",
        said.unwrap_or_default(),
        ended.unwrap_or_default()
    ))
}

/// How a container ended: its exit code, and the last that it said.
fn end(ended: &ContainerStateTerminated) -> String {
    let lines = ended.message.iter().flat_map(|message| message.lines());
    let last = lines.map(str::trim).rfind(|line| !line.is_empty()).map(said);
    let last = last.map(|said| format!(": {}", cut(&said)));
    format!("{}{}", ended.exit_code, last.unwrap_or_default())
}

/// What a line of a log says, without its time and place.
fn said(line: &str) -> String {
    let json: Option<Value> = serde_json::from_str(line).ok();
    let message = json.as_ref().and_then(|json| {
        let of = |object: &Value| object.get("message").and_then(Value::as_str).map(str::to_owned);
        of(json).or_else(|| of(json.get("fields")?))
    });
    message.unwrap_or_else(|| line.to_owned())
}

fn cut(text: &str) -> String {
    text.trim()
        .trim_end_matches('.')
        .chars()
        .take(WORDS_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> StoragePod {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "t-a-0-0", "uid": "u", "annotations": {MADE_FROM: "abc"}}, "status": status,
        }))
        .unwrap();
        StoragePod::of(&pod)
    }

    #[test]
    fn what_keeps_a_pod_from_serving_is_said() {
        let unschedulable = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}]}));
        let words = "no node takes it: 0/3 nodes are available: 3 Insufficient cpu";
        assert_eq!(unschedulable.trouble.as_deref(), Some(words));
        assert!(!unschedulable.ready && unschedulable.unplaced);
        let crashing = pod(json!({"containerStatuses": [{
            "name": "replica", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"exitCode": 1}},
        }]}));
        let words = "its container does not run: CrashLoopBackOff (back-off 10s); it last ended with 1";
        assert_eq!(crashing.trouble.as_deref(), Some(words));
        assert!(crashing.crashing && !unschedulable.crashing);
        let starting = pod(json!({"containerStatuses": [{
            "name": "replica", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}},
        }]}));
        assert_eq!(starting.trouble, None);
    }

    #[test]
    fn the_last_words_of_a_container_are_said() {
        let ended = |message: &str| {
            pod(json!({"containerStatuses": [{
                "name": "replica", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "message": message}},
            }]}))
            .trouble
            .unwrap()
        };
        let json = "{\"level\":\"INFO\",\"fields\":{\"message\":\"started\"}}\n\
                    {\"level\":\"ERROR\",\"fields\":{\"message\":\"/data: its format 9 is newer than 3\"}}\n";
        let words =
            "its container does not run: CrashLoopBackOff; it last ended with 1: /data: its format 9 is newer than 3";
        assert_eq!(ended(json), words);
        assert_eq!(
            ended("a\nno space left\n"),
            "its container does not run: CrashLoopBackOff; it last ended with 1: no space left"
        );
        let now = pod(json!({"containerStatuses": [{
            "name": "replica", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 2, "message": "no such option"}},
        }]}));
        assert_eq!(
            now.trouble.as_deref(),
            Some("its container ended with 2: no such option")
        );
    }

    #[test]
    fn a_pod_that_is_ready_serves() {
        let ready = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]}));
        assert!(ready.ready && ready.trouble.is_none() && !ready.leaving && !ready.unplaced);
        assert_eq!(ready.made_from.as_deref(), Some("abc"));
    }
}
