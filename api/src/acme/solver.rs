//! Solvers: how an ACME server is shown that a name is ours.

use crate::GoDuration;
use crate::acme::dns01::Dns01Solver;
use crate::acme::http01::Http01Solver;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One way to prove that names are ours. Exactly one of http01 and dns01 is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AcmeSolver {
    /// Which names and Certificates this solver is for. All when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Box<SolverSelector>>,
    /// Answers over HTTP on port 80 of the name (RFC 8555 §8.3). Cannot prove wildcards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http01: Option<Box<Http01Solver>>,
    /// Answers by a TXT record in the DNS (RFC 8555 §8.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns01: Option<Box<Dns01Solver>>,
    /// How long to wait before the server is told to look, as a Go duration, instead of looking
    /// ourselves first. For clusters that cannot reach what the server will see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_instead_of_self_check: Option<GoDuration>,
}

/// Which names a solver is for. The solver with the longest match of names, then zones, then
/// labels is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SolverSelector {
    /// Labels that the Certificate must bear, all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Names, to the letter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Zones, each with every name below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_zones: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::http01::ParentReference;

    /// An empty one is two bytes of JSON, and a list may hold many.
    #[test]
    fn what_a_list_may_hold_many_of_is_small() {
        assert!(size_of::<AcmeSolver>() <= 64, "{}", size_of::<AcmeSolver>());
        assert!(size_of::<ParentReference>() <= 160, "{}", size_of::<ParentReference>());
    }

    #[test]
    fn no_part_of_a_solver_is_large() {
        let sizes = [
            size_of::<SolverSelector>(),
            size_of::<Http01Solver>(),
            size_of::<Dns01Solver>(),
            size_of::<crate::acme::http01::IngressSolver>(),
            size_of::<crate::acme::http01::GatewayHttpRouteSolver>(),
            size_of::<crate::acme::pod_template::PodSpec>(),
            size_of::<crate::acme::pod_template::PodSecurityContext>(),
            size_of::<crate::acme::dns01::AkamaiDns>(),
            size_of::<crate::acme::dns01::AzureDns>(),
            size_of::<crate::acme::dns01::Route53Dns>(),
        ];
        assert!(sizes.iter().all(|size| *size <= 512), "{sizes:?}");
    }
}
