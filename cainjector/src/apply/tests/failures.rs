//! Reads and writes that fail, which may pass.

use super::*;

/// An injector with one target, whose API server answers so; status 0 is no answer at all.
fn failing_with(read: u16, write: u16) -> (Arc<Injector>, runtime::metrics::Metrics) {
    let client = match read {
        0 => slow(&SlowServer::default()),
        read => failing(read, write),
    };
    let (injector, metrics) = injector(client);
    injector.api_server_changed(Some(crate::testing::root("ca", 5).to_pem().into_bytes()));
    injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "7");
    (injector, metrics)
}

/// How many events were told. Nobody writes them here.
fn events(metrics: &runtime::metrics::Metrics) -> usize {
    let text = metrics.encode().unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("signet_events_dropped_total "));
    count.unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_within_half_a_minute_is_no_event_and_one_that_stays_is_one() {
    for (read, write) in [(503, 200), (200, 503)] {
        let (injector, metrics) = failing_with(read, write);
        for (after, expected) in [(0, 0), (29, 0), (1, 1), (600, 1), (600, 2)] {
            tokio::time::advance(Duration::from_secs(after)).await;
            injector.reconcile(&target()).await;
            assert_eq!(events(&metrics), expected, "{read} {write} {after} s later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_counts_as_a_failure() {
    let (injector, metrics) = failing_with(0, 0);
    for expected in [0, 1] {
        assert_eq!(injector.reconcile(&target()).await, Outcome::Failed);
        assert_eq!(events(&metrics), expected);
    }
    let counted = r#"signet_cainjector_reconciles_total{kind="APIService",result="Failed"} 2"#;
    assert!(metrics.encode().unwrap().contains(counted));
}
