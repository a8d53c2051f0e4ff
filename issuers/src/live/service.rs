//! The Services of the cluster, by which the name policy knows what pods are called.

use std::collections::BTreeMap;

use runtime::trimmed::{Keep, Trimmed};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess};

use crate::policy::ServiceFacts;

/// `spec.type` of a Service that is an alias for a foreign name; its selector has no effect.
const EXTERNAL_NAME: &str = "ExternalName";

/// What is kept of a Service.
#[derive(Debug, Clone, Default)]
pub struct KeepService(ServiceFacts);

impl Keep for KeepService {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name != "spec" {
            return map.next_value::<IgnoredAny>().map(drop);
        }
        let spec: Spec = map.next_value::<Option<Spec>>()?.unwrap_or_default();
        let is_external = spec.type_.as_deref() == Some(EXTERNAL_NAME);
        self.0 = ServiceFacts {
            selector: spec.selector.filter(|_| !is_external).unwrap_or_default(),
            is_headless: spec.cluster_ip.as_deref() == Some("None"),
        };
        Ok(())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    selector: Option<BTreeMap<String, String>>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "type")]
    type_: Option<String>,
}

/// What matters of a Service that was seen.
pub fn view(object: Trimmed<KeepService>) -> ServiceFacts {
    object.content.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_selects_no_pods() {
        let check = |spec: &str, labels: usize, is_headless: bool| {
            let text = format!(r#"{{"metadata": {{"name": "web"}}, "spec": {spec}}}"#);
            let facts = view(serde_json::from_str(&text).unwrap());
            assert_eq!((facts.selector.len(), facts.is_headless), (labels, is_headless), "{spec}");
        };
        check(r#"{"type": "ExternalName", "selector": {"app": "web"}}"#, 0, false);
        check("null", 0, false);
        check(r#"{"clusterIP": "None"}"#, 0, true);
        check(
            r#"{"type": "ClusterIP", "clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": []}"#,
            1,
            false,
        );
        check(r#"{"clusterIP": "None", "selector": {"app": "web", "tier": "front"}}"#, 2, true);
    }
}
