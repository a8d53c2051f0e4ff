//! DNS-01 solvers, one struct for each provider.

use crate::text::non_empty;
use crate::{SecretKeySelector, ServiceAccountRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

open_enum! {
    /// What to do about a CNAME at the challenge's name.
    CnameStrategy {
        /// Write the record at the challenge's own name.
        None = "None",
        /// Follow the CNAME and write the record where it leads.
        Follow = "Follow",
    }
}

/// Proof by DNS. Exactly one provider is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns01Solver {
    /// Whether a CNAME at _acme-challenge is followed (Follow) or not (None). None when it is
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cname_strategy: Option<CnameStrategy>,
    /// Name servers to ask before the server is told to look: "host:port", or an https:// URL for
    /// DNS over HTTPS. The controller's own when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Akamai Edge DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub akamai: Option<Box<AkamaiDns>>,
    /// Azure DNS.
    #[serde(rename = "azureDNS", skip_serializing_if = "Option::is_none")]
    pub azure_dns: Option<Box<AzureDns>>,
    /// Google Cloud DNS.
    #[serde(rename = "cloudDNS", skip_serializing_if = "Option::is_none")]
    pub cloud_dns: Option<Box<CloudDns>>,
    /// Cloudflare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloudflare: Option<Box<CloudflareDns>>,
    /// Amazon Route 53.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route53: Option<Box<Route53Dns>>,
    /// An acme-dns server.
    #[serde(rename = "acmeDNS", skip_serializing_if = "Option::is_none")]
    pub acme_dns: Option<Box<AcmeDns>>,
    /// DigitalOcean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digitalocean: Option<Box<DigitalOceanDns>>,
    /// Any name server that takes dynamic updates (RFC 2136).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Box<Rfc2136Dns>>,
    /// A solver outside this project, called through the Kubernetes API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Box<WebhookDns>>,
}

impl Dns01Solver {
    /// The strategy given, else None.
    pub fn cname_strategy_or_default(&self) -> CnameStrategy {
        self.cname_strategy.clone().unwrap_or(CnameStrategy::None)
    }
}

/// Akamai Edge DNS, by its EdgeGrid credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AkamaiDns {
    /// Host of the API, as it stands in the credentials file.
    pub service_consumer_domain: String,
    /// Where the client token is kept.
    pub client_token_secret_ref: SecretKeySelector,
    /// Where the client secret is kept.
    pub client_secret_secret_ref: SecretKeySelector,
    /// Where the access token is kept.
    pub access_token_secret_ref: SecretKeySelector,
}

/// Azure DNS, by a service principal, a managed identity, or the environment's own identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AzureDns {
    /// Subscription that holds the zone.
    #[serde(rename = "subscriptionID")]
    pub subscription_id: String,
    /// Resource group that holds the zone.
    pub resource_group_name: String,
    /// Application id of the service principal. Goes together with tenantID and
    /// clientSecretSecretRef, and excludes managedIdentity.
    #[serde(rename = "clientID")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub client_id: Option<String>,
    /// Where the password of the service principal is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_secret_ref: Option<SecretKeySelector>,
    /// Tenant of the service principal.
    #[serde(rename = "tenantID")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub tenant_id: Option<String>,
    /// Zone to write into. It is looked for by the name to prove when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub hosted_zone_name: Option<String>,
    /// Cloud that holds the zone. AzurePublicCloud when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<AzureEnvironment>,
    /// Identity to use where several are assigned. Excludes the service principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_identity: Option<AzureManagedIdentity>,
    /// Whether the zone is public or private. AzurePublicZone when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_type: Option<AzureZoneType>,
}

open_enum! {
    /// The clouds of Azure.
    AzureEnvironment {
        /// The public cloud.
        PublicCloud = "AzurePublicCloud",
        /// The cloud of China.
        ChinaCloud = "AzureChinaCloud",
        /// The cloud of Germany.
        GermanCloud = "AzureGermanCloud",
        /// The cloud of the United States government.
        UsGovernmentCloud = "AzureUSGovernmentCloud",
    }
}

open_enum! {
    /// Kinds of zone in Azure DNS.
    AzureZoneType {
        /// Seen by everyone.
        Public = "AzurePublicZone",
        /// Seen by linked networks.
        Private = "AzurePrivateZone",
    }
}

