//! PEM (RFC 7468): the only decoder in the repository, linear in its input and bounded before it looks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::certificate::{Certificate, CertificateError};
use crate::secret::SecretBytes;

/// The most bytes and blocks that one input may have (spec/issuance.md §15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes of text.
    pub bytes: usize,
    /// PEM blocks.
    pub blocks: usize,
}

impl Limit {
    /// A private key, perhaps behind the parameters of its curve: RSA 8192 needs 6.5 kB.
    pub const PRIVATE_KEY: Self = Self { bytes: 13_000, blocks: 2 };
    /// A chain and the key of its first certificate in one file.
    pub const PAIR: Self = Self { bytes: 108_000, blocks: 21 };
    /// One certificate or request.
    pub const CERTIFICATE: Self = Self { bytes: 36_500, blocks: 1 };
    /// The chain of an issuer; longer ones are mistakes, since clients stop at about ten.
    pub const CHAIN: Self = Self { bytes: 95_000, blocks: 20 };
    /// A trust bundle.
    pub const BUNDLE: Self = Self { bytes: 330_000, blocks: 1_000 };
    /// All that a field of a Kubernetes object can hold, for [`readable_certificates`]: etcd takes requests of at most
    /// 1.5 MiB, in which so many certificates of the smallest kind (some 400 bytes of text) have no room.
    pub const OBJECT: Self = Self { bytes: 1_572_864, blocks: 5_000 };
}

/// Why a text is not the PEM that was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// The text is longer than allowed.
    #[error("{bytes} bytes of PEM are more than the {limit} allowed")]
    TooLong {
        /// Length of the text.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// There are more blocks than allowed.
    #[error("more than {limit} PEM blocks")]
    TooMany {
        /// The most that is allowed.
        limit: usize,
    },
    /// There is no block at all.
    #[error("no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----")]
    Empty,
    /// A block does not end, or its lines are not base64.
    #[error("PEM block {position} ({label:?}) is damaged: {reason}")]
    Damaged {
        /// Which block, from 1.
        position: usize,
        /// Its label.
        label: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A private key stands where only certificates belong.
    #[error("PEM block {position} is a private key: remove it and treat the key as disclosed")]
    PrivateKey {
        /// Which block, from 1.
        position: usize,
    },
    /// A block of another kind stands where only certificates belong.
    #[error("PEM block {position} is a {label:?}, not a CERTIFICATE")]
    Label {
        /// Which block, from 1.
        position: usize,
        /// Its label.
        label: String,
    },
    /// Text between the blocks is no harm by itself, but text alone is.
    #[error("PEM block {position} is not a certificate")]
    Certificate {
        /// Which block, from 1.
        position: usize,
        /// What the parser says.
        source: CertificateError,
    },
}

/// How the first line of each block begins.
const BEGIN: &[u8] = b"-----BEGIN ";

/// How the labels of all private keys end (RFC 7468 §§10, 11, and their predecessors).
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// One decoded block. Its content may be a private key, so it is treated as one.
pub(crate) struct Block {
    pub label: String,
    pub content: SecretBytes,
}

/// Decodes the first block; what follows is not looked at, as in the peer.
pub(crate) fn first(text: &[u8], limit: Limit) -> Result<Block, PemError> {
    bound(text, limit)?;
    Ok(split_first(text)?.0)
}

/// Decodes the first block that holds a private key, wherever it stands; without one, the first block.
pub(crate) fn first_key(text: &[u8], limit: Limit) -> Result<Block, PemError> {
    bound(text, limit)?;
    for block in blocks(text).take(limit.blocks) {
        let block = block?;
        if block.label.ends_with(PRIVATE_KEY) {
            return Ok(block);
        }
    }
    first(text, limit)
}

/// Decodes the first block, and gives what follows. The caller bounds the text.
pub(crate) fn split_first(text: &[u8]) -> Result<(Block, &[u8]), PemError> {
    let mut blocks = blocks(text);
    let first = blocks.next().unwrap_or(Err(PemError::Empty))?;
    Ok((first, blocks.rest))
}

/// Decodes certificates and nothing else: every block must be one. Text between blocks is allowed.
///
/// # Errors
/// When a limit is exceeded, no block is found, or a block is damaged, a private key, or no certificate. A private key is
/// told before everything else that is wrong, wherever it stands: it is disclosed, and whoever is told of a damaged block
/// would mend that alone.
pub fn certificates(text: &[u8], limit: Limit) -> Result<Vec<Certificate>, PemError> {
    let found = collect(text, limit, |block, position| Err(PemError::Label { position, label: block.label }));
    found.map_err(|error| private_key(text).map_or(error, |position| PemError::PrivateKey { position }))
}

/// Which block is the first that begins as a private key, from 1; whether it is damaged does not matter.
fn private_key(text: &[u8]) -> Option<usize> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut labels = lines.filter_map(|line| line.strip_prefix(BEGIN)?.strip_suffix(b"-----"));
    labels.position(|label| label.ends_with(PRIVATE_KEY.as_bytes())).map(|before| before + 1)
}

