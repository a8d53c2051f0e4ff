//! `signet-cainjector plan`: what would be written, to all targets.

use std::process::ExitCode;

use runtime::output::Output;
use serde::Serialize;

use super::survey::unreadable;
use crate::args::InjectionArgs;
use crate::explain::{Explanation, Verdict};
use crate::survey::Survey;

/// Say what the injector would write, to all targets
///
/// Writes nothing. Exits with 0 when every target has what it asks for, 1 when not, 2 when something cannot be read.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = PlanArgs::NAME, max_term_width = 100, args_override_self = true)]
pub struct PlanArgs {
    /// Send each write to the API server as a dry run, and tell what it says; needs the injector's rights
    #[arg(long)]
    pub server_dry_run: bool,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// What the injector goes by.
    #[command(flatten)]
    pub injection: InjectionArgs,
}

/// What would be written, and what is not known.
#[derive(Debug, Default, Serialize)]
struct Outlook {
    targets: Vec<Explanation>,
    unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
struct Unreadable {
    /// A target, or the plural of a kind.
    object: String,
    message: String,
}

impl PlanArgs {
    /// How the subcommand is called.
    pub(super) const NAME: &str = "plan";

    /// Makes a plan for every target.
    ///
    /// # Errors
    /// When the injector would not start with these flags, or nothing can be printed.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.injection.config()?;
        let mut survey = match Survey::new(&config).await {
            Ok(survey) => survey,
            Err(error) => return Ok(unreadable(error)),
        };
        let mut outlook = Outlook::default();
        for kind in config.targets {
            let asking = survey.asking(kind).await.unwrap_or_else(|failure| {
                outlook.unreadable(kind.plural(), &failure);
                Vec::new()
            });
            for asking in asking {
                match survey.plan(&asking, self.server_dry_run).await {
                    Ok(explanation) => outlook.targets.extend(explanation),
                    Err(failure) => outlook.unreadable(&asking.target, &failure),
                }
            }
        }
        runtime::output::print(&match self.output {
            Output::Text => outlook.text(),
            Output::Json => format!("{:#}\n", serde_json::to_value(&outlook)?),
        })?;
        Ok(runtime::exit::answer(outlook.answer()))
    }
}

impl Outlook {
    fn unreadable(&mut self, object: &(impl ToString + ?Sized), message: &(impl ToString + ?Sized)) {
        self.unreadable.push(Unreadable { object: object.to_string(), message: message.to_string() });
    }

    /// Whether every target has what it asks for. `None`: that is not known.
    fn answer(&self) -> Option<bool> {
        self.unreadable.is_empty().then(|| self.targets.iter().all(Explanation::is_in_sync))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for explanation in &self.targets {
            text.push_str(&format!("{}\n", explanation.line()));
        }
        for Unreadable { object, message } in &self.unreadable {
            text.push_str(&format!("cannot be read: {object}: {message}\n"));
        }
        let count = |is_counted: fn(&Verdict) -> bool| {
            self.targets.iter().filter(|explanation| is_counted(&explanation.verdict)).count()
        };
        text.push_str(&format!(
            "targets: {} in sync, {} to be written, {} refused",
            count(Verdict::is_in_sync),
            count(|verdict| matches!(verdict, Verdict::ToBeWritten | Verdict::ToBeReleased)),
            count(|verdict| matches!(verdict, Verdict::Refused { .. })),
        ));
        // Of kinds that every cluster has there are none.
        match count(|verdict| matches!(verdict, Verdict::LeftOut { .. })) {
            0 => text.push('\n'),
            left_out => text.push_str(&format!(", {left_out} left out\n")),
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::explain::DryRun;
    use crate::plan::Reason;

    fn told(verdict: Verdict, dry_run: Option<DryRun>) -> Explanation {
        Explanation {
            kind: "APIService",
            namespace: None,
            name: "v1.example.test".to_owned(),
            verdict,
            asks: None,
            passed_over: Vec::new(),
            source: Vec::new(),
            fields: Vec::new(),
            refused: None,
            exposed: None,
            next_change: None,
            dry_run,
            contested: None,
            advice: Vec::new(),
        }
    }

    fn check(outlook: &Outlook, answer: Option<bool>, expected: &Expect) {
        assert_eq!(outlook.answer(), answer);
        expected.assert_eq(&outlook.text());
    }

    #[test]
    fn what_cannot_be_read_leaves_the_answer_open() {
        let mut outlook = Outlook { targets: vec![told(Verdict::InSync, None)], unreadable: Vec::new() };
        outlook.unreadable("apiservices", "no rights");
        check(
            &outlook,
            None,
            &expect![[r#"
                in sync        APIService v1.example.test
                cannot be read: apiservices: no rights
                targets: 1 in sync, 0 to be written, 0 refused
            "#]],
        );
    }

    #[test]
    fn one_target_that_is_not_in_sync_is_enough() {
        let refused = Verdict::Refused {
            reason: Reason::SourceNotFound,
            message: "Secret a/b does not exist".to_owned(),
        };
        let dry_run = DryRun { accepted: false, message: Some("no \u{1b}[31mway".to_owned()) };
        let targets =
            vec![told(Verdict::InSync, None), told(refused, None), told(Verdict::ToBeWritten, Some(dry_run))];
        check(
            &Outlook { targets, unreadable: Vec::new() },
            Some(false),
            &expect![[r#"
                in sync        APIService v1.example.test
                refused        APIService v1.example.test
                                 SourceNotFound: Secret a/b does not exist
                to be written  APIService v1.example.test
                                 The API server would refuse it: no �[31mway
                targets: 1 in sync, 1 to be written, 1 refused
            "#]],
        );
    }

    #[test]
    fn all_targets_in_sync_are_in_sync() {
        let outlook = Outlook { targets: vec![told(Verdict::InSync, None)], unreadable: Vec::new() };
        assert_eq!(outlook.answer(), Some(true));
        assert_eq!(Outlook::default().answer(), Some(true));
    }
}
