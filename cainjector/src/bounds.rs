//! Bounds on texts that the owners of objects choose: an annotation alone may have 256 KiB, and what is kept of it is kept
//! for each object.

/// Where a text was cut.
const ELLIPSIS: &str = "…";

/// Longest value of an annotation that is kept, in bytes: more than the longest `namespace/name` has, which are 63, 1 and
/// 253. So one that was cut names nothing.
pub(crate) const VALUE_BYTES_MAX: usize = 512;

/// Longest message to people, in bytes: what fits into an event.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024;

/// The text, cut to so many bytes where it is longer. `bytes_max` has to leave room for the ellipsis.
pub(crate) fn clipped(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub(ELLIPSIS.len())));
        text.push_str(ELLIPSIS);
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_up_to_its_bound() {
        for (given, kept) in [("é".repeat(512), 1024), ("é".repeat(513), 1023), ("x".repeat(1 << 20), 1024)]
        {
            let text = clipped(given.clone(), 1024);
            assert_eq!(text.len(), kept);
            assert_eq!(text == given, given.len() <= 1024);
            assert!(text.capacity() < 2048);
        }
    }
}
