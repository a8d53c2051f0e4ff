//! `signet-cainjector lint`: mistakes in manifests that keep a CA from being injected.

use std::process::ExitCode;

use lint::{Linter, TEXT_BYTES_MAX};
use runtime::reading::ReadingArgs;

/// Find what keeps a CA from being injected, in manifests and without a cluster
///
/// Looks at targets and Secrets alone; `signet-webhook validate` looks at the kinds of cert-manager.io as well.
/// Prints <file>:<line>:<column>: error|warning <check>: <field>: <what is wrong>; <what would be right>.
/// Exits with 0 when all is well, 1 when there are errors, 2 when something cannot be read.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = LintArgs::NAME, verbatim_doc_comment, max_term_width = 100, args_override_self = true)]
pub struct LintArgs {
    /// What to look at, and how to tell of it.
    #[command(flatten)]
    pub reading: ReadingArgs,
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
        let told = linter.tell(self.reading.texts(TEXT_BYTES_MAX));
        let is_clean = told.is_clean(self.reading.warnings_as_errors);
        self.reading.answer(is_clean, || (told.text(), told.summary()), || told.json())
    }
}
