mod told;

use std::time::Duration;

use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
use runtime::watch::Failure;

use super::*;
use crate::plan::{Plan, plan};
use crate::reference::wanted;
use crate::settings::Namespaces;
use crate::target::{CustomTarget, Fields, Live};
use crate::testing::{self, pem, root, shown};

const FROM_SECRET: &str = "cert-manager.io/inject-ca-from-secret";
const FROM_CERTIFICATE: &str = "cert-manager.io/inject-ca-from";

fn target(name: &str) -> Target {
    Target::cluster(TargetKind::ApiService, name)
}

fn object(name: &str) -> ObjectName {
    ObjectName::namespaced("team-a", name)
}

fn asks(annotation: &str, value: &str) -> Wanted {
    wanted(&std::iter::once((annotation.to_owned(), value.to_owned())).collect()).unwrap()
}

/// A cluster of one target, and the index of it.
struct World {
    index: Index,
    live: Live,
    /// Everything that was to be watched or not, in order.
    watched: Vec<String>,
    now: Instant,
}

impl World {
    fn new(settings: Settings) -> Self {
        let live = Live {
            target: target("web"),
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            deleting: false,
            owners: Vec::new(),
            fields: Fields::ApiService { bundle: Vec::new(), insecure: false, remote: true },
        };
        Self { index: Index::new(settings), live, watched: Vec::new(), now: Instant::now() }
    }

    fn asking(annotation: &str, value: &str) -> Self {
        let mut world = Self::new(Settings::default());
        world.asks(annotation, value);
        world
    }

    fn take(&mut self, effects: Effects) -> Vec<Target> {
        let shown = |sign: &str, watch: &Watch| match watch {
            Watch::Secret(name) => format!("{sign}Secret {}", name.name),
            Watch::Certificate(name) => format!("{sign}Certificate {}", name.name),
        };
        self.watched.extend(effects.open.iter().map(|watch| shown("+", watch)));
        self.watched.extend(effects.close.iter().map(|watch| shown("-", watch)));
        effects.due
    }

    fn asks(&mut self, annotation: &str, value: &str) -> &mut Self {
        let effects = self.index.target_seen(target("web"), asks(annotation, value), "1", self.now);
        assert!(!self.take(effects).is_empty(), "it was not due");
        self
    }

    fn secret(&mut self, name: &str, state: State<SourceSecret>) -> &mut Self {
        let effects = self.index.secret_seen(&object(name), state, self.now);
        self.take(effects);
        self
    }

    fn certificate(&mut self, name: &str, state: State<SourceCertificate>) -> &mut Self {
        let effects = self.index.certificate_seen(&object(name), state, self.now);
        self.take(effects);
        self
    }

    /// What is planned now, carried out; `waiting` when nothing can be planned yet.
    fn look(&mut self) -> String {
        let Some(inputs) = self.index.inputs(&target("web"), self.now) else { return "waiting".to_owned() };
        let planned = plan(&self.live, &inputs, testing::now());
        if let (Plan::Apply { body }, Fields::ApiService { bundle, .. }) =
            (&planned.plan, &mut self.live.fields)
        {
            let written: k8s_openapi::ByteString =
                serde_json::from_value(body["spec"]["caBundle"].clone()).unwrap();
            *bundle = written.0;
        }
        let has_all = !matches!(planned.plan, Plan::Refused(_));
        self.index.done(&target("web"), &inputs, "2".to_owned(), has_all);
        shown(&planned)
    }

    fn check(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.look(), expected);
        self
    }
}

/// A Secret that consents and belongs to Certificate `web`.
fn holding(ca: &str) -> State<SourceSecret> {
    let (certificate_name, ca) = (Some("web".to_owned()), Some(ca.as_bytes().to_vec().into()));
    State::Present(Arc::new(SourceSecret { uid: "s".to_owned(), allowed: true, certificate_name, ca }))
}

fn into_secret(secret_name: &str) -> State<SourceCertificate> {
    State::Present(Arc::new(SourceCertificate { uid: "c".to_owned(), secret_name: secret_name.to_owned() }))
}

fn failed<T>(code: Option<u16>, message: &str) -> State<T> {
    State::Failed(Failure { code, message: message.to_owned() })
}

