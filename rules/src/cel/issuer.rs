//! Rules of Issuers and ClusterIssuers in CEL.

use super::{Expression, Policy, text};
use crate::rule::Kind;

pub(super) static POLICY: Policy = Policy {
    name: "issuers",
    kinds: &[Kind::Issuer, Kind::ClusterIssuer],
    resources: &["issuers", "clusterissuers"],
    variables: VARIABLES,
    expressions: EXPRESSIONS,
};

/// An issuer of several types, a solver of both kinds and one of several providers are refused as such, so that it does
/// not matter which of their parts are looked into.
const VARIABLES: &[(&str, &str)] = &[
    (
        "types",
        "[has(object.spec.acme), has(object.spec.ca), has(object.spec.selfSigned), has(object.spec.vault), has(object.spec.venafi)].filter(given, given)",
    ),
    ("solvers", "object.spec.?acme.?solvers.orValue([])"),
    // Those that can be read; the others are left to the webhook.
    (
        "waits",
        r"variables.solvers.map(solver, solver.?waitInsteadOfSelfCheck.orValue('')).filter(text, text.matches('^[-+]?(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$')).map(text, duration(text))",
    ),
    ("http01", "variables.solvers.filter(solver, has(solver.http01)).map(solver, solver.http01)"),
    ("ingresses", "variables.http01.filter(http01, has(http01.ingress)).map(http01, http01.ingress)"),
    (
        "gateways",
        "variables.http01.filter(http01, has(http01.gatewayHTTPRoute)).map(http01, http01.gatewayHTTPRoute)",
    ),
    (
        "dns01",
        "variables.solvers.filter(solver, has(solver.dns01) && !has(solver.http01)).map(solver, solver.dns01)",
    ),
    ("akamai", "variables.dns01.filter(dns01, has(dns01.akamai)).map(dns01, dns01.akamai)"),
    ("azure", "variables.dns01.filter(dns01, has(dns01.azureDNS)).map(dns01, dns01.azureDNS)"),
    (
        "azurePrincipals",
        "variables.azure.filter(azure, azure.?clientID.orValue('') != '' || azure.?tenantID.orValue('') != '' || has(azure.clientSecretSecretRef))",
    ),
    (
        "azureIdentities",
        "variables.azure.filter(azure, has(azure.managedIdentity) && azure.?clientID.orValue('') == '' && azure.?tenantID.orValue('') == '' && !has(azure.clientSecretSecretRef)).map(azure, azure.managedIdentity)",
    ),
    ("cloudDNS", "variables.dns01.filter(dns01, has(dns01.cloudDNS)).map(dns01, dns01.cloudDNS)"),
    ("cloudflare", "variables.dns01.filter(dns01, has(dns01.cloudflare)).map(dns01, dns01.cloudflare)"),
    ("route53", "variables.dns01.filter(dns01, has(dns01.route53)).map(dns01, dns01.route53)"),
    ("acmeDNS", "variables.dns01.filter(dns01, has(dns01.acmeDNS)).map(dns01, dns01.acmeDNS)"),
    ("digitalocean", "variables.dns01.filter(dns01, has(dns01.digitalocean)).map(dns01, dns01.digitalocean)"),
    ("rfc2136", "variables.dns01.filter(dns01, has(dns01.rfc2136)).map(dns01, dns01.rfc2136)"),
];

