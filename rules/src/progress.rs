//! How far an Order or a Challenge has come at the ACME server (RFC 8555 §7.1.6).

use api::acme::AcmeState;

use crate::finding::Fault;
use crate::rule::Findings;

/// B23: what is over is not taken up again. Only what no server answers and no controller writes is refused: cert-manager
/// stores whatever state the server tells, and servers of several machines do answer with an older one. A state may be
/// removed, so that the controller asks the server anew, and `expired` and `errored`, which are our own words for what
/// happened, may be followed by anything.
pub(crate) fn goes_on(old: Option<&AcmeState>, new: Option<&AcmeState>, findings: &mut Findings) {
    use AcmeState as S;
    let (Some(old), Some(new)) = (old, new) else { return };
    let refused = match old {
        S::Valid => matches!(new, S::Pending | S::Ready | S::Processing),
        S::Invalid => matches!(new, S::Pending | S::Ready | S::Processing | S::Valid),
        _ => false,
    };
    if refused {
        findings
            .here(Fault::Forbidden)
            .detail(format!("{} is final, and {:?} cannot follow it", old.as_str(), new.as_str()))
            .advice(
                "delete the object to have another one made, or remove the state to have the server asked",
            );
    }
}
