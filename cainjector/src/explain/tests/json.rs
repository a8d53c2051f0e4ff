//! Explanations for programs.

use super::*;

#[test]
fn a_target_that_has_its_ca_is_told_with_who_manages_it() {
    let [old, ca] = [&root("old", 1), &root("ca", 1000)];
    let manager = |name: &str, operation: &str, fields: Value| ManagedFieldsEntry {
        manager: Some(name.to_owned()),
        operation: Some(operation.to_owned()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    };
    let field =
        json!({"f:webhooks": {"k:{\"name\":\"one.example.test\"}": {"f:clientConfig": {"f:caBundle": {}}}}});
    let managed = [
        manager("cert-manager-cainjector", "Apply", field.clone()),
        manager("kubectl", "Update", json!({"f:webhooks": {}})),
        manager("helm", "Update", field),
    ];
    let live = webhook(&pem(&[old, ca]));
    let found = objects(true, Some("web"), &pem(&[ca]));
    let explanation = explained(&live, [&[FROM_CERTIFICATE], &[]], &managed, &found);
    assert!(explanation.is_in_sync());
    expect![[r#"
        ValidatingWebhookConfiguration example: in sync: it has what it asks for

        Asked for by annotation cert-manager.io/inject-ca-from: "team-a/web"
        From Certificate team-a/web
          spec.secretName is "ca"
        From Secret team-a/ca
          annotation cert-manager.io/certificate-name is "web"
          ca.crt holds 1 certificate
            CN=ca: expires 2027-02-26T00:00:00Z (in 41 days)
              SHA-256 …

        webhooks[one.example.test].clientConfig.caBundle
          holds 2 certificates
            CN=old: expires 2027-01-15T09:00:00Z (in 60 minutes), not of the source
              SHA-256 …
            CN=ca: expires 2027-02-26T00:00:00Z (in 41 days), of the source
              SHA-256 …
          managed by cert-manager-cainjector (Apply), helm (Update)

        Next change, if nothing else happens: 2027-01-15T09:00:00Z (in 60 minutes)
        To do: "helm" writes webhooks[one.example.test].clientConfig.caBundle as well: take caBundle out of what it writes, or each undoes the work of the other
    "#]].assert_eq(&shown(&explanation));
    let mut json = serde_json::to_value(&explanation).unwrap();
    for certificate in ["/fields/0/holds/0", "/fields/0/holds/1", "/source/1/certificates/0"] {
        json.pointer_mut(certificate).unwrap()["sha256"] = json!("…");
    }
    expect![[r#"
        {
          "advice": [
            "\"helm\" writes webhooks[one.example.test].clientConfig.caBundle as well: take caBundle out of what it writes, or each undoes the work of the other"
          ],
          "asks": {
            "annotation": "cert-manager.io/inject-ca-from",
            "value": "team-a/web"
          },
          "fields": [
            {
              "holds": [
                {
                  "expires": "2027-01-15T09:00:00Z",
                  "hasExpired": false,
                  "isCa": true,
                  "isFromSource": false,
                  "sha256": "…",
                  "subject": "CN=old"
                },
                {
                  "expires": "2027-02-26T00:00:00Z",
                  "hasExpired": false,
                  "isCa": true,
                  "isFromSource": true,
                  "sha256": "…",
                  "subject": "CN=ca"
                }
              ],
              "owners": [
                {
                  "manager": "cert-manager-cainjector",
                  "operation": "Apply"
                },
                {
                  "manager": "helm",
                  "operation": "Update"
                }
              ],
              "path": "webhooks[one.example.test].clientConfig.caBundle"
            }
          ],
          "kind": "ValidatingWebhookConfiguration",
          "name": "example",
          "nextChange": "2027-01-15T09:00:00Z",
          "passedOver": [],
          "source": [
            {
              "found": [
                "spec.secretName is \"ca\""
              ],
              "object": "Certificate team-a/web"
            },
            {
              "certificates": [
                {
                  "expires": "2027-02-26T00:00:00Z",
                  "hasExpired": false,
                  "isCa": true,
                  "isFromSource": true,
                  "sha256": "…",
                  "subject": "CN=ca"
                }
              ],
              "found": [
                "annotation cert-manager.io/certificate-name is \"web\"",
                "ca.crt holds 1 certificate"
              ],
              "object": "Secret team-a/ca"
            }
          ],
          "verdict": {
            "state": "InSync"
          }
        }"#]].assert_eq(&format!("{json:#}"));
}
