//! Rules of the provider Azure DNS.

use api::IssuerSpec;
use api::acme::dns01::{AzureDns, AzureEnvironment, AzureManagedIdentity};

use super::provider::{self, Provider};
use crate::case::Case;
use crate::finding::Fault;
use crate::issuer::{indexed, selector, solver, spec};
use crate::rule::{Check, Findings};

pub(in crate::issuer) static RULES: &[Check<IssuerSpec>] = &[
    spec(
        "I31",
        "spec.acme.solvers[*].dns01.azureDNS.clientSecretSecretRef",
        "A service principal of Azure has clientID, tenantID and clientSecretSecretRef",
        |case, findings| {
            for (index, azure) in all(case).filter(|(_, azure)| has_principal(azure)) {
                principal_is_complete(azure, index, findings);
            }
        },
    ),
    spec(
        "I32",
        "spec.acme.solvers[*].dns01.azureDNS.managedIdentity",
        "Azure is reached by a service principal or by a managed identity, not both",
        |case, findings| {
            for (index, azure) in all(case) {
                if has_principal(azure) && azure.managed_identity.is_some() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Forbidden)
                        .detail("clientID, clientSecretSecretRef or tenantID is set too")
                        .advice("remove them or managedIdentity");
                }
            }
        },
    ),
    spec(
        "I33",
        "spec.acme.solvers[*].dns01.azureDNS.managedIdentity",
        "A managed identity of Azure is chosen by clientID or by resourceID, not both",
        |case, findings| {
            excludes(case, findings, "clientID and resourceID are both set", |identity| {
                identity.client_id.is_some() && identity.resource_id.is_some()
            });
        },
    ),
    spec(
        "I34",
        "spec.acme.solvers[*].dns01.azureDNS.managedIdentity",
        "A managed identity of Azure that is chosen by resourceID has no tenantID",
        |case, findings| {
            excludes(case, findings, "tenantID and resourceID are both set", |identity| {
                identity.tenant_id.is_some() && identity.resource_id.is_some()
            });
        },
    ),
    spec(
        "I35",
        "spec.acme.solvers[*].dns01.azureDNS.managedIdentity",
        "A managed identity of Azure with a tenantID has a clientID",
        |case, findings| {
            for (index, identity) in identities(case) {
                if identity.tenant_id.is_some() && identity.client_id.is_none() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Required)
                        .detail("tenantID is set without clientID")
                        .advice("set clientID too");
                }
            }
        },
    ),
    spec(
        "I36",
        "spec.acme.solvers[*].dns01.azureDNS.subscriptionID",
        "The subscription with the Azure zone is named",
        |case, findings| {
            let advice = "write the id of the subscription that holds the zone";
            solver::requires(all(case), |azure| &azure.subscription_id, advice, findings);
        },
    ),
    spec(
        "I37",
        "spec.acme.solvers[*].dns01.azureDNS.resourceGroupName",
        "The resource group with the Azure zone is named",
        |case, findings| {
            let advice = "name the resource group that holds the zone";
            solver::requires(all(case), |azure| &azure.resource_group_name, advice, findings);
        },
    ),
    spec(
        "I38",
        "spec.acme.solvers[*].dns01.azureDNS.environment",
        "The cloud of Azure is one that exists",
        |case, findings| {
            for (index, azure) in all(case) {
                let Some(AzureEnvironment::Other(text)) = &azure.environment else { continue };
                if !text.is_empty() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Invalid)
                        .value(text.as_str())
                        .detail("no such cloud")
                        .advice(
                            "write AzurePublicCloud, AzureChinaCloud, AzureGermanCloud or AzureUSGovernmentCloud",
                        );
                }
            }
        },
    ),
];

fn all<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a AzureDns)> {
    provider::of(case, Provider::AzureDns, |dns01| dns01.azure_dns.as_deref())
}

/// The managed identities that no service principal stands beside.
fn identities<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a AzureManagedIdentity)> {
    all(case)
        .filter(|(_, azure)| !has_principal(azure))
        .filter_map(|(index, azure)| Some((index, azure.managed_identity.as_ref()?)))
}

fn has_principal(azure: &AzureDns) -> bool {
    azure.client_id.is_some() || azure.tenant_id.is_some() || azure.client_secret_secret_ref.is_some()
}

fn principal_is_complete(azure: &AzureDns, index: usize, findings: &mut Findings) {
    let missing = [
        ("clientID", azure.client_id.is_none()),
        ("clientSecretSecretRef", azure.client_secret_secret_ref.is_none()),
        ("tenantID", azure.tenant_id.is_none()),
    ];
    for (field, _) in missing.into_iter().filter(|(_, is_missing)| *is_missing) {
        findings
            .at(indexed("spec.acme.solvers[*].dns01.azureDNS.", &[index]) + field, Fault::Required)
            .advice("set clientID, tenantID and clientSecretSecretRef, or none of them");
    }
    if let Some(secret) = &azure.client_secret_secret_ref {
        selector::is_complete(secret, &[index], findings);
    }
}

