//! Solvers of an ACME issuer.

use api::IssuerSpec;
use api::acme::dns01::{AcmeDns, Dns01Solver};
use api::acme::solver::AcmeSolver;

use super::acme;
use crate::case::Case;

/// The solvers with their positions.
pub(super) fn all<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a AcmeSolver)> {
    acme(case).into_iter().flat_map(|acme| acme.solvers.iter().enumerate())
}

/// The DNS-01 solvers that are looked into: not those beside an HTTP-01 solver (I10).
pub(super) fn dns01<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a Dns01Solver)> {
    all(case)
        .filter(|(_, solver)| solver.http01.is_none())
        .filter_map(|(index, solver)| Some((index, solver.dns01.as_ref()?)))
}

/// Those of acme-dns.
pub(super) fn acme_dns<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a AcmeDns)> {
    dns01(case).filter_map(|(index, solver)| Some((index, solver.acme_dns.as_ref()?)))
}
