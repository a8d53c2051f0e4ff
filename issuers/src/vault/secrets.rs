//! What a Vault issuer needs of Secrets.

use std::fmt;
use std::sync::Arc;

use issuance::fingerprint::Fingerprint;
use runtime::watch::State;

use super::fault::Fault;
use super::settings::SecretKey;
use crate::material::{Material, Materials};

/// One entry of a Secret that is there and not empty.
pub(super) struct Entry {
    whose: SecretKey,
    material: Arc<Material>,
}

impl Entry {
    /// Reads it.
    pub(super) fn read(materials: &dyn Materials, key: &SecretKey) -> Result<Self, Fault> {
        let SecretKey { secret, key: name, field } = key;
        match materials.secret(secret) {
            State::Present(material) => {
                let entry = Self { whose: key.clone(), material };
                if entry.bytes().is_empty() {
                    return Err(Fault::Invalid(format!(
                        "Secret {secret} of spec.vault.{field} has nothing under {name:?}; put it there"
                    )));
                }
                Ok(entry)
            }
            State::Absent => Err(Fault::Missing(format!(
                "Secret {secret} of spec.vault.{field} does not exist; create it with {name:?}"
            ))),
            State::Failed(failure) if failure.is_forbidden() => Err(Fault::Invalid(format!(
                "Secret {secret} of spec.vault.{field} may not be read: {failure}; grant the controller get, list and watch \
                 on it"
            ))),
            State::Failed(failure) => Err(Fault::Unknown(format!(
                "Secret {secret} of spec.vault.{field} cannot be read: {failure}"
            ))),
            State::Pending => Err(Fault::Unknown(format!(
                "the API server has not answered about Secret {secret} of spec.vault.{field} yet"
            ))),
        }
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.material.entry(&self.whose.key).unwrap_or_default()
    }

    /// Its text without white space around it, which editors and `echo` leave there.
    pub(super) fn text(&self) -> Result<&str, Fault> {
        let text = std::str::from_utf8(self.bytes()).map(str::trim).unwrap_or_default();
        if text.is_empty() { Err(self.invalid("it is not a text")) } else { Ok(text) }
    }

    /// That it is not what it should be.
    pub(super) fn invalid(&self, why: &str) -> Fault {
        Fault::Invalid(format!("{self} of spec.vault.{} cannot be used: {why}", self.whose.field))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of Secret {}", self.whose.key, self.whose.secret)
    }
}

/// One value for several: it changes when one of them does.
pub(super) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
    let each: String = parts.into_iter().map(|part| Fingerprint::of(part).to_string()).collect();
    Fingerprint::of(each.as_bytes())
}

#[cfg(test)]
mod tests {
    use runtime::watch::{Failure, ObjectName};

    use super::*;
    use crate::material::testing::{Only, material};

    fn key() -> SecretKey {
        let secret = ObjectName::namespaced("team-a", "vault");
        SecretKey { secret, key: "token".to_owned(), field: "auth.tokenSecretRef" }
    }

    fn read(state: State<Material>) -> Result<Entry, Fault> {
        Entry::read(&Only(state), &key())
    }

    fn present(value: &[u8]) -> State<Material> {
        State::Present(Arc::new(material(&[("token", value)])))
    }

    #[test]
    fn what_is_not_there_is_told_with_the_field_that_needs_it() {
        let check = |state, expected: Fault| {
            let fault = read(state).err().unwrap();
            assert_eq!(std::mem::discriminant(&fault), std::mem::discriminant(&expected), "{fault}");
            assert!(
                fault.to_string().contains("Secret team-a/vault of spec.vault.auth.tokenSecretRef"),
                "{fault}"
            );
        };
        let failed = |code| State::Failed(Failure { code: Some(code), message: "no".to_owned() });
        check(State::Absent, Fault::Missing(String::new()));
        check(present(b""), Fault::Invalid(String::new()));
        check(failed(403), Fault::Invalid(String::new()));
        check(failed(500), Fault::Unknown(String::new()));
        check(State::Pending, Fault::Unknown(String::new()));
    }

    #[test]
    fn a_text_has_no_white_space_around_it() {
        assert_eq!(read(present(b" s.x\n")).unwrap().text(), Ok("s.x"));
        for bytes in [&b" \n"[..], b"\xff\xfe"] {
            assert!(matches!(read(present(bytes)).unwrap().text(), Err(Fault::Invalid(_))));
        }
    }

    #[test]
    fn borders_of_parts_count() {
        let of = |parts: &[&str]| fingerprint(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }
}
