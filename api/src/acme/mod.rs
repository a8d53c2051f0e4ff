//! ACME (RFC 8555): the issuer type, its solvers, and the two kinds Order and Challenge.

pub mod challenge;
pub mod dns01;
pub mod http01;
pub mod issuer;
pub mod order;
pub mod pod_template;
pub mod solver;

open_enum! {
    /// State of an order, authorization or challenge: those of RFC 8555 §7.1.6, and `errored`.
    AcmeState {
        /// Done; nothing is left to do.
        Valid = "valid",
        /// All authorizations are valid; the order can be finalized.
        Ready = "ready",
        /// Waits for us.
        Pending = "pending",
        /// Waits for the server.
        Processing = "processing",
        /// Refused by the server for good.
        Invalid = "invalid",
        /// Too late.
        Expired = "expired",
        /// Failed on our side for good.
        Errored = "errored",
    }
}
