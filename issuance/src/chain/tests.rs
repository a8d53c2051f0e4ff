use super::*;
use crate::testing::{Maker, hours_later, key, now};

/// Leaf, lower CA, upper CA, root.
fn line() -> Vec<Certificate> {
    let keys = [key(1), key(2), key(3), key(4)];
    let [leaf, lower, upper, root] = &keys;
    vec![
        Maker::leaf("leaf", leaf, ("lower", lower)).make(),
        Maker::ca("lower", lower, Some(("upper", upper))).make(),
        Maker::ca("upper", upper, Some(("root", root))).make(),
        Maker::ca("root", root, None).make(),
    ]
}

fn permutations(certificates: &[Certificate]) -> Vec<Vec<Certificate>> {
    if certificates.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (position, first) in certificates.iter().enumerate() {
        let mut rest = certificates.to_vec();
        rest.remove(position);
        for mut tail in permutations(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}

fn assemble(certificates: Vec<Certificate>) -> Result<Chain, ChainError> {
    Chain::assemble(certificates, &Bundle::default(), None)
}

fn subjects(chain: &Chain) -> Vec<String> {
    chain.certificates().iter().map(Certificate::subject).collect()
}

#[test]
fn no_certificates_are_refused() {
    assert_eq!(assemble(Vec::new()), Err(ChainError::Empty));
    assert_eq!(Chain::order(Vec::new()), Err(ChainError::Empty));
}

#[test]
fn more_certificates_than_a_chain_can_have_are_refused() {
    let key = key(1);
    let names: Vec<String> = (0..=MAX_LENGTH).map(|number| number.to_string()).collect();
    let many = names.iter().map(|name| Maker::ca(name, &key, None).make()).collect();
    assert_eq!(assemble(many), Err(ChainError::TooLong));
    let same = vec![Maker::ca("root", &key, None).make(); 50];
    assert_eq!(assemble(same).unwrap().certificates().len(), 1, "duplicates do not count");
}

#[test]
fn a_stranger_is_refused_in_every_order() {
    let stranger_key = key(9);
    let stranger = Maker::ca("stranger", &stranger_key, None).make();
    for mut certificates in permutations(&line()) {
        certificates.push(stranger.clone());
        let error = assemble(certificates).unwrap_err();
        assert!(
            matches!(&error, ChainError::Stranger { subject, leaf }
            if [subject.as_str(), leaf.as_str()].contains(&"CN=stranger")),
            "{error}"
        );
    }
    let mut certificates = line();
    certificates.push(stranger);
    let error = Chain::order(certificates).unwrap_err().to_string();
    assert_eq!(error, "certificate \"CN=stranger\" does not belong to the chain of \"CN=leaf\"");
}

#[test]
fn a_certificate_that_its_issuer_did_not_sign_is_refused() {
    let (leaf, wrong, ca) = (key(1), key(2), key(3));
    let leaf = Maker::leaf("leaf", &leaf, ("ca", &wrong)).make();
    let ca = Maker::ca("ca", &ca, None).make();
    for result in [Chain::order(vec![leaf.clone(), ca.clone()]), assemble(vec![ca, leaf])] {
        let error = result.unwrap_err().to_string();
        assert_eq!(error, "certificate \"CN=leaf\" names \"CN=ca\" as its issuer but was not signed by it");
    }
}

#[test]
fn a_gap_is_refused() {
    let mut certificates = line();
    certificates.remove(1);
    assert!(matches!(assemble(certificates.clone()), Err(ChainError::Stranger { .. })));
    assert!(matches!(Chain::order(certificates), Err(ChainError::Stranger { .. })));
}

#[test]
fn certificates_that_issue_each_other_are_refused() {
    let (one, two) = (key(1), key(2));
    let circle = vec![
        Maker::ca("one", &one, Some(("two", &two))).make(),
        Maker::ca("two", &two, Some(("one", &one))).make(),
    ];
    assert!(matches!(assemble(circle), Err(ChainError::Circle { .. })));
}

#[test]
fn every_order_of_four_certificates_gives_the_same_chain() {
    for certificates in permutations(&line()) {
        assert_eq!(assemble(certificates).unwrap().certificates(), line());
    }
}

#[test]
fn a_duplicate_changes_nothing_in_any_order() {
    for duplicate in line() {
        for mut certificates in permutations(&line()) {
            certificates.insert(2, duplicate.clone());
            assert_eq!(assemble(certificates).unwrap().certificates(), line());
        }
    }
}

#[test]
fn the_first_is_the_leaf_when_the_caller_says_so() {
    for rest in permutations(&line()[1..]) {
        let certificates = [&line()[..1], &rest].concat();
        assert_eq!(Chain::order(certificates).unwrap().certificates(), line());
    }
    let mut certificates = line();
    certificates.swap(0, 1);
    assert!(Chain::order(certificates).is_err(), "the leaf does not stand above the lower CA");
}

#[test]
fn ca_crt_is_the_root_or_else_the_highest_intermediate_or_else_nothing() {
    let line = line();
    let check = |certificates: &[Certificate], served: &[Certificate], ca: &[Certificate]| {
        let (chain, bundle) = assemble(certificates.to_vec()).unwrap().split();
        assert_eq!(chain.certificates(), served);
        assert_eq!(bundle.certificates(), ca);
    };
    check(&line, &line[..3], &line[3..]);
    check(&line[..3], &line[..3], &line[2..3]);
    check(&line[..1], &line[..1], &[]);
    check(&line[3..], &line[3..], &line[3..]);
}

#[test]
fn a_chain_is_split_into_leaf_intermediates_and_root() {
    let line = line();
    let check = |certificates: &[Certificate], intermediates: usize, root: bool| {
        let chain = assemble(certificates.to_vec()).unwrap();
        let parts = chain.parts();
        assert_eq!(parts.leaf, chain.leaf());
        assert_eq!((parts.intermediates.len(), parts.root.is_some()), (intermediates, root));
    };
    check(&line, 2, true);
    check(&line[..3], 2, false);
    check(&line[..1], 0, false);
    check(&line[3..], 0, false);
}

#[test]
fn cross_signed_certificates_are_refused_without_a_root_to_choose_by() {
    let certificates = crossed();
    let error = assemble(certificates.clone()).unwrap_err();
    assert_eq!(error, ChainError::CrossSigned { subject: "CN=leaf".to_owned() });
    assert_eq!(Chain::order(certificates.clone()), Err(error.clone()));
    let foreign_key = key(9);
    let foreign = Bundle::of(vec![Maker::ca("foreign", &foreign_key, None).make()]);
    assert_eq!(Chain::assemble(certificates, &foreign, None), Err(error));
}

/// A leaf under `ca`, which is a root, and is signed by `old` too, whose root is here.
fn crossed() -> Vec<Certificate> {
    let (leaf, ca, old) = (key(1), key(2), key(3));
    vec![
        Maker::leaf("leaf", &leaf, ("ca", &ca)).make(),
        Maker::ca("ca", &ca, None).make(),
        Maker::ca("ca", &ca, Some(("old", &old))).make(),
        Maker::ca("old", &old, None).make(),
    ]
}

#[test]
fn of_several_ways_the_longest_that_ends_in_a_configured_root_is_taken() {
    let [leaf, new, cross, old] = <[Certificate; 4]>::try_from(crossed()).unwrap();
    let check = |roots: &[&Certificate], expected: &[&Certificate]| {
        let roots = Bundle::of(roots.iter().copied().cloned().collect());
        for certificates in permutations(&crossed()) {
            let chain = Chain::assemble(certificates, &roots, None).unwrap();
            assert_eq!(chain.certificates().iter().collect::<Vec<_>>(), expected);
        }
    };
    check(&[&new], &[&leaf, &new]);
    check(&[&old], &[&leaf, &cross, &old]);
    check(&[&new, &old], &[&leaf, &cross, &old]);
    // The root need not be among the certificates.
    let without_old = vec![leaf.clone(), cross.clone(), new];
    let chain = Chain::assemble(without_old, &Bundle::of(vec![old]), None).unwrap();
    assert_eq!(chain.certificates(), [leaf, cross]);
}

#[test]
fn expired_cas_are_left_out_where_that_is_asked_for() {
    let (leaf, ca, old) = (key(1), key(2), key(3));
    let certificates = vec![
        Maker::leaf("leaf", &leaf, ("ca", &ca)).make(),
        Maker::ca("ca", &ca, None).make(),
        Maker { hours: (-9, -1), ..Maker::ca("ca", &ca, Some(("old", &old))) }.make(),
    ];
    let chain = Chain::assemble(certificates.clone(), &Bundle::default(), Some(now())).unwrap();
    assert_eq!(subjects(&chain), ["CN=leaf", "CN=ca"]);
    assert!(chain.leaf().not_after() > now() && chain.parts().root.is_some());
    let earlier = Some(hours_later(-2));
    assert!(matches!(
        Chain::assemble(certificates, &Bundle::default(), earlier),
        Err(ChainError::CrossSigned { .. })
    ));
}

#[test]
fn an_expired_leaf_remains_the_leaf() {
    let (leaf, root) = (key(1), key(2));
    let certificates = vec![
        Maker { hours: (-9, -1), ..Maker::leaf("leaf", &leaf, ("root", &root)) }.make(),
        Maker::ca("root", &root, None).make(),
    ];
    let chain = Chain::assemble(certificates, &Bundle::default(), Some(now())).unwrap();
    assert_eq!(subjects(&chain), ["CN=leaf", "CN=root"]);
}

#[test]
fn certificates_that_all_issue_each_other_end_in_bounded_time() {
    // Two names and one key: each of nine stands above each of the nine others, which makes (9!)² ways up.
    let (leaf, shared) = (key(1), key(2));
    let mut tangle = vec![Maker::leaf("leaf", &leaf, ("ca0", &shared)).make()];
    for hours in 1..=9 {
        for (subject, issuer) in [("ca0", "ca1"), ("ca1", "ca0")] {
            let maker = Maker::ca(subject, &shared, Some((issuer, &shared)));
            tangle.push(Maker { hours: (-1, hours), ..maker }.make());
        }
    }
    assert!(matches!(assemble(tangle), Err(ChainError::CrossSigned { .. })));
}

#[test]
fn a_root_that_changes_its_key_stands_below_the_old_one() {
    let (leaf, new, old) = (key(1), key(2), key(3));
    let certificates = vec![
        Maker::leaf("leaf", &leaf, ("root", &new)).make(),
        Maker::ca("root", &new, Some(("root", &old))).make(),
        Maker::ca("root", &old, None).make(),
    ];
    for order in permutations(&certificates) {
        assert_eq!(assemble(order).unwrap().certificates(), certificates);
    }
}
