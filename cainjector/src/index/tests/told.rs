//! What is told of targets and sources.

use super::*;

#[test]
fn how_long_a_target_waits_is_known_of_what_became_due_while_this_process_led() {
    let ca = pem(&[&root("ca", 5)]);
    let mut world = World::asking(FROM_SECRET, "team-a/ca");
    let later = world.now + Duration::from_secs(3);
    assert_eq!(world.index.waited(&target("web"), later), None, "another one led");
    world.index.set_leading(true);
    world.secret("ca", holding(&ca));
    world.now += Duration::from_secs(1);
    world.index.target_seen(target("web"), asks(FROM_SECRET, "team-a/ca"), "5", world.now);
    assert_eq!(
        world.index.waited(&target("web"), later),
        Some(Duration::from_secs(3)),
        "since the first event"
    );
    assert_eq!(world.index.waited(&target("web"), later), None, "it is told once");
    world.secret("ca", holding(&pem(&[&root("new", 5)])));
    world.check("apply ca,new");
    assert_eq!(world.index.waited(&target("web"), later), None, "there is nothing left to do");
}

#[test]
fn what_a_target_had_before_of_its_source_and_lacks_was_lost() {
    let (first, second) = (pem(&[&root("first", 5)]), pem(&[&root("second", 5)]));
    let mut world = World::asking(FROM_SECRET, "team-a/ca");
    let had = |world: &World| {
        world.index.had(&target("web"), &world.index.inputs(&target("web"), world.now).unwrap())
    };
    world.secret("ca", holding(&first));
    assert_eq!(had(&world), Had::Nothing);
    world.check("apply first");
    assert_eq!(had(&world), Had::All);
    world.secret("ca", holding(&second));
    assert_eq!(had(&world), Had::Former);
    world.check("apply first,second");
    assert_eq!(had(&world), Had::All);
    // Of another source it has nothing, whether that is known already or not.
    let other = pem(&[&root("other", 5)]);
    let effects = world.index.target_seen(target("late"), asks(FROM_SECRET, "team-a/other"), "1", world.now);
    world.take(effects);
    world.secret("other", holding(&other)).asks(FROM_SECRET, "team-a/other");
    assert_eq!(had(&world), Had::Nothing);
    world.asks(FROM_SECRET, "team-a/fresh").secret("fresh", holding(&other));
    assert_eq!(had(&world), Had::Nothing);
    world.check("apply first,second,other");
    assert_eq!(had(&world), Had::All);
}

fn concern(reason: Reason) -> Advice {
    Advice { reason, message: "m".to_owned() }
}

#[test]
fn a_source_is_told_once_what_is_wrong_with_it_on_the_object_that_can_be_mended() {
    let secret = |name: &str| SourceRef::Secret(object(name));
    let mut world = World::asking(FROM_SECRET, "team-a/ca");
    let absent = concern(Reason::SourceNotFound);
    assert_eq!(
        world.index.say_of_source(&secret("ca"), vec![absent]),
        None,
        "there is nothing to tell it on"
    );
    world.secret("ca", holding(""));
    let empty = || concern(Reason::NoCAData);
    let (on, news) = world.index.say_of_source(&secret("ca"), vec![empty()]).unwrap();
    assert_eq!((on.kind.kind.as_str(), on.name, on.uid.as_str()), ("Secret", object("ca"), "s"));
    assert_eq!(news, [empty()]);
    assert_eq!(world.index.say_of_source(&secret("ca"), vec![empty()]), None);
    let soon = concern(Reason::CAExpiringSoon);
    let (_, news) = world.index.say_of_source(&secret("ca"), vec![empty(), soon.clone()]).unwrap();
    assert_eq!(news, [soon]);
    assert_eq!(world.index.say_of_source(&secret("ca"), vec![]), None);
    assert!(world.index.say_of_source(&secret("ca"), vec![empty()]).is_some(), "it was well meanwhile");
    assert_eq!(world.index.say_of_source(&secret("other"), vec![empty()]), None, "nobody asks for it");
}

#[test]
fn of_a_certificate_the_secret_is_told_if_there_is_one() {
    let source = SourceRef::Certificate(object("web"));
    let mut world = World::asking(FROM_CERTIFICATE, "team-a/web");
    let told = |world: &mut World, reason| {
        let (on, _) = world.index.say_of_source(&source, vec![concern(reason)])?;
        Some(format!("{} {}", on.kind.kind, on.name))
    };
    assert_eq!(told(&mut world, Reason::SourceNotFound), None);
    world.certificate("web", into_secret("tls")).secret("tls", State::Absent);
    world.index.say_of_source(&SourceRef::Certificate(object("web")), vec![]);
    assert_eq!(told(&mut world, Reason::SourceNotFound).unwrap(), "Certificate team-a/web");
    world.secret("tls", holding("x"));
    assert_eq!(told(&mut world, Reason::InvalidPEM).unwrap(), "Secret team-a/tls");
}
