//! Flags of cert-manager's controller that have no effect here. They are accepted, so that no set-up fails for them.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use runtime::args::boolean;

/// How a flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A truth value, which may be left out.
    Switch,
    /// A value follows.
    Value,
}

/// What a flag would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// It tunes or bounds something that is done in another way.
    Tuning,
    /// It belongs to ACME.
    Acme,
    /// It asks for Certificates for Ingresses.
    Ingress,
    /// It asks for Certificates for Gateways.
    Gateway,
    /// It bounds the PEM that is read; the bounds are fixed, at the peer's defaults.
    PemSize,
}

use Form::{Switch, Value};
use Meaning::{Acme, Gateway, Ingress, PemSize, Tuning};

/// The flags, sorted.
const FLAGS: [(&str, Form, Meaning); 30] = [
    ("acme-http01-solver-extra-labels", Value, Acme),
    ("acme-http01-solver-image", Value, Acme),
    ("acme-http01-solver-nameservers", Value, Acme),
    ("acme-http01-solver-resource-limits-cpu", Value, Acme),
    ("acme-http01-solver-resource-limits-memory", Value, Acme),
    ("acme-http01-solver-resource-request-cpu", Value, Acme),
    ("acme-http01-solver-resource-request-memory", Value, Acme),
    ("acme-http01-solver-run-as-non-root", Switch, Acme),
    ("acme-http01-solver-runtime-class-name", Value, Acme),
    ("auto-certificate-annotations", Value, Ingress),
    ("cluster-issuer-ambient-credentials", Switch, Tuning),
    ("default-issuer-group", Value, Ingress),
    ("default-issuer-kind", Value, Ingress),
    ("default-issuer-name", Value, Ingress),
    ("dns01-check-retry-period", Value, Acme),
    ("dns01-recursive-nameservers", Value, Acme),
    ("dns01-recursive-nameservers-only", Switch, Acme),
    ("enable-gateway-api", Switch, Gateway),
    ("enable-gateway-api-listenerset", Switch, Gateway),
    ("extra-certificate-annotations", Value, Ingress),
    ("gateway-api-extra-protocols", Value, Gateway),
    ("internal-healthz-leader-election-timeout", Value, Tuning),
    ("issuer-ambient-credentials", Switch, Tuning),
    ("kube-api-burst", Value, Tuning),
    ("kube-api-qps", Value, Tuning),
    ("max-certificate-bundle-size", Value, PemSize),
    ("max-certificate-chain-length", Value, PemSize),
    ("max-certificate-size", Value, PemSize),
    ("max-concurrent-challenges", Value, Acme),
    ("max-private-key-size", Value, PemSize),
];

/// Which of these flags were given, and the values that switches got. They are not in the help text.
#[derive(Debug, Clone, Default)]
pub struct IgnoredArgs {
    given: Vec<(&'static str, Meaning)>,
}

impl IgnoredArgs {
    /// What to tell whoever gave them: one line each.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.given.iter().map(|(name, meaning)| warning(&format!("--{name}"), *meaning))
    }
}

fn warning(name: &str, meaning: Meaning) -> String {
    let why = match meaning {
        Tuning => "remove it",
        Acme => "this controller serves no ACME issuers",
        Ingress => "this controller makes no Certificates for Ingresses",
        Gateway => "this controller makes no Certificates for Gateways",
        PemSize => "the sizes of what is read are bounded by cert-manager's defaults",
    };
    format!("{name} has no effect: {why}")
}

impl clap::Args for IgnoredArgs {
    fn augment_args(command: Command) -> Command {
        FLAGS.into_iter().fold(command, |command, (name, form, _)| {
            let flag = Arg::new(name).long(name).hide(true).action(ArgAction::Append);
            command.arg(match form {
                Value => flag.allow_hyphen_values(true),
                Switch => flag
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .value_parser(boolean),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for IgnoredArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_given = |name: &str, form| match form {
            Value => matches.contains_id(name),
            // Switched off it asks for nothing.
            Switch => matches.get_many::<bool>(name).and_then(Iterator::last) == Some(&true),
        };
        let given = FLAGS.into_iter().filter(|(name, form, _)| is_given(name, *form));
        Ok(Self { given: given.map(|(name, _, meaning)| (name, meaning)).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::Args;

    fn warnings(flags: &[&str]) -> Vec<String> {
        let args = Args::try_parse_from(["signet-controller"].iter().chain(flags)).unwrap();
        args.ignored.warnings().collect()
    }

    #[test]
    fn a_flag_that_asks_for_what_is_not_done_is_told() {
        let given = warnings(&["--enable-gateway-api", "--kube-api-qps=50", "--acme-http01-solver-image=x"]);
        assert_eq!(
            given,
            [
                "--acme-http01-solver-image has no effect: this controller serves no ACME issuers",
                "--enable-gateway-api has no effect: this controller makes no Certificates for Gateways",
                "--kube-api-qps has no effect: remove it",
            ]
        );
    }

    #[test]
    fn a_switch_that_is_off_asks_for_nothing() {
        assert!(warnings(&["--enable-gateway-api=false", "--issuer-ambient-credentials=false"]).is_empty());
    }

    #[test]
    fn each_flag_is_accepted_and_told_once() {
        let flags: Vec<String> = FLAGS.iter().map(|(name, ..)| format!("--{name}=true")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        assert_eq!(warnings(&flags).len(), FLAGS.len());
        assert!(FLAGS.is_sorted_by_key(|(name, ..)| *name));
    }
}
