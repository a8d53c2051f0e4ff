//! Requests whose answer the API server did not take: what it will not let us approve is not signed again and again.

use std::collections::HashMap;
use std::sync::Mutex;

use runtime::lock::lock;
use runtime::watch::ObjectName;

use crate::request::view::RequestView;

/// The requests, by name, with their UIDs.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<ObjectName, String>>);

impl Refusals {
    /// An answer to this request was not taken.
    pub(crate) fn add(&self, view: &RequestView) {
        lock(&self.0).insert(view.name.clone(), view.uid.clone());
    }

    /// Whether the last answer to this request was not taken.
    pub(crate) fn contains(&self, view: &RequestView) -> bool {
        lock(&self.0).get(&view.name).is_some_and(|uid| *uid == view.uid)
    }

    /// An answer was taken, or the request is gone.
    pub(crate) fn forget(&self, name: &ObjectName) {
        lock(&self.0).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_request_of_the_name_was_not_refused() {
        let view = |uid: &str| {
            let request =
                json!({"metadata": {"namespace": "a", "name": "r", "uid": uid}, "spec": {"request": "eA=="}});
            RequestView::of(serde_json::from_value(request).unwrap())
        };
        let refusals = Refusals::default();
        refusals.add(&view("u"));
        assert!(refusals.contains(&view("u")) && !refusals.contains(&view("v")));
        refusals.forget(&view("u").name);
        assert!(!refusals.contains(&view("u")));
    }
}
