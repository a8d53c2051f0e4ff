//! More sources than there are watches for.

use super::*;
use crate::apply::writes::CROWDED_AGAIN;

#[tokio::test(start_paused = true)]
async fn what_labelled_objects_name_leaves_watches_for_the_webhooks() {
    let client = testing::client(|request: Request<Body>| async move {
        let Some((_, name)) = request.uri().path().split_once("/configmaps/") else {
            return std::future::pending().await;
        };
        let metadata =
            serde_json::json!({"name": name, "namespace": "team-a", "uid": "u", "resourceVersion": "7"});
        Response::new(Body::from(serde_json::json!({"metadata": metadata}).to_string().into_bytes()))
    });
    let (injector, metrics) = injector(client);
    let labelled = |number: usize| {
        let name = ObjectName::namespaced("team-a", format!("trust-{number}"));
        Target { kind: TargetKind::ConfigMap, name }
    };
    // One of each namespace, or one watch would stand in for many.
    let ca = |number: usize| SourceRef::Secret(ObjectName::namespaced(format!("team-{number}"), "ca"));
    for number in 0..501 {
        injector.wants(labelled(number), Wanted::Source(ca(number)), "7");
    }
    assert_eq!(injector.watched.count(), 500);
    let synced = injector.synced();
    let lacking = |later| lock(&synced).check(true, Instant::now() + Duration::from_secs(later)).err();
    assert_eq!(lacking(0), None);
    let outcome = injector.reconcile(&labelled(500)).await;
    assert_eq!(outcome, Outcome::Again(CROWDED_AGAIN));
    // The others may have theirs some time.
    assert!(lacking(11).unwrap().starts_with("500 of 501 lack"), "{:?}", lacking(11));
    let text = metrics.encode().unwrap();
    let counted = r#"signet_cainjector_reconciles_total{kind="ConfigMap",result="TooManySources"} 1"#;
    assert!(text.contains(counted), "{text}");
    // A webhook gets its watch, be it of what was refused, and the others that name the same are served with it.
    injector.wants(target(), Wanted::Source(ca(500)), "7");
    assert_eq!(injector.reconcile(&target()).await, Outcome::Done);
    injector.wants(Target::cluster(TargetKind::ApiService, "other"), Wanted::Source(ca(501)), "7");
    assert_eq!(injector.watched.count(), 502);
    assert!(
        lock(&injector.index).inputs(&labelled(500), Instant::now()).is_none(),
        "it is not refused any more"
    );
}
