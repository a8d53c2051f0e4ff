//! The webhook's feature gates (spec §2.5).

use rules::Settings;
use runtime::gates::{self, Stage, Table};

/// The gates that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known;

impl Table for Known {
    const GATES: &'static [(&'static str, Stage)] = &[
        ("AdditionalCertificateOutputFormats", Stage::Fixed),
        ("AllAlpha", Stage::All),
        ("AllBeta", Stage::All),
        ("DisallowInsecureCSRUsageDefinition", Stage::Fixed),
        ("LiteralCertificateSubject", Stage::Beta),
        ("NameConstraints", Stage::Beta),
        ("OtherNames", Stage::Beta),
    ];
}

/// Gates as they were set.
pub type Gates = gates::Gates<Known>;

/// Switches the features.
pub(crate) fn apply(gates: &Gates, settings: &mut Settings) {
    for (name, setting) in [
        ("LiteralCertificateSubject", &mut settings.literal_certificate_subject),
        ("NameConstraints", &mut settings.name_constraints),
        ("OtherNames", &mut settings.other_names),
    ] {
        if let Some(value) = gates.value(name) {
            *setting = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, wanted: &str) {
        assert_eq!(text.parse::<Gates>().unwrap_err(), wanted);
    }

    fn check(text: &str, wanted: [bool; 3]) {
        let mut settings = Settings::default();
        apply(&text.parse().unwrap(), &mut settings);
        let found = [settings.literal_certificate_subject, settings.name_constraints, settings.other_names];
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn a_gate_that_does_not_exist_is_refused() {
        refused(
            "NameConstraint=true",
            "unknown feature gate \"NameConstraint\"; did you mean \"NameConstraints\"?",
        );
        refused(
            "ExperimentalGatewayAPISupport=true",
            "unknown feature gate \"ExperimentalGatewayAPISupport\"; known are AdditionalCertificateOutputFormats, \
             AllAlpha, AllBeta, DisallowInsecureCSRUsageDefinition, LiteralCertificateSubject, NameConstraints, \
             OtherNames",
        );
        refused("OtherNames", "\"OtherNames\" is not NAME=true or NAME=false");
        refused("OtherNames=on", "OtherNames: write true or false");
    }

    #[test]
    fn gates_switch_their_features() {
        check("", [true, true, true]);
        check("NameConstraints=false", [true, false, true]);
        check("AllBeta=false", [false, false, false]);
        check("AllBeta=false, OtherNames=true", [false, false, true]);
        check("AllAlpha=false,AdditionalCertificateOutputFormats=false", [true, true, true]);
        let gates: Gates = "AdditionalCertificateOutputFormats=false,AllAlpha=true".parse().unwrap();
        assert_eq!(
            gates.without_effect().collect::<Vec<_>>(),
            [("AdditionalCertificateOutputFormats", false)]
        );
    }

    #[test]
    fn flags_win_over_the_file_gate_by_gate() {
        let gates = |text: &str| text.parse::<Gates>().unwrap();
        let both = gates("OtherNames=true").or(gates("OtherNames=false,NameConstraints=false"));
        assert_eq!(both, gates("OtherNames=true,NameConstraints=false"));
    }
}
