mod denials;
mod json;

use std::sync::Arc;
use std::time::Instant;

use expect_test::{Expect, expect};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
use serde_json::json;

use super::*;
use crate::index::Index;
use crate::settings::Settings;
use crate::target::{Conversion, Fields, Webhook};
use crate::testing::{live, now, pem, root};

const FROM_SECRET: (&str, &str) = ("cert-manager.io/inject-ca-from-secret", "team-a/ca");
const FROM_CERTIFICATE: (&str, &str) = ("cert-manager.io/inject-ca-from", "team-a/web");

fn webhook(bundle: &str) -> Live {
    let webhook = Webhook { name: "one.example.test".to_owned(), bundle: bundle.as_bytes().to_vec() };
    live(Fields::Webhooks(vec![webhook]))
}

fn api_service(bundle: &str, insecure: bool) -> Live {
    let fields = Fields::ApiService { bundle: bundle.as_bytes().to_vec(), insecure, remote: true };
    live(fields)
}

fn definition(bundle: &str, conversion: Conversion) -> Live {
    let fields = Fields::Definition { bundle: bundle.as_bytes().to_vec(), conversion };
    live(fields)
}

/// Secret `team-a/ca`, and Certificate `team-a/web` that is issued into it.
fn objects(allowed: bool, certificate_name: Option<&str>, ca: &str) -> Objects {
    let object = |name| ObjectName::namespaced("team-a", name);
    let ca = Some(ca.as_bytes().to_vec()).filter(|ca| !ca.is_empty());
    let secret = SourceSecret {
        uid: "s".to_owned(),
        allowed,
        certificate_name: certificate_name.map(ToOwned::to_owned),
        ca: ca.map(Into::into),
    };
    let certificate = SourceCertificate { uid: "c".to_owned(), secret_name: "ca".to_owned() };
    Objects {
        certificates: HashMap::from([(object("web"), State::Present(Arc::new(certificate)))]),
        secrets: HashMap::from([(object("ca"), State::Present(Arc::new(secret)))]),
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn explained(
    live: &Live,
    [annotations, labels]: [&[(&str, &str)]; 2],
    managed: &[ManagedFieldsEntry],
    objects: &Objects,
) -> Explanation {
    explained_by(Settings::default(), live, [annotations, labels], managed, objects)
}

fn explained_by(
    settings: Settings,
    live: &Live,
    [annotations, labels]: [&[(&str, &str)]; 2],
    managed: &[ManagedFieldsEntry],
    objects: &Objects,
) -> Explanation {
    let [annotations, labels] = [texts(annotations), texts(labels)];
    let mut index = Index::new(settings);
    if let Some(wanted) = reference::wanted(&annotations) {
        let moment = Instant::now();
        index.target_seen(live.target.clone(), wanted, "1", moment);
        for (name, state) in &objects.certificates {
            index.certificate_seen(name, state.clone(), moment);
        }
        for (name, state) in &objects.secrets {
            index.secret_seen(name, state.clone(), moment);
        }
    }
    let inputs = index.inputs(&live.target, Instant::now());
    let facts = Facts {
        live,
        annotations: &annotations,
        labels: &labels,
        managed,
        inputs: inputs.as_ref(),
        objects,
        left_out: None,
    };
    explain(&facts, now())
}

/// The text, without the fingerprints of keys that are made anew at each run.
fn shown(explanation: &Explanation) -> String {
    let text = explanation.text(now()).to_string();
    let lines = text.lines().map(|line| match line.split_once("SHA-256 ") {
        Some((before, fingerprint)) => {
            assert_eq!(fingerprint.len(), 64, "{line}");
            format!("{before}SHA-256 …\n")
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

fn check(live: &Live, annotations: &[(&str, &str)], objects: &Objects, expected: &Expect) {
    expected.assert_eq(&shown(&explained(live, [annotations, &[]], &[], objects)));
}

#[test]
fn a_malformed_reference_is_told_and_what_it_keeps_from_counting() {
    let annotations = [("cert-manager.io/inject-ca-from-secret", "no\u{1b}slash"), FROM_CERTIFICATE];
    check(
        &webhook(""),
        &annotations,
        &objects(true, None, ""),
        &expect![[r#"
        ValidatingWebhookConfiguration example: nothing is written: MalformedReference: annotation cert-manager.io/inject-ca-from-secret is "no\u{1b}slash": write NAMESPACE/NAME

        Asked for by annotation cert-manager.io/inject-ca-from-secret: "no\u{1b}slash"
          annotation cert-manager.io/inject-ca-from counts for nothing

        webhooks[one.example.test].clientConfig.caBundle
          holds nothing

        To do: kubectl annotate --overwrite validatingwebhookconfiguration/example cert-manager.io/inject-ca-from-secret=NAMESPACE/NAME
    "#]],
    );
}

#[test]
fn a_secret_without_consent_is_told_with_the_command_that_gives_it() {
    let ca = pem(&[&root("ca", 1000)]);
    check(
        &webhook(""),
        &[FROM_SECRET],
        &objects(false, None, &ca),
        &expect![[r#"
            ValidatingWebhookConfiguration example: nothing is written: SourceNotAllowed: Secret team-a/ca does not allow it: its owner must set the annotation cert-manager.io/allow-direct-injection to "true"

            Asked for by annotation cert-manager.io/inject-ca-from-secret: "team-a/ca"
            From Secret team-a/ca
              annotation cert-manager.io/allow-direct-injection is not "true"
              ca.crt holds 1 certificate
                CN=ca: expires 2027-02-26T00:00:00Z (in 41 days)
                  SHA-256 …

            webhooks[one.example.test].clientConfig.caBundle
              holds nothing

            To do: if its owner agrees: kubectl annotate --overwrite -n team-a secret ca cert-manager.io/allow-direct-injection=true
        "#]],
    );
}

#[test]
fn a_secret_of_another_certificate_is_told() {
    let ca = pem(&[&root("ca", 1000)]);
    check(
        &webhook(""),
        &[FROM_CERTIFICATE],
        &objects(true, Some("other"), &ca),
        &expect![[r#"
            ValidatingWebhookConfiguration example: nothing is written: SourceNotOwned: the annotation cert-manager.io/certificate-name of Secret team-a/ca is "other": it must be "web", and is set when the Certificate is issued (it is the Secret of Certificate team-a/web)

            Asked for by annotation cert-manager.io/inject-ca-from: "team-a/web"
            From Certificate team-a/web
              spec.secretName is "ca"
            From Secret team-a/ca
              annotation cert-manager.io/certificate-name is "other"
              ca.crt holds 1 certificate
                CN=ca: expires 2027-02-26T00:00:00Z (in 41 days)
                  SHA-256 …

            webhooks[one.example.test].clientConfig.caBundle
              holds nothing

            To do: give the Certificate a spec.secretName of its own, or name the Certificate that the Secret is of
        "#]],
    );
}

#[test]
fn what_is_missing_on_the_way_is_told_where_it_is_missing() {
    let object = |name| ObjectName::namespaced("team-a", name);
    let mut found = objects(true, Some("web"), "");
    check(
        &webhook(""),
        &[FROM_CERTIFICATE],
        &found,
        &expect![[r#"
        ValidatingWebhookConfiguration example: nothing is written: NoCAData: Secret team-a/ca has no ca.crt: put the CA certificate in PEM there (it is the Secret of Certificate team-a/web)

        Asked for by annotation cert-manager.io/inject-ca-from: "team-a/web"
        From Certificate team-a/web
          spec.secretName is "ca"
        From Secret team-a/ca
          annotation cert-manager.io/certificate-name is "web"
          ca.crt is missing

        webhooks[one.example.test].clientConfig.caBundle
          holds nothing

        To do: put the CA certificates, PEM, and nothing else into ca.crt; ACME issuers give none
    "#]],
    );
    found.secrets.insert(object("ca"), State::Absent);
    check(
        &webhook(""),
        &[FROM_CERTIFICATE],
        &found,
        &expect![[r#"
        ValidatingWebhookConfiguration example: nothing is written: SourceNotFound: Secret team-a/ca does not exist (it is the Secret of Certificate team-a/web)

        Asked for by annotation cert-manager.io/inject-ca-from: "team-a/web"
        From Certificate team-a/web
          spec.secretName is "ca"
        From Secret team-a/ca
          does not exist

        webhooks[one.example.test].clientConfig.caBundle
          holds nothing

        To do: create what is missing, or name another source: kubectl annotate --overwrite validatingwebhookconfiguration/example cert-manager.io/inject-ca-from=NAMESPACE/NAME
    "#]],
    );
}

#[test]
fn an_expired_ca_is_told() {
    let ca = pem(&[&root("ca", -30)]);
    check(
        &webhook(&ca),
        &[FROM_SECRET],
        &objects(true, None, &ca),
        &expect![[r#"
            ValidatingWebhookConfiguration example: nothing is written: CAExpired: every CA certificate of Secret team-a/ca has expired

            Asked for by annotation cert-manager.io/inject-ca-from-secret: "team-a/ca"
            From Secret team-a/ca
              annotation cert-manager.io/allow-direct-injection is "true"
              ca.crt holds 1 certificate
                CN=ca: expired 2027-01-14T02:00:00Z (30 hours ago)
                  SHA-256 …

            webhooks[one.example.test].clientConfig.caBundle
              holds 1 certificate
                CN=ca: expired 2027-01-14T02:00:00Z (30 hours ago), of the source
                  SHA-256 …

            To do: renew the CA, and put the new one into the source
        "#]],
    );
}

#[test]
fn a_service_that_is_not_verified_is_told() {
    let ca = pem(&[&root("ca", 1000)]);
    check(
        &api_service("", true),
        &[FROM_SECRET],
        &objects(true, None, &ca),
        &expect![[r#"
            APIService example: nothing is written: NotApplicable: spec.insecureSkipTLSVerify is true, which excludes a bundle: remove it to have the service verified

            Asked for by annotation cert-manager.io/inject-ca-from-secret: "team-a/ca"
            From Secret team-a/ca
              annotation cert-manager.io/allow-direct-injection is "true"
              ca.crt holds 1 certificate
                CN=ca: expires 2027-02-26T00:00:00Z (in 41 days)
                  SHA-256 …

            spec.caBundle
              holds nothing
        "#]],
    );
}

#[test]
fn a_definition_that_no_webhook_converts_is_told() {
    let ca = pem(&[&root("ca", 1000)]);
    let live = definition("", Conversion::None);
    check(
        &live,
        &[FROM_SECRET],
        &objects(true, None, &ca),
        &expect![[r#"
            CustomResourceDefinition example: nothing is written: NotApplicable: spec.conversion.strategy is not Webhook: there is no webhook that a bundle would be for

            Asked for by annotation cert-manager.io/inject-ca-from-secret: "team-a/ca"
            From Secret team-a/ca
              annotation cert-manager.io/allow-direct-injection is "true"
              ca.crt holds 1 certificate
                CN=ca: expires 2027-02-26T00:00:00Z (in 41 days)
                  SHA-256 …

            spec.conversion.webhook.clientConfig.caBundle
              holds nothing
        "#]],
    );
}

#[test]
fn a_removal_that_waits_is_told() {
    let [old, new] = [&root("old", -1), &root("new", 1000)];
    let live = definition(&pem(&[old, new]), Conversion::Webhook);
    check(
        &live,
        &[FROM_SECRET],
        &objects(true, None, &pem(&[new])),
        &expect![[r#"
            CustomResourceDefinition example: in sync; certificates that have expired are taken out with the next addition, or at 2027-01-16T07:00:00Z (in 23 hours)

            Asked for by annotation cert-manager.io/inject-ca-from-secret: "team-a/ca"
            From Secret team-a/ca
              annotation cert-manager.io/allow-direct-injection is "true"
              ca.crt holds 1 certificate
                CN=new: expires 2027-02-26T00:00:00Z (in 41 days)
                  SHA-256 …

            spec.conversion.webhook.clientConfig.caBundle
              holds 2 certificates
                CN=old: expired 2027-01-15T07:00:00Z (60 minutes ago), not of the source
                  SHA-256 …
                CN=new: expires 2027-02-26T00:00:00Z (in 41 days), of the source
                  SHA-256 …

            Next change, if nothing else happens: 2027-01-16T07:00:00Z (in 23 hours)
        "#]],
    );
}

#[test]
fn a_target_that_asks_for_nothing_is_told_how_to_ask() {
    let live = api_service(&pem(&[&root("other", 1000)]), false);
    let labels = [("cert-manager.io/inject-ca-from", "web"), ("app", "web")];
    expect![[r#"
            APIService example: asks for nothing, and keeps what it has

            Asked for: nothing

            spec.caBundle
              holds 1 certificate
                CN=other: expires 2027-02-26T00:00:00Z (in 41 days), not of the source
                  SHA-256 …

            To do: to have a CA injected, annotate it: cert-manager.io/inject-ca-from-secret or cert-manager.io/inject-ca-from: NAMESPACE/NAME
            To do: metadata.labels.cert-manager.io/inject-ca-from: Forbidden: nobody reads this label; write cert-manager.io/inject-ca-from behind metadata.annotations
        "#]].assert_eq(&shown(&explained(&live, [&[], &labels], &[], &Objects::default())));
}

#[test]
fn what_would_be_written_is_told_with_what_is_there() {
    let [old, new] = [&root("old", 1), &root("new", 1000)];
    let damaged = format!("{}-----BEGIN CERTIFICATE-----\n", pem(&[old]));
    check(
        &webhook(&damaged),
        &[FROM_SECRET],
        &objects(true, None, &pem(&[new])),
        &expect![[r#"
            ValidatingWebhookConfiguration example: to be written: it does not have what it asks for

            Asked for by annotation cert-manager.io/inject-ca-from-secret: "team-a/ca"
            From Secret team-a/ca
              annotation cert-manager.io/allow-direct-injection is "true"
              ca.crt holds 1 certificate
                CN=new: expires 2027-02-26T00:00:00Z (in 41 days)
                  SHA-256 …

            webhooks[one.example.test].clientConfig.caBundle
              holds 1 certificate
                CN=old: expires 2027-01-15T09:00:00Z (in 60 minutes), not of the source
                  SHA-256 …
                damaged: PEM block 2 ("CERTIFICATE") is damaged: its END line is missing
              would hold 2 certificates: +CN=new
                CN=old: expires 2027-01-15T09:00:00Z (in 60 minutes), not of the source
                  SHA-256 …
                CN=new: expires 2027-02-26T00:00:00Z (in 41 days), of the source
                  SHA-256 …

            Next change, if nothing else happens: 2027-01-15T09:00:00Z (in 60 minutes)
        "#]],
    );
}
