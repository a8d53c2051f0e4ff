//! The CA by which this process knows the API server, as a source.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use issuance::bundle::Bundle;
use issuance::pem::{self, Limit};
use runtime::client::ServerCa;
use runtime::shutdown::Shutdown;

use super::Found;
use crate::plan::{Reason, Refusal};

/// Pause between two looks at the file. A pod's own is replaced about a minute after the cluster's CA has changed.
const INTERVAL: Duration = Duration::from_secs(10);

/// Tells `seen` the CA, PEM, and each further one, until shutdown is requested. `None`: none is configured. While the
/// file cannot be read, the CA that was there last counts.
///
/// # Errors
/// None; the result is for [`runtime::tasks::Tasks::spawn`].
pub(crate) async fn follow(
    ca: ServerCa,
    shutdown: Shutdown,
    seen: impl Fn(Option<Vec<u8>>) + Send,
) -> anyhow::Result<()> {
    let ServerCa::File(file) = &ca else {
        seen(current(&ca)?);
        shutdown.requested().await;
        return Ok(());
    };
    let mut known = None;
    let mut is_told = false;
    loop {
        match read(file) {
            Ok(text) => {
                is_told = false;
                if known.as_ref() != Some(&text) {
                    seen(Some(text.clone()));
                    known = Some(text);
                }
            }
            Err(error) if !is_told => {
                tracing::warn!(file = %file.display(), %error, "cannot read the CA of the API server");
                is_told = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// The CA as it is now, PEM. `None`: none is configured.
///
/// # Errors
/// When its file cannot be read.
pub(crate) fn current(ca: &ServerCa) -> io::Result<Option<Vec<u8>>> {
    match ca {
        ServerCa::None => Ok(None),
        ServerCa::Fixed(certificates) => {
            let blocks = certificates.iter().map(|certificate| pem::encode("CERTIFICATE", certificate));
            Ok(Some(blocks.collect::<String>().into_bytes()))
        }
        ServerCa::File(file) => read(file).map(Some),
    }
}

/// What is in the file, as far as a bundle may reach: one byte more shows that it is too long.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let bound = u64::try_from(Limit::BUNDLE.bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    File::open(file)?.take(bound).read_to_end(&mut text)?;
    Ok(text)
}

/// The CA certificates to inject, or why there are none. The outer `None`: [`follow`] has told nothing yet.
pub(crate) fn bundle(known: Option<&Option<Vec<u8>>>) -> Found<Bundle> {
    Some(match known? {
        Some(text) => super::parse("the CA of the API server", text),
        None => {
            let text = "the CA of the API server is not known: the client's configuration names none";
            Err(Refusal::new(Reason::NoCAData, text))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use runtime::lock::lock;

    use super::*;

    /// What is told of the CA while `meanwhile` goes on.
    async fn told(ca: ServerCa, meanwhile: impl Future<Output = ()>) -> Vec<Option<String>> {
        let shutdown = Shutdown::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let following = tokio::spawn(follow(ca, shutdown.clone(), move |text| {
            lock(&sink).push(text.map(|text| String::from_utf8(text).unwrap()));
        }));
        meanwhile.await;
        shutdown.request();
        following.await.unwrap().unwrap();
        std::mem::take(&mut *lock(&seen))
    }

    #[tokio::test]
    async fn a_ca_that_is_in_no_file_is_told_once() {
        assert_eq!(told(ServerCa::None, tokio::task::yield_now()).await, [None]);
        let certificate = crate::testing::root("ca", 1);
        let fixed = ServerCa::Fixed(vec![certificate.der().to_vec()]);
        assert_eq!(told(fixed, tokio::task::yield_now()).await, [Some(certificate.to_pem())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_told_each_time_that_its_content_changes() {
        let file = std::env::temp_dir().join(format!("signet-api-server-{}.crt", std::process::id()));
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        let pause = || tokio::time::sleep(INTERVAL * 2);
        let changes = async {
            pause().await;
            write("one");
            pause().await;
            std::fs::remove_file(&file).unwrap();
            pause().await;
            write("one");
            pause().await;
            write("two");
            pause().await;
        };
        let told = told(ServerCa::File(file.clone()), changes).await;
        assert_eq!(told, [Some("one".to_owned()), Some("two".to_owned())]);
        std::fs::remove_file(&file).unwrap();
    }
}
