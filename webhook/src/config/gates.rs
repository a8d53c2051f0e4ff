//! Feature gates (spec §2.5).

use std::collections::BTreeMap;
use std::str::FromStr;

use rules::Settings;
use runtime::args::boolean;
use runtime::config::{Plain, nearest};
use serde::Deserialize;
use serde::de::Error as _;

/// How far a feature is.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// On unless switched off, by itself or by `AllBeta`.
    Beta(fn(&mut Settings) -> &mut bool),
    /// On for good.
    Stable,
    /// Stands for all features of a stage.
    All,
}

/// The gates that exist.
const GATES: [(&str, Stage); 7] = [
    ("AdditionalCertificateOutputFormats", Stage::Stable),
    ("AllAlpha", Stage::All),
    ("AllBeta", Stage::All),
    ("DisallowInsecureCSRUsageDefinition", Stage::Stable),
    ("LiteralCertificateSubject", Stage::Beta(|settings| &mut settings.literal_certificate_subject)),
    ("NameConstraints", Stage::Beta(|settings| &mut settings.name_constraints)),
    ("OtherNames", Stage::Beta(|settings| &mut settings.other_names)),
];

/// Gates as they were set; each exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates(BTreeMap<&'static str, bool>);

impl Gates {
    /// These, and what they leave open as `file` has it.
    pub(crate) fn or(self, file: Self) -> Self {
        let mut gates = file.0;
        gates.extend(self.0);
        Self(gates)
    }

    /// Switches the features.
    pub(crate) fn apply(&self, settings: &mut Settings) {
        let all = self.0.get("AllBeta");
        for (name, stage) in GATES {
            if let (Stage::Beta(setting), Some(value)) = (stage, self.0.get(name).or(all)) {
                *setting(settings) = *value;
            }
        }
    }

    /// Gates that were set to no effect.
    pub(super) fn without_effect(&self) -> impl Iterator<Item = &'static str> {
        let stable = GATES.into_iter().filter(|(_, stage)| matches!(stage, Stage::Stable));
        stable.map(|(name, _)| name).filter(|name| self.0.contains_key(name))
    }

    fn set(&mut self, name: &str, value: bool) -> Result<(), String> {
        let names = || GATES.into_iter().map(|(name, _)| name);
        match names().find(|known| *known == name) {
            Some(name) => {
                self.0.insert(name, value);
                Ok(())
            }
            None => Err(match nearest(name, names()) {
                Some(meant) => format!("unknown feature gate {name:?}; did you mean {meant:?}?"),
                None => {
                    let known: Vec<&str> = names().collect();
                    format!("unknown feature gate {name:?}; known are {}", known.join(", "))
                }
            }),
        }
    }
}

impl FromStr for Gates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut gates = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=true or NAME=false"))?;
            let value = boolean(value.trim()).map_err(|error| format!("{name}: {error}"))?;
            gates.set(name.trim(), value)?;
        }
        Ok(gates)
    }
}

impl<'de> Deserialize<'de> for Gates {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut gates = Self::default();
        for (name, Plain(value)) in BTreeMap::<String, Plain<bool>>::deserialize(deserializer)? {
            gates.set(&name, value).map_err(D::Error::custom)?;
        }
        Ok(gates)
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
        text.parse::<Gates>().unwrap().apply(&mut settings);
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
        assert_eq!(gates.without_effect().collect::<Vec<_>>(), ["AdditionalCertificateOutputFormats"]);
    }

    #[test]
    fn flags_win_over_the_file_gate_by_gate() {
        let gates = |text: &str| text.parse::<Gates>().unwrap();
        let both = gates("OtherNames=true").or(gates("OtherNames=false,NameConstraints=false"));
        assert_eq!(both, gates("OtherNames=true,NameConstraints=false"));
    }
}