/// Decodes the certificates of a text in which other blocks stand too, such as their private key. They are passed over.
///
/// # Errors
/// When a limit is exceeded, no certificate is found, or a block is damaged or named wrongly.
pub fn certificates_among(text: &[u8], limit: Limit) -> Result<Vec<Certificate>, PemError> {
    collect(text, limit, |_, _| Ok(()))
}

/// Decodes certificates; `other` says what to make of each block that is none, with its position.
fn collect(
    text: &[u8],
    limit: Limit,
    other: impl Fn(Block, usize) -> Result<(), PemError>,
) -> Result<Vec<Certificate>, PemError> {
    bound(text, limit)?;
    let mut found = Vec::new();
    for (block, position) in blocks(text).zip(1..) {
        let block = block?;
        if position > limit.blocks {
            return Err(PemError::TooMany { limit: limit.blocks });
        }
        if block.label != "CERTIFICATE" {
            other(block, position)?;
            continue;
        }
        let certificate = Certificate::from_der(block.content.expose());
        found.push(certificate.map_err(|source| PemError::Certificate { position, source })?);
    }
    if found.is_empty() { Err(PemError::Empty) } else { Ok(found) }
}

/// What can be read of a text that may be damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readable {
    /// The certificates, in their order.
    pub certificates: Vec<Certificate>,
    /// How many blocks begin in the text and are no certificates that can be read, whatever else they may be.
    pub skipped: usize,
}

/// Decodes the certificates that can be read and passes over everything else, for texts of which something must be
/// kept although [`certificates`] refuses them. One block is bounded by [`Limit::CERTIFICATE`]; a larger one is passed
/// over.
///
/// A block ends at its END line, wherever that stands in a line, or else where the next one begins: a missing or joined
/// line costs no more than the block that it belongs to.
///
/// # Errors
/// [`PemError::TooLong`] or [`PemError::TooMany`] when `limit` is exceeded, the skipped blocks counted: what is read is
/// everything or nothing.
pub fn readable_certificates(text: &[u8], limit: Limit) -> Result<Readable, PemError> {
    const END: &[u8] = b"-----END CERTIFICATE-----";
    bound(text, limit)?;
    let mut found = Readable::default();
    let (_, mut rest) = split(text, BEGIN, 0);
    while !rest.is_empty() {
        if found.certificates.len() + found.skipped == limit.blocks {
            return Err(PemError::TooMany { limit: limit.blocks });
        }
        let (block, more) = split(rest, BEGIN, BEGIN.len());
        rest = more;
        let (inside, end) = split(block, END, 0);
        let block = block.get(..inside.len() + END.len().min(end.len())).unwrap_or(block);
        match certificates(block, Limit::CERTIFICATE) {
            Ok(mut one) => found.certificates.append(&mut one),
            Err(_) => found.skipped += 1,
        }
    }
    Ok(found)
}

/// Splits before the first `mark` that stands at `from` or behind it; the second part is empty when there is none.
fn split<'a>(text: &'a [u8], mark: &[u8], from: usize) -> (&'a [u8], &'a [u8]) {
    let behind = text.get(from..).unwrap_or_default();
    let at = behind.windows(mark.len()).position(|window| window == mark);
    at.and_then(|at| text.split_at_checked(from + at)).unwrap_or((text, &[]))
}

