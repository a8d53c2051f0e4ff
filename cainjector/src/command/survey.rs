//! What the commands that look at a cluster have in common.

use std::path::PathBuf;

use clap::Parser as _;
use runtime::args::KubernetesArgs;
use runtime::config::Text;

use crate::args::{Args, SourceArgs, TargetArgs};
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

    /// How to reach the Kubernetes API.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
}

impl SurveyArgs {
    /// How an injector with these flags would run.
    ///
    /// # Errors
    /// When it would not start.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let Self { config, feature_gates, sources, targets, kubernetes } = self.clone();
        let others = Args::try_parse_from(["signet-cainjector"])?;
        Ok(Config::load(Args { config, feature_gates, sources, targets, kubernetes, ..others })?)
    }
}
