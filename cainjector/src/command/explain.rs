//! `signet-cainjector explain`: why one target has what it has.

use std::process::ExitCode;

use jiff::Timestamp;
use runtime::output::Output;

use super::survey::unreadable;
use crate::args::InjectionArgs;
use crate::survey::Survey;
use crate::target::Target;

/// Say why a target has, or lacks, its CA bundle, and what to do
///
/// Follows its annotation to the CA, and tells what was found at each step, what each field holds and what would be written.
/// Writes nothing. Exits with 0 when the target has what it asks for, 1 when not, 2 when it cannot be read.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = ExplainArgs::NAME, max_term_width = 100, args_override_self = true)]
pub struct ExplainArgs {
    /// The target, such as crd/widgets.example.com, validatingwebhookconfiguration/widgets or, of a kind that --inject-target
    /// declares, meshes.example.com/team-a/web
    #[arg(value_name = "KIND/NAME")]
    pub target: String,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// What the injector goes by.
    #[command(flatten)]
    pub injection: InjectionArgs,
}

impl ExplainArgs {
    /// How the subcommand is called.
    pub(super) const NAME: &str = "explain";

    /// Explains the target.
    ///
    /// # Errors
    /// When the injector would not start with these flags, or nothing can be printed.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.injection.config()?;
        let target = &Target::named(&self.target, &config.targets)?;
        let mut survey = match Survey::new(&config).await {
            Ok(survey) => survey,
            Err(error) => return Ok(unreadable(error)),
        };
        let explanation = match survey.explain(target).await {
            Ok(Some(explanation)) => explanation,
            Ok(None) => return Ok(unreadable(format_args!("{target} does not exist"))),
            Err(failure) => return Ok(unreadable(format_args!("{target} cannot be read: {failure}"))),
        };
        runtime::output::print(&match self.output {
            Output::Text => explanation.text(Timestamp::now()).to_string(),
            Output::Json => format!("{:#}\n", serde_json::to_value(&explanation)?),
        })?;
        Ok(runtime::exit::answer(Some(explanation.is_in_sync())))
    }
}
