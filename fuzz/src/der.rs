//! As much of DER as it takes to cut something broken into pieces and to put pieces together again.

pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// Splits off the first element, header included.
pub(crate) fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, length) = header(der)?;
    der.split_at_checked(header.checked_add(length)?)
}

pub(crate) fn content(element: &[u8]) -> Option<&[u8]> {
    element.get(header(element)?.0..)
}

/// Octets of tag and length, and the length that they tell; one-octet tags alone.
fn header(der: &[u8]) -> Option<(usize, usize)> {
    let first = *der.get(1)?;
    if first < 0x80 {
        return Some((2, usize::from(first)));
    }
    let octets = usize::from(first & 0x7f);
    let bytes = der.get(2..octets.checked_add(2)?)?;
    let length = bytes
        .iter()
        .try_fold(0_usize, |length, byte| length.checked_mul(256)?.checked_add(usize::from(*byte)))?;
    Some((octets + 2, length))
}

pub(crate) fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![tag];
    match (content.len(), u8::try_from(significant.len())) {
        (short @ 0..0x80, _) => der.extend(u8::try_from(short)),
        // A usize has eight octets at most.
        (_, octets) => {
            der.push(0x80 | octets.unwrap_or(8));
            der.extend(significant);
        }
    }
    der.extend(content);
    der
}
