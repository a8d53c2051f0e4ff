//! Has requests signed by the controller's signer service (`--mode=signer`): no key of a CA is on the node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use issuance::authority::{self, Issued, Terms};
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::chain::Chain;
use issuance::secret::SecretBytes;
use issuers::Outcome;
use jiff::SignedDuration;
use proto::signer::sign_response::Outcome as Answer;
use proto::signer::signer_client::SignerClient;
use proto::signer::{self as wire, SelfSign, SignRequest, Unsigned};
use proto::signing::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::tokens::Tokens;
use super::{Order, Signing};

/// Time for a call; the service itself takes 20 s at most.
const CALL_TIME_MAX: Duration = Duration::from_secs(25);

/// When to try again what may work by itself.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Signs through the service.
pub struct Remote {
    client: SignerClient<Channel>,
    /// Tokens of pods.
    tokens: Arc<Tokens>,
    /// The driver's own token, which kubelet renews.
    token_file: PathBuf,
}

impl Remote {
    /// Signs through `channel`.
    pub fn new(channel: Channel, tokens: Arc<Tokens>, token_file: PathBuf) -> Arc<Self> {
        let client = SignerClient::new(channel)
            .max_encoding_message_size(REQUEST_BYTES_MAX)
            .max_decoding_message_size(RESPONSE_BYTES_MAX);
        Arc::new(Self { client, tokens, token_file })
    }

    async fn attempt(&self, order: &Order<'_>) -> Result<Outcome, Outcome> {
        let token = self.tokens.of(order.volume, order.now).ok_or_else(|| {
            retry(
                "TokenMissing",
                "there is no token of the pod yet; kubelet brings one with its next call".to_owned(),
            )
        })?;
        let call = self.call(order, &token)?;
        let late =
            || retry("SignerLate", format!("the signer service gave no answer within {CALL_TIME_MAX:?}"));
        let answered = tokio::time::timeout(CALL_TIME_MAX, self.client.clone().sign(call)).await;
        let answer = answered.map_err(|_| late())?.map_err(|status| of_status(&status))?;
        let nothing =
            || retry("SignerSilent", "the signer service answered nothing that is known here".to_owned());
        Ok(outcome(answer.into_inner().outcome.ok_or_else(nothing)?, order))
    }

    fn call(&self, order: &Order<'_>, token: &SecretBytes) -> Result<Request<SignRequest>, Outcome> {
        let wrong =
            |why: &str| retry("TokenMissing", format!("the driver's own token cannot be used: {why}"));
        let own = std::fs::read(&self.token_file).map_err(|error| wrong(&error.to_string()))?;
        let own = SecretBytes::new(own);
        let header = [b"Bearer ".as_slice(), own.expose().trim_ascii()].concat();
        let mut header = MetadataValue::try_from(header).map_err(|_| wrong("it is no text"))?;
        header.set_sensitive(true);
        let issuer = order.issuer;
        let message = SignRequest {
            pod: Some(wire::Pod {
                namespace: order.pod.namespace.clone(),
                name: order.pod.name.clone(),
                uid: order.pod.uid.clone(),
                service_account: order.account.to_owned(),
            }),
            pod_token: String::from_utf8_lossy(token.expose()).into_owned(),
            issuer: Some(wire::IssuerRef {
                name: issuer.name.clone(),
                kind: issuer.kind.clone().unwrap_or_default(),
                group: issuer.group.clone().unwrap_or_default(),
            }),
            request: order.request.der().to_vec(),
            duration_seconds: order.terms.duration.as_secs(),
            is_ca: order.terms.is_ca,
            usages: order.terms.usages.names(),
        };
        let mut call = Request::new(message);
        call.metadata_mut().insert("authorization", header);
        Ok(call)
    }
}

impl Signing for Remote {
    fn sign<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { self.attempt(&order).await.unwrap_or_else(|unsigned| unsigned) })
    }
}

/// What an answer means.
fn outcome(answer: Answer, order: &Order<'_>) -> Outcome {
    let text = |unsigned: Unsigned| format!("{}: {}", unsigned.reason, unsigned.message);
    match answer {
        Answer::Issued(issued) => issued_of(issued),
        Answer::SelfSign(permitted) => self_signed(permitted, order),
        Answer::Wait(unsigned) => Outcome::Wait { reason: "SignerWaits", message: text(unsigned) },
        Answer::Retry(unsigned) => {
            let after = u64::try_from(unsigned.after_seconds).map_or(RETRY_AFTER, Duration::from_secs);
            Outcome::Retry { after, reason: "SignerRetries", message: text(unsigned) }
        }
        Answer::Refused(unsigned) => Outcome::Terminal { reason: "SignerRefused", message: text(unsigned) },
        Answer::Elsewhere(unsigned) => Outcome::Terminal {
            reason: "IssuerNotSynchronous",
            message: format!("{}; use an issuer that answers at once, such as ca or vault", text(unsigned)),
        },
    }
}

