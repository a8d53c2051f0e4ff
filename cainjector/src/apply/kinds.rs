//! What becomes of all targets of a kind.

use std::collections::HashSet;

use runtime::lock::lock;
use runtime::watch::{Failure, ObjectName};

use super::Injector;
use crate::report::News;
use crate::target::{Target, TargetKind};

impl Injector {
    /// The known targets of this kind that a list did not show.
    pub(crate) fn missing(&self, kind: TargetKind, listed: &HashSet<ObjectName>) -> Vec<Target> {
        lock(&self.index).missing(kind, listed)
    }

    /// The targets of this kind may be seen no more.
    pub(crate) fn denied(&self, kind: TargetKind, failure: &Failure) {
        let news = News::unread(failure);
        let targets = lock(&self.index).unsettle(kind);
        for target in targets {
            self.kept.forget(&target);
            match self.leadership.may_write() {
                true => self.report.tell(&target, &news),
                // The leader tells of it.
                false => self.report.due(&target),
            }
        }
    }

    /// Targets of this kind get no bundles any more.
    pub(crate) fn leave(&self, kind: TargetKind) {
        for target in self.missing(kind, &HashSet::new()) {
            self.gone(&target);
        }
    }

    /// This ConfigMap is the process's own, unless another one was named as that.
    pub(crate) fn keeps(&self, own: Option<ObjectName>) {
        lock(&self.index).keep(own);
    }
}
