//! Small serde helpers shared by all kinds.

use serde::{Deserialize, Deserializer};

/// Reads an optional text, where empty text means unset as it does in the API.
pub(crate) fn non_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// Whether a plain flag is unset; such a flag is not written.
pub(crate) fn is_false(flag: &bool) -> bool {
    !*flag
}