#[test]
fn a_secret_that_cannot_be_used_is_told() {
    let good = pem(&[&root("good", 1)]);
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let with_key = format!("{good}{}", std::str::from_utf8(key.to_pem(KeyEncoding::Pkcs8).expose()).unwrap());
    let secret = |allowed, ca: Option<&str>| {
        let ca = ca.map(|ca| ca.as_bytes().to_vec().into());
        State::Present(Arc::new(SourceSecret { allowed, ca, ..SourceSecret::default() }))
    };
    let cases = [
        (State::Pending, "waiting"),
        (State::Absent, "SourceNotFound: Secret team-a/ca does not exist"),
        (
            failed(Some(403), "no"),
            "Forbidden: reading Secret team-a/ca is forbidden: no; the cainjector needs get, list and watch on it",
        ),
        (failed(None, "refused"), "SourceUnavailable: Secret team-a/ca cannot be read: refused"),
        (
            secret(false, Some(&good)),
            "SourceNotAllowed: Secret team-a/ca does not allow it: its owner must set the annotation cert-manager.io/allow-direct-injection to \"true\"",
        ),
        (secret(true, None), "NoCAData: Secret team-a/ca has no ca.crt: put the CA certificate in PEM there"),
        (holding(""), "NoCAData: Secret team-a/ca has no ca.crt: put the CA certificate in PEM there"),
        (
            holding("not a pem"),
            "InvalidPEM: ca.crt of Secret team-a/ca: no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----",
        ),
        (
            holding(&with_key),
            "PrivateKeyInSource: ca.crt of Secret team-a/ca: PEM block 2 is a private key: remove it and treat the key as disclosed",
        ),
        (
            holding(&pem(&[&root("expired", -1)])),
            "CAExpired: every CA certificate of Secret team-a/ca has expired",
        ),
        (holding(&good), "apply good"),
    ];
    for (state, expected) in cases {
        World::asking(FROM_SECRET, "team-a/ca").secret("ca", state).check(expected);
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_told() {
    let good = pem(&[&root("good", 1)]);
    let owned_by = |certificate: Option<&str>| {
        let certificate_name = certificate.map(ToOwned::to_owned);
        let ca = Some(good.clone().into_bytes().into());
        State::Present(Arc::new(SourceSecret { certificate_name, ca, ..SourceSecret::default() }))
    };
    let cases = [
        (State::Pending, State::Absent, "waiting"),
        (State::Absent, State::Absent, "SourceNotFound: Certificate team-a/web does not exist"),
        (
            failed(Some(404), "404 page not found"),
            State::Absent,
            "SourceNotFound: Certificate team-a/web does not exist: the API server does not serve its kind (yet)",
        ),
        (
            into_secret("../x"),
            State::Absent,
            "SourceNotFound: Certificate team-a/web names no Secret: its spec.secretName is \"../x\"",
        ),
        (into_secret("tls"), State::Pending, "waiting"),
        (
            into_secret("tls"),
            State::Absent,
            "SourceNotFound: Secret team-a/tls does not exist (it is the Secret of Certificate team-a/web)",
        ),
        (
            into_secret("tls"),
            owned_by(None),
            "SourceNotOwned: the annotation cert-manager.io/certificate-name of Secret team-a/tls is missing: it must be \"web\", and is set when the Certificate is issued (it is the Secret of Certificate team-a/web)",
        ),
        (
            into_secret("tls"),
            owned_by(Some("other")),
            "SourceNotOwned: the annotation cert-manager.io/certificate-name of Secret team-a/tls is \"other\": it must be \"web\", and is set when the Certificate is issued (it is the Secret of Certificate team-a/web)",
        ),
        (into_secret("tls"), owned_by(Some("web")), "apply good"),
    ];
    for (certificate, secret, expected) in cases {
        let mut world = World::asking(FROM_CERTIFICATE, "team-a/web");
        world.certificate("web", certificate).secret("tls", secret).check(expected);
    }
}

#[test]
fn a_reference_that_cannot_be_followed_is_told_and_watches_nothing() {
    let mut world = World::asking(FROM_CERTIFICATE, "web");
    world.check(
        "MalformedReference: annotation cert-manager.io/inject-ca-from is \"web\": write NAMESPACE/NAME",
    );
    assert_eq!(world.watched, [""; 0]);
}

#[test]
fn what_the_operator_excludes_is_told_and_not_watched() {
    let only = |namespace: &str| Settings {
        namespaces: Namespaces::Only(namespace.to_owned()),
        ..Settings::default()
    };
    let no_certificates = Settings { certificates: false, ..Settings::default() };
    for (settings, annotation, expected) in [
        (
            only("team-b"),
            FROM_SECRET,
            "NamespaceNotServed: Secret team-a/web is in a namespace that --namespace excludes",
        ),
        (
            no_certificates,
            FROM_CERTIFICATE,
            "SourceNotSupported: Certificate team-a/web is no source here: --enable-certificates-data-source is false",
        ),
    ] {
        let mut world = World::new(settings);
        world.asks(annotation, "team-a/web").check(expected);
        assert_eq!(world.watched, [""; 0]);
    }
}

#[test]
fn a_source_that_goes_leaves_the_bundle() {
    let ca = pem(&[&root("ca", 5)]);
    let mut world = World::asking(FROM_SECRET, "team-a/ca");
    world.secret("ca", holding(&ca)).check("apply ca").check("in sync");
    world.secret("ca", State::Absent).check("SourceNotFound: Secret team-a/ca does not exist");
    let Fields::ApiService { bundle, .. } = &world.live.fields else { panic!("another kind") };
    assert_eq!(*bundle, ca.into_bytes());
}

#[test]
fn a_certificate_whose_secret_changes_gives_both_cas() {
    let (old, new) = (pem(&[&root("old", 5)]), pem(&[&root("new", 5)]));
    let mut world = World::asking(FROM_CERTIFICATE, "team-a/web");
    world.certificate("web", into_secret("one")).secret("one", holding(&old)).check("apply old");
    world.certificate("web", into_secret("two")).check("waiting");
    world.secret("two", holding(&new)).check("apply old,new").check("in sync");
    assert_eq!(world.watched, ["+Certificate web", "+Secret one", "+Secret two", "-Secret one"]);
}

#[test]
fn a_secret_that_comes_before_its_certificate_is_found() {
    let ca = pem(&[&root("ca", 5)]);
    let mut world = World::asking(FROM_CERTIFICATE, "team-a/web");
    // Another target names the Secret itself, so that it is known.
    let other = world.index.target_seen(target("other"), asks(FROM_SECRET, "team-a/tls"), "1", world.now);
    world.take(other);
    world.secret("tls", holding(&ca)).check("waiting");
    world.certificate("web", State::Absent).check("SourceNotFound: Certificate team-a/web does not exist");
    world.certificate("web", into_secret("tls")).check("apply ca");
    assert_eq!(world.watched, ["+Certificate web", "+Secret tls"], "both refer to it");
    let gone = world.index.target_gone(&target("other"));
    assert_eq!(world.take(gone), []);
    let gone = world.index.target_gone(&target("web"));
    world.take(gone);
    assert_eq!(world.watched[2..], ["-Certificate web", "-Secret tls"]);
}

#[test]
fn a_rotation_adds_to_what_is_trusted() {
    let [first, second, third] = ["first", "second", "third"].map(|name| pem(&[&root(name, 5)]));
    let mut world = World::asking(FROM_SECRET, "team-a/ca");
    world.secret("ca", holding(&first)).check("apply first");
    world.secret("ca", holding(&second)).secret("ca", holding(&third)).check("apply first,second,third");
    world.check("in sync");
    assert_eq!(world.index.inputs(&target("web"), world.now).unwrap().recent, [], "it has them all");
}

#[test]
fn a_ca_that_nobody_could_read_in_between_is_not_remembered() {
    let (first, second) = (pem(&[&root("first", 5)]), pem(&[&root("second", 5)]));
    let mut world = World::asking(FROM_SECRET, "team-a/ca");
    world.secret("ca", holding(&first)).check("apply first");
    let refused =
        SourceSecret { allowed: false, ca: Some(second.into_bytes().into()), ..SourceSecret::default() };
    world.secret("ca", State::Present(Arc::new(refused))).secret("ca", holding(&first)).check("in sync");
}

#[test]
fn cas_are_remembered_until_every_target_has_them_but_not_without_end() {
    let (mut index, now) = (Index::default(), Instant::now());
    for name in ["web", "slow"] {
        index.target_seen(target(name), asks(FROM_SECRET, "team-a/ca"), "1", now);
    }
    let rotate = |index: &mut Index| {
        let due = index.secret_seen(&object("ca"), holding(&pem(&[&root("ca", 5)])), now).due;
        assert_eq!(due, [target("slow"), target("web")]);
    };
    for remembered in 1..=10_usize {
        rotate(&mut index);
        let inputs = index.inputs(&target("web"), now).unwrap();
        index.done(&target("web"), &inputs, "2".to_owned(), true);
        assert_eq!(index.inputs(&target("slow"), now).unwrap().recent.len(), remembered.min(8));
        assert_eq!(index.inputs(&target("web"), now).unwrap().recent, []);
    }
    // A new target has missed nothing.
    index.target_seen(target("new"), asks(FROM_SECRET, "team-a/ca"), "1", now);
    assert_eq!(index.inputs(&target("new"), now).unwrap().recent, []);
}

#[test]
fn a_ca_that_nobody_wrote_for_long_is_not_trusted_by_surprise() {
    let (first, second) = (pem(&[&root("first", 5)]), pem(&[&root("second", 5)]));
    for (age_secs, expected) in [(600, "apply first,second"), (601, "apply second")] {
        // A standby sees this and writes nothing.
        let mut world = World::asking(FROM_SECRET, "team-a/ca");
        world.secret("ca", holding(&first)).secret("ca", holding(&second));
        world.now += Duration::from_secs(age_secs);
        world.check(expected);
    }
}

#[test]
fn a_target_is_due_until_nothing_is_left_to_do_at_its_version() {
    let ca = pem(&[&root("ca", 5)]);
    let mut world = World::asking(FROM_SECRET, "team-a/ca");
    world.secret("ca", holding(&ca)).check("apply ca");
    let from_secret = asks(FROM_SECRET, "team-a/ca");
    assert_eq!(world.index.target_seen(target("web"), from_secret.clone(), "2", world.now).due, []);
    assert_eq!(
        world.index.target_seen(target("web"), from_secret.clone(), "3", world.now).due,
        [target("web")]
    );
    // The same CA once more is no news; another annotation is.
    assert_eq!(world.index.secret_seen(&object("ca"), holding(&ca), world.now).due, []);
    assert_eq!(
        world.index.target_seen(target("web"), asks(FROM_SECRET, "x"), "2", world.now).due,
        [target("web")]
    );
    // A look that began before that says nothing about it.
    let mut stale = world.index.inputs(&target("web"), world.now).unwrap();
    stale.wanted = from_secret;
    world.index.done(&target("web"), &stale, "2".to_owned(), true);
    assert_eq!(
        world.index.target_seen(target("web"), asks(FROM_SECRET, "x"), "2", world.now).due,
        [target("web")]
    );
}

#[test]
fn a_secret_is_watched_from_its_first_user_to_its_last() {
    let mut world = World::asking(FROM_SECRET, "team-a/ca");
    for (name, value, expected) in [
        ("web", Some("team-a/ca"), vec!["+Secret ca"]),
        ("two", Some("team-a/ca"), vec![]),
        ("web", None, vec![]),
        ("two", Some("team-a/other"), vec!["+Secret other", "-Secret ca"]),
        ("two", Some("x"), vec!["-Secret other"]),
        ("two", None, vec![]),
    ] {
        let effects = match value {
            Some(value) => world.index.target_seen(target(name), asks(FROM_SECRET, value), "1", world.now),
            None => world.index.target_gone(&target(name)),
        };
        world.take(effects);
        assert_eq!(std::mem::take(&mut world.watched), expected, "{name} {value:?}");
    }
    assert!(world.index.wanted(&target("two")).is_none());
}

#[test]
fn a_source_that_is_not_watched_for_want_of_room_is_told_and_watched_once_a_standard_kind_names_it() {
    let (mut index, now) = (Index::default(), Instant::now());
    let map = Target { kind: TargetKind::ConfigMap, name: ObjectName::namespaced("team-a", "trust") };
    let (secret, certificate) = (Watch::Secret(object("tls")), Watch::Certificate(object("web")));
    index.target_seen(map.clone(), asks(FROM_CERTIFICATE, "team-a/web"), "1", now);
    index.certificate_seen(&object("web"), into_secret("tls"), now);
    let is_for_wider =
        |index: &Index| [&secret, &certificate].map(|watch| index.is_for_wider_kinds_alone(watch));
    assert_eq!(is_for_wider(&index), [true, true]);
    let refusal = Refusal::new(Reason::TooManySources, "full");
    let effects = index.not_watched(&secret, Some(refusal.clone()), now);
    assert_eq!(effects.due, std::slice::from_ref(&map));
    assert_eq!(index.inputs(&map, now).unwrap().source, Err(refusal.clone()));
    assert_eq!(index.not_watched(&secret, Some(refusal), now), Effects::default(), "it is no news");
    // One that every cluster has needs it as well.
    index.target_seen(target("web"), asks(FROM_SECRET, "team-a/tls"), "1", now);
    assert_eq!(is_for_wider(&index), [false, true]);
    assert_eq!(index.watches(&target("web")), std::slice::from_ref(&secret));
    let effects = index.not_watched(&secret, None, now);
    assert!(effects.due.contains(&map) && effects.due.contains(&target("web")), "{effects:?}");
    assert!(index.inputs(&map, now).is_none(), "the API server has not answered yet");
    index.secret_seen(&object("tls"), holding(&pem(&[&root("ca", 5)])), now);
    assert!(index.inputs(&map, now).unwrap().source.is_ok());
    // What is closed is not refused when somebody names it again.
    index.not_watched(&certificate, Some(Refusal::new(Reason::TooManySources, "full")), now);
    index.target_gone(&map);
    index.target_seen(map.clone(), asks(FROM_CERTIFICATE, "team-a/web"), "1", now);
    assert!(index.inputs(&map, now).is_none());
}

#[test]
fn kinds_that_the_operator_adds_come_last() {
    let declared: CustomTarget = "example.test/v1/meshes:spec.ca".parse().unwrap();
    let declared: &'static CustomTarget = Box::leak(Box::new(declared));
    let mut kinds: Vec<_> = TargetKind::ALL.iter().copied().chain([TargetKind::Custom(declared)]).collect();
    kinds.sort();
    assert!(kinds.is_sorted_by_key(|kind| kind.is_wider()), "{kinds:?}");
}

#[test]
fn what_nobody_refers_to_has_no_effect() {
    let (mut index, now) = (Index::default(), Instant::now());
    assert_eq!(index.secret_seen(&object("ca"), State::Absent, now), Effects::default());
    assert_eq!(index.certificate_seen(&object("web"), into_secret("tls"), now), Effects::default());
}

#[test]
fn targets_that_a_list_does_not_show_are_missing() {
    let (mut index, now) = (Index::default(), Instant::now());
    for name in ["one", "two"] {
        index.target_seen(target(name), asks(FROM_SECRET, "team-a/ca"), "1", now);
    }
    let seen = HashSet::from([ObjectName::cluster("two")]);
    assert_eq!(index.missing(TargetKind::ApiService, &seen), [target("one")]);
    assert!(index.missing(TargetKind::MutatingWebhookConfiguration, &seen).is_empty());
}

#[test]
fn a_target_that_stops_asking_is_told_of_once() {
    let mut world = World::new(Settings::default());
    assert_eq!(
        world.index.target_stopped(&target("web"), "1", world.now),
        Effects::default(),
        "it never asked"
    );
    world.asks(FROM_SECRET, "team-a/ca");
    let stopped = world.index.target_stopped(&target("web"), "2", world.now);
    assert_eq!(world.take(stopped), [target("web")]);
    assert_eq!(world.watched, ["+Secret ca", "-Secret ca"]);
    assert_eq!(world.index.target_stopped(&target("web"), "3", world.now), Effects::default());
    world.check("stopped");
    // It may have asked again meanwhile.
    world.asks(FROM_SECRET, "team-a/ca");
    world.index.stop_told(&target("web"));
    assert!(world.index.wanted(&target("web")).is_some());
    world.index.target_stopped(&target("web"), "4", world.now);
    world.index.stop_told(&target("web"));
    assert!(world.index.wanted(&target("web")).is_none());
}

#[test]
fn the_ca_of_the_api_server_is_a_source_like_the_others() {
    let (old, new) = (pem(&[&root("old", 5)]), pem(&[&root("new", 5)]));
    let mut world = World::asking("cert-manager.io/inject-apiserver-ca", "true");
    world.check("waiting");
    for (ca, expected) in [
        (None, "NoCAData: the CA of the API server is not known: the client's configuration names none"),
        (
            Some("x"),
            "InvalidPEM: the CA of the API server: no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----",
        ),
        (Some(old.as_str()), "apply old"),
        (Some(&new), "apply old,new"),
    ] {
        let effects = world.index.api_server_seen(ca.map(|ca| ca.as_bytes().to_vec()), world.now);
        assert_eq!(world.take(effects), [target("web")], "{expected}");
        world.check(expected);
    }
    assert_eq!(world.watched, [""; 0]);
}
