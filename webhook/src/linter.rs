//! `signet-webhook validate`: the rules for manifests in files, without a cluster, such as in CI.

mod files;
mod output;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use lint::Linter;

use self::files::Source;
use self::output::{Output, Told};

/// Judge manifests in files as the webhook would, and find what the API server would drop or refuse before it
///
/// Prints <file>:<line>:<column>: error|warning <rule>: <field>: <what is wrong>; <what would be right>.
/// Exits with 0 when all is well, 1 when there are errors, 2 when something cannot be read.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "validate", verbatim_doc_comment)]
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
}

/// Judges the files and prints what was found.
///
/// # Errors
/// When nothing can be printed.
pub fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let linter = Linter::new(rules::Settings::default(), Some(Timestamp::now()));
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