/// Writes one block: lines of 64 characters, each ended by a newline.
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut text = String::with_capacity(encoded_len(label, der));
    encode_into(label, der, &mut text);
    text
}

/// As [`encode`], for content that must not remain in memory.
pub(crate) fn encode_secret(label: &str, der: &[u8]) -> SecretBytes {
    let mut text = String::with_capacity(encoded_len(label, der));
    encode_into(label, der, &mut text);
    SecretBytes::new(text.into_bytes())
}

const LINE: usize = 64;

/// Length of what [`encode`] writes, in bytes.
pub(crate) fn encoded_len(label: &str, der: &[u8]) -> usize {
    let base64 = der.len().div_ceil(3) * 4;
    base64 + base64.div_ceil(LINE) + 2 * label.len() + "-----BEGIN -----\n-----END -----\n".len()
}

/// As [`encode`], behind what `text` holds already. Nothing is left behind in memory that was freed, as long as `text`
/// has room.
pub(crate) fn encode_into(label: &str, der: &[u8], text: &mut String) {
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for octets in der.chunks(LINE / 4 * 3) {
        STANDARD.encode_string(octets, text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
}

fn bound(text: &[u8], limit: Limit) -> Result<(), PemError> {
    if text.len() > limit.bytes {
        return Err(PemError::TooLong { bytes: text.len(), limit: limit.bytes });
    }
    Ok(())
}

/// Decodes into memory that is zeroed on failure too: what precedes the damage may be most of a key.
fn decode(base64: &[u8]) -> Option<SecretBytes> {
    let mut content = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
    let length = STANDARD.decode_slice(base64, &mut content).ok()?;
    content.truncate(length);
    // The vector itself changes hands; nothing is copied.
    Some(SecretBytes::new(std::mem::take(&mut *content)))
}

fn blocks(text: &[u8]) -> Blocks<'_> {
    Blocks { rest: text, position: 0 }
}

/// Walks a text once, from block to block.
struct Blocks<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Blocks<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        let (line, more) = self.rest.split_at(end);
        self.rest = more.strip_prefix(b"\n").unwrap_or(more);
        Some(line.trim_ascii())
    }

    fn label(line: &'a [u8], opening: &[u8]) -> Option<&'a str> {
        let label = line.strip_prefix(opening)?.strip_suffix(b"-----")?;
        std::str::from_utf8(label).ok()
    }

    /// Reads up to the END line. The lines are walked twice, to look at them and to gather them, so that no more room
    /// is taken than the block needs and nothing has to grow.
    fn block(&mut self, label: &str) -> Result<Block, PemError> {
        let position = self.position;
        let damaged = |reason| PemError::Damaged { position, label: label.to_owned(), reason };
        let mut ahead = Self { rest: self.rest, position };
        let (mut lines, mut length) = (0_usize, 0_usize);
        loop {
            let line = ahead.line().ok_or_else(|| damaged("its END line is missing"))?;
            match Self::label(line, b"-----END ") {
                Some(end) if end == label => break,
                Some(_) => return Err(damaged("its END line names another label")),
                None if line.starts_with(b"-----") => {
                    return Err(damaged("its END line is missing"));
                }
                None if line.contains(&b':') => {
                    return Err(damaged("it has headers, as encrypted keys have"));
                }
                None => (lines, length) = (lines + 1, length + line.len()),
            }
        }
        let mut base64 = Zeroizing::new(Vec::with_capacity(length));
        for _ in 0..lines {
            base64.extend_from_slice(self.line().unwrap_or_default());
        }
        let content = decode(&base64).ok_or_else(|| damaged("its content is not base64"))?;
        self.rest = ahead.rest;
        Ok(Block { label: label.to_owned(), content })
    }
}

