//! Secrets that objects of the cluster refer to: watched by name, those of a namespace that names many by one watch of its
//! metadata. Whoever may create requests and issuers may invent names, and so may take no more than that.

use k8s_openapi::api::core::v1::Secret;
use kube::core::ApiResource;
use kube::{Api, Client};
use runtime::watch::NamedObjects;
use runtime::watch::crowd::Versioned;

/// The Secrets of the cluster, of which `keep` takes what is needed.
pub(crate) fn named<T: Send + Sync + 'static>(client: Client, keep: fn(Secret) -> T) -> NamedObjects<T> {
    let (own, around) = (client.clone(), client);
    NamedObjects::of_crowds(
        move |name| Api::<Secret>::namespaced(own.clone(), name.namespace.as_deref().unwrap_or_default()),
        move |namespace| {
            let resource = ApiResource::erase::<Secret>(&());
            Api::<Versioned>::namespaced_with(around.clone(), namespace, &resource)
        },
        keep,
    )
}

#[cfg(test)]
mod tests {
    use runtime::held::Held;
    use runtime::testing::SlowServer;
    use runtime::watch::ObjectName;
    use runtime::watch::crowd::NAMED_MAX;

    use super::*;

    #[tokio::test]
    async fn invented_names_of_a_namespace_take_few_watches() {
        let client = SlowServer::default().client(|_| false, "");
        let secrets = Held::new(named(client, drop));
        for index in 0..500 {
            secrets.state(&ObjectName::namespaced("a", index.to_string()));
        }
        assert_eq!(secrets.count(), 500);
        assert!(secrets.connections() <= NAMED_MAX + 1, "{}", secrets.connections());
    }
}
