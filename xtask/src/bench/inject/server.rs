//! What injections cost the API server: what it was asked for, and the processor time of it and of its store.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use e2e::cluster::{Cluster, Component};

use super::super::process::Process;

/// The counter of requests, of which each line has verb, resource and subresource as labels.
const REQUESTS: &str = "apiserver_request_total{";

/// What the API server has done since it was started.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    requests: BTreeMap<String, u64>,
    api_server: Duration,
    store: Duration,
}

/// What it did in some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Requests that were answered, by verb and resource; watches are not among them.
    pub(crate) requests: BTreeMap<String, u64>,
    /// Processor time of the API server.
    pub(crate) api_server: Duration,
    /// Processor time of etcd.
    pub(crate) store: Duration,
}

impl Look {
    /// What it has done by now.
    pub(super) fn before(cluster: &Cluster) -> anyhow::Result<Self> {
        let requests = requests(&cluster.kubectl(&["get", "--raw", "/metrics"])?);
        let [api_server, store] = used(cluster)?;
        Ok(Self { requests, api_server, store })
    }

    /// What it did since then. The looks themselves are not in the processor times.
    pub(super) fn after(&self, cluster: &Cluster) -> anyhow::Result<Work> {
        let [api_server, store] = used(cluster)?;
        let requests = requests(&cluster.kubectl(&["get", "--raw", "/metrics"])?);
        Ok(Self { requests, api_server, store }.since(self))
    }

    fn since(&self, earlier: &Self) -> Work {
        let new = self.requests.iter().map(|(name, count)| {
            let before = earlier.requests.get(name).copied().unwrap_or_default();
            (name.clone(), count.saturating_sub(before))
        });
        Work {
            requests: new.filter(|(_, count)| *count > 0).collect(),
            api_server: self.api_server.saturating_sub(earlier.api_server),
            store: self.store.saturating_sub(earlier.store),
        }
    }
}

impl Work {
    pub(super) fn add(&mut self, more: &Self) {
        for (name, count) in &more.requests {
            *self.requests.entry(name.clone()).or_default() += count;
        }
        self.api_server += more.api_server;
        self.store += more.store;
    }
}

/// Processor time of the API server and of etcd.
fn used(cluster: &Cluster) -> anyhow::Result<[Duration; 2]> {
    let used = |component| {
        let pid = cluster.component(component).with_context(|| format!("{component} does not run"))?;
        anyhow::Ok(Process::new(pid).cpu()?.total())
    };
    Ok([used(Component::ApiServer)?, used(Component::Etcd)?])
}

/// Requests by verb, resource and subresource, as the metrics of an API server have them.
fn requests(metrics: &str) -> BTreeMap<String, u64> {
    let mut requests = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix(REQUESTS)) {
        let Some((labels, count)) = line.rsplit_once("} ") else { continue };
        let label = |name: &str| {
            let start = format!("{name}=\"");
            let mut values = labels.split(',').filter_map(|label| label.strip_prefix(start.as_str()));
            values.next().map_or("", |value| value.trim_end_matches('"'))
        };
        let (verb, resource, subresource) = (label("verb"), label("resource"), label("subresource"));
        if verb == "WATCH" || resource.is_empty() {
            continue;
        }
        let slash = if subresource.is_empty() { "" } else { "/" };
        let name = format!("{verb} {resource}{slash}{subresource}");
        *requests.entry(name).or_default() += count.parse().unwrap_or(0);
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="GET",version="v1"} 7
apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="GET",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="status",verb="PATCH",version="v1"} 3
apiserver_request_total{code="0",component="apiserver",dry_run="",group="",resource="secrets",scope="cluster",subresource="",verb="WATCH",version="v1"} 9
apiserver_request_total{code="200",component="",dry_run="",group="",resource="",scope="",subresource="/livez",verb="GET",version=""} 5
apiserver_request_duration_seconds_count{resource="pods",verb="GET"} 3
"#;

    #[test]
    fn requests_are_counted_by_verb_and_resource_and_watches_are_not() {
        let expected = [("GET secrets", 9), ("PATCH pods/status", 3)];
        assert_eq!(requests(METRICS), expected.map(|(name, count)| (name.to_owned(), count)).into());
    }

    #[test]
    fn what_was_done_is_the_difference_of_two_looks() {
        let look = |requests: &[(&str, u64)], secs| Look {
            requests: requests.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            api_server: Duration::from_secs(secs),
            store: Duration::from_secs(secs * 2),
        };
        let before = look(&[("GET a", 3), ("GET b", 4)], 1);
        let mut work = look(&[("GET a", 5), ("GET b", 4), ("GET c", 1)], 4).since(&before);
        let requests = |all: &[(&str, u64)]| all.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let expected = Work {
            requests: requests(&[("GET a", 2), ("GET c", 1)]),
            api_server: Duration::from_secs(3),
            store: Duration::from_secs(6),
        };
        assert_eq!(work, expected);
        work.add(&expected);
        assert_eq!(work.requests, requests(&[("GET a", 4), ("GET c", 2)]));
        assert_eq!((work.api_server.as_secs(), work.store.as_secs()), (6, 12));
    }
}
