//! The watches: of all targets, and of the sources that they name.
//!
//! Of targets that may be large, the API server sends metadata alone, and what their annotations ask for is kept. Small
//! ones are sent whole, so that they need not be read again before they are written; of these, what a plan needs is kept.
//! Foreign annotations are not even built.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use api::keys::label;
use kube::{Api, Client};
use runtime::follow::{self, Change};
use runtime::held::Held;
use runtime::readiness::Teller;
use runtime::shutdown::Shutdown;
use runtime::trimmed::{Keep, Trimmed};
use runtime::watch::{NamedObjects, State, WATCHES_MAX};

use crate::apply::Injector;
use crate::index::{Effects, Index, Watch};
use crate::plan::{Reason, Refusal};
use crate::reference;
use crate::source::{SourceCertificate, SourceSecret, certificate, secret};
use crate::target::{Live, LiveContent, Target, TargetKind};

/// Watches of one kind of source that are left to targets of the kinds which every cluster has: who may label a ConfigMap
/// decides what is watched for it, and shall keep no webhook from its CA.
const RESERVED: usize = WATCHES_MAX / 2;

/// A target without its content.
pub(crate) type Metadata = Trimmed<MetadataOnly>;

/// Nothing of a target but what its annotations ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct MetadataOnly;

impl Keep for MetadataOnly {
    const ANNOTATIONS: &'static [&'static str] = reference::ANNOTATIONS;
    const METADATA_ONLY: bool = true;
}

/// Follows the targets of one kind until shutdown is requested.
///
/// # Errors
/// None; the result is for [`runtime::tasks::Tasks::spawn`].
pub(crate) async fn follow(
    injector: Arc<Injector>,
    kind: TargetKind,
    standing: Teller,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let (client, resource) = (injector.client(), kind.resource());
    let (selector, plural) = (kind.selector(), kind.plural());
    if kind.is_watched_whole() {
        let api = Api::<Trimmed<LiveContent>>::all_with(client, &resource);
        let changed = move |change| injector.changed(kind, change, |object| Some(Live::new(kind, object)));
        follow::follow(api, selector, plural, standing, shutdown, changed).await
    } else {
        let api = Api::<Metadata>::all_with(client, &resource);
        let changed = move |change| injector.changed(kind, change, |_| None);
        follow::follow(api, selector, plural, standing, shutdown, changed).await
    }
}

impl Injector {
    /// Takes what a watch tells about the targets of one kind; `whole` is what it shows of one beyond its metadata.
    fn changed<K: Keep>(
        &self,
        kind: TargetKind,
        change: Change<Trimmed<K>>,
        whole: impl Fn(Trimmed<K>) -> Option<Live>,
    ) {
        match change {
            Change::Seen(object) => self.seen(kind, object, whole),
            Change::Gone(object) => {
                self.gone(&Target::of(kind, &object.metadata));
            }
            Change::Listed(names) => {
                for target in self.missing(kind, &names) {
                    self.gone(&target);
                }
            }
            Change::Denied(failure) => self.denied(kind, &failure),
        }
    }

    fn seen<K: Keep>(
        &self,
        kind: TargetKind,
        mut object: Trimmed<K>,
        whole: impl Fn(Trimmed<K>) -> Option<Live>,
    ) {
        let target = Target::of(kind, &object.metadata);
        if self.excludes(&target) {
            return;
        }
        let wanted = reference::wanted(&object.metadata.annotations.take().unwrap_or_default());
        let resource_version = object.metadata.resource_version.clone().unwrap_or_default();
        match wanted {
            Some(wanted) => {
                // First, for those who are told that the target is due.
                whole(object).into_iter().for_each(|live| self.keep(live));
                self.wants(target, wanted, &resource_version);
            }
            None => self.wants_nothing(&target, &resource_version),
        }
    }
}

/// The objects that are watched because a target refers to them.
#[derive(Debug)]
pub(crate) struct Watched {
    secrets: Held<SourceSecret>,
    certificates: Held<SourceCertificate>,
}

impl Watched {
    /// Nothing is watched yet. The injector is told of each change.
    pub(crate) fn new(client: &Client, injector: &Weak<Injector>) -> Self {
        let told = injector.clone();
        let (named, crowd) = (secret::watched(client.clone()), secret::crowd(client.clone()));
        let secrets = NamedObjects::of_crowds(named, crowd, SourceSecret::keep);
        let secrets = secrets.on_change(move |name, state| {
            if let Some(injector) = told.upgrade() {
                injector.secret_changed(name, state);
            }
        });
        let told = injector.clone();
        let (named, crowd) = (certificate::watched(client.clone()), certificate::crowd(client.clone()));
        let certificates = NamedObjects::of_crowds(named, crowd, SourceCertificate::keep);
        let certificates = certificates.on_change(move |name, state| {
            if let Some(injector) = told.upgrade() {
                injector.certificate_changed(name, state);
            }
        });
        Self { secrets: Held::new(secrets), certificates: Held::new(certificates) }
    }

    /// Opens and closes watches as the effects say, and tells `due` of each target that is. What is known of a newly opened
    /// object already is told to the index, which may have further effects.
    pub(crate) fn follow(&self, index: &mut Index, effects: Effects, due: impl Fn(Target)) {
        let now = Instant::now();
        let mut waiting = VecDeque::from([effects]);
        while let Some(Effects { open, close, due: targets }) = waiting.pop_front() {
            for watch in close {
                match watch {
                    Watch::Secret(name) => self.secrets.release(&name),
                    Watch::Certificate(name) => self.certificates.release(&name),
                }
            }
            for watch in open {
                waiting.extend(self.open(index, &watch, now));
            }
            targets.into_iter().for_each(&due);
        }
    }

    /// Opens a watch, if there is one left for those who need it: what follows from that.
    fn open(&self, index: &mut Index, watch: &Watch, now: Instant) -> [Effects; 2] {
        if index.is_for_wider_kinds_alone(watch) {
            let is_refused = match watch {
                Watch::Secret(name) => self.secrets.state_sparing(name, RESERVED).is_err(),
                Watch::Certificate(name) => self.certificates.state_sparing(name, RESERVED).is_err(),
            };
            if is_refused {
                return [index.not_watched(watch, Some(crowded_out(watch)), now), Effects::default()];
            }
        }
        let opened = index.not_watched(watch, None, now);
        let seen = match watch {
            Watch::Secret(name) => {
                known(self.secrets.state(name), |state| index.secret_seen(name, state, now))
            }
            Watch::Certificate(name) => {
                known(self.certificates.state(name), |state| index.certificate_seen(name, state, now))
            }
        };
        [opened, seen]
    }

    /// How many objects are watched.
    pub(crate) fn count(&self) -> usize {
        self.secrets.count() + self.certificates.count()
    }

    /// How many watches that takes.
    pub(crate) fn connections(&self) -> usize {
        self.secrets.connections() + self.certificates.connections()
    }
}

/// Why an object is not watched that only labelled ones name.
fn crowded_out(watch: &Watch) -> Refusal {
    let open = WATCHES_MAX - RESERVED;
    let text = format!(
        "{watch} is not watched: {open} watches of its kind are open, and the other {RESERVED} are kept for webhook \
         configurations, API services and CustomResourceDefinitions; let the objects with label {} name fewer different \
         sources, or take it off those that need no bundle",
        label::INJECT
    );
    Refusal::new(Reason::TooManySources, text)
}

fn known<T>(state: State<T>, seen: impl FnOnce(State<T>) -> Effects) -> Effects {
    match state {
        State::Pending => Effects::default(),
        state => seen(state),
    }
}
