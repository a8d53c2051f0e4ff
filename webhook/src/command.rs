//! What the command line asks for: to serve, as every flag of cert-manager's webhook does, or to judge files.

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::Args;
use crate::linter::ValidateArgs;

/// One of the things that the program does.
#[derive(Debug)]
pub enum Command {
    /// Serves admission reviews: no subcommand.
    Serve(Box<Args>),
    /// Judges manifests in files: `validate`.
    Validate(ValidateArgs),
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
        match matches.subcommand() {
            Some((_, files)) => ValidateArgs::from_arg_matches(files).map(Self::Validate),
            None => Args::from_arg_matches(matches).map(|args| Self::Serve(Box::new(args))),
        }
    }
}

/// The flags of the server stay where they are: those who come from cert-manager know of no subcommand.
fn command() -> clap::Command {
    Args::command().subcommand(ValidateArgs::command()).args_conflicts_with_subcommands(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Command, clap::Error> {
        Command::of(&command().try_get_matches_from(["signet-webhook"].iter().chain(arguments))?)
    }

    #[test]
    fn flags_of_one_purpose_do_not_mix_with_the_other() {
        let refused = |arguments: &[&str], wanted: &str| {
            let error = read(arguments).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        refused(&["--secure-port=1", "validate", "-f", "a"], "cannot be used with");
        refused(&["validate"], "--filename <FILE>...");
        refused(&["validate", "-f", "a", "--secure-port=1"], "unexpected argument");
    }

    #[test]
    fn flags_alone_serve() {
        let command = read(&["--config=webhook.yaml"]);
        assert!(matches!(command, Ok(Command::Serve(_))), "{command:?}");
    }

    #[test]
    fn several_files_need_one_flag_only() {
        let command = read(&["validate", "-f", "a", "b", "-f", "-", "--warnings-as-errors"]);
        let Ok(Command::Validate(args)) = command else { panic!("{command:?}") };
        assert_eq!(args.reading.files.files, ["a", "b", "-"].map(std::path::PathBuf::from));
    }
}
