//! `signet-cainjector explain`: why one target has what it has.

use std::process::ExitCode;

use jiff::Timestamp;
use runtime::output::Output;

use super::SurveyArgs;
use crate::survey::Survey;
use crate::target::Target;

/// Say why a target has, or lacks, its CA bundle, and what to do
///
/// Follows its annotation to the CA, and tells what was found at each step, what each field holds and what would be written.
/// Writes nothing. Exits with 0 when the target has what it asks for, 1 when not, 2 when it cannot be read.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = ExplainArgs::NAME, max_term_width = 100, args_override_self = true)]
pub struct ExplainArgs {
    /// The target, such as crd/widgets.example.com or validatingwebhookconfiguration/widgets
    #[arg(value_name = "KIND/NAME")]
    pub target: Target,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// What the injector goes by.
    #[command(flatten)]
    pub survey: SurveyArgs,
}

impl ExplainArgs {
    /// How the subcommand is called.
    pub(super) const NAME: &str = "explain";

    /// Explains the target.
    ///
    /// # Errors
    /// When there is no way to the API server, or nothing can be printed.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.survey.config()?;
        let mut survey = Survey::new(&config.kubernetes, config.settings).await?;
        let explanation = match survey.explain(&self.target).await {
            Ok(Some(explanation)) => explanation,
            Ok(None) => {
                eprintln!("{} does not exist", self.target);
                return Ok(runtime::exit::answer(None));
            }
            Err(failure) => {
                eprintln!("{} cannot be read: {failure}", self.target);
                return Ok(runtime::exit::answer(None));
            }
        };
        let is_served = config.targets.contains(&self.target.kind);
        if !is_served {
            eprintln!(
                "the injector leaves every {} alone: a flag switches them off",
                self.target.kind.kind()
            );
        }
        runtime::output::print(&match self.output {
            Output::Text => explanation.text(Timestamp::now()).to_string(),
            Output::Json => format!("{:#}\n", serde_json::to_value(&explanation)?),
        })?;
        Ok(runtime::exit::answer(Some(is_served && explanation.is_in_sync())))
    }
}
