//! ClusterIssuer: an issuer for objects of every namespace.

use crate::issuer::{IssuerSpec, IssuerStatus};

custom_resource! {
    /// A way to get certificates signed, for the objects of every namespace. Its Secrets are read
    /// from the cluster resource namespace.
    ClusterIssuer, "clusterissuers", "cert-manager.io", ClusterResourceScope,
    IssuerSpec, IssuerStatus
}
