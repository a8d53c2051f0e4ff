//! What the watches of the targets tell: who asks for which CA.
//!
//! The API server sends metadata alone. Of that, what the annotations ask for is kept; schemas, managed fields and
//! foreign annotations are dropped as soon as they are decoded.

use kube::Api;
use kube::core::ObjectMeta;
use runtime::follow::Change;
use runtime::trimmed::{Keep, Trimmed};

use crate::apply::Injector;
use crate::reference;
use crate::target::{Target, TargetKind};

/// A target without its content.
pub(crate) type Metadata = Trimmed<MetadataOnly>;

/// Nothing of a target but what its annotations ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct MetadataOnly;

impl Keep for MetadataOnly {
    const ANNOTATIONS: &'static [&'static str] = reference::ANNOTATIONS;
    const METADATA_ONLY: bool = true;
}

impl Injector {
    /// The metadata of all targets of one kind.
    pub(crate) fn targets(&self, kind: TargetKind) -> Api<Metadata> {
        Api::all_with(self.client(), &kind.resource())
    }

    /// Takes what a watch tells about the targets of one kind.
    pub(crate) fn changed(&self, kind: TargetKind, change: Change<Metadata>) {
        match change {
            Change::Seen(object) => self.seen(kind, object.metadata),
            Change::Gone(object) => {
                let name = object.metadata.name.unwrap_or_default();
                self.gone(&Target { kind, name });
            }
            Change::Listed(names) => {
                let names = names.into_iter().map(|name| name.name).collect();
                for target in self.missing(kind, &names) {
                    self.gone(&target);
                }
            }
        }
    }

    fn seen(&self, kind: TargetKind, metadata: ObjectMeta) {
        let target = Target { kind, name: metadata.name.unwrap_or_default() };
        match reference::wanted(&metadata.annotations.unwrap_or_default()) {
            Some(wanted) => self.wants(target, wanted),
            None => self.wants_nothing(&target),
        }
    }
}
