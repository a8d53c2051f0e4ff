//! Every annotation, label, finalizer and volume attribute that the programs read or write, each
//! once. No other crate spells one out.

/// Annotations, with the objects on which they are read or written.
pub mod annotation {
    /// Prefix of annotations that users may not put on Secrets by template.
    pub const RESERVED_PREFIX: &str = "cert-manager.io/";
    /// Injection target: `namespace/name` of the Certificate whose Secret holds the CA.
    pub const INJECT_CA_FROM: &str = "cert-manager.io/inject-ca-from";
    /// Injection target: `namespace/name` of the Secret that holds the CA.
    pub const INJECT_CA_FROM_SECRET: &str = "cert-manager.io/inject-ca-from-secret";
    /// Injection target: `true` asks for the CA of the API server.
    pub const INJECT_APISERVER_CA: &str = "cert-manager.io/inject-apiserver-ca";
    /// Injection target without any of the above: `true` asks that the bundles which were injected are given up. Signet's
    /// own.
    pub const RELEASE_BUNDLE: &str = "cainjector.cert-manager.io/release";
    /// Secret: `true` consents to being named by [`INJECT_CA_FROM_SECRET`].
    pub const ALLOW_DIRECT_INJECTION: &str = "cert-manager.io/allow-direct-injection";
    /// Secret of the webhook's CA: serial number of the CA that Signet made, in hexadecimal. Another CA in the Secret was
    /// put there by somebody else.
    pub const WEBHOOK_CA_SERIAL_NUMBER: &str = "webhook.cert-manager.io/ca-serial-number";
    /// Secret and CertificateRequest: name of the Certificate that they belong to.
    pub const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";
    /// CertificateRequest: number of the issuance that it belongs to.
    pub const CERTIFICATE_REVISION: &str = "cert-manager.io/certificate-revision";
    /// CertificateRequest: Secret with the private key of the request, from which self-signing
    /// takes it.
    pub const PRIVATE_KEY_SECRET_NAME: &str = "cert-manager.io/private-key-secret-name";
    /// Certificate: `true` asks for a stop-gap certificate until the real one is there.
    pub const ISSUE_TEMPORARY_CERTIFICATE: &str = "cert-manager.io/issue-temporary-certificate";
    /// Secret: `true` marks what is in it as temporary, so that nobody takes it for the real certificate. Signet's own,
    /// under a prefix of which the peer's controller does not count the keys.
    pub const TEMPORARY: &str = "certificates.cert-manager.io/temporary";
    /// Secret: what its keystores were made from, as a keyed hash, so that they are made anew once their password changes.
    /// Signet's own, under the same prefix.
    pub const KEYSTORES: &str = "certificates.cert-manager.io/keystores";
    /// Secret: name of the issuer that signed.
    pub const ISSUER_NAME: &str = "cert-manager.io/issuer-name";
    /// Secret: kind of the issuer that signed. Ingress and Gateway: kind of the issuer to use.
    pub const ISSUER_KIND: &str = "cert-manager.io/issuer-kind";
    /// Secret: API group of the issuer that signed. Ingress and Gateway: that of the issuer to use.
    pub const ISSUER_GROUP: &str = "cert-manager.io/issuer-group";
    /// Secret: common name of the certificate. Ingress and Gateway: common name to ask for.
    pub const COMMON_NAME: &str = "cert-manager.io/common-name";
    /// Secret: DNS names of the certificate. Ingress and Gateway: further ones to ask for.
    pub const ALT_NAMES: &str = "cert-manager.io/alt-names";
    /// Secret: IP addresses of the certificate. Ingress and Gateway: further ones to ask for.
    pub const IP_SANS: &str = "cert-manager.io/ip-sans";
    /// Secret: URIs of the certificate.
    pub const URI_SANS: &str = "cert-manager.io/uri-sans";
    /// Secret: e-mail addresses of the certificate. Ingress and Gateway: those to ask for.
    pub const EMAIL_SANS: &str = "cert-manager.io/email-sans";
    /// Secret: organisations of the subject. Ingress and Gateway: those to ask for.
    pub const SUBJECT_ORGANIZATIONS: &str = "cert-manager.io/subject-organizations";
    /// Secret: organisational units of the subject. Ingress and Gateway: those to ask for.
    pub const SUBJECT_ORGANIZATIONAL_UNITS: &str = "cert-manager.io/subject-organizationalunits";
    /// Secret: countries of the subject. Ingress and Gateway: those to ask for.
    pub const SUBJECT_COUNTRIES: &str = "cert-manager.io/subject-countries";
    /// Secret: provinces of the subject. Ingress and Gateway: those to ask for.
    pub const SUBJECT_PROVINCES: &str = "cert-manager.io/subject-provinces";
    /// Secret: localities of the subject. Ingress and Gateway: those to ask for.
    pub const SUBJECT_LOCALITIES: &str = "cert-manager.io/subject-localities";
    /// Secret: postal codes of the subject. Ingress and Gateway: those to ask for.
    pub const SUBJECT_POSTAL_CODES: &str = "cert-manager.io/subject-postalcodes";
    /// Secret: street addresses of the subject. Ingress and Gateway: those to ask for.
    pub const SUBJECT_STREET_ADDRESSES: &str = "cert-manager.io/subject-streetaddresses";
    /// Secret: serial number of the subject. Ingress and Gateway: those to ask for.
    pub const SUBJECT_SERIAL_NUMBER: &str = "cert-manager.io/subject-serialnumber";
    /// Ingress and Gateway: name of the issuer to use, an Issuer unless [`ISSUER_KIND`] says
    /// otherwise.
    pub const ISSUER: &str = "cert-manager.io/issuer";
    /// Ingress and Gateway: name of the ClusterIssuer to use.
    pub const CLUSTER_ISSUER: &str = "cert-manager.io/cluster-issuer";
    /// Ingress and Gateway: lifetime to ask for.
    pub const DURATION: &str = "cert-manager.io/duration";
    /// Ingress and Gateway: how long before expiry to renew.
    pub const RENEW_BEFORE: &str = "cert-manager.io/renew-before";
    /// Ingress and Gateway: share of the lifetime that is left when it is renewed.
    pub const RENEW_BEFORE_PERCENTAGE: &str = "cert-manager.io/renew-before-percentage";
    /// Ingress and Gateway: usages to ask for, separated by commas.
    pub const USAGES: &str = "cert-manager.io/usages";
    /// Ingress and Gateway: number of CertificateRequests to keep.
    pub const REVISION_HISTORY_LIMIT: &str = "cert-manager.io/revision-history-limit";
    /// Ingress and Gateway: algorithm of the key.
    pub const PRIVATE_KEY_ALGORITHM: &str = "cert-manager.io/private-key-algorithm";
    /// Ingress and Gateway: encoding of the key.
    pub const PRIVATE_KEY_ENCODING: &str = "cert-manager.io/private-key-encoding";
    /// Ingress and Gateway: size of the key.
    pub const PRIVATE_KEY_SIZE: &str = "cert-manager.io/private-key-size";
    /// Ingress and Gateway: whether renewals make a new key.
    pub const PRIVATE_KEY_ROTATION_POLICY: &str = "cert-manager.io/private-key-rotation-policy";
    /// Ingress and Gateway: labels and annotations of the Secret, as JSON.
    pub const SECRET_TEMPLATE: &str = "cert-manager.io/secret-template";
    /// Gateway: listeners to leave alone, separated by commas.
    pub const IGNORE_TLS_LISTENERS: &str = "cert-manager.io/ignore-tls-listeners";
    /// Ingress: `true` asks for a certificate from the default issuer.
    pub const TLS_ACME: &str = "kubernetes.io/tls-acme";
    /// Ingress: `true` answers challenges by editing this Ingress.
    pub const HTTP01_EDIT_IN_PLACE: &str = "acme.cert-manager.io/http01-edit-in-place";
    /// Ingress: class annotation of the Ingress that answers challenges.
    pub const HTTP01_INGRESS_CLASS: &str = "acme.cert-manager.io/http01-ingress-class";
    /// Ingress: class name of the Ingress that answers challenges.
    pub const HTTP01_INGRESS_CLASS_NAME: &str = "acme.cert-manager.io/http01-ingress-ingressclassname";
    /// Certificate: existing Ingress that answers challenges, whatever the solver says.
    pub const HTTP01_OVERRIDE_INGRESS_NAME: &str = "acme.cert-manager.io/http01-override-ingress-name";
    /// Certificate: class annotation of the Ingress that answers challenges, whatever the solver
    /// says.
    pub const HTTP01_OVERRIDE_INGRESS_CLASS: &str = "acme.cert-manager.io/http01-override-ingress-class";
    /// Certificate: class name of the Ingress that answers challenges, whatever the solver says.
    pub const HTTP01_OVERRIDE_INGRESS_CLASS_NAME: &str =
        "acme.cert-manager.io/http01-override-ingress-ingressclassname";
    /// Certificate: kind of the Gateway or ListenerSet to which routes for challenges are attached.
    pub const HTTP01_PARENT_REF_KIND: &str = "acme.cert-manager.io/http01-parentrefkind";
    /// Certificate: its name.
    pub const HTTP01_PARENT_REF_NAME: &str = "acme.cert-manager.io/http01-parentrefname";
    /// Certificate: its namespace.
    pub const HTTP01_PARENT_REF_NAMESPACE: &str = "acme.cert-manager.io/http01-parentrefnamespace";
    /// ListenerSet: attaches routes for challenges to the Gateway.
    pub const HTTP01_PARENT_REF_FALLBACK: &str = "acme.cert-manager.io/http01-parentreffallback";
    /// Issuer and CertificateRequest: custom fields for Venafi, as a JSON list.
    pub const VENAFI_CUSTOM_FIELDS: &str = "venafi.cert-manager.io/custom-fields";
    /// CertificateRequest: id under which Venafi gives out the certificate.
    pub const VENAFI_PICKUP_ID: &str = "venafi.cert-manager.io/pickup-id";
    /// Kubernetes CertificateSigningRequest: lifetime to ask for.
    pub const CSR_DURATION: &str = "experimental.cert-manager.io/request-duration";
    /// Kubernetes CertificateSigningRequest: `true` asks for a CA certificate.
    pub const CSR_IS_CA: &str = "experimental.cert-manager.io/request-is-ca";
    /// Kubernetes CertificateSigningRequest: Secret with the key, for self-signing.
    pub const CSR_PRIVATE_KEY_SECRET_NAME: &str = "experimental.cert-manager.io/private-key-secret-name";
    /// Kubernetes CertificateSigningRequest: custom fields for Venafi, as a JSON list.
    pub const CSR_VENAFI_CUSTOM_FIELDS: &str = "venafi.experimental.cert-manager.io/custom-fields";
    /// Kubernetes CertificateSigningRequest: id under which Venafi gives out the certificate.
    pub const CSR_VENAFI_PICKUP_ID: &str = "venafi.experimental.cert-manager.io/pickup-id";
}

