//! What the commands that look at a cluster have in common.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use runtime::args::KubernetesArgs;
use runtime::config::Text;

use crate::args::{Args, SourceArgs, TargetArgs, WithdrawalArgs};
use crate::config::{Config, Gates};

/// The flags of the injector that change a plan.
#[derive(Debug, Clone, clap::Args)]
pub struct SurveyArgs {
    /// The injector's configuration file, if it has one; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<Text<PathBuf>>,

    /// Features that are on or off
    #[arg(long, value_name = "NAME=BOOL,…")]
    pub(crate) feature_gates: Vec<Gates>,

    /// Where CAs come from.
    #[command(flatten)]
    pub sources: SourceArgs,

    /// Where they go.
    #[command(flatten)]
    pub targets: TargetArgs,

    /// What is taken out of bundles before it expires.
    #[command(flatten)]
    pub withdrawal: WithdrawalArgs,

    /// How to reach the Kubernetes API.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
}

/// Says why the cluster cannot be looked at, and gives the exit status for that.
pub(super) fn unreadable(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("signet-cainjector: {error:#}");
    runtime::exit::answer(None)
}

impl SurveyArgs {
    /// How an injector with these flags would run.
    ///
    /// # Errors
    /// When it would not start.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let Self { config, feature_gates, sources, targets, withdrawal, kubernetes } = self.clone();
        let others = Args::try_parse_from(["signet-cainjector"])?;
        let args = Args { config, feature_gates, sources, targets, withdrawal, kubernetes, ..others };
        Ok(Config::load(args)?)
    }
}
