//! Strangers who can reach the webhook's port and mean it no good: ordinary calls are answered all the while, and
//! memory stays bounded.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use common::load::Load;
use common::replicas;
use common::reviewer::{self, Reviewer};
use e2e::authority::issuer;
use e2e::namespace::{self, Scope};
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

/// Connections of a flood, to all replicas together.
const CONNECTIONS: usize = 10_000;

/// Files that the test itself needs beside them.
const OTHER_FILES: u64 = 500;

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(8);

/// How long a busy machine may take to begin one.
const BEGUN_WITHIN: Duration = Duration::from_secs(60);

/// Bodies that come by a byte a second, for each replica: more than it has connections.
const SLOW_BODIES: usize = 300;

/// Connections with a request a second that fails, for each replica: more than it has places.
const FAILING: usize = 300;

/// Bodies above the limit that come at the same time, for each replica, and their size.
const LARGE_BODIES: usize = 24;
const LARGE_BYTES: usize = 8 << 20;

/// Large bodies that break off, for each replica: more than there is memory for.
const STALLED_BODIES: usize = 16;
/// What comes of each, and what was told.
const STALLED_BYTES: usize = 6 << 20;
const TOLD_BYTES: usize = 7 << 20;

/// How long a busy machine may take to see that they stall: shorter than a body may take, after which memory would be
/// free anyway.
const STALLED_WITHIN: Duration = Duration::from_secs(2);

/// How many clients call meanwhile.
const CLIENTS: usize = 4;