const EXPRESSIONS: &[Expression] = &[
    text(
        "I01",
        "size(variables.types) > 0",
        "spec: Required value: set one of acme, ca, selfSigned, vault, venafi",
    ),
    text(
        "I02",
        "size(variables.types) <= 1",
        "spec: Forbidden: the issuer has more than one type; remove one, or make an issuer of each",
    ),
    text(
        "I03",
        "!has(object.spec.acme) || !has(object.spec.acme.caBundle) || size(object.spec.acme.caBundle) == 0 || !object.spec.acme.?skipTLSVerify.orValue(false)",
        "spec.acme.caBundle: Invalid value: caBundle and skipTLSVerify exclude each other; remove skipTLSVerify, and the server is verified by caBundle",
    ),
    text(
        "I05",
        "!has(object.spec.acme) || object.spec.acme.privateKeySecretRef.name != ''",
        "spec.acme.privateKeySecretRef.name: Required value: name the Secret for the account's key; it is made if missing",
    ),
    text(
        "I06",
        "!has(object.spec.acme) || object.spec.acme.server != ''",
        "spec.acme.server: Required value: write the URL of the server's directory",
    ),
    text(
        "I07",
        "!has(object.spec.acme) || !has(object.spec.acme.externalAccountBinding) || object.spec.acme.externalAccountBinding.keyID != ''",
        "spec.acme.externalAccountBinding.keyID: Required value: write the key id that the CA gave you",
    ),
    text(
        "I08",
        "!has(object.spec.acme) || !has(object.spec.acme.externalAccountBinding) || object.spec.acme.externalAccountBinding.keySecretRef.name != ''",
        "spec.acme.externalAccountBinding.keySecretRef.name: Required value: name the Secret",
    ),
    text(
        "I09",
        "!has(object.spec.acme) || !has(object.spec.acme.externalAccountBinding) || object.spec.acme.externalAccountBinding.keySecretRef.?key.orValue('') != ''",
        "spec.acme.externalAccountBinding.keySecretRef.key: Required value: name the key within the Secret's data",
    ),
    text(
        "I10",
        "variables.solvers.all(solver, !has(solver.http01) || !has(solver.dns01))",
        "spec.acme.solvers[]: Forbidden: both http01 and dns01 are set; make one solver of each",
    ),
    text(
        "I11",
        "variables.solvers.all(solver, has(solver.http01) || has(solver.dns01))",
        "spec.acme.solvers[]: Required value: set http01 or dns01",
    ),
    text(
        "I12",
        "variables.waits.all(wait, wait >= duration('0s'))",
        "spec.acme.solvers[].waitInsteadOfSelfCheck: Invalid value: a negative time; leave out the sign",
    ),
    text(
        "I13",
        "variables.http01.all(http01, has(http01.ingress) || has(http01.gatewayHTTPRoute))",
        "spec.acme.solvers[].http01: Required value: set ingress or gatewayHTTPRoute",
    ),
    text(
        "I14",
        "variables.http01.all(http01, !has(http01.ingress) || !has(http01.gatewayHTTPRoute))",
        "spec.acme.solvers[].http01: Required value: both ingress and gatewayHTTPRoute are set; make one solver of each",
    ),
    text(
        "I15",
        "variables.ingresses.all(ingress, [has(ingress.class), has(ingress.ingressClassName), ingress.?name.orValue('') != ''].filter(given, given).size() <= 1)",
        "spec.acme.solvers[].http01.ingress: Forbidden: more than one of ingressClassName, class and name is set; keep ingressClassName alone",
    ),
    text(
        "I16",
        r"variables.ingresses.all(ingress, !has(ingress.ingressClassName) || size(ingress.ingressClassName) <= 253 && ingress.ingressClassName.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",
        "spec.acme.solvers[].http01.ingress.ingressClassName: Invalid value: not a name that Kubernetes accepts; name an IngressClass of the cluster",
    ),
    text(
        "I17",
        "variables.ingresses.all(ingress, ingress.?serviceType.orValue('') in ['', 'ClusterIP', 'NodePort'])",
        "spec.acme.solvers[].http01.ingress.serviceType: Invalid value: write ClusterIP or NodePort, or remove it",
    ),
    text(
        "I18",
        "variables.gateways.all(gateway, gateway.?serviceType.orValue('') in ['', 'ClusterIP', 'NodePort'])",
        "spec.acme.solvers[].http01.gatewayHTTPRoute.serviceType: Invalid value: write ClusterIP or NodePort, or remove it",
    ),
    text(
        "I23",
        "variables.akamai.all(akamai, akamai.accessTokenSecretRef.name != '')",
        "spec.acme.solvers[].dns01.akamai.accessTokenSecretRef.name: Required value: name the Secret",
    ),
    text(
        "I24",
        "variables.akamai.all(akamai, akamai.accessTokenSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.akamai.accessTokenSecretRef.key: Required value: name the key within the Secret's data",
    ),
    text(
        "I25",
        "variables.akamai.all(akamai, akamai.clientSecretSecretRef.name != '')",
        "spec.acme.solvers[].dns01.akamai.clientSecretSecretRef.name: Required value: name the Secret",
    ),
    text(
        "I26",
        "variables.akamai.all(akamai, akamai.clientSecretSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.akamai.clientSecretSecretRef.key: Required value: name the key within the Secret's data",
    ),
    text(
        "I27",
        "variables.akamai.all(akamai, akamai.clientTokenSecretRef.name != '')",
        "spec.acme.solvers[].dns01.akamai.clientTokenSecretRef.name: Required value: name the Secret",
    ),
    text(
        "I28",
        "variables.akamai.all(akamai, akamai.clientTokenSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.akamai.clientTokenSecretRef.key: Required value: name the key within the Secret's data",
    ),
    text(
        "I29",
        "variables.akamai.all(akamai, akamai.serviceConsumerDomain != '')",
        "spec.acme.solvers[].dns01.akamai.serviceConsumerDomain: Required value: write the host of the API, as it stands in the credentials file",
    ),
    text(
        "I30",
        "variables.dns01.all(dns01, [has(dns01.akamai), has(dns01.azureDNS), has(dns01.cloudDNS), has(dns01.cloudflare), has(dns01.route53), has(dns01.digitalocean), has(dns01.rfc2136), has(dns01.webhook)].filter(given, given).size() <= 1 && !(has(dns01.acmeDNS) && (has(dns01.digitalocean) || has(dns01.rfc2136) || has(dns01.webhook))))",
        "spec.acme.solvers[].dns01: Forbidden: more than one provider is set; remove one, or make a solver of each",
    ),
    text(
        "I31",
        "variables.azurePrincipals.all(azure, azure.?clientID.orValue('') != '' && azure.?tenantID.orValue('') != '' && azure.?clientSecretSecretRef.?name.orValue('') != '' && azure.?clientSecretSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.azureDNS.clientSecretSecretRef: Required value: set clientID, tenantID and clientSecretSecretRef with name and key, or none of them",
    ),
    text(
        "I32",
        "variables.azurePrincipals.all(azure, !has(azure.managedIdentity))",
        "spec.acme.solvers[].dns01.azureDNS.managedIdentity: Forbidden: clientID, clientSecretSecretRef or tenantID is set too; remove them or managedIdentity",
    ),
    text(
        "I33",
        "variables.azureIdentities.all(identity, identity.?clientID.orValue('') == '' || identity.?resourceID.orValue('') == '')",
        "spec.acme.solvers[].dns01.azureDNS.managedIdentity: Forbidden: clientID and resourceID are both set; keep clientID, or resourceID alone",
    ),
    text(
        "I34",
        "variables.azureIdentities.all(identity, identity.?tenantID.orValue('') == '' || identity.?resourceID.orValue('') == '')",
        "spec.acme.solvers[].dns01.azureDNS.managedIdentity: Forbidden: tenantID and resourceID are both set; keep clientID, or resourceID alone",
    ),
    text(
        "I35",
        "variables.azureIdentities.all(identity, identity.?tenantID.orValue('') == '' || identity.?clientID.orValue('') != '')",
        "spec.acme.solvers[].dns01.azureDNS.managedIdentity: Required value: tenantID is set without clientID; set clientID too",
    ),
    text(
        "I36",
        "variables.azure.all(azure, azure.subscriptionID != '')",
        "spec.acme.solvers[].dns01.azureDNS.subscriptionID: Required value: write the id of the subscription that holds the zone",
    ),
    text(
        "I37",
        "variables.azure.all(azure, azure.resourceGroupName != '')",
        "spec.acme.solvers[].dns01.azureDNS.resourceGroupName: Required value: name the resource group that holds the zone",
    ),
    text(
        "I39",
        "variables.cloudDNS.all(cloud, !has(cloud.serviceAccountSecretRef) || cloud.serviceAccountSecretRef.name != '' && cloud.serviceAccountSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.cloudDNS.serviceAccountSecretRef: Required value: name the Secret, and the key within its data",
    ),
    text(
        "I40",
        "variables.cloudDNS.all(cloud, cloud.project != '')",
        "spec.acme.solvers[].dns01.cloudDNS.project: Required value: write the id of the project that holds the zone",
    ),
    text(
        "I41",
        "variables.cloudflare.all(cloudflare, !has(cloudflare.apiKeySecretRef) || cloudflare.apiKeySecretRef.name != '' && cloudflare.apiKeySecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.cloudflare.apiKeySecretRef: Required value: name the Secret, and the key within its data",
    ),
    text(
        "I42",
        "variables.cloudflare.all(cloudflare, !has(cloudflare.apiTokenSecretRef) || cloudflare.apiTokenSecretRef.name != '' && cloudflare.apiTokenSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.cloudflare.apiTokenSecretRef: Required value: name the Secret, and the key within its data",
    ),
    text(
        "I43",
        "variables.cloudflare.all(cloudflare, !has(cloudflare.apiKeySecretRef) || !has(cloudflare.apiTokenSecretRef))",
        "spec.acme.solvers[].dns01.cloudflare: Forbidden: both apiKeySecretRef and apiTokenSecretRef are set; keep apiTokenSecretRef",
    ),
    text(
        "I44",
        "variables.cloudflare.all(cloudflare, has(cloudflare.apiKeySecretRef) || has(cloudflare.apiTokenSecretRef))",
        "spec.acme.solvers[].dns01.cloudflare: Required value: set apiTokenSecretRef",
    ),
    text(
        "I45",
        "variables.cloudflare.all(cloudflare, !has(cloudflare.apiKeySecretRef) || cloudflare.?email.orValue('') != '')",
        "spec.acme.solvers[].dns01.cloudflare.email: Required value: write the account's e-mail address, or use apiTokenSecretRef instead of the key",
    ),
    text(
        "I46",
        "variables.route53.all(route53, route53.?accessKeyID.orValue('') == '' || !has(route53.accessKeyIDSecretRef))",
        "spec.acme.solvers[].dns01.route53: Required value: both accessKeyID and accessKeyIDSecretRef are set; remove one",
    ),
    text(
        "I47",
        "variables.route53.all(route53, !has(route53.accessKeyIDSecretRef) || route53.accessKeyIDSecretRef.name != '' && route53.accessKeyIDSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.route53.accessKeyIDSecretRef: Required value: name the Secret, and the key within its data",
    ),
    text(
        "I48",
        "variables.acmeDNS.all(acme, acme.accountSecretRef.name != '' && acme.accountSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.acmeDNS.accountSecretRef: Required value: name the Secret, and the key within its data",
    ),
    text(
        "I49",
        "variables.acmeDNS.all(acme, acme.host != '')",
        "spec.acme.solvers[].dns01.acmeDNS.host: Required value: write the URL of the acme-dns server",
    ),
    text(
        "I50",
        "variables.digitalocean.all(ocean, ocean.tokenSecretRef.name != '' && ocean.tokenSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.digitalocean.tokenSecretRef: Required value: name the Secret, and the key within its data",
    ),
    text(
        "I51",
        "variables.rfc2136.all(rfc2136, rfc2136.nameserver != '')",
        "spec.acme.solvers[].dns01.rfc2136.nameserver: Required value: write the address of the authoritative server",
    ),
    text(
        "I53",
        "variables.rfc2136.all(rfc2136, rfc2136.?tsigAlgorithm.orValue('').upperAscii() in ['', 'HMACMD5', 'HMACSHA1', 'HMACSHA256', 'HMACSHA512'])",
        "spec.acme.solvers[].dns01.rfc2136.tsigAlgorithm: Unsupported value: write HMACSHA256 or HMACSHA512, or the broken HMACSHA1 or HMACMD5",
    ),
    text(
        "I54",
        "variables.rfc2136.all(rfc2136, rfc2136.?tsigKeyName.orValue('') == '' || rfc2136.?tsigSecretSecretRef.?name.orValue('') != '' && rfc2136.?tsigSecretSecretRef.?key.orValue('') != '')",
        "spec.acme.solvers[].dns01.rfc2136.tsigSecretSecretRef: Required value: name the Secret, and the key within its data",
    ),
    text(
        "I55",
        "variables.rfc2136.all(rfc2136, rfc2136.?tsigKeyName.orValue('') != '' || rfc2136.?tsigSecretSecretRef.?name.orValue('') == '' || rfc2136.?tsigSecretSecretRef.?key.orValue('') == '')",
        "spec.acme.solvers[].dns01.rfc2136.tsigKeyName: Required value: write the name under which the server knows the key",
    ),
    text(
        "I56",
        "variables.dns01.all(dns01, !has(dns01.webhook) || dns01.webhook.solverName != '')",
        "spec.acme.solvers[].dns01.webhook.solverName: Required value: write the name under which the webhook serves the solver",
    ),
    text(
        "I57",
        "variables.dns01.all(dns01, has(dns01.akamai) || has(dns01.azureDNS) || has(dns01.cloudDNS) || has(dns01.cloudflare) || has(dns01.route53) || has(dns01.acmeDNS) || has(dns01.digitalocean) || has(dns01.rfc2136) || has(dns01.webhook))",
        "spec.acme.solvers[].dns01: Required value: set one of akamai, azureDNS, cloudDNS, cloudflare, route53, acmeDNS, digitalocean, rfc2136, webhook",
    ),
    text(
        "I58",
        "!has(object.spec.ca) || object.spec.ca.secretName != ''",
        "spec.ca.secretName: Required value: name the Secret that holds the CA under tls.crt and tls.key",
    ),
    text(
        "I59",
        "object.spec.?ca.?ocspServers.orValue([]).all(url, url != '')",
        "spec.ca.ocspServers[]: Invalid value: empty; remove it, or write a URL",
    ),
    text(
        "I60",
        "object.spec.?ca.?issuingCertificateURLs.orValue([]).all(url, url != '')",
        "spec.ca.issuingCertificateURLs[]: Invalid value: empty; remove it, or write a URL",
    ),
    text(
        "I61",
        "!has(object.spec.vault) || object.spec.vault.server != ''",
        "spec.vault.server: Required value: write the server's URL",
    ),
    text(
        "I62",
        "!has(object.spec.vault) || object.spec.vault.path != ''",
        "spec.vault.path: Required value: write the path that signs with a role, such as \"pki/sign/my-role\"",
    ),
    text(
        "I63",
        "!object.spec.?vault.?path.orValue('').split('/').exists(segment, segment == '..')",
        "spec.vault.path: Invalid value: a segment is \"..\"; write the path without it",
    ),
    text(
        "I65",
        "!has(object.spec.vault) || !has(object.spec.vault.caBundle) || size(object.spec.vault.caBundle) == 0 || !has(object.spec.vault.caBundleSecretRef)",
        "spec.vault.caBundle: Invalid value: caBundle and caBundleSecretRef exclude each other; remove one",
    ),
    text(
        "I66",
        "!has(object.spec.vault) || !has(object.spec.vault.clientCertSecretRef) || has(object.spec.vault.clientKeySecretRef)",
        "spec.vault.clientKeySecretRef: Invalid value: clientCertSecretRef is set alone; say where the key is kept",
    ),
    text(
        "I67",
        "!has(object.spec.vault) || has(object.spec.vault.clientCertSecretRef) || !has(object.spec.vault.clientKeySecretRef)",
        "spec.vault.clientCertSecretRef: Invalid value: clientKeySecretRef is set alone; say where the certificate is kept",
    ),
    text(
        "I68",
        "!has(object.spec.vault) || has(object.spec.vault.auth.tokenSecretRef) || has(object.spec.vault.auth.appRole) || has(object.spec.vault.auth.clientCertificate) || has(object.spec.vault.auth.kubernetes) || has(object.spec.vault.auth.aws)",
        "spec.vault.auth: Required value: set one of tokenSecretRef, appRole, clientCertificate, kubernetes, aws",
    ),
    text(
        "I69",
        "object.spec.?vault.?auth.?appRole.?roleId.orValue('-') != ''",
        "spec.vault.auth.appRole.roleId: Required value: write the id of the AppRole",
    ),
    text(
        "I70",
        "object.spec.?vault.?auth.?appRole.?secretRef.?name.orValue('-') != ''",
        "spec.vault.auth.appRole.secretRef.name: Required value: name the Secret",
    ),
    text(
        "I71",
        "!object.spec.?vault.?auth.?appRole.?path.orValue('').split('/').exists(segment, segment == '..')",
        "spec.vault.auth.appRole.path: Invalid value: a segment is \"..\"; write the path without it",
    ),
    text(
        "I72",
        "!object.spec.?vault.?auth.?clientCertificate.?mountPath.orValue('').split('/').exists(segment, segment == '..')",
        "spec.vault.auth.clientCertificate.mountPath: Invalid value: a segment is \"..\"; write the path without it",
    ),
    text(
        "I73",
        "object.spec.?vault.?auth.?kubernetes.?role.orValue('-') != ''",
        "spec.vault.auth.kubernetes.role: Required value: name the role to log in as",
    ),
    text(
        "I74",
        "!object.spec.?vault.?auth.?kubernetes.?mountPath.orValue('').split('/').exists(segment, segment == '..')",
        "spec.vault.auth.kubernetes.mountPath: Invalid value: a segment is \"..\"; write the path without it",
    ),
    text(
        "I75",
        "object.spec.?vault.?auth.?kubernetes.?serviceAccountRef.?name.orValue('-') != ''",
        "spec.vault.auth.kubernetes.serviceAccountRef.name: Required value: name the service account",
    ),
    text(
        "I76",
        "!has(object.spec.vault) || !has(object.spec.vault.auth.kubernetes) || object.spec.vault.auth.kubernetes.?secretRef.?name.orValue('') != '' || has(object.spec.vault.auth.kubernetes.serviceAccountRef)",
        "spec.vault.auth.kubernetes: Required value: set serviceAccountRef",
    ),
    text(
        "I77",
        "!has(object.spec.vault) || !has(object.spec.vault.auth.kubernetes) || object.spec.vault.auth.kubernetes.?secretRef.?name.orValue('') == '' || !has(object.spec.vault.auth.kubernetes.serviceAccountRef)",
        "spec.vault.auth.kubernetes: Forbidden: both secretRef and serviceAccountRef are set; keep serviceAccountRef, whose tokens are short-lived",
    ),
    text(
        "I79",
        "!object.spec.?vault.?auth.?aws.?mountPath.orValue('').split('/').exists(segment, segment == '..')",
        "spec.vault.auth.aws.mountPath: Invalid value: a segment is \"..\"; write the path without it",
    ),
    text(
        "I80",
        "object.spec.?vault.?auth.?aws.?serviceAccountRef.?name.orValue('-') != ''",
        "spec.vault.auth.aws.serviceAccountRef.name: Required value: name the service account",
    ),
    text(
        "I81",
        "!has(object.spec.vault) || !has(object.spec.vault.auth.aws) || !has(object.spec.vault.auth.aws.serviceAccountRef) || object.spec.vault.auth.aws.?iamRoleArn.orValue('') != ''",
        "spec.vault.auth.aws.iamRoleArn: Required value: write the IAM role to take on",
    ),
    text(
        "I82",
        "!has(object.spec.venafi) || object.spec.venafi.zone != ''",
        "spec.venafi.zone: Required value: name the zone: a policy folder, or application and template",
    ),
    text(
        "I85",
        "object.spec.?venafi.?tpp.?url.orValue('-') != ''",
        "spec.venafi.tpp.url: Required value: write the server's URL",
    ),
    text(
        "I86",
        "!has(object.spec.venafi) || !has(object.spec.venafi.tpp) || !has(object.spec.venafi.tpp.caBundle) || size(object.spec.venafi.tpp.caBundle) == 0 || !has(object.spec.venafi.tpp.caBundleSecretRef)",
        "spec.venafi.tpp: Forbidden: caBundle and caBundleSecretRef exclude each other; remove one",
    ),
    text(
        "I87",
        "object.spec.?venafi.?ngts.?tsgID.orValue('-') != ''",
        "spec.venafi.ngts.tsgID: Required value: write the id of the tenant's service group",
    ),
    text(
        "I88",
        "object.spec.?venafi.?ngts.?credentialsRef.?name.orValue('-') != ''",
        "spec.venafi.ngts.credentialsRef.name: Required value: name the Secret with client id and client secret",
    ),
];
