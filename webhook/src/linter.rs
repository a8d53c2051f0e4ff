//! `signet-webhook validate`: the rules for manifests in files, without a cluster, such as in CI.

use std::process::ExitCode;

use jiff::Timestamp;
use lint::{Linter, TEXT_BYTES_MAX};
use rules::Settings;
use runtime::reading::ReadingArgs;

use crate::args::SettingsArgs;
use crate::config::{Gates, is_limit};

/// Judge manifests in files as the webhook would, and find what the API server would drop or refuse before it
///
/// Prints <file>:<line>:<column>: error|warning <rule>: <field>: <what is wrong>; <what would be right>.
/// Exits with 0 when all is well, 1 when there are errors, 2 when something cannot be read.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "validate", verbatim_doc_comment, args_override_self = true)]
pub struct ValidateArgs {
    /// What to judge, and how to tell of it.
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// What the webhook's rules go by.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

impl ValidateArgs {
    /// What the webhook would go by, and refuse to go by.
    fn settings(&self) -> anyhow::Result<Settings> {
        let (settings, _) = self.settings.clone().settings(Settings::DEFAULT, Gates::default());
        let bundle = settings.bundle_bytes_max;
        for (flag, bytes) in
            [("max-certificate-size", settings.request_bytes_max), ("max-certificate-bundle-size", bundle)]
        {
            is_limit(bytes, Some(bundle)).map_err(|message| anyhow::anyhow!("--{flag}: {message}"))?;
        }
        Ok(settings)
    }
}

/// Judges the files and prints what was found.
///
/// # Errors
/// When the webhook would not start with these settings, or nothing can be printed.
pub fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let linter = Linter::new(args.settings()?, Some(Timestamp::now()));
    let told = linter.tell(args.reading.texts(TEXT_BYTES_MAX));
    let is_clean = told.is_clean(args.reading.warnings_as_errors);
    args.reading.answer(is_clean, || (told.text(), told.summary()), || told.json())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let arguments = ["validate", "-f", "a"].iter().chain(flags);
        let args = ValidateArgs::try_parse_from(arguments).map_err(|error| error.to_string())?;
        args.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn settings_that_the_webhook_refuses_are_refused() {
        for (flags, wanted) in [
            (&["--feature-gates=OtherName=true"][..], "did you mean \"OtherNames\"?"),
            (&["--deny-servers=10.0.0.1/8"], "the address has bits outside of the network"),
            (
                &["--max-certificate-size=0"],
                "--max-certificate-size: Invalid value: 0: must be greater than 0",
            ),
            (
                &["--max-certificate-size=11", "--max-certificate-bundle-size=10"],
                "--max-certificate-size: Invalid value: 11: must not be greater than maxBundleSize, 10",
            ),
            (&["--deny-as-forbidden"], "unexpected argument"),
        ] {
            let error = settings(flags).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn the_linter_goes_by_the_settings_of_the_webhook() {
        assert_eq!(settings(&[]).unwrap(), Settings::DEFAULT);
        let flags = [
            "--feature-gates=OtherNames=false",
            "--feature-gates=NameConstraints=false",
            "--max-certificate-size=1000",
            "--max-certificate-bundle-size=2000",
            "--require-acme-owners",
            "--acme-owner-exemptions=a,b",
            "--allow-short-request-keys",
            "--allow-plaintext-servers",
            "--deny-servers=169.254.0.0/16,localhost",
            "--deny-servers=.svc",
            "--silence-warnings=B04,B09",
        ];
        let wanted = Settings {
            literal_certificate_subject: true,
            name_constraints: false,
            other_names: false,
            request_bytes_max: 1000,
            bundle_bytes_max: 2000,
            acme_owners: true,
            acme_owner_exemptions: ["a", "b"].map(ToOwned::to_owned).into(),
            short_request_keys: true,
            plaintext_servers: true,
            denied_servers: ["169.254.0.0/16", "localhost", ".svc"]
                .map(|range| range.parse().unwrap())
                .into(),
            silenced: ["B04", "B09"].map(|id| id.parse().unwrap()).into(),
        };
        assert_eq!(settings(&flags).unwrap(), wanted);
    }
}
