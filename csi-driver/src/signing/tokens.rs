//! Tokens of the pods whose volumes are here: in memory alone, only the newest of each, and no longer than it is good for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::keys::csi_context;
use issuance::secret::SecretBytes;
use jiff::Timestamp;
use proto::csi::NodePublishVolumeRequest;
use serde::Deserialize;

use crate::volume::VolumeId;

/// Volumes whose tokens are kept: far more than a node has. Beyond them, a token counts for its call alone.
const VOLUMES_MAX: usize = 4096;

/// The tokens, by volume.
pub struct Tokens {
    audience: String,
    by_volume: Mutex<HashMap<VolumeId, Token>>,
}

/// A token of a pod; clones are the same.
#[derive(Debug, Clone)]
pub struct Token {
    text: Arc<SecretBytes>,
    /// When the API server takes it no more; `None`: kubelet did not tell.
    expires_at: Option<Timestamp>,
}

impl Token {
    fn is_good(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("audience", &self.audience).finish_non_exhaustive()
    }
}

/// What kubelet tells of a token (CSI driver spec, `tokenRequests`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    token: String,
    expiration_timestamp: Option<String>,
}

impl Tokens {
    /// Keeps tokens for this audience.
    pub fn new(audience: String) -> Self {
        Self { audience, by_volume: Mutex::default() }
    }

    /// Keeps the token that a request brings, in place of an older one, and forgets those that are over. Kubelet puts it
    /// among the secrets or into the context, as the CSIDriver object says. Returns what was kept.
    pub fn take(&self, request: &mut NodePublishVolumeRequest, now: Timestamp) -> Option<Token> {
        let key = csi_context::SERVICE_ACCOUNT_TOKENS;
        let secret = request.secrets.remove(key);
        let context = request.volume_context.remove(key);
        let texts = [secret, context].into_iter().flatten().map(|text| SecretBytes::new(text.into_bytes()));
        let token = texts.filter_map(|text| self.read(&text)).next()?;
        let id = VolumeId::new(&request.volume_id).ok()?;
        let mut by_volume = self.lock();
        by_volume.retain(|_, token| token.is_good(now));
        let has_room = by_volume.len() < VOLUMES_MAX || by_volume.contains_key(&id);
        has_room.then(|| {
            by_volume.insert(id, token.clone());
            token
        })
    }

    /// The token of a volume's pod; `None` after a restart until kubelet's next call.
    pub fn of(&self, id: &VolumeId, now: Timestamp) -> Option<Arc<SecretBytes>> {
        let mut by_volume = self.lock();
        by_volume.retain(|_, token| token.is_good(now));
        by_volume.get(id).map(|token| Arc::clone(&token.text))
    }

    /// The volume is gone.
    pub fn forget(&self, id: &VolumeId) {
        self.lock().remove(id);
    }

    /// The call that brought this token came to nothing. What another call has brought since stays.
    pub fn withdraw(&self, id: &VolumeId, token: &Token) {
        let mut by_volume = self.lock();
        if by_volume.get(id).is_some_and(|kept| Arc::ptr_eq(&kept.text, &token.text)) {
            by_volume.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VolumeId, Token>> {
        self.by_volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, text: &SecretBytes) -> Option<Token> {
        let entries: HashMap<String, Entry> = serde_json::from_slice(text.expose()).ok()?;
        // Those for others are erased too.
        let tokens = entries.into_iter().map(|(name, entry)| {
            let expires_at = entry.expiration_timestamp.and_then(|text| text.parse().ok());
            (name, Token { text: Arc::new(SecretBytes::new(entry.token.into_bytes())), expires_at })
        });
        let mut tokens: HashMap<String, Token> = tokens.collect();
        tokens.remove(&self.audience).filter(|token| !token.text.expose().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::publish_request;

    const KEY: &str = csi_context::SERVICE_ACCOUNT_TOKENS;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// What kubelet brings for this volume, good for so many seconds.
    fn brought(volume: &str, seconds: i64) -> NodePublishVolumeRequest {
        let mut request = publish_request(volume, "/pods/a/mount");
        let expires_at = now() + jiff::SignedDuration::from_secs(seconds);
        let text = format!(r#"{{"signer": {{"token": "t", "expirationTimestamp": "{expires_at}"}}}}"#);
        request.secrets.insert(KEY.to_owned(), text);
        request
    }

    #[test]
    fn a_token_that_is_over_is_forgotten_although_its_volume_was_never_unpublished() {
        let tokens = Tokens::new("signer".to_owned());
        tokens.take(&mut brought("csi-1", 600), now()).unwrap();
        let later = now() + jiff::SignedDuration::from_secs(600);
        let id = VolumeId::new("csi-1").unwrap();
        assert!(tokens.of(&id, now()).is_some() && tokens.of(&id, later).is_none());
        tokens.take(&mut brought("csi-1", 600), now()).unwrap();
        tokens.take(&mut brought("csi-2", 1200), later).unwrap();
        assert_eq!(tokens.lock().len(), 1);
    }

    #[test]
    fn a_call_that_came_to_nothing_takes_its_own_token_back_and_no_other() {
        let tokens = Tokens::new("signer".to_owned());
        let id = VolumeId::new("csi-1").unwrap();
        let [first, second] = [(); 2].map(|()| tokens.take(&mut brought("csi-1", 600), now()).unwrap());
        tokens.withdraw(&id, &first);
        assert!(tokens.of(&id, now()).is_some());
        tokens.withdraw(&id, &second);
        assert!(tokens.of(&id, now()).is_none());
    }

    fn taken(secret: Option<&str>, context: Option<&str>) -> Option<String> {
        let tokens = Tokens::new("signer".to_owned());
        let mut request = publish_request("csi-1", "/pods/a/mount");
        request.secrets.extend(secret.map(|text| (KEY.to_owned(), text.to_owned())));
        request.volume_context.extend(context.map(|text| (KEY.to_owned(), text.to_owned())));
        tokens.take(&mut request, now());
        assert!(!request.secrets.contains_key(KEY) && !request.volume_context.contains_key(KEY));
        let token = tokens.of(&VolumeId::new("csi-1").unwrap(), now())?;
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
            tokens.take(&mut request, now());
        }
        tokens.take(&mut publish_request("csi-1", "/pods/a/mount"), now());
        assert_eq!(tokens.of(&id, now()).unwrap().expose(), b"new");
        assert!(!format!("{tokens:?}").contains("new"));
        tokens.forget(&id);
        assert!(tokens.of(&id, now()).is_none());
    }
}