fn issued_of(issued: wire::Issued) -> Outcome {
    let certificates = |list: Vec<Vec<u8>>| -> Option<Vec<Certificate>> {
        list.iter().map(|der| Certificate::from_der(der).ok()).collect()
    };
    let chain = certificates(issued.chain).and_then(|chain| Chain::order(chain).ok());
    match (chain, certificates(issued.ca)) {
        (Some(chain), Some(ca)) => Outcome::Issued(Issued { chain, ca: Bundle::of(ca), notes: issued.notes }),
        _ => retry("SignerAnswer", "the signer service answered with what are no certificates".to_owned()),
    }
}

/// Signs with the pod's own key what the service has permitted.
fn self_signed(permitted: SelfSign, order: &Order<'_>) -> Outcome {
    let duration = SignedDuration::from_secs(permitted.duration_seconds).min(order.terms.duration);
    let terms =
        Terms { duration, crl_distribution_points: permitted.crl_distribution_points, ..order.terms.clone() };
    let signed = authority::self_sign(order.request, order.key, &terms, order.now).map(|mut issued| {
        issued.notes.extend(permitted.notes);
        issued
    });
    Outcome::of_signing(&format!("{} {}", order.issuer.kind_or_default(), order.issuer.name), signed)
}

/// What a call without a decision means. A token that is not taken may be followed by one that is.
fn of_status(status: &Status) -> Outcome {
    let message = format!("the signer service: {}", status.message());
    match status.code() {
        Code::PermissionDenied | Code::InvalidArgument => {
            Outcome::Terminal { reason: "SignerDenied", message }
        }
        _ => retry("SignerUnavailable", message),
    }
}

