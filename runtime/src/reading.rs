//! Commands that tell what is wrong with manifests in files.

use std::process::ExitCode;

use crate::files::FileArgs;
use crate::output::{self, Output};

/// What to look at, and how to tell of it.
#[derive(Debug, Clone, clap::Args)]
pub struct ReadingArgs {
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

impl ReadingArgs {
    /// Each text with its name, or why it cannot be read. Of a text that is longer than `bytes_max`, one byte more is
    /// read, by which its reader notices.
    pub fn texts(&self, bytes_max: usize) -> impl Iterator<Item = (String, Result<String, String>)> {
        self.files.sources().into_iter().map(move |source| {
            let text = source.read(bytes_max).map_err(|error| error.to_string());
            (source.name, text)
        })
    }

    /// Prints what was found, with a summary on standard error where people read it, and gives the exit status: as
    /// [`crate::exit::answer`].
    ///
    /// # Errors
    /// When standard output takes no more.
    pub fn answer(
        &self,
        is_clean: Option<bool>,
        text_and_summary: impl FnOnce() -> (String, String),
        json: impl FnOnce() -> String,
    ) -> anyhow::Result<ExitCode> {
        match self.output {
            Output::Text => {
                let (text, summary) = text_and_summary();
                output::print(&text)?;
                eprintln!("{summary}");
            }
            Output::Json => output::print(&json())?,
        }
        Ok(crate::exit::answer(is_clean))
    }
}
