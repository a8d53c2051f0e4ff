//! What the command line asks for: to run, as every flag of cert-manager's cainjector does, or to tell about a cluster.

mod explain;
mod lint;
mod plan;
mod policies;
mod rbac;
mod survey;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::Args;

pub use self::lint::LintArgs;
pub use explain::ExplainArgs;
pub use plan::PlanArgs;
pub use policies::PoliciesArgs;
pub use rbac::RbacArgs;

/// One of the things that the program does.
#[derive(Debug)]
pub enum Command {
    /// Injects: no subcommand.
    Run(Box<Args>),
    /// Says why a target has what it has: `explain`.
    Explain(Box<ExplainArgs>),
    /// Says what would be written: `plan`.
    Plan(Box<PlanArgs>),
    /// Says which rights that takes: `rbac`.
    Rbac(Box<RbacArgs>),
    /// Prints the admission policies: `policies`.
    Policies(Box<PoliciesArgs>),
    /// Finds mistakes in manifests: `lint`.
    Lint(LintArgs),
}

impl Command {
    /// What the process was asked for.
    ///
    /// # Errors
    /// For `--help` and `--version`, and for what cannot be meant.
    pub fn parse() -> Result<Self, clap::Error> {
        Self::of(&command().try_get_matches()?)
    }

    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Some((name, args)) = matches.subcommand() else {
            return Args::from_arg_matches(matches).map(|args| Self::Run(Box::new(args)));
        };
        match name {
            ExplainArgs::NAME => {
                ExplainArgs::from_arg_matches(args).map(|args| Self::Explain(Box::new(args)))
            }
            PlanArgs::NAME => PlanArgs::from_arg_matches(args).map(|args| Self::Plan(Box::new(args))),
            RbacArgs::NAME => RbacArgs::from_arg_matches(args).map(|args| Self::Rbac(Box::new(args))),
            PoliciesArgs::NAME => {
                PoliciesArgs::from_arg_matches(args).map(|args| Self::Policies(Box::new(args)))
            }
            _ => LintArgs::from_arg_matches(args).map(Self::Lint),
        }
    }
}

/// The flags of the injector stay where they are: those who come from cert-manager know of no subcommand.
fn command() -> clap::Command {
    Args::command()
        .subcommands([
            ExplainArgs::command(),
            PlanArgs::command(),
            RbacArgs::command(),
            PoliciesArgs::command(),
            LintArgs::command(),
        ])
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    fn read(arguments: &[&str]) -> Result<Command, clap::Error> {
        let arguments = ["signet-cainjector"].iter().chain(arguments);
        Command::of(&command().try_get_matches_from(arguments)?)
    }

    #[test]
    fn help_is_as_documented() {
        let mut command = command().term_width(100);
        expect_file!["../tests/golden/help.txt"].assert_eq(&command.render_long_help().to_string());
        command.build();
        for subcommand in command.get_subcommands_mut() {
            let file =
                format!("{}/tests/golden/help-{}.txt", env!("CARGO_MANIFEST_DIR"), subcommand.get_name());
            expect_file![file].assert_eq(&subcommand.render_long_help().to_string());
        }
    }

    #[test]
    fn flags_of_one_purpose_do_not_mix_with_the_other() {
        let refused = |arguments: &[&str], wanted: &str| {
            let error = read(arguments).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        refused(&["--leader-elect=false", "plan"], "cannot be used with");
        refused(&["plan", "--leader-elect=false"], "unexpected argument");
        refused(&["explain"], "<KIND/NAME>");
        refused(&["plan", "--namespace=a", "--output=yaml"], "invalid value");
        refused(&["rbac", "--service-account=a"], "write NAMESPACE/NAME");
        refused(&["lint"], "--filename <FILE>...");
    }

    #[test]
    fn flags_alone_run() {
        let command = read(&["--leader-elect=false"]);
        assert!(matches!(command, Ok(Command::Run(_))), "{command:?}");
    }

    #[test]
    fn each_subcommand_is_told_from_the_others() {
        let flags = ["--namespace=a", "--kubeconfig=b", "-o", "json"];
        let told = |name, rest: &[&'static str]| read(&[&[name], rest, &flags].concat()).unwrap();
        assert!(matches!(told("explain", &["crd/a"]), Command::Explain(_)));
        assert!(matches!(told("plan", &["--server-dry-run"]), Command::Plan(_)));
        assert!(matches!(read(&["rbac", "--namespace=a"]), Ok(Command::Rbac(_))));
        assert!(matches!(read(&["policies", "--all"]), Ok(Command::Policies(_))));
        assert!(matches!(read(&["lint", "-f", "a", "b", "-R"]), Ok(Command::Lint(_))));
    }
}