/// Labels, with the objects that bear them.
pub mod label {
    /// Namespace: `true` takes its objects out of the webhook's rules, save those on identity and
    /// approval.
    pub const DISABLE_VALIDATION: &str = "cert-manager.io/disable-validation";
    /// Injection target of a kind that the cainjector looks at only where it is told to: `true` asks for a look. Signet's
    /// own.
    pub const INJECT: &str = "cainjector.cert-manager.io/inject";
    /// Secret: `true` marks the private key of an issuance under way.
    pub const NEXT_PRIVATE_KEY: &str = "cert-manager.io/next-private-key";
    /// Secret: `true` lets the controller keep its data in memory.
    pub const MANAGED_SECRET: &str = "controller.cert-manager.io/fao";
    /// Objects of an HTTP-01 challenge: checksum of the domain.
    pub const HTTP_DOMAIN: &str = "acme.cert-manager.io/http-domain";
    /// Objects of an HTTP-01 challenge: checksum of the token.
    pub const HTTP_TOKEN: &str = "acme.cert-manager.io/http-token";
    /// Objects of an HTTP-01 challenge: `true`.
    pub const HTTP01_SOLVER: &str = "acme.cert-manager.io/http01-solver";
    /// CertificateRequest of a CSI volume: hash of the node's id.
    pub const CSI_NODE_ID_HASH: &str = "csi.cert-manager.io/node-id-hash";
    /// CertificateRequest of a CSI volume: hash of the volume's id.
    pub const CSI_VOLUME_ID_HASH: &str = "csi.cert-manager.io/volume-id-hash";
}