/// A managed identity of Azure, by client id or by resource id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AzureManagedIdentity {
    /// Client id of the identity. Excludes resourceID.
    #[serde(rename = "clientID")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub client_id: Option<String>,
    /// Resource id of the identity. Excludes clientID and tenantID.
    #[serde(rename = "resourceID")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub resource_id: Option<String>,
    /// Tenant of the identity. Only with clientID.
    #[serde(rename = "tenantID")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub tenant_id: Option<String>,
}

/// Google Cloud DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudDns {
    /// Project that holds the zone.
    pub project: String,
    /// Where the JSON key of a service account is kept. The environment's own identity is used
    /// when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_secret_ref: Option<SecretKeySelector>,
    /// Name of the managed zone. It is looked for by the name to prove when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub hosted_zone_name: Option<String>,
}

/// Cloudflare. Exactly one of apiTokenSecretRef and apiKeySecretRef is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudflareDns {
    /// E-mail address of the account. Needed with apiKeySecretRef.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub email: Option<String>,
    /// Where the account's global key is kept. Prefer apiTokenSecretRef, which can be limited to a
    /// zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeySelector>,
    /// Where an API token is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_token_secret_ref: Option<SecretKeySelector>,
}

/// Amazon Route 53. Without credentials the environment's own identity is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Route53Dns {
    /// Identity from a service account of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Route53Auth>,
    /// Id of the access key. Excludes accessKeyIDSecretRef.
    #[serde(rename = "accessKeyID")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub access_key_id: Option<String>,
    /// Where the id of the access key is kept. Excludes accessKeyID.
    #[serde(rename = "accessKeyIDSecretRef", skip_serializing_if = "Option::is_none")]
    pub access_key_id_secret_ref: Option<SecretKeySelector>,
    /// Where the secret of the access key is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_secret_ref: Option<SecretKeySelector>,
    /// IAM role to take on, as an ARN.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub role: Option<String>,
    /// Zone to write into. It is looked for by the name to prove when it is absent.
    #[serde(rename = "hostedZoneID")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub hosted_zone_id: Option<String>,
    /// AWS region. The environment's when it is absent; Route 53 itself has none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub region: Option<String>,
}

/// Where an AWS identity comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Route53Auth {
    /// A service account whose token AWS accepts for the role.
    pub kubernetes: Route53KubernetesAuth,
}

/// An AWS identity by a service account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Route53KubernetesAuth {
    /// The service account.
    pub service_account_ref: ServiceAccountRef,
}

/// An acme-dns server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AcmeDns {
    /// Address of the server.
    pub host: String,
    /// Where the accounts are kept, as JSON by domain.
    pub account_secret_ref: SecretKeySelector,
}

/// DigitalOcean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DigitalOceanDns {
    /// Where the API token is kept.
    pub token_secret_ref: SecretKeySelector,
}

open_enum! {
    /// Transport of dynamic updates.
    Rfc2136Protocol {
        /// Over a connection.
        Tcp = "TCP",
        /// By datagrams.
        Udp = "UDP",
    }
}

/// Dynamic updates of a name server (RFC 2136), signed with TSIG (RFC 8945) if a key is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rfc2136Dns {
    /// Address of the authoritative server, "host" or "host:port"; IPv6 in brackets. Port 53 when
    /// none is given.
    pub nameserver: String,
    /// Where the TSIG secret is kept. Needed with tsigKeyName.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tsig_secret_secret_ref: Option<SecretKeySelector>,
    /// Name of the TSIG key.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub tsig_key_name: Option<String>,
    /// TSIG algorithm: HMACMD5, HMACSHA1, HMACSHA256 or HMACSHA512. HMACMD5 when it is absent, so
    /// it is worth setting.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub tsig_algorithm: Option<String>,
    /// TCP or UDP. UDP when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Rfc2136Protocol>,
}

/// A solver outside this project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WebhookDns {
    /// API group under which the solver serves.
    pub group_name: String,
    /// Name of the solver within that group.
    pub solver_name: String,
    /// Settings for the solver, passed on as they are. Refer to Secrets rather than writing
    /// credentials here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::any")]
    pub config: Option<serde_json::Value>,
}
