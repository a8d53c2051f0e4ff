//! Two Certificates that name one Secret: which of them has it.

use api::keys::annotation;

use crate::certificate::snapshot::{Namesake, Snapshot, Target};

/// The other Certificate that has the Secret; `None` when it is this one's. It belongs to the Certificate that it names
/// as long as that wants it, else to the oldest one, and of several such to the first by name.
pub fn other<'a>(snapshot: &Snapshot<'a>) -> Option<&'a str> {
    let own = snapshot.certificate;
    let named = match snapshot.secret {
        Target::There(secret) => secret.annotation(annotation::CERTIFICATE_NAME),
        Target::Absent | Target::Unknown => None,
    };
    if named == Some(own.name.name.as_str()) {
        return None;
    }
    if let Some(holder) = snapshot.namesakes.iter().find(|namesake| Some(namesake.name.as_str()) == named) {
        return Some(&holder.name);
    }
    let age = |namesake: &Namesake| (namesake.created, namesake.name.clone());
    let oldest = snapshot.namesakes.iter().min_by_key(|namesake| age(namesake))?;
    (age(oldest) < (own.created, own.name.name.clone())).then_some(oldest.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::fixture::Case;
    use crate::testing::at;

    /// The Certificate `web` was created at second 100.
    fn check(named: Option<&str>, namesakes: &[(&str, i64)], expected: Option<&str>) {
        let namesakes = namesakes
            .iter()
            .map(|(name, created)| Namesake { name: (*name).to_owned(), created: at(*created) });
        let mut case = Case { namesakes: namesakes.collect(), ..Case::ready() };
        case.certificate.created = at(100);
        let annotations = &mut case.secret.as_mut().unwrap().annotations;
        annotations.insert(annotation::CERTIFICATE_NAME.to_owned(), named.unwrap_or_default().to_owned());
        assert_eq!(other(&case.snapshot()), expected, "{named:?} {namesakes:?}", namesakes = case.namesakes);
    }

    #[test]
    fn the_certificate_that_the_secret_names_has_it() {
        check(Some("late"), &[("early", 1), ("late", 200)], Some("late"));
        check(Some("web"), &[("early", 1)], None);
    }

    #[test]
    fn of_those_that_it_does_not_name_the_oldest_has_it() {
        check(Some("gone"), &[("early", 1)], Some("early"));
        check(None, &[("early", 1), ("earlier", 0)], Some("earlier"));
        check(None, &[("late", 200)], None);
        check(None, &[("same", 100)], Some("same"));
        check(None, &[("zebra", 100)], None);
        check(None, &[], None);
    }
}
