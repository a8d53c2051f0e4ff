//! Punycode: labels of any script in ASCII (RFC 3492). The work is bounded by the square of a label's length, so callers
//! bound that first.

/// The parameters of RFC 3492 §5.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// The label that `text` stands for (RFC 3492 §6.2). None: it stands for none.
pub(super) fn decode(text: &str) -> Option<String> {
    let (basic, deltas) = text.rsplit_once('-').unwrap_or(("", text));
    let mut label: Vec<char> = basic.chars().collect();
    let (mut n, mut index, mut bias) = (INITIAL_N, 0_u32, INITIAL_BIAS);
    let mut digits = deltas.bytes().peekable();
    while digits.peek().is_some() {
        let (start, mut weight, mut k) = (index, 1_u32, BASE);
        loop {
            let digit = value(digits.next()?)?;
            index = index.checked_add(digit.checked_mul(weight)?)?;
            let threshold = threshold(k, bias);
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(BASE - threshold)?;
            k += BASE;
        }
        let count = u32::try_from(label.len()).ok()?.checked_add(1)?;
        bias = adapt(index - start, count, start == 0);
        n = n.checked_add(index / count)?;
        index %= count;
        label.insert(usize::try_from(index).ok()?, char::from_u32(n)?);
        index += 1;
    }
    Some(label.into_iter().collect())
}

/// What stands for `label` (RFC 3492 §6.3). None: it is too long.
pub(super) fn encode(label: &str) -> Option<String> {
    let mut text: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(text.len()).ok()?;
    let count = u32::try_from(label.chars().count()).ok()?;
    if basic > 0 {
        text.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    while handled < count {
        let next = label.chars().map(u32::from).filter(|c| *c >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled.checked_add(1)?)?)?;
        n = next;
        for c in label.chars().map(u32::from) {
            if c < n {
                delta = delta.checked_add(1)?;
            }
            if c == n {
                push_number(&mut text, delta, bias)?;
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(text)
}

/// A number of variable length, lowest digit first.
fn push_number(text: &mut String, number: u32, bias: u32) -> Option<()> {
    let (mut rest, mut k) = (number, BASE);
    loop {
        let threshold = threshold(k, bias);
        if rest < threshold {
            text.push(digit(rest)?);
            return Some(());
        }
        text.push(digit(threshold + (rest - threshold) % (BASE - threshold))?);
        rest = (rest - threshold) / (BASE - threshold);
        k += BASE;
    }
}

fn threshold(k: u32, bias: u32) -> u32 {
    k.saturating_sub(bias).clamp(T_MIN, T_MAX)
}

/// RFC 3492 §6.1.
fn adapt(delta: u32, count: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta += delta / count;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

fn value(digit: u8) -> Option<u32> {
    match digit {
        b'a'..=b'z' => Some(u32::from(digit - b'a')),
        b'A'..=b'Z' => Some(u32::from(digit - b'A')),
        b'0'..=b'9' => Some(u32::from(digit - b'0') + 26),
        _ => None,
    }
}

fn digit(value: u32) -> Option<char> {
    match value {
        0..26 => char::from_u32(u32::from(b'a') + value),
        _ => char::from_digit(value - 26, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_punycode_is_refused() {
        for text in ["9", "a!", "-é", "99999999", "zzzzzzzzzzz"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn labels_are_written_and_read_as_the_standard_shows() {
        // RFC 3492 §7.1 (B), (C), (I) and (S), in lower case, and two common names.
        for (label, text) in [
            ("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye"),
            ("他們爲什麽不說中文", "ihqwctvzc91f659drss3x8bo0yb"),
            ("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l"),
            ("-> $1.00 <-", "-> $1.00 <--"),
            ("bücher", "bcher-kva"),
            ("中国", "fiqs8s"),
        ] {
            assert_eq!(encode(label).as_deref(), Some(text));
            assert_eq!(decode(text).as_deref(), Some(label));
        }
    }
}
