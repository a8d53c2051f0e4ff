//! Tokens of service accounts, by which issuers log in to servers that know the cluster.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use issuers::vault::{ACCOUNT_TOKEN_SECONDS, AccountTokens};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use runtime::watch::{Failure, ObjectName};
use zeroize::Zeroizing;

/// Asks the API server (`serviceaccounts/token`), which grants it for those accounts that a Role names.
pub struct KubeAccounts(Client);

impl KubeAccounts {
    /// Asks through this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    async fn ask(&self, account: &ObjectName, audiences: &[String]) -> Result<Zeroizing<String>, Failure> {
        let namespace = account.namespace.as_deref().unwrap_or_default();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.0.clone(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: audiences.to_vec(),
                expiration_seconds: Some(i64::from(ACCOUNT_TOKEN_SECONDS)),
                bound_object_ref: None,
            },
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(&account.name, &PostParams::default(), &request).await;
        let status = answer.map_err(|error| Failure::from(&error))?.status;
        let token = status.map(|status| Zeroizing::new(status.token)).filter(|token| !token.is_empty());
        token.ok_or_else(|| Failure {
            code: None,
            message: "the API server's answer holds no token".to_owned(),
        })
    }
}

impl AccountTokens for KubeAccounts {
    fn token<'a>(
        &'a self,
        account: &'a ObjectName,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Zeroizing<String>, Failure>> {
        self.ask(account, audiences).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use runtime::lock::lock;
    use runtime::testing::client;
    use serde_json::{Value, json};

    use super::*;

    /// What is asked of the API server, and what comes of its answer.
    async fn ask(status: u16, answer: &Value) -> (String, Value, Result<String, Failure>) {
        let (asked, answer) = (Arc::new(Mutex::new(Vec::new())), answer.to_string());
        let seen = Arc::clone(&asked);
        let client = client(move |request| {
            let (seen, answer) = (Arc::clone(&seen), answer.clone());
            async move {
                let line = format!("{} {}", request.method(), request.uri().path());
                assert_eq!(request.method(), Method::POST);
                let body = request.into_body().collect().await.unwrap().to_bytes();
                lock(&seen).push((line, serde_json::from_slice(&body).unwrap()));
                Response::builder().status(status).body(Body::from(answer.into_bytes())).unwrap()
            }
        });
        let account = ObjectName::namespaced("team-a", "signer");
        let token = KubeAccounts::new(client).token(&account, &["vault://team-a/vault".to_owned()]).await;
        let (line, body) = lock(&asked).pop().unwrap();
        (line, body, token.map(|token| token.to_string()))
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_code() {
        let refusal = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
        let (_, _, failed) = ask(403, &refusal).await;
        assert_eq!(failed, Err(Failure { code: Some(403), message: "no".to_owned() }));
        let (_, _, empty) = ask(201, &json!({"spec": {"audiences": []}})).await;
        assert_eq!(empty.unwrap_err().message, "the API server's answer holds no token");
    }

    #[tokio::test]
    async fn a_token_is_asked_for_ten_minutes_and_its_audiences() {
        let granted = json!({
            "spec": {"audiences": []},
            "status": {"token": "t", "expirationTimestamp": "2027-01-15T08:00:00Z"},
        });
        let (line, body, token) = ask(201, &granted).await;
        assert_eq!(line, "POST /api/v1/namespaces/team-a/serviceaccounts/signer/token");
        assert_eq!(body["spec"], json!({"audiences": ["vault://team-a/vault"], "expirationSeconds": 600}));
        assert_eq!(token, Ok("t".to_owned()));
    }
}