impl Iterator for Blocks<'_> {
    type Item = Result<Block, PemError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.line()?;
            if let Some(label) = Self::label(line, b"-----BEGIN ") {
                self.position += 1;
                return Some(self.block(label));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, message: &str) {
        let error = certificates(text.as_bytes(), Limit { bytes: 200, blocks: 1 }).unwrap_err();
        assert_eq!(error.to_string(), message, "{text:?}");
    }

    #[test]
    fn what_is_not_a_certificate_is_refused_with_the_block_that_is_wrong() {
        check("", "no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----");
        check("words", "no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----");
        check(&"x".repeat(201), "201 bytes of PEM are more than the 200 allowed");
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "PEM block 1 (\"CERTIFICATE\") is damaged: its END line is missing",
        );
        check(
            "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----",
            "PEM block 1 (\"CERTIFICATE\") is damaged: its content is not base64",
        );
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END PUBLIC KEY-----",
            "PEM block 1 (\"CERTIFICATE\") is damaged: its END line names another label",
        );
        check(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----",
            "PEM block 1 is a private key: remove it and treat the key as disclosed",
        );
        check(
            "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END CERTIFICATE-----",
            "PEM block 1 (\"CERTIFICATE\") is damaged: it has headers, as encrypted keys have",
        );
        check(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "PEM block 1 is a private key: remove it and treat the key as disclosed",
        );
        check(
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "PEM block 1 is a \"PUBLIC KEY\", not a CERTIFICATE",
        );
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            "PEM block 1 is not a certificate",
        );
    }

    #[test]
    fn blocks_survive_a_round_trip_with_any_line_ends() {
        for length in [1_usize, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
            let text = encode("THING", &der);
            assert_eq!(text.len(), encoded_len("THING", &der));
            for text in [text.clone(), text.replace('\n', "\r\n"), format!("# note\n{text}\ntrailing")] {
                let block = first(text.as_bytes(), Limit::CERTIFICATE).unwrap();
                assert_eq!(block.label, "THING");
                assert_eq!(block.content.expose(), der);
            }
        }
    }

    /// What can be read of `text`, by name, and how many blocks were passed over.
    fn check_readable(text: &str, names: &[&str], skipped: usize) {
        let found = readable_certificates(text.as_bytes(), Limit::OBJECT).unwrap();
        let read: Vec<_> = found.certificates.iter().filter_map(Certificate::common_name).collect();
        assert_eq!(read, names, "{text}");
        assert_eq!(found.skipped, skipped, "{text}");
    }

    #[test]
    fn what_can_be_read_of_a_damaged_text_is_read() {
        let key = crate::testing::key(1);
        let make = |name| crate::testing::Maker::ca(name, &key, None).make().to_pem();
        let (a, b) = (make("a"), make("b"));
        let unfinished = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        let foreign = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
        let not_base64 = "-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n";
        let large = encode("CERTIFICATE", &vec![0; Limit::CERTIFICATE.bytes]);
        check_readable("", &[], 0);
        check_readable("words", &[], 0);
        check_readable("-----BEGIN ", &[], 1);
        check_readable("-----END CERTIFICATE-----", &[], 0);
        check_readable(&format!("{unfinished}{unfinished}"), &[], 2);
        check_readable(&format!("{foreign}{not_base64}{large}"), &[], 3);
        check_readable(&format!("{a}{b}"), &["a", "b"], 0);
        check_readable(&format!("{a}{unfinished}{b}{foreign}"), &["a", "b"], 2);
        check_readable(&format!("{foreign}{not_base64}{a}note\n{large}{b}{unfinished}"), &["a", "b"], 4);
        check_readable(&format!("{a}{}", b.replace('\n', "\r\n")), &["a", "b"], 0);
        // Files that were joined although the first one lacks its last newline.
        check_readable(&format!("{}{b}", a.trim_end()), &["a", "b"], 0);
        check_readable(&format!("{} and more\n{b}", a.trim_end()), &["a", "b"], 0);
    }

    #[test]
    fn damaged_texts_above_the_bound_are_refused_rather_than_cut() {
        let certificate = crate::testing::authority(|maker| maker).certificate().to_pem();
        let text = format!("{certificate}-----BEGIN A-----\n{certificate}");
        let check = |bytes, blocks| {
            let found = readable_certificates(text.as_bytes(), Limit { bytes, blocks });
            found.map(|found| (found.certificates.len(), found.skipped))
        };
        assert_eq!(check(text.len(), 3), Ok((2, 1)));
        assert_eq!(check(text.len(), 2), Err(PemError::TooMany { limit: 2 }));
        let limit = text.len() - 1;
        assert_eq!(check(limit, 3), Err(PemError::TooLong { bytes: text.len(), limit }));
    }

    #[test]
    fn a_block_takes_no_more_room_than_it_needs() {
        // Were room taken for all that follows, a text of many blocks would cost its square.
        let text = encode("THING", &[7; 100]).repeat(500);
        let mut blocks = Blocks { rest: text.as_bytes(), position: 0 };
        let mut count = 0;
        while let Some(block) = blocks.next() {
            assert_eq!(block.unwrap().content.expose(), [7; 100]);
            count += 1;
            assert_eq!(blocks.position, count);
        }
        assert_eq!(count, 500);
    }

    #[test]
    fn the_largest_text_of_the_smallest_blocks_is_read_in_one_pass() {
        let block = "-----BEGIN A-----\n-----END A-----\n";
        let text = block.repeat(Limit::BUNDLE.bytes / block.len());
        let error = certificates(text.as_bytes(), Limit::BUNDLE).unwrap_err();
        assert_eq!(error, PemError::Label { position: 1, label: "A".to_owned() });
        let blocks = Blocks { rest: text.as_bytes(), position: 0 };
        assert_eq!(blocks.filter(Result::is_ok).count(), text.len() / block.len());
    }

    #[test]
    fn a_private_key_is_told_before_everything_else_that_is_wrong() {
        let certificate = crate::testing::authority(|maker| maker).certificate().to_pem();
        let key = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        let told =
            |text: String, bytes| certificates(text.as_bytes(), Limit { bytes, blocks: 3 }).unwrap_err();
        for before in [
            "",
            "-----BEGIN A-----\n-----END A-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nno base64 !\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n",
            &certificate.repeat(4),
        ] {
            let position = before.matches("BEGIN").count() + 1;
            assert_eq!(
                told(format!("{before}{key}"), 100_000),
                PemError::PrivateKey { position },
                "{before}"
            );
        }
        for damaged in [
            "-----BEGIN PRIVATE KEY-----\n",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\r\nAAAA\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            assert_eq!(
                told(format!("{certificate}{damaged}"), 100_000),
                PemError::PrivateKey { position: 2 }
            );
        }
        assert_eq!(told(key.to_owned(), 10), PemError::PrivateKey { position: 1 });
    }

    #[test]
    fn exactly_as_many_bytes_and_blocks_as_allowed_are_read() {
        let certificate = crate::testing::authority(|maker| maker).certificate().to_pem();
        let two = certificate.repeat(2);
        let check =
            |bytes, blocks| certificates(two.as_bytes(), Limit { bytes, blocks }).map(|all| all.len());
        assert_eq!(check(two.len(), 2), Ok(2));
        assert_eq!(check(two.len(), 1), Err(PemError::TooMany { limit: 1 }));
        let limit = two.len() - 1;
        assert_eq!(check(limit, 2), Err(PemError::TooLong { bytes: two.len(), limit }));
    }

    #[test]
    fn a_key_beside_its_certificate_is_found_and_passed_over() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        let other = "-----BEGIN EC PARAMETERS-----\nAAAA\n-----END EC PARAMETERS-----\n";
        let found = |text: String| first_key(text.as_bytes(), Limit::PAIR).unwrap().label;
        assert_eq!(found([other, key, other].concat()), "EC PRIVATE KEY");
        assert_eq!(found(other.to_owned()), "EC PARAMETERS");
        assert_eq!(certificates_among(key.as_bytes(), Limit::PAIR), Err(PemError::Empty));
        let many = other.repeat(Limit::PAIR.blocks + 1);
        let limit = Limit::PAIR.blocks;
        assert_eq!(certificates_among(many.as_bytes(), Limit::PAIR), Err(PemError::TooMany { limit }));
    }
}
