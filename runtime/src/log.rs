//! Log lines: one subscriber for the process, to standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{LogFormat, LoggingArgs};

/// Starts logging as the flags say. A second call changes nothing, so tests may call it freely.
pub fn init(args: &LoggingArgs) {
    let registry = tracing_subscriber::registry().with(filter(args.verbosity));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // An error means that a subscriber exists already; the process logs either way.
    let _ = match args.logging_format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
}

/// The client library reports each failed attempt as an error of its own; whoever called it decides what that means
/// and says so. Its lines are for debugging.
fn filter(verbosity: u8) -> Targets {
    let client = if verbosity < 3 { LevelFilter::OFF } else { level(verbosity) };
    Targets::new().with_default(level(verbosity)).with_target("kube_client", client)
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
