//! `signet-cainjector lint`: mistakes in manifests that keep a CA from being injected.

use std::process::ExitCode;

use lint::{Linter, TEXT_BYTES_MAX, Told};
use runtime::files::FileArgs;
use runtime::output::Output;

/// Find what keeps a CA from being injected, in manifests and without a cluster
///
/// Looks at targets and Secrets alone; `signet-webhook validate` looks at the kinds of cert-manager.io as well.
/// Prints <file>:<line>:<column>: error|warning <check>: <field>: <what is wrong>; <what would be right>.
/// Exits with 0 when all is well, 1 when there are errors, 2 when something cannot be read.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = LintArgs::NAME, verbatim_doc_comment, max_term_width = 100, args_override_self = true)]
pub struct LintArgs {
    /// What to look at.
    #[command(flatten)]
    pub files: FileArgs,

    /// How to print findings
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Exit with 1 for warnings, too
    #[arg(long)]
    pub warnings_as_errors: bool,
}

impl LintArgs {
    /// How the subcommand is called.
    pub(super) const NAME: &str = "lint";

    /// Looks at the files and prints what was found.
    ///
    /// # Errors
    /// When nothing can be printed.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let linter = Linter::of_injection();
        let mut told = Told::default();
        for source in self.files.sources() {
            let text = source.read(TEXT_BYTES_MAX).map_err(|error| error.to_string());
            told.add(source.name, text.map(|text| linter.lint(&text)));
        }
        match self.output {
            Output::Text => {
                runtime::output::print(&told.text())?;
                eprintln!("{}", told.summary());
            }
            Output::Json => runtime::output::print(&told.json())?,
        }
        Ok(runtime::exit::answer(told.is_clean(self.warnings_as_errors)))
    }
}
