//! Feature gates: names of features that flags and configuration files switch on or off, as Kubernetes has them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Error as _;

use crate::args::boolean;
use crate::config::{Plain, nearest};

/// How far a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// On or off by itself, or else by `AllBeta`.
    Beta,
    /// On unless switched off by itself.
    Stable,
    /// Setting it has no effect any more.
    Fixed,
    /// Stands for all features of a stage.
    All,
}

/// The gates of one program.
pub trait Table: Debug + Clone + Default + PartialEq + Eq + Send + Sync + 'static {
    /// Names, sorted, `AllAlpha` and `AllBeta` among them.
    const GATES: &'static [(&'static str, Stage)];
}

/// Gates as they were set; each exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates<T> {
    set: BTreeMap<&'static str, bool>,
    table: PhantomData<T>,
}

impl<T: Table> Gates<T> {
    /// These, and what they leave open as `other` has it.
    #[must_use]
    pub fn or(self, mut other: Self) -> Self {
        other.set.extend(self.set);
        other
    }

    /// What a feature was set to, by itself or with its stage. None: nobody said anything.
    pub fn value(&self, name: &str) -> Option<bool> {
        let is_beta = T::GATES.iter().any(|(known, stage)| *known == name && *stage == Stage::Beta);
        let all = if is_beta { self.set.get("AllBeta") } else { None };
        self.set.get(name).or(all).copied()
    }

    /// Gates that were set to no effect, and to what.
    pub fn without_effect(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let fixed = T::GATES.iter().filter(|(_, stage)| *stage == Stage::Fixed);
        fixed.filter_map(|(name, _)| Some((*name, *self.set.get(name)?)))
    }

    fn set(&mut self, name: &str, value: bool) -> Result<(), String> {
        let names = || T::GATES.iter().map(|(name, _)| *name);
        match names().find(|known| *known == name) {
            Some(name) => {
                self.set.insert(name, value);
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

impl<T: Table> FromStr for Gates<T> {
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

impl<'de, T: Table> Deserialize<'de> for Gates<T> {
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

    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    struct Example;

    impl Table for Example {
        const GATES: &'static [(&'static str, Stage)] = &[
            ("AllAlpha", Stage::All),
            ("AllBeta", Stage::All),
            ("Done", Stage::Fixed),
            ("New", Stage::Beta),
            ("Old", Stage::Stable),
        ];
    }

    fn gates(text: &str) -> Gates<Example> {
        text.parse().unwrap()
    }

    fn refused(text: &str, wanted: &str) {
        assert_eq!(text.parse::<Gates<Example>>().unwrap_err(), wanted);
    }

    #[test]
    fn a_gate_that_does_not_exist_is_refused() {
        refused("Nee=true", "unknown feature gate \"Nee\"; did you mean \"New\"?");
        refused("Other=true", "unknown feature gate \"Other\"; known are AllAlpha, AllBeta, Done, New, Old");
        refused("New", "\"New\" is not NAME=true or NAME=false");
        refused("New=on", "New: write true or false");
    }

    #[test]
    fn a_stage_speaks_for_features_that_do_not_speak_for_themselves() {
        let value = |text: &str| ["New", "Old", "Done"].map(|name| gates(text).value(name));
        assert_eq!(value(""), [None, None, None]);
        assert_eq!(value("AllBeta=false"), [Some(false), None, None]);
        assert_eq!(value("AllBeta=false, New=true,Old=false"), [Some(true), Some(false), None]);
        assert_eq!(gates("Done=true,AllAlpha=true").without_effect().collect::<Vec<_>>(), [("Done", true)]);
    }

    #[test]
    fn one_wins_over_the_other_gate_by_gate() {
        assert_eq!(gates("New=true").or(gates("New=false,Old=false")), gates("New=true,Old=false"));
    }
}
