//! `signet-cainjector rbac`: the least rights with which everything works.

use std::path::PathBuf;
use std::process::ExitCode;

use api::keys::label;
use kube::core::ObjectMeta;
use lint::TEXT_BYTES_MAX;
use runtime::files::FileArgs;
use runtime::trimmed::Trimmed;
use runtime::watch::{ObjectName, State};
use serde_json::Value;

use super::survey::unreadable;
use crate::args::InjectionArgs;
use crate::config::Config;
use crate::explain::Objects;
use crate::rbac::{Account, Needs};
use crate::reference::{self, SourceRef, Wanted};
use crate::settings::Settings;
use crate::source::SourceCertificate;
use crate::source::certificate::{self, CertificateContent};
use crate::survey::Survey;
use crate::target::{Target, TargetKind};
use crate::watch::Metadata;

/// Print the Roles that are needed for what is annotated
///
/// They name each Secret and Certificate, in place of rules to read all of them (value cainjector.namedSources of the chart
/// leaves those out), and each target that is written. Print them again when annotations change. Exits with 0 when all is known, 2 when something
/// cannot be read: a comment says what is missing.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = RbacArgs::NAME, max_term_width = 100, args_override_self = true)]
pub struct RbacArgs {
    /// Files with the annotated manifests, folders of them, or - for standard input, in place of a cluster's objects
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    pub files: Vec<PathBuf>,

    /// Look into the folders of folders, too
    #[arg(short = 'R', long)]
    pub recursive: bool,

    /// The injector's ServiceAccount; the Roles have its name
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "cert-manager/cert-manager-cainjector")]
    pub service_account: Account,

    /// What the injector goes by.
    #[command(flatten)]
    pub injection: InjectionArgs,
}

/// What was found, and whether that is all.
struct Found {
    needs: Needs,
    is_whole: bool,
}

impl RbacArgs {
    /// How the subcommand is called.
    pub(super) const NAME: &str = "rbac";

    /// Prints the Roles.
    ///
    /// # Errors
    /// When the injector would not start with these flags, or nothing can be printed.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.injection.config()?;
        let memory = config.memory.clone();
        let mut found = if self.files.is_empty() {
            match Survey::new(&config).await {
                Ok(survey) => in_cluster(survey, config).await,
                Err(error) => return Ok(unreadable(error)),
            }
        } else {
            in_files(&FileArgs { files: self.files, recursive: self.recursive }, &config)
        };
        if let Some(memory) = &memory {
            found.needs.add_memory(memory);
        }
        runtime::output::print(&found.needs.manifests(&self.service_account).to_string())?;
        Ok(runtime::exit::answer(found.is_whole.then_some(true)))
    }
}

async fn in_cluster(mut survey: Survey, config: Config) -> Found {
    let mut found = Found { needs: Needs::of(&config.targets), is_whole: true };
    for kind in config.targets {
        let asking = survey.asking(kind).await.unwrap_or_else(|failure| {
            found.unread(kind.plural(), &failure.message);
            Vec::new()
        });
        for asking in asking {
            survey.read_source(&asking).await;
            found.add(&asking.target, &asking.wanted, &config.settings, survey.objects());
        }
    }
    found
}

fn in_files(files: &FileArgs, config: &Config) -> Found {
    let mut found = Found { needs: Needs::of(&config.targets), is_whole: true };
    let mut objects = Objects::default();
    let mut asking = Vec::new();
    for source in files.sources() {
        let text = source.read(TEXT_BYTES_MAX).map_err(|error| error.to_string());
        match text.and_then(|text| lint::objects(&text)) {
            Ok(manifests) => manifests.into_iter().for_each(|manifest| {
                if let Some((name, certificate)) = certificate_of(&manifest) {
                    objects.certificates.insert(name, certificate);
                }
                asking
                    .extend(target_of(manifest).filter(|(target, _)| config.targets.contains(&target.kind)));
            }),
            Err(error) => found.unread(&source.name, &error),
        }
    }
    for (target, wanted) in asking {
        found.add(&target, &wanted, &config.settings, &objects);
    }
    found
}

impl Found {
    fn unread(&mut self, what: &str, error: &str) {
        eprintln!("{what}: {error}");
        self.is_whole = false;
    }

    fn add(&mut self, target: &Target, wanted: &Wanted, settings: &Settings, objects: &Objects) {
        self.needs.add_target(target);
        let Wanted::Source(source) = wanted else { return };
        if settings.refuses(source).is_some() {
            return;
        }
        let secret = match source {
            SourceRef::Certificate(name) => {
                let secret =
                    objects.certificates.get(name).and_then(|state| certificate::secret(name, state));
                self.is_whole &= secret.is_some();
                secret
            }
            SourceRef::Secret(_) | SourceRef::ApiServer => None,
        };
        self.needs.add_source(source, secret);
    }
}

