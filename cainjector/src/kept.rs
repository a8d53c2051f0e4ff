//! Targets as their watches have shown them last, so that most need not be read again before they are written.
//!
//! What is kept may be older than the target itself. That does no harm: a write is bound to the version that it was
//! planned for, and one that comes too late is refused; then the target is read. What is planned without a write is
//! planned anew when the watch shows the next version.
//!
//! A bundle that many targets have is kept once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use runtime::lock::lock;

use crate::target::{Fields, Live, Target};

/// Most bytes of one target: a hundred webhooks with a name each, or the owners of a much disputed object. What is larger
/// is rare, and read when it is needed.
const TARGET_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of all targets and their bundles: some thousand webhook configurations. Those for which there is no room are
/// read when they are needed.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the maps need for a target, and the allocator for its parts.
const OVERHEAD_BYTES: usize = 512;

/// The targets that are kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    targets: HashMap<Target, Entry>,
    bundles: HashSet<Arc<[u8]>>,
    /// Of both.
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// The target, with empty bundles.
    live: Live,
    /// Its bundles, in order.
    bundles: Vec<Arc<[u8]>>,
    bytes: usize,
}

impl Kept {
    /// Keeps a target as it is now, in place of what it was, if there is room for it.
    pub(crate) fn keep(&self, live: Live) {
        let state = &mut *lock(&self.state);
        state.forget(&live.target);
        state.keep(live);
    }

    /// The target as it was seen last, if it is kept.
    pub(crate) fn get(&self, target: &Target) -> Option<Live> {
        let state = lock(&self.state);
        let Entry { live, bundles, .. } = state.targets.get(target)?;
        let mut live = live.clone();
        for (field, bundle) in live.fields.bundles_mut().into_iter().zip(bundles) {
            *field = bundle.to_vec();
        }
        Some(live)
    }

    /// The target is gone, or about to be another.
    pub(crate) fn forget(&self, target: &Target) {
        lock(&self.state).forget(target);
    }
}

impl State {
    fn keep(&mut self, mut live: Live) {
        let fields: Vec<Vec<u8>> = live.fields.bundles_mut().into_iter().map(std::mem::take).collect();
        let bytes = OVERHEAD_BYTES + size(&live);
        let new: usize =
            fields.iter().filter(|bundle| !self.bundles.contains(bundle.as_slice())).map(Vec::len).sum();
        if bytes > TARGET_BYTES_MAX || self.bytes + bytes + new > BYTES_MAX {
            return;
        }
        let bundles = fields.into_iter().map(|bundle| self.shared(bundle)).collect();
        self.bytes += bytes;
        self.targets.insert(live.target.clone(), Entry { live, bundles, bytes });
    }

    /// The bundle, as other targets have it too.
    fn shared(&mut self, bundle: Vec<u8>) -> Arc<[u8]> {
        if let Some(known) = self.bundles.get(bundle.as_slice()) {
            return Arc::clone(known);
        }
        let bundle: Arc<[u8]> = bundle.into();
        self.bytes += bundle.len();
        self.bundles.insert(Arc::clone(&bundle));
        bundle
    }

    fn forget(&mut self, target: &Target) {
        let Some(Entry { mut bundles, bytes, .. }) = self.targets.remove(target) else { return };
        self.bytes = self.bytes.saturating_sub(bytes);
        while let Some(bundle) = bundles.pop() {
            // This one, and that of the set: nobody else has it.
            if Arc::strong_count(&bundle) == 2 {
                self.bundles.remove(&bundle);
                self.bytes = self.bytes.saturating_sub(bundle.len());
            }
        }
    }
}

/// Bytes of the texts in a target, bundles left out.
fn size(live: &Live) -> usize {
    let owners = live.owners.iter().map(|owner| {
        size_of_val(owner) + owner.manager.len() + owner.operation.len() + owner.subresource.len()
    });
    let names = match &live.fields {
        Fields::Webhooks(webhooks) => {
            webhooks.iter().map(|webhook| size_of_val(webhook) + webhook.name.len()).sum()
        }
        _ => 0,
    };
    names + owners.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{TargetKind, Webhook};

    /// A webhook configuration with these bundles.
    fn live(name: &str, bundles: &[&[u8]]) -> Live {
        let webhooks = bundles.iter().zip(0..).map(|(bundle, number)| Webhook {
            name: format!("{number}.example.test"),
            bundle: bundle.to_vec(),
        });
        Live {
            target: target(name),
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            deleting: false,
            owners: Vec::new(),
            fields: Fields::Webhooks(webhooks.collect()),
        }
    }

    fn target(name: &str) -> Target {
        Target::cluster(TargetKind::ValidatingWebhookConfiguration, name)
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_what_was_kept_of_it_is_forgotten() {
        let kept = Kept::default();
        kept.keep(live("web", &[b"a"]));
        let many: Vec<&[u8]> = (0..3_000).map(|_| b"a".as_slice()).collect();
        kept.keep(live("web", &many));
        assert_eq!(kept.get(&target("web")), None);
        let state = lock(&kept.state);
        assert_eq!((state.bytes, state.targets.len(), state.bundles.len()), (0, 0, 0));
    }

    #[test]
    fn all_in_all_it_stays_small() {
        let kept = Kept::default();
        let bundle = |number: usize| vec![u8::try_from(number).unwrap(); 50_000];
        for number in 0..200 {
            kept.keep(live(&format!("web-{number}"), &[&bundle(number)]));
        }
        let state = lock(&kept.state);
        assert!(state.bytes <= BYTES_MAX && state.bytes > BYTES_MAX / 2, "{}", state.bytes);
        assert!((40..BYTES_MAX / 50_000 + 1).contains(&state.targets.len()), "{}", state.targets.len());
    }

    #[test]
    fn a_target_is_as_it_was_seen_last() {
        let kept = Kept::default();
        assert_eq!(kept.get(&target("web")), None);
        kept.keep(live("web", &[b"one", b"two"]));
        kept.keep(live("other", &[b"one", b""]));
        assert_eq!(kept.get(&target("web")), Some(live("web", &[b"one", b"two"])));
        kept.keep(live("web", &[b"three"]));
        assert_eq!(kept.get(&target("web")), Some(live("web", &[b"three"])));
        assert_eq!(kept.get(&target("other")), Some(live("other", &[b"one", b""])));
        kept.forget(&target("web"));
        assert_eq!(kept.get(&target("web")), None);
    }

    #[test]
    fn a_bundle_that_many_have_is_kept_once_and_goes_with_the_last() {
        let kept = Kept::default();
        let bundle = vec![7; 100_000];
        for number in 0..100 {
            kept.keep(live(&format!("web-{number}"), &[&bundle, &bundle]));
        }
        {
            let state = lock(&kept.state);
            assert_eq!((state.targets.len(), state.bundles.len()), (100, 1));
            assert!(state.bytes < 300_000, "{}", state.bytes);
        }
        for number in 0..100 {
            kept.forget(&target(&format!("web-{number}")));
        }
        let state = lock(&kept.state);
        assert_eq!((state.bytes, state.bundles.len()), (0, 0));
    }
}
