//! Java's modified UTF-8: the zero character has two octets, and a character beyond the basic plane is written as its
//! two surrogates, three octets each (documentation of `java.io.DataInput`).

/// Encodes a text.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let [high, low] = unit.to_be_bytes();
        match unit {
            0x0001..=0x007f => octets.push(low),
            0x0000 | 0x0080..=0x07ff => {
                octets.extend([0xc0 | (high << 2) | (low >> 6), continuation(low)]);
            }
            0x0800..=0xffff => {
                octets.extend([
                    0xe0 | (high >> 4),
                    continuation((high << 2) | (low >> 6)),
                    continuation(low),
                ]);
            }
        }
    }
    octets
}

/// Decodes a text; `None` when it is malformed or has a surrogate without its other half.
pub(super) fn decode(octets: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(octets.len());
    let mut rest = octets.iter().copied();
    while let Some(first) = rest.next() {
        let unit = match first {
            0x00..=0x7f => u16::from(first),
            0xc0..=0xdf => (u16::from(first & 0x1f) << 6) | value(rest.next()?)?,
            0xe0..=0xef => {
                let middle = value(rest.next()?)?;
                (u16::from(first & 0x0f) << 12) | (middle << 6) | value(rest.next()?)?
            }
            _ => return None,
        };
        units.push(unit);
    }
    String::from_utf16(&units).ok()
}

fn continuation(bits: u8) -> u8 {
    0x80 | (bits & 0x3f)
}

fn value(octet: u8) -> Option<u16> {
    (octet & 0xc0 == 0x80).then_some(u16::from(octet & 0x3f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_sequences_are_refused() {
        for octets in [
            &[0x80][..],
            &[0xc3],
            &[0xc3, 0x41],
            &[0xe2, 0x82],
            &[0xf0, 0x9f, 0x98, 0x80],
            &[0xed, 0xa0, 0xbd],
        ] {
            assert_eq!(decode(octets), None, "{octets:02x?}");
        }
    }

    #[test]
    fn texts_survive_in_the_form_that_java_writes() {
        let cases: [(&str, &[u8]); 4] = [
            ("a", b"a"),
            ("\0ß", &[0xc0, 0x80, 0xc3, 0x9f]),
            ("€", &[0xe2, 0x82, 0xac]),
            ("😀", &[0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]),
        ];
        for (text, octets) in cases {
            assert_eq!(encode(text), octets, "{text:?}");
            assert_eq!(decode(octets).as_deref(), Some(text));
        }
    }
}
