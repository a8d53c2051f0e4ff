//! What the name policy looks at, as the cluster has it now: the rules ([`Policies`]), pods and Services. Who judges many
//! requests watches pods and Services; who judges few reads them when it needs them ([`Reader`]).

pub mod pod;
pub mod policies;
pub mod reader;
pub mod service;

pub use pod::{Claim, Pod, PodFault};
pub use policies::Policies;
pub use reader::{Reader, Unread};