/// Finalizers.
pub mod finalizer {
    /// Challenge: its answer must be cleaned up first.
    pub const ACME: &str = "acme.cert-manager.io/finalizer";
    /// The same under the name of old releases.
    pub const ACME_OLD: &str = "finalizer.acme.cert-manager.io";
}

/// Volume attributes of the driver `csi.cert-manager.io`.
pub mod csi {
    /// Prefix of all attributes of this driver.
    pub const PREFIX: &str = "csi.cert-manager.io/";
    /// Name of the issuer. Required.
    pub const ISSUER_NAME: &str = "csi.cert-manager.io/issuer-name";
    /// Kind of the issuer; `Issuer` when absent.
    pub const ISSUER_KIND: &str = "csi.cert-manager.io/issuer-kind";
    /// API group of the issuer; `cert-manager.io` when absent.
    pub const ISSUER_GROUP: &str = "csi.cert-manager.io/issuer-group";
    /// Whole subject in the notation of RFC 4514; the other subject attributes are then ignored.
    pub const LITERAL_SUBJECT: &str = "csi.cert-manager.io/literal-subject";
    /// Common name of the subject.
    pub const COMMON_NAME: &str = "csi.cert-manager.io/common-name";
    /// Organisations of the subject, as one CSV record.
    pub const ORGANIZATIONS: &str = "csi.cert-manager.io/organizations";
    /// Organisational units of the subject, as one CSV record.
    pub const ORGANIZATIONAL_UNITS: &str = "csi.cert-manager.io/organizationalunits";
    /// Countries of the subject, as one CSV record.
    pub const COUNTRIES: &str = "csi.cert-manager.io/countries";
    /// Provinces of the subject, as one CSV record.
    pub const PROVINCES: &str = "csi.cert-manager.io/provinces";
    /// Localities of the subject, as one CSV record.
    pub const LOCALITIES: &str = "csi.cert-manager.io/localities";
    /// Street addresses of the subject, as one CSV record.
    pub const STREET_ADDRESSES: &str = "csi.cert-manager.io/streetaddresses";
    /// Postal codes of the subject, as one CSV record.
    pub const POSTAL_CODES: &str = "csi.cert-manager.io/postalcodes";
    /// Serial number of the subject.
    pub const SERIAL_NUMBER: &str = "csi.cert-manager.io/serialnumber";
    /// DNS names, separated by commas.
    pub const DNS_NAMES: &str = "csi.cert-manager.io/dns-names";
    /// IP addresses, separated by commas.
    pub const IP_SANS: &str = "csi.cert-manager.io/ip-sans";
    /// URIs, separated by commas.
    pub const URI_SANS: &str = "csi.cert-manager.io/uri-sans";
    /// Lifetime to ask for, as a Go duration; `2160h` when absent.
    pub const DURATION: &str = "csi.cert-manager.io/duration";
    /// How long before expiry to renew, as a Go duration.
    pub const RENEW_BEFORE: &str = "csi.cert-manager.io/renew-before";
    /// `true` asks for a CA certificate.
    pub const IS_CA: &str = "csi.cert-manager.io/is-ca";
    /// Usages, separated by commas; `digital signature,key encipherment` when absent.
    pub const KEY_USAGES: &str = "csi.cert-manager.io/key-usages";
    /// `RSA`, `ECDSA` or `Ed25519`, in any case; `RSA` when absent.
    pub const KEY_ALGORITHM: &str = "csi.cert-manager.io/key-algorithm";
    /// Size of the key in bits; 2048 for RSA and 256 for ECDSA when absent.
    pub const KEY_SIZE: &str = "csi.cert-manager.io/key-size";
    /// `PKCS1` or `PKCS8`, in any case; `PKCS1` for RSA, else `PKCS8` when absent.
    pub const KEY_ENCODING: &str = "csi.cert-manager.io/key-encoding";
    /// `true` keeps the key over renewals.
    pub const REUSE_PRIVATE_KEY: &str = "csi.cert-manager.io/reuse-private-key";
    /// File with the certificate and its intermediates; `tls.crt` when absent.
    pub const CERTIFICATE_FILE: &str = "csi.cert-manager.io/certificate-file";
    /// File with the private key; `tls.key` when absent.
    pub const PRIVATE_KEY_FILE: &str = "csi.cert-manager.io/privatekey-file";
    /// File with the CA certificate; `ca.crt` when absent.
    pub const CA_FILE: &str = "csi.cert-manager.io/ca-file";
    /// `true` adds a PKCS#12 keystore.
    pub const PKCS12_ENABLE: &str = "csi.cert-manager.io/pkcs12-enable";
    /// File with the keystore; `keystore.p12` when absent.
    pub const PKCS12_FILENAME: &str = "csi.cert-manager.io/pkcs12-filename";
    /// Password of the keystore. Required with a keystore.
    pub const PKCS12_PASSWORD: &str = "csi.cert-manager.io/pkcs12-password";
    /// Group id that owns the files; wins over that of the pod.
    pub const FS_GROUP: &str = "csi.cert-manager.io/fs-group";

