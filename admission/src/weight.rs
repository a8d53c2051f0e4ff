//! How much memory JSON can take once it is parsed. A few bytes of text can become hundreds: `{}` in a list of solvers
//! is a whole solver. So what comes from outside is weighed before it is parsed. Pure.

/// Most that one object or list takes, apart from what is in it: a map's first node, of eleven keys and values, or the
/// largest struct of the API that stands in a list or a box, and what a list that grows has in reserve.
const OPENED_BYTES: usize = 640;
/// Most that one further member or item takes, apart from what is in it: three strings or plain values, as a list that
/// grows has room for as many again while it moves, and the least that is allocated for a text.
const FURTHER_BYTES: usize = 128;

/// Texts that weigh less even if all of their characters counted are not looked at more closely.
const LIGHT_BYTES_MAX: usize = 128 * 1024;

/// An upper bound of the memory that `json` takes once it is parsed, in bytes, without the characters of its texts. It
/// takes one or two looks at each byte. What is not JSON has some weight, too.
pub(crate) fn parsed_bytes_max(json: &str) -> usize {
    let rough = rough_bytes_max(json);
    if rough <= LIGHT_BYTES_MAX { rough } else { exact_bytes_max(json) }
}

/// The same by a quicker look, which takes the characters of texts for those of JSON itself. Without a branch, compilers
/// make it a matter of some hundred nanoseconds for a usual object.
fn rough_bytes_max(json: &str) -> usize {
    // Sums of so few bytes fit into u16, in which a processor counts many at a time.
    const BYTES_AT_ONCE: usize = u16::MAX as usize;
    let (mut opened, mut further) = (0_usize, 0_usize);
    for part in json.as_bytes().chunks(BYTES_AT_ONCE) {
        opened += usize::from(
            part.iter().map(|byte| u16::from(*byte == b'{') + u16::from(*byte == b'[')).sum::<u16>(),
        );
        further += usize::from(part.iter().map(|byte| u16::from(*byte == b',')).sum::<u16>());
    }
    opened.saturating_mul(OPENED_BYTES).saturating_add(further.saturating_mul(FURTHER_BYTES))
}

fn exact_bytes_max(json: &str) -> usize {
    let (mut weight, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        if in_text {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => weight = weight.saturating_add(OPENED_BYTES),
            b',' => weight = weight.saturating_add(FURTHER_BYTES),
            _ => {}
        }
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, opened: usize, further: usize) {
        let exact = opened * OPENED_BYTES + further * FURTHER_BYTES;
        assert_eq!(exact_bytes_max(json), exact, "{json}");
        let (rough, told) = (rough_bytes_max(json), parsed_bytes_max(json));
        assert!(rough >= exact && (told == rough || told == exact), "{json}: {rough}, {told}");
    }

    #[test]
    fn what_is_heavy_at_first_glance_is_looked_at_closely() {
        let text = format!("[{:?}]", "{[,".repeat(100_000));
        assert_eq!(rough_bytes_max(&text), OPENED_BYTES * 200_001 + FURTHER_BYTES * 100_000);
        assert_eq!(parsed_bytes_max(&text), OPENED_BYTES);
    }

    #[test]
    fn what_is_opened_and_what_follows_has_weight() {
        check("[{},{}]", 3, 1);
        check(r#"{"a":{"b":[1,2,3]},"c":null}"#, 3, 3);
        check(&"[".repeat(100), 100, 0);
    }

    #[test]
    fn a_text_has_none_whatever_is_in_it() {
        check("", 0, 0);
        check("7", 0, 0);
        check(r#""[{,\",{[\\""#, 0, 0);
        check(r#"["\\",{}]"#, 2, 1);
        check(r#""{ never ends"#, 0, 0);
    }
}
