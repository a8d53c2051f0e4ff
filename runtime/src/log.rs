//! Log lines: one subscriber for the process, to standard error.

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{LogFormat, LoggingArgs, ModuleLevel};

/// Verbosity where nobody says otherwise: what a running process tells its operator.
const VERBOSITY: u8 = 2;

/// Module of the client library that logs the API server's answers as they are when it cannot read them. They may be
/// Secrets, so nobody gets to see its lines; what went wrong is in the errors that it returns.
const WHOLE_ANSWERS: &str = "kube_client::client";

/// Target of lines that an operator has to be able to rely on: who was given what. They are of the level of information
/// and are written at every verbosity.
pub const AUDIT: &str = "signet::audit";

/// Starts logging as the flags say, and warns of those that have no effect. A second call changes nothing, so tests may
/// call it freely.
pub fn init(args: &LoggingArgs) {
    let levels = Levels { others: args.verbosity.unwrap_or(VERBOSITY), modules: args.vmodule.clone() };
    let most = levels.most();
    // Each place in the code is asked about once, so a long list of modules costs nothing.
    let filter = filter_fn(move |metadata| levels.is_enabled(metadata)).with_max_level_hint(most);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // An error means that a subscriber exists already; the process logs either way.
    let _ = match args.logging_format.unwrap_or_default() {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    for flag in args.deprecated.given() {
        tracing::warn!("flag --{flag} has no effect: log lines go to standard error as they are; remove it");
    }
}

/// Which events are written.
struct Levels {
    modules: Vec<ModuleLevel>,
    others: u8,
}

impl Levels {
    fn is_enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.of(metadata.target())
    }

    fn of(&self, module: &str) -> LevelFilter {
        if module == WHOLE_ANSWERS {
            return LevelFilter::OFF;
        }
        if module == AUDIT {
            return LevelFilter::INFO;
        }
        let name = module.rsplit("::").next().unwrap_or(module);
        let named = self.modules.iter().find(|ModuleLevel { pattern, .. }| {
            matches(pattern, if pattern.contains(':') { module } else { name })
        });
        match named {
            Some(named) => level(named.verbosity),
            // The client library reports each failed attempt as an error of its own; whoever called it decides what
            // that means and says so. Its lines are for debugging.
            None if module.starts_with("kube_client") && self.others < 3 => LevelFilter::OFF,
            None => level(self.others),
        }
    }

    fn most(&self) -> LevelFilter {
        let verbosities = self.modules.iter().map(|module| module.verbosity);
        level(verbosities.chain([self.others]).max().unwrap_or_default()).max(LevelFilter::INFO)
    }
}

/// Whether a text is what the pattern means: `*` is any text, `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let mut texts = text.chars();
    let mut patterns = pattern.chars();
    match (patterns.next(), texts.next()) {
        (None, first) => first.is_none(),
        (Some('*'), _) => {
            let rest = patterns.as_str();
            text.char_indices()
                .map(|(start, _)| start)
                .chain([text.len()])
                .any(|start| matches(rest, text.get(start..).unwrap_or_default()))
        }
        (Some('?'), Some(_)) => matches(patterns.as_str(), texts.as_str()),
        (Some(wanted), Some(found)) if wanted == found => matches(patterns.as_str(), texts.as_str()),
        (Some(_), _) => false,
    }
}

/// The peers' convention: 0 errors, 1 warnings, 2 information, 3 extended information, 4 debugging, 5 traces.
fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::WARN,
        2 => LevelFilter::INFO,
        3 | 4 => LevelFilter::DEBUG,
        5.. => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(modules: &[&str], target: &str, wanted: LevelFilter) {
        let modules = modules.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(Levels { modules, others: 2 }.of(target), wanted, "{target}");
    }

    #[test]
    fn a_module_has_the_first_level_whose_pattern_fits() {
        check(&["server=4"], "webhook::servers", LevelFilter::INFO);
        check(&["server=4"], "server::review", LevelFilter::INFO);
        check(&["webhook::server=4"], "runtime::server", LevelFilter::INFO);
        check(&["s?rver=0"], "webhook::srver", LevelFilter::INFO);
        check(&["server=4"], "webhook::server", LevelFilter::DEBUG);
        check(&["webhook::*=5"], "webhook::server", LevelFilter::TRACE);
        check(&["re*w=1", "*=5"], "webhook::review", LevelFilter::WARN);
        check(&["re*w=1", "*=5"], "webhook::body", LevelFilter::TRACE);
    }

    #[test]
    fn the_client_library_is_silent_unless_somebody_debugs() {
        check(&[], "kube_client::client::builder", LevelFilter::OFF);
        check(&["builder=3"], "kube_client::client::builder", LevelFilter::DEBUG);
        assert_eq!(Levels { modules: Vec::new(), others: 3 }.of("kube_client"), LevelFilter::DEBUG);
    }

    #[test]
    fn what_logs_whole_answers_of_the_api_server_is_always_silent() {
        let of = |modules: &[&str], others| {
            let modules = modules.iter().map(|text| text.parse().unwrap()).collect();
            Levels { modules, others }.of("kube_client::client")
        };
        assert_eq!((of(&[], 5), of(&["client=5", "*=5"], 5)), (LevelFilter::OFF, LevelFilter::OFF));
    }

    #[test]
    fn nothing_that_some_module_wants_is_cut_off_beforehand() {
        let modules = vec!["server=5".parse().unwrap()];
        assert_eq!(Levels { modules, others: 0 }.most(), LevelFilter::TRACE);
        // The audit log is written at every verbosity.
        assert_eq!(Levels { modules: Vec::new(), others: 0 }.most(), LevelFilter::INFO);
    }

    #[test]
    fn the_audit_log_is_written_whatever_the_flags_say() {
        let of = |modules: &[&str], others| {
            let modules = modules.iter().map(|text| text.parse().unwrap()).collect();
            Levels { modules, others }.of(AUDIT)
        };
        assert_eq!((of(&[], 0), of(&["audit=0", "*=0"], 5)), (LevelFilter::INFO, LevelFilter::INFO));
    }
}
