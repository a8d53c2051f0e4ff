//! Serial numbers (RFC 5280 §4.1.2.2): positive, at most 20 octets, and impossible to guess.

use aws_lc_rs::rand;
use der::asn1::{Int, Uint};

use super::AuthorityError;
use crate::key::KeyError;

/// Octets of a serial number, the most that RFC 5280 allows.
const OCTETS: usize = 20;

/// A number of 159 random bits: the top bit of the twenty octets is clear, so that the number is not negative.
pub(super) fn random() -> Result<Int, AuthorityError> {
    let mut octets = [0_u8; OCTETS];
    rand::fill(&mut octets).map_err(|_| AuthorityError::Sign(KeyError::Generate))?;
    of_octets(octets)
}

fn of_octets(mut octets: [u8; OCTETS]) -> Result<Int, AuthorityError> {
    // Zero is no serial number; a generator that gives it is broken, and not merely unlucky.
    if let Some(first) = octets.first_mut() {
        *first &= 0x7f;
    }
    if octets.iter().all(|octet| *octet == 0) {
        return Err(AuthorityError::Sign(KeyError::Generate));
    }
    Uint::new(&octets).map(Int::from).map_err(|_| AuthorityError::Encoding(None))
}

#[cfg(test)]
mod tests {
    use der::Encode as _;

    use super::*;

    fn check(octets: [u8; OCTETS], der: &[u8]) {
        assert_eq!(of_octets(octets).unwrap().to_der().unwrap(), der);
    }

    #[test]
    fn zero_is_refused() {
        assert!(of_octets([0; OCTETS]).is_err());
        let mut octets = [0; OCTETS];
        octets[0] = 0x80;
        assert!(of_octets(octets).is_err(), "nothing is left when the top bit is cleared");
    }

    #[test]
    fn a_number_is_positive_and_in_its_shortest_form() {
        let mut longest = vec![2, 20, 0x7f];
        longest.extend([0xff; 19]);
        check([0xff; OCTETS], &longest);
        let mut octets = [0; OCTETS];
        octets[19] = 0x80;
        check(octets, &[2, 2, 0, 0x80]);
        octets[19] = 1;
        check(octets, &[2, 1, 1]);
    }

    #[test]
    fn all_bits_but_the_top_one_are_random() {
        let (mut ones, mut zeros) = ([0_u8; OCTETS], [0_u8; OCTETS]);
        for _ in 0..200 {
            let number = random().unwrap();
            let number = number.as_bytes();
            let mut octets = [0; OCTETS];
            octets[OCTETS - number.len()..].copy_from_slice(number);
            for ((one, zero), octet) in ones.iter_mut().zip(&mut zeros).zip(octets) {
                *one |= octet;
                *zero |= !octet;
            }
        }
        assert_eq!((ones[0], &ones[1..]), (0x7f, [0xff; OCTETS - 1].as_slice()));
        assert_eq!(zeros, [0xff; OCTETS]);
    }
}