    /// Every attribute that the driver knows. Another one under [`PREFIX`] is a typing error.
    pub const KNOWN: &[&str] = &[
        ISSUER_NAME,
        ISSUER_KIND,
        ISSUER_GROUP,
        LITERAL_SUBJECT,
        COMMON_NAME,
        ORGANIZATIONS,
        ORGANIZATIONAL_UNITS,
        COUNTRIES,
        PROVINCES,
        LOCALITIES,
        STREET_ADDRESSES,
        POSTAL_CODES,
        SERIAL_NUMBER,
        DNS_NAMES,
        IP_SANS,
        URI_SANS,
        DURATION,
        RENEW_BEFORE,
        IS_CA,
        KEY_USAGES,
        KEY_ALGORITHM,
        KEY_SIZE,
        KEY_ENCODING,
        REUSE_PRIVATE_KEY,
        CERTIFICATE_FILE,
        PRIVATE_KEY_FILE,
        CA_FILE,
        PKCS12_ENABLE,
        PKCS12_FILENAME,
        PKCS12_PASSWORD,
        FS_GROUP,
    ];
}

/// What kubelet tells a CSI driver about the pod, among the volume's attributes.
pub mod csi_context {
    /// `true` for an inline volume.
    pub const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";
    /// Name of the pod.
    pub const POD_NAME: &str = "csi.storage.k8s.io/pod.name";
    /// Namespace of the pod.
    pub const POD_NAMESPACE: &str = "csi.storage.k8s.io/pod.namespace";
    /// UID of the pod.
    pub const POD_UID: &str = "csi.storage.k8s.io/pod.uid";
    /// Service account of the pod.
    pub const SERVICE_ACCOUNT_NAME: &str = "csi.storage.k8s.io/serviceAccount.name";
    /// Tokens of the pod, as a JSON object by audience. Secret: never logged, never stored.
    pub const SERVICE_ACCOUNT_TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
}

/// Keys of the driver `spiffe.csi.cert-manager.io`.
pub mod spiffe {
    /// Volume attribute: group id that owns the files.
    pub const FS_GROUP: &str = "spiffe.csi.cert-manager.io/fs-group";
    /// Annotation of a CertificateRequest: the SPIFFE id that it asks for.
    pub const IDENTITY: &str = "spiffe.csi.cert-manager.io/identity";
}

/// Keys of a user's extra attributes, as the API server fills them in for a service account.
/// Their presence binds a token to a pod and a node.
pub mod user_extra {
    /// Name of the pod.
    pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
    /// UID of the pod.
    pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
    /// Name of the pod's node.
    pub const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
    /// UID of the pod's node.
    pub const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
    /// Identifier of the token, for logs: `JTI=` and its `jti` claim.
    pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
}

#[cfg(test)]
mod tests {
    use super::csi;
    use std::collections::BTreeSet;

    #[test]
    fn every_known_volume_attribute_bears_the_prefix_and_occurs_once() {
        let distinct: BTreeSet<_> = csi::KNOWN.iter().collect();
        assert_eq!(distinct.len(), csi::KNOWN.len());
        assert!(csi::KNOWN.iter().all(|key| key.starts_with(csi::PREFIX)));
    }
}