/// What a manifest asks for, if it is a target.
fn target_of(manifest: Value) -> Option<(Target, Wanted)> {
    let is_kind = |kind: &&TargetKind| {
        let resource = kind.resource();
        manifest["kind"] == resource.kind.as_str() && manifest["apiVersion"] == resource.api_version.as_str()
    };
    let kind = TargetKind::ALL.iter().find(is_kind).copied()?;
    let label = manifest.pointer("/metadata/labels").and_then(|labels| labels.get(label::INJECT));
    if kind.is_wider() && label.is_none_or(|value| value != "true") {
        return None;
    }
    let mut metadata = serde_json::from_value::<Metadata>(manifest).ok()?.metadata;
    if kind.is_namespaced() {
        metadata.namespace.get_or_insert_with(|| "default".to_owned());
    }
    let wanted = reference::wanted(&metadata.annotations.clone().unwrap_or_default())?;
    metadata.name.as_ref()?;
    Some((Target::of(kind, &metadata), wanted))
}

/// The Certificate that a manifest is, if it is one.
fn certificate_of(manifest: &Value) -> Option<(ObjectName, State<SourceCertificate>)> {
    let resource = kube::core::ApiResource::erase::<api::Certificate>(&());
    if manifest["kind"] != resource.kind.as_str() || manifest["apiVersion"] != resource.api_version.as_str() {
        return None;
    }
    let certificate: Trimmed<CertificateContent> = serde_json::from_value(manifest.clone()).ok()?;
    let ObjectMeta { namespace, name, .. } = certificate.metadata.clone();
    let name = ObjectName::namespaced(namespace.unwrap_or_else(|| "default".to_owned()), name?);
    Some((name, State::Present(SourceCertificate::keep(certificate).into())))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use expect_test::{Expect, expect};

    use super::*;

    const MANIFESTS: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: web, annotations: {cert-manager.io/inject-ca-from: team-a/web}}
---
apiVersion: v1
kind: List
items:
- apiVersion: apiregistration.k8s.io/v1
  kind: APIService
  metadata: {name: v1.example.test, annotations: {cert-manager.io/inject-ca-from-secret: team-b/ca}}
- {apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.plain.example.test}}
- apiVersion: cert-manager.io/v1
  kind: Certificate
  metadata: {namespace: team-a, name: web}
  spec: {secretName: web-tls}
"#;

    fn check(text: &str, flags: &[&str], is_whole: bool, expected: &Expect) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifests.yaml");
        std::fs::write(&path, text).unwrap();
        let args = RbacArgs::try_parse_from(["rbac"].iter().chain(flags)).unwrap();
        let config = args.injection.config().unwrap();
        let found = in_files(&FileArgs { files: vec![path], recursive: false }, &config);
        assert_eq!(found.is_whole, is_whole);
        let manifests = found.needs.manifests(&args.service_account).to_string();
        let is_name = |line: &&str| {
            line.trim_start().starts_with("- \"")
                || line.starts_with("  namespace")
                || line.starts_with("# MISSING")
        };
        let names = manifests.lines().filter(is_name);
        // The bar keeps an expectation from being shifted to the left.
        expected.assert_eq(&names.map(|line| format!("|{line}\n")).collect::<String>());
    }

    #[test]
    fn what_cannot_be_read_is_not_all() {
        check("a: b: c", &[], false, &expect![""]);
        let without_certificate = MANIFESTS.replace("kind: Certificate", "kind: Other");
        check(
            &without_certificate,
            &[],
            false,
            &expect![[r##"
                |# MISSING: the Secret of Certificate team-a/web, which is not known: print it again when it is.
                |      - "web"
                |      - "v1.example.test"
                |  namespace: "team-a"
                |      - "web"
                |  namespace: "team-a"
                |  namespace: "team-b"
                |      - "ca"
                |  namespace: "team-b"
            "##]],
        );
    }

    #[test]
    fn sources_that_the_injector_leaves_alone_need_no_rights() {
        let flags = [
            "--ignore-namespaces=team-b",
            "--enable-certificates-data-source=false",
            "--service-account=a/b",
        ];
        check(
            MANIFESTS,
            &flags,
            true,
            &expect![[r#"
                |      - "web"
                |      - "v1.example.test"
            "#]],
        );
    }

    #[test]
    fn a_target_of_a_wider_kind_is_labelled_and_asked_for() {
        let target = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: trust
  labels: {cainjector.cert-manager.io/inject: "true"}
  annotations: {cert-manager.io/inject-apiserver-ca: "true"}
"#;
        let flag = ["--inject-configmaps"];
        check(target, &[], true, &expect![""]);
        check(
            &target.replace("\"true\"}\n  annotations", "\"no\"}\n  annotations"),
            &flag,
            true,
            &expect![""],
        );
        check(
            target,
            &flag,
            true,
            &expect![[r#"
                |  namespace: "default"
                |      - "trust"
                |  namespace: "default"
            "#]],
        );
    }

    #[test]
    fn manifests_name_targets_sources_and_the_secret_of_a_certificate() {
        check(
            MANIFESTS,
            &[],
            true,
            &expect![[r#"
                |      - "web"
                |      - "v1.example.test"
                |  namespace: "team-a"
                |      - "web-tls"
                |      - "web"
                |  namespace: "team-a"
                |  namespace: "team-b"
                |      - "ca"
                |  namespace: "team-b"
            "#]],
        );
    }
}
