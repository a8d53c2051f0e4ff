//! What is wrong with the attributes of a volume, in the words of Kubernetes' field errors.

use std::fmt;

/// Everything that is wrong with the attributes of a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct AttributeErrors(pub(crate) Vec<AttributeError>);

impl fmt::Display for AttributeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return only.fmt(f);
        }
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "[{}]", all.join(", "))
    }
}

/// One fault, with the attribute that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttributeError {
    /// The attribute with its prefix.
    pub(crate) key: &'static str,
    /// What is wrong with it.
    pub(crate) fault: Fault,
}

/// What is wrong with an attribute. The first words are those of Kubernetes' own field errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Required,
    Invalid { value: String, reason: String },
    NotSupported { value: String, supported: &'static str },
    Duplicate { value: String },
    NotYet,
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "volumeAttributes.{}: ", self.key)?;
        match &self.fault {
            Fault::Required => f.write_str("Required value"),
            Fault::Invalid { value, reason } => write!(f, "Invalid value: {value:?}: {reason}"),
            Fault::NotSupported { value, supported } => {
                write!(f, "Unsupported value: {value:?}: supported values: {supported}")
            }
            Fault::Duplicate { value } => {
                write!(f, "Duplicate value: {value:?}: each file needs a name of its own")
            }
            Fault::NotYet => f.write_str("Forbidden: not supported yet by this driver"),
        }
    }
}