fn excludes(
    case: &Case<'_, IssuerSpec>,
    findings: &mut Findings,
    detail: &'static str,
    wrong: fn(&AzureManagedIdentity) -> bool,
) {
    for (index, _) in identities(case).filter(|(_, identity)| wrong(identity)) {
        findings
            .at(indexed(findings.path(), &[index]), Fault::Forbidden)
            .detail(detail)
            .advice("keep clientID, or resourceID alone");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, dns01, merged};

    const PATH: &str = "spec.acme.solvers[0].dns01.azureDNS";

    fn check_azure(changes: &Value, wanted: &[&str]) {
        let good = json!({"azureDNS": {"subscriptionID": "a", "resourceGroupName": "b"}});
        let wanted: Vec<String> = wanted
            .iter()
            .map(|told| {
                let (id, rest) = told.split_once(' ').unwrap();
                format!("{id} {PATH}{rest}")
            })
            .collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        check(&dns01(&merged(&good, &json!({"azureDNS": changes}))), &wanted, &[]);
    }

    #[test]
    fn half_a_service_principal_is_refused() {
        let advice = "Required value: set clientID, tenantID and clientSecretSecretRef, or none of them";
        let client = format!("I31 .clientID: {advice}");
        let secret = format!("I31 .clientSecretSecretRef: {advice}");
        let tenant = format!("I31 .tenantID: {advice}");
        check_azure(&json!({"clientID": "a"}), &[&secret, &tenant]);
        check_azure(&json!({"tenantID": "a"}), &[&client, &secret]);
        check_azure(
            &json!({"clientSecretSecretRef": {}}),
            &[
                &client,
                &tenant,
                "I31 .clientSecretSecretRef.name: Required value: name the Secret",
                "I31 .clientSecretSecretRef.key: Required value: name the key within the Secret's data",
            ],
        );
        check_azure(&json!({"clientID": "", "tenantID": ""}), &[]);
    }

    #[test]
    fn two_identities_are_refused_and_the_managed_one_is_not_looked_into() {
        let principal = json!({"clientID": "a", "tenantID": "b", "clientSecretSecretRef": {"name": "a", "key": "b"},
                               "managedIdentity": {"clientID": "a", "resourceID": "b"}});
        check_azure(
            &principal,
            &[
                "I32 .managedIdentity: Forbidden: clientID, clientSecretSecretRef or tenantID is set too; remove them or managedIdentity",
            ],
        );
    }

    #[test]
    fn a_managed_identity_that_is_chosen_twice_is_refused() {
        let both = "I33 .managedIdentity: Forbidden: clientID and resourceID are both set; keep clientID, or resourceID alone";
        let tenant = "I34 .managedIdentity: Forbidden: tenantID and resourceID are both set; keep clientID, or resourceID alone";
        let alone =
            "I35 .managedIdentity: Required value: tenantID is set without clientID; set clientID too";
        let identity = |identity: Value| json!({"managedIdentity": identity});
        check_azure(&identity(json!({"clientID": "a", "resourceID": "b"})), &[both]);
        check_azure(&identity(json!({"clientID": "a", "resourceID": "b", "tenantID": "c"})), &[both, tenant]);
        check_azure(&identity(json!({"resourceID": "b", "tenantID": "c"})), &[tenant, alone]);
        check_azure(&identity(json!({"tenantID": "c"})), &[alone]);
    }

    #[test]
    fn a_zone_that_cannot_be_found_is_refused() {
        check_azure(
            &json!({"subscriptionID": "", "resourceGroupName": "", "environment": "AzureMoonCloud"}),
            &[
                "I36 .subscriptionID: Required value: write the id of the subscription that holds the zone",
                "I37 .resourceGroupName: Required value: name the resource group that holds the zone",
                "I38 .environment: Invalid value: \"AzureMoonCloud\": no such cloud; write AzurePublicCloud, AzureChinaCloud, AzureGermanCloud or AzureUSGovernmentCloud",
            ],
        );
    }

    #[test]
    fn each_way_to_reach_azure_is_accepted() {
        for changes in [
            json!({}),
            json!({"environment": ""}),
            json!({"environment": "AzureUSGovernmentCloud"}),
            json!({"clientID": "a", "tenantID": "b", "clientSecretSecretRef": {"name": "a", "key": "b"}}),
            json!({"managedIdentity": {}}),
            json!({"managedIdentity": {"clientID": "a"}}),
            json!({"managedIdentity": {"clientID": "a", "tenantID": "b"}}),
            json!({"managedIdentity": {"resourceID": "a"}}),
        ] {
            check_azure(&changes, &[]);
        }
    }
}
