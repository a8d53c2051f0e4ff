//! One line for each call that was decided: who wanted what for whom, and what came of it. Never a token.

use std::time::Duration;

use issuance::request::Request;

/// Log target of these lines, which are written at every verbosity.
pub const TARGET: &str = runtime::log::AUDIT;

/// Names of a request that a line has.
const NAMES_MAX: usize = 10;

/// Longest of them: of what a stranger wrote, no line is made endless.
const NAME_CHARS_MAX: usize = 253;

/// Longest of all other texts: a namespace and a name fit, and so does the username of a service account.
const TEXT_CHARS_MAX: usize = 512;

/// What is known so far of a call.
#[derive(Debug, Default)]
pub struct Record {
    /// What came of it, in the words of the metrics.
    pub decision: &'static str,
    /// Why, in one word; empty when it was signed.
    pub reason: String,
    /// Username of the caller.
    pub driver: String,
    /// Its node.
    pub node: String,
    /// Namespace and name of the pod, as the caller told.
    pub pod: String,
    /// Its UID.
    pub pod_uid: String,
    /// Its service account.
    pub account: String,
    /// Kind and name of the issuer.
    pub issuer: String,
    /// The first names that were asked for.
    pub names: String,
    /// Whether a CA's certificate was asked for.
    pub is_ca: bool,
    /// Seconds that were granted, or else asked for.
    pub duration_s: i64,
    /// Serial number of the certificate.
    pub serial: String,
    /// End of its life.
    pub not_after: String,
    /// Identifier of the pod's token.
    pub credential_id: String,
}

impl Record {
    /// Takes over what the request asks for.
    pub fn asked(&mut self, request: &Request) {
        let common_name = request.common_name().map(|name| format!("CN:{name}"));
        let names: Vec<String> =
            common_name.into_iter().chain(request.names().iter().map(ToString::to_string)).collect();
        let more = names.len().saturating_sub(NAMES_MAX);
        let shown = names.iter().take(NAMES_MAX).map(|name| name.chars().take(NAME_CHARS_MAX).collect());
        self.names = shown.collect::<Vec<String>>().join(",");
        if more > 0 {
            self.names = format!("{} +{more}", self.names);
        }
    }

    /// Writes the line.
    pub fn write(&self, took: Duration) {
        let Self { decision, is_ca, duration_s, .. } = self;
        tracing::info!(
            target: TARGET,
            decision,
            reason = ?cut(&self.reason),
            driver = ?cut(&self.driver),
            node = ?cut(&self.node),
            pod = ?cut(&self.pod),
            pod_uid = ?cut(&self.pod_uid),
            account = ?cut(&self.account),
            issuer = ?cut(&self.issuer),
            names = ?self.names,
            is_ca,
            duration_s,
            serial = self.serial,
            not_after = self.not_after,
            credential_id = ?cut(&self.credential_id),
            ms = took.as_secs_f64() * 1000.0,
            "signing"
        );
    }
}

/// The beginning of a text, which is the whole unless somebody made it too long.
fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(TEXT_CHARS_MAX).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use issuance::key::{KeyAlgorithm, PrivateKey};
    use issuance::name::{Subject, SubjectAltName};
    use issuance::request::RequestSpec;

    use super::*;

    #[test]
    fn no_text_makes_a_line_endless() {
        let endless = || "é".repeat(60_000);
        let record = Record {
            driver: endless(),
            node: endless(),
            pod: endless(),
            pod_uid: endless(),
            account: endless(),
            issuer: endless(),
            reason: endless(),
            credential_id: endless(),
            ..Record::default()
        };
        let log = runtime::testing::Log::default();
        let listening = log.listen();
        record.write(Duration::ZERO);
        drop(listening);
        assert_eq!(log.text().matches('é').count(), 8 * TEXT_CHARS_MAX);
    }

    #[test]
    fn a_line_has_the_first_names_on_one_line() {
        let names = (0..12).map(|index| SubjectAltName::Uri(format!("u:{index}\nx")));
        let spec = RequestSpec {
            subject: Subject::common_name("web").into(),
            names: names.collect(),
            ..RequestSpec::default()
        };
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let mut record = Record { decision: "refused", ..Record::default() };
        record.asked(&Request::build(&spec, &key).unwrap());
        assert!(record.names.starts_with("CN:web,URI:u:0\n") && record.names.ends_with("URI:u:8\nx +3"));

        let log = runtime::testing::Log::default();
        let listening = log.listen();
        record.write(Duration::from_millis(2));
        drop(listening);
        let text = log.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("signet::audit") && text.contains("decision=\"refused\""), "{text}");
        assert!(text.contains("names=\"CN:web,URI:u:0\\nx,"), "{text}");
    }
}