/// What a replica may take at its worst: three quarters of what the chart gives it.
const PEAK_KIB_MAX: u64 = 96 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_keep_no_call_waiting() -> anyhow::Result<()> {
    allow_files(CONNECTIONS as u64 + OTHER_FILES)?;
    under_load("flood", |scope, replicas| async move {
        let addresses = replicas.iter().map(reviewer::address).collect::<Result<Vec<_>, _>>()?;
        let (over, end) = watch::channel(());
        let open = Arc::new(AtomicUsize::new(0));
        let strangers: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (scope, end, open) = (scope.clone(), end.clone(), Arc::clone(&open));
                let address = addresses[number % addresses.len()];
                tokio::spawn(async move { stranger(&scope, address, number, end, &open).await })
            })
            .collect();
        wait::until("a tenth of the connections to come about", BEGUN_WITHIN, || async {
            let open = open.load(Ordering::Relaxed);
            ensure!(open > CONNECTIONS / 10, "{open} of {CONNECTIONS} came about");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        tokio::time::sleep(FLOOD).await;
        println!("{} of {CONNECTIONS} connections came about", open.load(Ordering::Relaxed));
        drop(over);
        for stranger in strangers {
            stranger.await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_come_a_byte_a_second_keep_no_call_waiting() -> anyhow::Result<()> {
    under_load("slow", |scope, replicas| async move {
        let reviewer = Arc::new(Reviewer::new(&scope.cluster).await?);
        let senders = replicas.iter().flat_map(|replica| {
            let reviewer = Arc::clone(&reviewer);
            (0..SLOW_BODIES).map(move |_| {
                let (reviewer, replica) = (Arc::clone(&reviewer), replica.clone());
                tokio::spawn(async move { slow_body(&reviewer, &replica).await })
            })
        });
        let senders: Vec<_> = senders.collect();
        let mut answered = 0;
        for sender in senders {
            let answer = sender.await??;
            // Some are cut off, because there is no room for so many; the others are told that it took too long.
            if answer.starts_with("HTTP/1.1 504 ") {
                answered += 1;
            } else {
                ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "the answer is {answer:?}");
            }
        }
        println!("{answered} of {} slow bodies were answered", SLOW_BODIES * replicas.len());
        ensure!(answered > 0, "nobody was told what was wrong");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_fail_on_every_place_keep_no_call_waiting() -> anyhow::Result<()> {
    allow_files((FAILING * 4) as u64 + OTHER_FILES)?;
    under_load("failing", |scope, replicas| async move {
        let reviewer = Arc::new(Reviewer::new(&scope.cluster).await?);
        let (over, end) = watch::channel(());
        let failed = Arc::new(AtomicUsize::new(0));
        let strangers = replicas.iter().flat_map(|replica| {
            let (reviewer, end, failed) = (Arc::clone(&reviewer), end.clone(), Arc::clone(&failed));
            (0..FAILING).map(move |number| {
                let (reviewer, replica, failed) = (Arc::clone(&reviewer), replica.clone(), Arc::clone(&failed));
                let mut end = end.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = failing(&reviewer, &replica, number, &failed) => {}
                        _ = end.changed() => {}
                    }
                })
            })
        });
        let strangers: Vec<_> = strangers.collect();
        let started = Instant::now();
        let (mut answered, mut longest) = (0, Duration::ZERO);
        let all_failed = |failed: &AtomicUsize| failed.load(Ordering::Relaxed) > FAILING * replicas.len();
        while started.elapsed() < FLOOD || !all_failed(&failed) && started.elapsed() < BEGUN_WITHIN {
            for replica in &replicas {
                let (reviewer, replica) = (Arc::clone(&reviewer), replica.clone());
                let called = Instant::now();
                let calling = tokio::task::spawn_blocking(move || {
                    reviewer.send(&replica, "POST", "/validate", "application/json", review(0).as_bytes())
                });
                let answer = calling.await?.context("a call on a connection of its own was not answered")?;
                ensure!(answer.status == 200, "{answer:?}");
                (answered, longest) = (answered + 1, longest.max(called.elapsed()));
            }
        }
        let count = failed.load(Ordering::Relaxed);
        println!(
            "{count} requests failed; {answered} calls on connections of their own were answered, the slowest in {longest:?}"
        );
        ensure!(all_failed(&failed), "the places were not taken: only {count} requests failed");
        drop(over);
        for stranger in strangers {
            stranger.await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_above_the_limit_keep_no_call_waiting() -> anyhow::Result<()> {
    under_load("large", |scope, replicas| async move {
        let reviewer = Arc::new(Reviewer::new(&scope.cluster).await?);
        let mut senders = Vec::new();
        for replica in &replicas {
            for _ in 0..LARGE_BODIES {
                let (reviewer, replica) = (Arc::clone(&reviewer), replica.clone());
                senders.push(tokio::task::spawn_blocking(move || {
                    let body = vec![b' '; LARGE_BYTES];
                    reviewer.send(&replica, "POST", "/validate", "application/json", &body)
                }));
            }
        }
        for sender in senders {
            let answer = sender.await??;
            let review: Value = serde_json::from_str(&answer.body)?;
            let code = &review["response"]["status"]["code"];
            // No memory for one more is told as such, since it passes.
            ensure!(*code == 413 || *code == 503, "the answer is {review}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_stall_keep_no_large_review_out() -> anyhow::Result<()> {
    under_load("stalled", |scope, replicas| async move {
        let reviewer = Arc::new(Reviewer::new(&scope.cluster).await?);
        let head = format!(
            "POST /validate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: {TOLD_BYTES}\r\n\r\n"
        );
        for replica in &replicas {
            let mut stalled = Vec::new();
            for _ in 0..STALLED_BODIES {
                let mut stream = reviewer.open_async(replica).await?;
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&vec![b' '; STALLED_BYTES]).await?;
                stalled.push(stream);
            }
            let stalling = Instant::now();
            let large: Arc<str> = review(2 << 20).into();
            loop {
                let (large, replica, reviewer) = (Arc::clone(&large), replica.clone(), Arc::clone(&reviewer));
                let sent = stalling.elapsed();
                let calling = tokio::task::spawn_blocking(move || {
                    reviewer.send(&replica, "POST", "/validate", "application/json", large.as_bytes())
                });
                let answer: Value = serde_json::from_str(&calling.await??.body)?;
                if answer["response"]["allowed"] == json!(true) {
                    println!("a large review that was sent {sent:?} after the last stall was judged");
                    break;
                }
                // While they still come, they have a right to their memory.
                let may_come_yet = answer["response"]["status"]["code"] == 503 && sent < STALLED_WITHIN;
                ensure!(may_come_yet, "sent {sent:?} after the last stall, it is answered {answer}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_of_more_than_a_mebibyte_is_judged() -> anyhow::Result<()> {
    under_load("big", |scope, _| async move {
        let zones: Vec<String> = (0..20_000).map(|number| format!("zone-{number}.{}.example.com", "x".repeat(40))).collect();
        let spec = json!({"acme": {
            "server": "https://acme.example.com/directory",
            "privateKeySecretRef": {"name": "account"},
            "solvers": [{"selector": {"dnsZones": zones}, "http01": {"ingress": {"ingressClassName": "web"}}}],
        }});
        let right = issuer("Issuer", "big", &spec);
        ensure!(right.to_string().len() > 1_200_000, "it has {} bytes", right.to_string().len());
        scope.create(&right).await.context("a right one was refused")?;
        let mut wrong = issuer("Issuer", "wrong", &spec);
        wrong["spec"]["selfSigned"] = json!({});
        match scope.create(&wrong).await {
            Ok(_) => bail!("a wrong one was accepted"),
            Err(kube::Error::Api(status)) => {
                ensure!(status.code == 422 && status.message.contains("spec.selfSigned"), "{status:?}");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Runs `abuse` while ordinary calls are made, none of which may fail, and looks at what the replicas took at most.
async fn under_load<F, Fut>(prefix: &str, abuse: F) -> anyhow::Result<()>
where
    F: FnOnce(Scope, Vec<Pod>) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let _alone = replicas::HARM.write().await;
    namespace::own(prefix, |scope| async move {
        let before = replicas::ready(&scope.client).await?;
        let processes = processes(&scope, &before)?;
        processes.iter().try_for_each(|pid| replicas::forget_peak(*pid))?;
        let load = Load::start(&scope, CLIENTS).await?;
        let abused = abuse(scope.clone(), before.clone()).await;
        let sent = load.finish_without_failure().await;
        // Of two failures the second one may tell more.
        println!("ordinary calls: {sent:?}");
        abused?;
        sent?;
        for pid in processes {
            let peak = replicas::peak_kib(pid)?;
            println!("a replica took {} MiB at most", peak / 1024);
            ensure!(peak < PEAK_KIB_MAX, "a replica took {peak} KiB, {PEAK_KIB_MAX} are right");
        }
        let after = replicas::ready(&scope.client).await?;
        ensure!(replicas::lives(&before) == replicas::lives(&after), "a replica was restarted");
        Ok(())
    })
    .await
}

/// The replicas' own processes: another test's webhook may be just ending.
fn processes(scope: &Scope, replicas: &[Pod]) -> anyhow::Result<Vec<i32>> {
    let of = |pod: &Pod| {
        let uid = pod.metadata.uid.as_deref().context("a replica has no UID")?;
        common::process_of(scope, replicas::PROGRAM, uid)
            .with_context(|| format!("replica {uid} does not run"))
    };
    replicas.iter().map(of).collect()
}

/// Holds a connection for as long as it can: some say nothing, some begin a handshake and leave it at that.
async fn stranger(
    scope: &Scope,
    address: SocketAddr,
    number: usize,
    mut end: watch::Receiver<()>,
    open: &AtomicUsize,
) {
    /// The head of a TLS record that announces 512 bytes, none of which come.
    const HELLO: [u8; 5] = [0x16, 0x03, 0x01, 0x02, 0x00];
    let hold = async {
        let mut stream = scope.cluster.network().connect_async(address).await?;
        open.fetch_add(1, Ordering::Relaxed);
        if number % 2 == 1 {
            stream.write_all(&HELLO).await?;
        }
        // Until the webhook has enough of it.
        stream.read(&mut [0; 1]).await
    };
    tokio::select! {
        // To be refused or cut off is a stranger's lot.
        _ = hold => {}
        _ = end.changed() => {}
    }
}

/// Sends a request a second that fails; connects anew where it is cut off.
async fn failing(reviewer: &Reviewer, replica: &Pod, number: usize, failed: &AtomicUsize) {
    /// Between two requests, and before it comes again.
    const PAUSE: Duration = Duration::from_secs(1);
    let request: &[u8] = if number.is_multiple_of(2) {
        b"POST /nothing HTTP/1.1\r\nHost: webhook\r\nContent-Length: 0\r\n\r\n"
    } else {
        b"POST /validate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    };
    loop {
        if let Ok(mut stream) = reviewer.open_async(replica).await {
            let mut answer = [0; 4096];
            while stream.write_all(request).await.is_ok() {
                let Ok(1..) = stream.read(&mut answer).await else { break };
                failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the API server would ask about a right Certificate with a note of so many bytes.
fn review(note: usize) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "name": "web", "namespace": "team-a",
            "resource": {"group": "cert-manager.io", "version": "v1", "resource": "certificates"},
            "userInfo": {"username": "alice"},
            "object": {
                "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                "metadata": {"name": "web", "annotations": {"note": "a".repeat(note)}},
                "spec": {"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": ["a.test"]},
            },
        },
    })
    .to_string()
}

/// Sends a body by a byte a second until it is answered or cut off; what was answered.
async fn slow_body(reviewer: &Reviewer, replica: &Pod) -> anyhow::Result<String> {
    // A failed handshake: there is no room for one more.
    let Ok(mut stream) = reviewer.open_async(replica).await else { return Ok(String::new()) };
    let head = "POST /validate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
    let mut answer = Vec::new();
    let talk = async {
        stream.write_all(head.as_bytes()).await?;
        loop {
            stream.write_all(b" ").await?;
            stream.flush().await?;
            if let Ok(read) = tokio::time::timeout(Duration::from_secs(1), stream.read_buf(&mut answer)).await
            {
                read?;
                return std::io::Result::Ok(());
            }
        }
    };
    // The connection may be gone at any time.
    let _ =
        tokio::time::timeout(Duration::from_secs(20), talk).await.context("it is listened to for ever")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Raises the number of files that this process may have open.
fn allow_files(wanted: u64) -> anyhow::Result<()> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if now < wanted {
        ensure!(most >= wanted, "this test needs {wanted} open files; `ulimit -Hn` says {most}");
        setrlimit(Resource::RLIMIT_NOFILE, wanted, most)?;
    }
    Ok(())
}