fn retry(reason: &'static str, message: String) -> Outcome {
    Outcome::Retry { after: RETRY_AFTER, reason, message }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use api::meta::IssuerRef;
    use issuance::authority::Authority;
    use issuance::key::{KeyAlgorithm, PrivateKey};
    use issuance::name::SubjectAltName;
    use issuance::request::{Request as Asked, RequestSpec};
    use jiff::Timestamp;
    use proto::signer::SignResponse;
    use proto::signer::signer_server::{Signer, SignerServer};
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::Response;
    use tonic::transport::{Endpoint, Server};

    use super::*;
    use crate::testing;

    type Say = Box<dyn Fn(&SignRequest) -> Result<Answer, Status> + Send + Sync>;

    /// A service that says what it is told to, and remembers who asked.
    struct Fake {
        say: Say,
        heard: Arc<Mutex<Vec<(String, SignRequest)>>>,
    }

    #[tonic::async_trait]
    impl Signer for Fake {
        async fn sign(&self, call: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
            let bearer = call.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
            let outcome = (self.say)(call.get_ref())?;
            self.heard.lock().unwrap().push((bearer, call.into_inner()));
            Ok(Response::new(SignResponse { outcome: Some(outcome) }))
        }
    }

    /// What comes of an order for a pod whose token is `pod`, and what the service heard.
    async fn signed(
        has_token: bool,
        say: impl Fn(&SignRequest) -> Result<Answer, Status> + Send + Sync + 'static,
    ) -> (Outcome, Vec<(String, SignRequest)>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::default();
        let service = SignerServer::new(Fake { say: Box::new(say), heard: Arc::clone(&heard) });
        let serving =
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(serving);

        let tokens = Arc::new(Tokens::new("signer".to_owned()));
        if has_token {
            let mut request = testing::publish_request("csi-1", "/pods/a/mount");
            let text = r#"{"signer": {"token": "pod"}}"#.to_owned();
            request.secrets.insert("csi.storage.k8s.io/serviceAccount.tokens".to_owned(), text);
            tokens.take(&mut request, Timestamp::now());
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "driver\n").unwrap();
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let remote = Remote::new(channel, tokens, file);

        let spec = testing::spec("csi-1", "/pods/a/mount");
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let names = vec![SubjectAltName::Dns("web.team-a.svc".to_owned())];
        let request = Asked::build(&RequestSpec { names, ..RequestSpec::default() }, &key).unwrap();
        let issuer = IssuerRef { name: "ca".to_owned(), kind: None, group: None };
        let order = Order {
            issuer: &issuer,
            volume: &spec.id,
            pod: &spec.pod,
            account: "web",
            request: &request,
            key: &key,
            terms: &Terms::default(),
            now: Timestamp::now(),
        };
        let outcome = remote.sign(order).await;
        serving.abort();
        let heard = heard.lock().unwrap().drain(..).collect();
        (outcome, heard)
    }

    fn unsigned() -> Unsigned {
        Unsigned { reason: "Why".to_owned(), message: "it is so".to_owned(), after_seconds: 7 }
    }

    #[tokio::test]
    async fn without_a_token_of_the_pod_nobody_is_asked() {
        let (outcome, heard) = signed(false, |_| Ok(Answer::Wait(unsigned()))).await;
        assert!(matches!(outcome, Outcome::Retry { reason: "TokenMissing", .. }), "{outcome:?}");
        assert!(heard.is_empty());
    }

    #[tokio::test]
    async fn calls_without_a_decision_are_tried_again_unless_they_are_denied() {
        let said = async |code| signed(true, move |_| Err(Status::new(code, "no"))).await.0;
        for code in [Code::PermissionDenied, Code::InvalidArgument] {
            assert!(matches!(said(code).await, Outcome::Terminal { reason: "SignerDenied", .. }), "{code}");
        }
        for code in [Code::Unauthenticated, Code::ResourceExhausted, Code::Unavailable, Code::Internal] {
            assert!(matches!(said(code).await, Outcome::Retry { reason: "SignerUnavailable", .. }), "{code}");
        }
    }

    #[tokio::test]
    async fn decisions_keep_their_meaning() {
        let said =
            async |answer: fn(Unsigned) -> Answer| signed(true, move |_| Ok(answer(unsigned()))).await.0;
        let refused = said(Answer::Refused).await;
        assert!(
            matches!(&refused, Outcome::Terminal { message, .. } if message == "Why: it is so"),
            "{refused:?}"
        );
        assert!(matches!(said(Answer::Wait).await, Outcome::Wait { .. }));
        let retry = said(Answer::Retry).await;
        assert!(
            matches!(retry, Outcome::Retry { after, .. } if after == Duration::from_secs(7)),
            "{retry:?}"
        );
        let elsewhere = said(Answer::Elsewhere).await;
        assert!(matches!(elsewhere, Outcome::Terminal { reason: "IssuerNotSynchronous", .. }));
        let issued = wire::Issued { chain: vec![vec![1]], ..wire::Issued::default() };
        let broken = signed(true, move |_| Ok(Answer::Issued(issued.clone()))).await.0;
        assert!(matches!(broken, Outcome::Retry { reason: "SignerAnswer", .. }), "{broken:?}");
    }

    #[tokio::test]
    async fn the_service_hears_of_pod_and_driver_and_its_certificate_is_taken() {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let ca =
            Authority::self_signed("ca", key, SignedDuration::from_hours(9000), Timestamp::now()).unwrap();
        let (outcome, heard) = signed(true, move |message| {
            let request = Asked::from_der(&message.request).unwrap();
            let issued = ca.sign(&request, &Terms::default(), Timestamp::now()).unwrap();
            let der = |list: &[Certificate]| list.iter().map(|one| one.der().to_vec()).collect();
            let (chain, ca) = (der(issued.chain.certificates()), der(issued.ca.certificates()));
            Ok(Answer::Issued(wire::Issued { chain, ca, notes: vec!["note".to_owned()] }))
        })
        .await;
        let issued = outcome.issued().unwrap();
        assert_eq!(
            (issued.chain.leaf().names().len(), issued.notes.as_slice()),
            (1, &["note".to_owned()][..])
        );
        let [(bearer, message)] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!((bearer.as_str(), message.pod_token.as_str()), ("Bearer driver", "pod"));
        let pod = message.pod.as_ref().unwrap();
        assert_eq!(
            [&*pod.namespace, &*pod.name, &*pod.uid, &*pod.service_account],
            ["team-a", "web-0", "u-1", "web"]
        );
        assert_eq!((message.duration_seconds, message.usages.len()), (2160 * 3600, 2));
    }

    #[tokio::test]
    async fn what_may_sign_itself_does_so_within_what_was_permitted() {
        let permitted =
            SelfSign { duration_seconds: 3600, notes: vec!["cut".to_owned()], ..SelfSign::default() };
        let (outcome, _) = signed(true, move |_| Ok(Answer::SelfSign(permitted.clone()))).await;
        let issued = outcome.issued().unwrap();
        let left = issued.chain.leaf().not_after().duration_since(Timestamp::now());
        assert!(left <= SignedDuration::from_hours(1) && left > SignedDuration::from_mins(55), "{left:?}");
        assert!(issued.notes.contains(&"cut".to_owned()), "{:?}", issued.notes);
    }
}
