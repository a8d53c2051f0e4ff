use futures::stream;
use k8s_openapi::api::core::v1::Secret;
use tokio::sync::mpsc;

use super::*;
use crate::scripted;

fn failure(code: u16) -> watcher::Error {
    let status = kube::core::Status::failure("no", "Forbidden").with_code(code);
    watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
}

type Script = Vec<Result<Option<u8>, watcher::Error>>;

fn objects(script: fn() -> Script) -> NamedObjects<u8> {
    NamedObjects::new(move |_| stream::iter(script()).chain(stream::pending()).boxed())
}

fn name() -> ObjectName {
    ObjectName::namespaced("team-a", "ca")
}

/// Plays the script and compares the states after each change.
async fn check(script: fn() -> Script, expected: &[&str]) {
    let (sender, mut changes) = mpsc::unbounded_channel();
    let objects = objects(script).on_change(move |_, state| {
        let _ = sender.send(state.clone());
    });
    let _held = objects.get(&name()).unwrap();
    let mut states = Vec::new();
    for _ in expected {
        states.push(match changes.recv().await {
            None => "none".to_owned(),
            Some(State::Pending) => "pending".to_owned(),
            Some(State::Absent) => "absent".to_owned(),
            Some(State::Present(object)) => object.to_string(),
            Some(State::Failed(failure)) => failure.to_string(),
        });
    }
    assert_eq!(states, expected);
    assert!(changes.try_recv().is_err(), "no further change");
}

#[tokio::test]
async fn a_failure_is_told_once_and_goes_on_trying() {
    check(|| vec![Err(failure(403)), Err(failure(403)), Ok(Some(1))], &["no", "1"]).await;
}

#[tokio::test]
async fn an_object_outlives_an_interruption() {
    check(|| vec![Ok(Some(1)), Err(failure(500)), Ok(Some(2)), Ok(None), Ok(None)], &["1", "2", "absent"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_may_not_be_watched_any_more_is_lost_after_a_while_and_seen_again_once_it_may() {
    let mut answers = vec![scripted::list("10", &[("ca", "1")])];
    // Tries take turns with pauses of 50 ms, 100 ms and so on, 12.75 s in all.
    answers.extend(std::iter::repeat_n(scripted::denied(), 9));
    answers.push(scripted::list("10", &[("ca", "1")]));
    let (client, asked) = scripted::client(answers);
    let objects = NamedObjects::namespaced(client, |secret: Secret| secret.metadata.resource_version);
    let mut receiver = objects.get(&name()).unwrap();
    assert!(matches!(answer(&mut receiver).await, State::Present(_)));
    tokio::time::sleep(DENIED_PATIENCE).await;
    assert!(matches!(*receiver.borrow(), State::Present(_)), "it may be a mistake");
    receiver
        .wait_for(|state| matches!(state, State::Failed(failure) if failure.is_forbidden()))
        .await
        .unwrap();
    receiver.wait_for(|state| matches!(state, State::Present(_))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut expected = vec!["list", "watch from 10"];
    expected.extend(["list"; 9]);
    expected.push("watch from 10");
    assert_eq!(asked.all(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_vanished_while_its_watch_was_too_old_is_absent() {
    let (client, asked) = scripted::client(vec![
        scripted::list("10", &[("ca", "1")]),
        scripted::gone(),
        scripted::list("20", &[]),
    ]);
    let objects = NamedObjects::namespaced(client, |secret: Secret| secret.metadata.resource_version);
    let mut receiver = objects.get(&name()).unwrap();
    assert!(matches!(answer(&mut receiver).await, State::Present(_)));
    receiver.wait_for(|state| matches!(state, State::Absent)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked.all(), ["list", "watch from 10", "list", "watch from 20"]);
}

#[tokio::test]
async fn the_first_answer_can_be_awaited() {
    let objects = objects(|| vec![Ok(None)]);
    let mut receiver = objects.get(&name()).unwrap();
    assert!(matches!(*receiver.borrow(), State::Pending));
    assert!(matches!(answer(&mut receiver).await, State::Absent));
}

#[tokio::test]
async fn more_objects_than_the_bound_are_refused_while_all_are_in_use() {
    let objects = objects(Vec::new);
    let names: Vec<_> = (0..WATCHES_MAX).map(|number| ObjectName::cluster(number.to_string())).collect();
    let held: Vec<_> = names.iter().map(|name| objects.get(name).unwrap()).collect();
    let refused = objects.get(&ObjectName::cluster("one-more")).map(drop).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot watch one-more: 1000 objects of its kind are watched already, and all are in use"
    );
    objects.get(&names[7]).unwrap();
    assert_eq!(objects.len(), held.len());
}

#[tokio::test]
async fn who_has_to_leave_some_watches_to_others_gets_the_rest_alone() {
    let objects = objects(Vec::new);
    let name = |number: usize| ObjectName::cluster(number.to_string());
    let spared = WATCHES_MAX - 10;
    let mut held: Vec<_> = (0..9).map(|number| objects.get_sparing(&name(number), spared).unwrap()).collect();
    drop(objects.get(&name(9)).unwrap());
    held.push(objects.get_sparing(&name(10), spared).unwrap());
    let refused = objects.get_sparing(&name(11), spared).map(drop).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot watch 11: 10 objects of its kind are watched already, and all are in use"
    );
    objects.get_sparing(&name(0), spared).unwrap();
    held.extend((20..30).map(|number| objects.get(&name(number)).unwrap()));
    // The others need it no more, but may need it again.
    held.truncate(12);
    let refused = objects.get_sparing(&name(12), spared).map(drop);
    assert!(refused.is_err(), "{} are watched", objects.len());
    assert_eq!(objects.len(), 20);
}

#[tokio::test]
async fn invented_names_keep_no_object_from_being_watched() {
    // Only the object with this name exists.
    let objects = NamedObjects::<u8>::new(|name| {
        let answer = (name.name == "real").then_some(1);
        stream::iter([Ok(answer)]).chain(stream::pending()).boxed()
    });
    let real = ObjectName::cluster("real");
    assert!(matches!(answer(&mut objects.get(&real).unwrap()).await, State::Present(_)));
    let held = ObjectName::cluster("held");
    let held = (objects.get(&held).unwrap(), held);
    for number in 0..2 * WATCHES_MAX {
        let mut invented = objects.get(&ObjectName::cluster(number.to_string())).unwrap();
        assert!(matches!(answer(&mut invented).await, State::Absent));
    }
    assert_eq!(objects.len(), WATCHES_MAX);
    let entries = objects.inner.entries();
    assert!(entries.contains_key(&real), "what exists outlives what was made up");
    assert!(entries.contains_key(&held.1), "somebody holds it");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_nobody_has_used_it_for_a_while() {
    let objects = objects(|| vec![Ok(Some(1))]);
    let held = objects.get(&name()).unwrap();
    tokio::time::advance(IDLE * 3).await;
    tokio::task::yield_now().await;
    assert_eq!(objects.len(), 1, "somebody holds it");
    drop(held);
    for _ in 0..3 {
        tokio::time::advance(IDLE).await;
        tokio::task::yield_now().await;
    }
    assert!(objects.is_empty());
}
