//! `signet-webhook validate`: the rules for manifests in files, without a cluster, such as in CI.

mod files;
mod output;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use lint::Linter;
use rules::Settings;

use self::files::Source;
use self::output::{Output, Told};
use crate::config::Gates;

/// Judge manifests in files as the webhook would, and find what the API server would drop or refuse before it
///
/// Prints <file>:<line>:<column>: error|warning <rule>: <field>: <what is wrong>; <what would be right>.
/// Exits with 0 when all is well, 1 when there are errors, 2 when something cannot be read.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "validate", verbatim_doc_comment, args_override_self = true)]
pub struct ValidateArgs {
    /// Files with YAML or JSON, folders of them, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1.., required = true)]
    pub files: Vec<PathBuf>,

    /// Look into the folders of folders, too
    #[arg(short = 'R', long)]
    pub recursive: bool,

    /// How to print findings
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Exit with 1 for warnings, too
    #[arg(long)]
    pub warnings_as_errors: bool,

    /// Features that are on or off in the webhook, such as NameConstraints=false,OtherNames=false
    #[arg(long, value_name = "NAME=BOOL,…", default_value = "", hide_default_value = true)]
    pub feature_gates: Gates,

    /// Allow issuers to send their secrets over plain HTTP, as the webhook's flag does
    #[arg(long)]
    pub allow_plaintext_servers: bool,
}

impl ValidateArgs {
    /// What the webhook would go by.
    fn settings(&self) -> Settings {
        let mut settings = Settings { plaintext_servers: self.allow_plaintext_servers, ..Settings::DEFAULT };
        self.feature_gates.apply(&mut settings);
        settings
    }
}

/// Judges the files and prints what was found.
///
/// # Errors
/// When nothing can be printed.
pub fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let linter = Linter::new(args.settings(), Some(Timestamp::now()));
    let mut told = Told::default();
    for source in Source::all(&args.files, args.recursive) {
        match source.read() {
            Ok(text) => told.add(&source, linter.lint(&text)),
            Err(error) => told.add_unreadable(&source, &error),
        }
    }
    let printed = match args.output {
        Output::Text => told.text(),
        Output::Json => told.json(),
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(printed.as_bytes())?;
    stdout.flush()?;
    if args.output == Output::Text {
        eprintln!("{}", told.summary());
    }
    Ok(told.outcome(args.warnings_as_errors).into())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn features_are_switched_as_in_the_webhook() {
        let settings = |flags: &[&str]| {
            let arguments = ["validate", "-f", "a"].iter().chain(flags);
            ValidateArgs::try_parse_from(arguments).map(|args| args.settings())
        };
        assert!(settings(&["--feature-gates=OtherName=true"]).is_err());
        assert_eq!(settings(&[]).unwrap(), Settings::DEFAULT);
        let switched = settings(&["--feature-gates=OtherNames=false", "--allow-plaintext-servers"]).unwrap();
        assert_eq!(switched, Settings { other_names: false, plaintext_servers: true, ..Settings::DEFAULT });
    }
}
