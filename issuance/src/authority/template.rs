//! What a certificate says, before it has a number and a signature (spec/issuance.md §4).

use der::asn1::{Any, BitString, Int, ObjectIdentifier};
use der::{Decode as _, Encode as _};
use jiff::{SignedDuration, Timestamp};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::time::Validity;

use super::{AuthorityError, Terms};
use crate::asn1::{Signed, TbsCertificate, VERSION_3};
use crate::certificate::{self, Certificate};
use crate::constraint::NameConstraints;
use crate::extension::{self, ExtensionError, Extensions};
use crate::key::{PrivateKey, PublicKey};
use crate::name;
use crate::request::Request;
use crate::usage::Usages;

/// The most that notBefore lies before the moment of issue, for nodes whose clocks are behind.
const BACK_DATING_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Back-dating is at most this share of the duration, so that a certificate of seconds is not old when it is made.
const BACK_DATING_SHARE: i32 = 10;

/// Everything about a certificate but its number and signature.
pub(crate) struct Template<'a> {
    pub issuer: Any,
    pub subject: Any,
    pub public_key: &'a PublicKey,
    /// First and last instant of validity, both included.
    pub validity: (Timestamp, Timestamp),
    pub extensions: Extensions,
}

impl Template<'_> {
    pub(crate) fn sign(self, key: &PrivateKey, serial: Int) -> Result<Certificate, AuthorityError> {
        let encoding = |_| AuthorityError::Encoding(None);
        let instant = |at| certificate::time(at).ok_or(AuthorityError::Encoding(None));
        let algorithm = key.signature_algorithm().identifier();
        let tbs = TbsCertificate {
            version: VERSION_3,
            serial,
            signature: algorithm.clone(),
            issuer: self.issuer,
            validity: Validity::new(instant(self.validity.0)?, instant(self.validity.1)?),
            subject: self.subject,
            public_key: self.public_key.spki().clone(),
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(self.extensions.0),
        };
        let body = tbs.to_der().map_err(encoding)?;
        let signature = BitString::from_bytes(&key.sign(&body)?).map_err(encoding)?;
        let signed = Signed { body: Any::from_der(&body).map_err(encoding)?, algorithm, signature };
        let der = signed.to_der().map_err(encoding)?;
        Certificate::from_der(&der).map_err(|error| AuthorityError::Encoding(Some(error)))
    }
}

/// From `now`, back-dated by a tenth of the duration and at most five minutes, to `now` plus the duration; whole
/// seconds.
pub(super) fn validity(
    duration: SignedDuration,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), AuthorityError> {
    let refused = || AuthorityError::Duration(duration);
    if duration < SignedDuration::from_secs(1) {
        return Err(refused());
    }
    let now = Timestamp::from_second(now.as_second()).map_err(|_| refused())?;
    let back = SignedDuration::from_secs(BACK_DATING_MAX.min(duration / BACK_DATING_SHARE).as_secs());
    let not_before = now.checked_sub(back).map_err(|_| refused())?;
    let not_after = now.checked_add(SignedDuration::from_secs(duration.as_secs())).map_err(|_| refused())?;
    // Years of more than four digits have no encoding (RFC 5280 §4.1.2.5.2).
    certificate::time(not_before).and(certificate::time(not_after)).ok_or_else(refused)?;
    Ok((not_before, not_after))
}

/// The extensions of a root that is made out of nothing but a name.
pub(super) fn root_extensions(
    key: &PublicKey,
    path_len_constraint: Option<u8>,
) -> Result<Extensions, AuthorityError> {
    let identifier = extension::key_identifier(key);
    let usages = Usages::default().with_cert_sign();
    let mut extensions = base_extensions(&usages, &BasicConstraints { ca: true, path_len_constraint })?;
    add_key_identifiers(&mut extensions, &identifier, &identifier)?;
    Ok(extensions)
}

