//! Tokens of the pods whose volumes are here: in memory alone, and only the newest of each.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use api::keys::csi_context;
use issuance::secret::SecretBytes;
use proto::csi::NodePublishVolumeRequest;
use serde::Deserialize;

use crate::volume::VolumeId;

/// Volumes whose tokens are kept: far more than a node has. Beyond them, a token counts for its call alone.
const VOLUMES_MAX: usize = 4096;

/// The tokens, by volume.
pub struct Tokens {
    audience: String,
    by_volume: Mutex<HashMap<VolumeId, Arc<SecretBytes>>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("audience", &self.audience).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Entry {
    token: String,
}

impl Tokens {
    /// Keeps tokens for this audience.
    pub fn new(audience: String) -> Self {
        Self { audience, by_volume: Mutex::default() }
    }

    /// Keeps the token that a request brings, in place of an older one. Kubelet puts it among the secrets or into the
    /// context, as the CSIDriver object says.
    pub fn take(&self, request: &mut NodePublishVolumeRequest) {
        let key = csi_context::SERVICE_ACCOUNT_TOKENS;
        let secret = request.secrets.remove(key);
        let context = request.volume_context.remove(key);
        let texts = [secret, context].into_iter().flatten().map(|text| SecretBytes::new(text.into_bytes()));
        let Some(token) = texts.filter_map(|text| self.read(&text)).next() else { return };
        let Ok(id) = VolumeId::new(&request.volume_id) else { return };
        let mut by_volume = self.by_volume.lock().unwrap_or_else(PoisonError::into_inner);
        if by_volume.len() < VOLUMES_MAX || by_volume.contains_key(&id) {
            by_volume.insert(id, Arc::new(token));
        }
    }

    /// The token of a volume's pod; `None` after a restart until kubelet's next call.
    pub fn of(&self, id: &VolumeId) -> Option<Arc<SecretBytes>> {
        self.by_volume.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The volume is gone.
    pub fn forget(&self, id: &VolumeId) {
        self.by_volume.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn read(&self, text: &SecretBytes) -> Option<SecretBytes> {
        let entries: HashMap<String, Entry> = serde_json::from_slice(text.expose()).ok()?;
        // Those for others are erased too.
        let tokens =
            entries.into_iter().map(|(name, entry)| (name, SecretBytes::new(entry.token.into_bytes())));
        let mut tokens: HashMap<String, SecretBytes> = tokens.collect();
        tokens.remove(&self.audience).filter(|token| !token.expose().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::publish_request;

    const KEY: &str = csi_context::SERVICE_ACCOUNT_TOKENS;

    fn taken(secret: Option<&str>, context: Option<&str>) -> Option<String> {
        let tokens = Tokens::new("signer".to_owned());
        let mut request = publish_request("csi-1", "/pods/a/mount");
        request.secrets.extend(secret.map(|text| (KEY.to_owned(), text.to_owned())));
        request.volume_context.extend(context.map(|text| (KEY.to_owned(), text.to_owned())));
        tokens.take(&mut request);
        assert!(!request.secrets.contains_key(KEY) && !request.volume_context.contains_key(KEY));
        let token = tokens.of(&VolumeId::new("csi-1").unwrap())?;
        Some(String::from_utf8(token.expose().to_vec()).unwrap())
    }

    #[test]
    fn what_is_no_token_for_the_signer_is_none() {
        let other = r#"{"vault": {"token": "v"}}"#;
        for text in [None, Some(""), Some("[]"), Some(other), Some(r#"{"signer": {"token": ""}}"#)] {
            assert_eq!(taken(text, text), None, "{text:?}");
        }
    }

    #[test]
    fn secrets_count_before_the_context() {
        let ours =
            |token: &str| format!(r#"{{"signer": {{"token": "{token}", "expirationTimestamp": "t"}}}}"#);
        let (secret, context) = (ours("secret"), ours("context"));
        assert_eq!(taken(Some(&secret), Some(&context)).as_deref(), Some("secret"));
        assert_eq!(taken(Some("{}"), Some(&context)).as_deref(), Some("context"));
        assert_eq!(taken(None, Some(&context)).as_deref(), Some("context"));
    }

    #[test]
    fn the_newest_token_counts_until_the_volume_is_gone() {
        let tokens = Tokens::new("signer".to_owned());
        let id = VolumeId::new("csi-1").unwrap();
        for token in ["old", "new"] {
            let mut request = publish_request("csi-1", "/pods/a/mount");
            request.secrets.insert(KEY.to_owned(), format!(r#"{{"signer": {{"token": "{token}"}}}}"#));
            tokens.take(&mut request);
        }
        tokens.take(&mut publish_request("csi-1", "/pods/a/mount"));
        assert_eq!(tokens.of(&id).unwrap().expose(), b"new");
        assert!(!format!("{tokens:?}").contains("new"));
        tokens.forget(&id);
        assert!(tokens.of(&id).is_none());
    }
}
