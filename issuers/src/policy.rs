//! The name policy: which names, usages and lifetime a pod may have in a certificate. Pure: the request, what is known
//! of the pod and of the Services of its namespace, and the rules come in; a permission or a refusal goes out.
//!
//! Without a rule, a pod may have the names under which it is reached in its own namespace, and the identity of its
//! service account; nothing that says more about it than the API server knows. Rules add to that.

mod faults;
mod file;
mod names;
mod pattern;
mod pod;
mod refusal;
mod rules;
#[cfg(test)]
mod tests;

use api::{GoDuration, IssuerRef};
use issuance::request::Request;
use issuance::usage::Usages;
use jiff::SignedDuration;

pub use self::file::{IDENTITY, RulesError};
pub use self::pod::{PodFacts, ServiceFacts, Services, Subject};
pub use self::refusal::{Refusal, RefusalReason};
pub use self::rules::Rules;

/// How long a certificate lives at most when one of its names is only that of the pod or of its service account: such
/// a name may belong to a new Service tomorrow, and is judged again at each renewal.
pub const LEANING_DURATION_MAX: SignedDuration = SignedDuration::from_hours(24);

/// How long a certificate lives at most where nobody says otherwise: 90 days.
pub const DURATION_MAX: SignedDuration = SignedDuration::from_hours(2160);

/// The most names of one request: no honest pod has more, and each is compared with every rule.
pub const NAMES_MAX: usize = 100;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The request, whose signature was verified.
    pub request: &'a Request,
    /// The usages that the certificate would get.
    pub usages: &'a Usages,
    /// Whether it would be a CA's.
    pub is_ca: bool,
    /// How long it would live; positive.
    pub duration: SignedDuration,
    /// Who would sign it.
    pub issuer: &'a IssuerRef,
}

/// What applies to all pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The domain of the cluster, in lower case, such as `cluster.local`.
    pub cluster_domain: String,
    /// The trust domain of SPIFFE identities.
    pub trust_domain: String,
    /// How long a certificate lives at most, where no rule says otherwise.
    pub duration_max: SignedDuration,
    /// What some pods may have beyond the defaults.
    pub rules: Rules,
}

/// What a pod may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted {
    /// How long its certificate may live: what was asked for, or less.
    pub duration: SignedDuration,
    /// What whoever asked should know, such as a lifetime that was cut.
    pub notes: Vec<String>,
}

/// Whether the pod of `subject` may have what is `asked` for.
///
/// # Errors
/// A refusal, which no other way to a signature may go round.
pub fn judge(asked: &Asked<'_>, subject: &Subject<'_>, policy: &Policy) -> Result<Permitted, Refusal> {
    let pod = &subject.pod;
    let granted = policy.rules.grants(pod.namespace, pod.account, asked.issuer);
    let findings = faults::find(asked, subject, policy, &granted);
    if let Some(refusal) = Refusal::of(&findings.faults, pod) {
        return Err(refusal);
    }
    let mut permitted = Permitted { duration: asked.duration, notes: Vec::new() };
    let duration_max = granted.duration_max().unwrap_or(policy.duration_max);
    permitted.cut(duration_max, "the longest that the name policy permits");
    if let Some(leaning) = findings.leaning {
        permitted.cut(LEANING_DURATION_MAX, &format!("since {leaning}"));
    }
    Ok(permitted)
}

impl Permitted {
    fn cut(&mut self, duration_max: SignedDuration, why: &str) {
        if self.duration > duration_max {
            let text = |duration| GoDuration::from(duration).to_string();
            let (asked, granted) = (text(self.duration), text(duration_max));
            self.notes.push(format!("the lifetime was cut from {asked} to {granted}, {why}"));
            self.duration = duration_max;
        }
    }
}