/// The extensions of a certificate for `request`: names and name constraints from the request, the rest from the
/// terms. What else the request carries is dropped. `authority` is the key identifier of the signer, `path_limit` how
/// many levels of CAs may follow below the signer.
pub(super) fn requested_extensions(
    request: &Request,
    terms: &Terms,
    authority: &[u8],
    path_limit: Option<u8>,
    notes: &mut Vec<String>,
) -> Result<Extensions, AuthorityError> {
    let usages = if terms.is_ca { terms.usages.clone().with_cert_sign() } else { terms.usages.clone() };
    agree(request, terms, &usages)?;
    let path_len_constraint = path_len(request, terms, path_limit, notes)?;
    let mut extensions =
        base_extensions(&usages, &BasicConstraints { ca: terms.is_ca, path_len_constraint })?;
    add_key_identifiers(&mut extensions, &extension::key_identifier(request.public_key()), authority)?;
    extensions.0.extend(alternative_names(request)?);
    extensions.0.extend(name_constraints(request, terms, notes)?);
    let Terms { crl_distribution_points, ocsp_servers, issuing_certificate_urls, .. } = terms;
    extensions
        .add_issuer_urls(crl_distribution_points, ocsp_servers, issuing_certificate_urls)
        .map_err(AuthorityError::IssuerUrls)?;
    Ok(extensions)
}

fn base_extensions(usages: &Usages, constraints: &BasicConstraints) -> Result<Extensions, ExtensionError> {
    let mut extensions = Extensions::default();
    if let Some(bits) = usages.key_usage() {
        extensions.add(true, &bits)?;
    }
    if let Some(purposes) = usages.extended_key_usage() {
        extensions.add(false, &purposes)?;
    }
    extensions.add(true, constraints)?;
    Ok(extensions)
}

fn add_key_identifiers(
    extensions: &mut Extensions,
    subject: &[u8],
    authority: &[u8],
) -> Result<(), AuthorityError> {
    let encoding = |_| AuthorityError::Encoding(None);
    extensions.add(false, &extension::subject_key_identifier(subject).map_err(encoding)?)?;
    extensions.add(false, &extension::authority_key_identifier(authority).map_err(encoding)?)?;
    Ok(())
}

/// A request that says something about usages or basic constraints must say what the terms say.
fn agree(request: &Request, terms: &Terms, usages: &Usages) -> Result<(), AuthorityError> {
    if let Some(requested) = request.usages()?
        && !requested.same_as(usages)
    {
        return Err(AuthorityError::Usages { requested: requested.summary(), allowed: usages.summary() });
    }
    if let Some(requested) = request.basic_constraints()?
        && requested.ca != terms.is_ca
    {
        return Err(AuthorityError::BasicConstraints { requested: requested.ca, allowed: terms.is_ca });
    }
    Ok(())
}

/// The path length that the request asks for, if it is a CA's and below what the signer may still give.
fn path_len(
    request: &Request,
    terms: &Terms,
    path_limit: Option<u8>,
    notes: &mut Vec<String>,
) -> Result<Option<u8>, AuthorityError> {
    let requested = request.basic_constraints()?.and_then(|constraints| constraints.path_len_constraint);
    let Some(requested) = requested.filter(|_| terms.is_ca) else {
        return Ok(None);
    };
    match path_limit {
        Some(limit) if requested >= limit => {
            notes.push(format!(
                "the path length {requested} that was asked for is left out, since the CA allows less than {limit} below it"
            ));
            Ok(None)
        }
        _ => Ok(Some(requested)),
    }
}

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");

/// The request's names as the bytes that they are, critical exactly when there is no subject (RFC 5280 §4.2.1.6).
fn alternative_names(request: &Request) -> Result<Option<Extension>, AuthorityError> {
    let subject_is_empty = name::is_empty(request.subject_name());
    let copied = request.extensions().raw(SUBJECT_ALT_NAME)?.filter(|_| !request.names().is_empty());
    if copied.is_none() && subject_is_empty {
        return Err(AuthorityError::Nameless);
    }
    Ok(copied.map(|copied| Extension { critical: subject_is_empty, ..copied.clone() }))
}

/// The request's name constraints as the bytes that they are; they mean something in CAs alone (RFC 5280 §4.2.1.10).
fn name_constraints(
    request: &Request,
    terms: &Terms,
    notes: &mut Vec<String>,
) -> Result<Option<Extension>, AuthorityError> {
    let Some(copied) = request.extensions().raw(NAME_CONSTRAINTS)? else {
        return Ok(None);
    };
    NameConstraints::from_der(copied.extn_value.as_bytes(), copied.critical)
        .map_err(AuthorityError::RequestedConstraints)?;
    if terms.is_ca {
        return Ok(Some(copied.clone()));
    }
    notes.push(
        "the name constraints that were asked for are left out, since they are for CAs alone".to_owned(),
    );
    Ok(None)
}
