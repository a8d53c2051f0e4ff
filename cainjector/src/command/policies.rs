//! `signet-cainjector policies`: the admission policies that hold the injector to its task.

use std::process::ExitCode;

use crate::args::InjectionArgs;
use crate::guard;
use crate::policy::Policy;
use crate::rbac::Account;

/// Print the admission policies of the kinds that flags add
///
/// The chart brings along those of all kinds but declared ones (--inject-target); the injector leaves out a kind whose policy is
/// not there, word for word. Print them again with each new version. Asks no cluster.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = PoliciesArgs::NAME, max_term_width = 100, args_override_self = true)]
pub struct PoliciesArgs {
    /// The injector's ServiceAccount; the policies have its name
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "cert-manager/cert-manager-cainjector")]
    pub service_account: Account,

    /// The injector's user name, where it is no ServiceAccount
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// Print those of the other kinds as well, which cert-manager's cainjector knows too
    #[arg(long)]
    pub all: bool,

    /// What the injector goes by.
    #[command(flatten)]
    pub injection: InjectionArgs,
}

impl PoliciesArgs {
    /// How the subcommand is called.
    pub(super) const NAME: &str = "policies";

    /// Prints the policies.
    ///
    /// # Errors
    /// When the injector would not start with these flags, or nothing can be printed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        runtime::output::print(&self.text()?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn text(self) -> anyhow::Result<String> {
        let config = self.injection.config()?;
        let account = match self.user {
            Some(user) => guard::Account::user(user),
            None => self.service_account.to_guard(),
        };
        let account = account.keeping(config.own_configmap);
        let kinds = config.targets.into_iter().filter(|kind| self.all || kind.is_wider());
        Ok(account.manifest(kinds.filter_map(Policy::of)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::Value;

    use super::*;

    /// Names of what is printed, and the condition on who is judged.
    fn check(flags: &[&str], names: &[&str], user: &str) {
        let args = PoliciesArgs::try_parse_from(["policies"].iter().chain(flags)).unwrap();
        let printed: Value = serde_json::from_str(&args.text().unwrap()).unwrap();
        let items = printed["items"].as_array().unwrap();
        let name = |item: &Value| {
            format!("{} {}", item["kind"].as_str().unwrap(), item["metadata"]["name"].as_str().unwrap())
        };
        let expected: Vec<String> = names
            .iter()
            .flat_map(|name| ["", "Binding"].map(|kind| format!("ValidatingAdmissionPolicy{kind} {name}")))
            .collect();
        assert_eq!(items.iter().map(name).collect::<Vec<_>>(), expected, "{flags:?}");
        for item in items.iter().step_by(2) {
            let condition = &item["spec"]["matchConditions"][0]["expression"];
            assert_eq!(*condition, format!("request.userInfo.username == '{user}'"), "{flags:?}");
        }
    }

    #[test]
    fn the_policies_of_added_kinds_are_printed_for_the_account() {
        let account = "system:serviceaccount:cert-manager:cert-manager-cainjector";
        check(&[], &[], account);
        let declared = "--inject-target=example.com/v1/meshes:spec.tls.caBundle";
        check(&[declared], &["cert-manager-cainjector-meshes.example.com"], account);
        let us = ["--service-account=us/injector", "--inject-configmaps", declared];
        let names = ["injector-configmaps", "injector-meshes.example.com"];
        check(&us, &names, "system:serviceaccount:us:injector");
        let kept = |flags: &[&str]| {
            let args = ["policies", "--service-account=us/injector", "--inject-configmaps"];
            let args = PoliciesArgs::try_parse_from(args.iter().chain(flags)).unwrap();
            let printed: Value = serde_json::from_str(&args.text().unwrap()).unwrap();
            printed["items"][0]["spec"]["matchConditions"][1]["expression"].as_str().unwrap().to_owned()
        };
        for (flags, name) in [
            (&[][..], "injector-memory"),
            (&["--memory-configmap=notes"], "notes"),
            (&["--memory-configmap=notes", "--max-certificates=4"], "notes"),
            (&["--max-certificates=4"], "cert-manager-cainjector-memory"),
        ] {
            let expected = format!("request.namespace != 'us' || request.name != '{name}'");
            assert_eq!(kept(flags), expected, "{flags:?}");
        }
        check(&["--user=alice", declared], &["cainjector-meshes.example.com"], "alice");
        let off =
            ["validatingwebhookconfigurations", "mutatingwebhookconfigurations", "customresourcedefinitions"]
                .map(|kind| format!("--enable-{kind}-injectable=false"));
        let all: Vec<&str> = off.iter().map(String::as_str).chain(["--all"]).collect();
        check(&all, &["cert-manager-cainjector-apiservices"], account);
    }
}
