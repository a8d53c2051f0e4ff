//! Quantities of resources (apimachinery's Quantity).

/// Exact amounts are compared as multiples of this fraction, below which Kubernetes rounds up.
const NANOS_DIGITS: i32 = 9;

/// Most digits of a number that fit into [`i128`] together with a factor for its unit; more are taken for infinite.
const DIGITS_MAX: usize = 36;

/// An amount in billionths. What is larger than the type holds is as large as it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(i128);

impl Amount {
    /// Reads `[+-]digits[.digits]` with a unit: n, u, m, k, M, G, T, P, E, Ki … Ei, or an exponent of ten. None: it is
    /// none of these.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, unit) = unsigned.split_at_checked(end)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (tens, twos) = factor(unit)?;
        let amount = scaled(whole, fraction, tens, twos);
        Some(Self(if is_negative { -amount } else { amount }))
    }

    /// Whether it is below zero.
    pub(super) fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// The exponents of ten and of two that a unit stands for.
fn factor(unit: &str) -> Option<(i32, u32)> {
    Some(match unit {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "" => (0, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        exponent => (exponent.strip_prefix(['e', 'E'])?.parse().ok()?, 0),
    })
}

/// The number times the factor, in billionths, rounded up.
fn scaled(whole: &str, fraction: &str, tens: i32, twos: u32) -> i128 {
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let kept = digits.get(..digits.len().min(DIGITS_MAX)).unwrap_or(digits);
    let dropped = digits.len() - kept.len();
    let mantissa = kept.parse::<i128>().unwrap_or(i128::MAX).saturating_add(i128::from(dropped > 0));
    let places = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let dropped = i32::try_from(dropped).unwrap_or(i32::MAX);
    let exponent = tens.saturating_add(NANOS_DIGITS).saturating_sub(places).saturating_add(dropped);
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    let twos = 2_i128.saturating_pow(twos);
    if exponent >= 0 {
        power.and_then(|power| mantissa.checked_mul(power)?.checked_mul(twos)).unwrap_or(i128::MAX)
    } else {
        let product = mantissa.saturating_mul(twos);
        let Some(power) = power else { return 1 };
        product / power + i128::from(product % power != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_quantity_is_not_read() {
        for text in [
            "", "-", ".", "Mi", "1..2", "1.2.3", "1mi", "1KB", "1 Gi", " 1", "1e", "1e1.5", "1eE", "0x1",
            "--1", "1,5",
        ] {
            assert_eq!(Amount::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn quantities_compare_by_what_they_mean() {
        let long = "9".repeat(60);
        for (smaller, larger) in [
            ("999m", "1"),
            ("1M", "1Mi"),
            ("1023Mi", "1Gi"),
            ("-1", "0"),
            ("0.1", "101m"),
            ("1E", "1Ei"),
            ("1e3", "1001"),
            ("5e-1", ".51"),
            ("1Ei", long.as_str()),
            ("0", "0.0000000000001"),
        ] {
            assert!(Amount::parse(smaller).unwrap() < Amount::parse(larger).unwrap(), "{smaller} < {larger}");
        }
    }

    #[test]
    fn one_amount_in_several_forms_is_one() {
        let zeros = format!("1.{}", "0".repeat(100));
        for (one, other) in [
            ("1", "1000m"),
            ("1", "+1."),
            ("1", zeros.as_str()),
            ("64Mi", "67108864"),
            ("1.5Gi", "1536Mi"),
            ("1k", "1E3"),
            ("0.5", "500m"),
            ("-0", "0"),
            ("1e-400", "1n"),
            ("1e400", "1e300"),
        ] {
            assert_eq!(Amount::parse(one), Amount::parse(other), "{one} = {other}");
            assert!(Amount::parse(one).is_some(), "{one}");
        }
    }
}
