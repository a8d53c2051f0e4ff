package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"strconv"
	"strings"
)

// A writer of DER that also writes what DER forbids: every case made by hand is one deviation from a correct whole.

// Universal tags that are used here; the constructed bit is part of the value.
const (
	tagBoolean         = 0x01
	tagInteger         = 0x02
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagNull            = 0x05
	tagOID             = 0x06
	tagUTF8String      = 0x0c
	tagPrintableString = 0x13
	tagT61String       = 0x14
	tagIA5String       = 0x16
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagBMPString       = 0x1e
	tagUniversalString = 0x1c
	tagSequence        = 0x30
	tagSet             = 0x31
)

func join(parts ...[]byte) []byte {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// length in the shortest form.
func length(n int) []byte {
	switch {
	case n < 0x80:
		return []byte{byte(n)}
	case n < 0x100:
		return []byte{0x81, byte(n)}
	case n < 0x10000:
		return []byte{0x82, byte(n >> 8), byte(n)}
	default:
		return []byte{0x83, byte(n >> 16), byte(n >> 8), byte(n)}
	}
}

func tlv(tag byte, parts ...[]byte) []byte {
	content := join(parts...)
	return join([]byte{tag}, length(len(content)), content)
}

func seq(parts ...[]byte) []byte    { return tlv(tagSequence, parts...) }
func set(parts ...[]byte) []byte    { return tlv(tagSet, parts...) }
func octets(parts ...[]byte) []byte { return tlv(tagOctetString, parts...) }
func integer(bytes ...byte) []byte  { return tlv(tagInteger, bytes) }
func utf8(text string) []byte       { return tlv(tagUTF8String, []byte(text)) }
func printable(text string) []byte  { return tlv(tagPrintableString, []byte(text)) }
func null() []byte                  { return tlv(tagNull) }
func truth() []byte                 { return tlv(tagBoolean, []byte{0xff}) }

// bits is a BIT STRING without unused bits.
func bits(content []byte) []byte { return tlv(tagBitString, []byte{0}, content) }

// context is a constructed, context-specific element: EXPLICIT, or IMPLICIT of a constructed type.
func context(number byte, parts ...[]byte) []byte { return tlv(0xa0|number, parts...) }

// primitive is an IMPLICIT context-specific element of a primitive type.
func primitive(number byte, content []byte) []byte { return tlv(0x80|number, content) }

func oid(dotted string) []byte {
	var identifier asn1.ObjectIdentifier
	for _, arc := range strings.Split(dotted, ".") {
		number, err := strconv.Atoi(arc)
		if err != nil {
			panic(err)
		}
		identifier = append(identifier, number)
	}
	der, err := asn1.Marshal(identifier)
	if err != nil {
		panic(err)
	}
	return der
}

// longLength writes an element with a length of one octet more than needed, which is BER but not DER.
func longLength(tag byte, content []byte) []byte {
	n := len(content)
	return join([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, content)
}

// indefinite writes an element of indefinite length, which is BER but not DER.
func indefinite(tag byte, content []byte) []byte {
	return join([]byte{tag, 0x80}, content, []byte{0, 0})
}

// content strips an element's tag and length.
func content(element []byte) []byte {
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(element, &raw); err != nil {
		panic(err)
	}
	return raw.Bytes
}

const (
	oidCommonName       = "2.5.4.3"
	oidOrganization     = "2.5.4.10"
	oidExtensionRequest = "1.2.840.113549.1.9.14"
	oidSubjectKeyID     = "2.5.29.14"
	oidKeyUsage         = "2.5.29.15"
	oidAltName          = "2.5.29.17"
	oidConstraints      = "2.5.29.19"
	oidNameConstraints  = "2.5.29.30"
	oidPurposes         = "2.5.29.37"
	oidServerAuth       = "1.3.6.1.5.5.7.3.1"
	oidClientAuth       = "1.3.6.1.5.5.7.3.2"
	oidECDSAWithSHA256  = "1.2.840.10045.4.3.2"
	oidECDSAWithSHA384  = "1.2.840.10045.4.3.3"
	oidRSAWithSHA256    = "1.2.840.113549.1.1.11"
	oidRSAWithSHA1      = "1.2.840.113549.1.1.5"
	oidRSAWithMD5       = "1.2.840.113549.1.1.4"
	oidRSA              = "1.2.840.113549.1.1.1"
	oidEd25519          = "1.3.101.112"
)

// attribute is an AttributeTypeAndValue.
func attribute(identifier string, value []byte) []byte { return seq(oid(identifier), value) }

// name is a Name of one attribute per relative name.
func name(attributes ...[]byte) []byte {
	var relative []byte
	for _, attribute := range attributes {
		relative = append(relative, set(attribute)...)
	}
	return seq(relative)
}

func extension(identifier string, critical bool, value []byte) []byte {
	if critical {
		return seq(oid(identifier), truth(), octets(value))
	}
	return seq(oid(identifier), octets(value))
}

// altName is an extension with these GeneralNames.
func altName(names ...[]byte) []byte { return extension(oidAltName, false, seq(names...)) }

func dnsName(text string) []byte { return primitive(2, []byte(text)) }

// extensionRequest is the attribute that carries the extensions of a request.
func extensionRequest(extensions ...[]byte) []byte {
	return seq(oid(oidExtensionRequest), set(seq(extensions...)))
}

// request is a CertificationRequest in pieces, each of which a case may replace.
type request struct {
	version, subject, key, attributes []byte
	algorithm                         []byte
	signer                            crypto.Signer
	// body makes the whole of the signed pieces; seq unless a case breaks it.
	body func(parts ...[]byte) []byte
	// whole makes the request of body, algorithm and signature; seq unless a case breaks it.
	whole func(parts ...[]byte) []byte
	// bits wraps the signature.
	bits func([]byte) []byte
}

func newRequest(signer crypto.Signer) request {
	return request{
		version:    integer(0),
		subject:    name(attribute(oidCommonName, utf8("leaf"))),
		key:        publicKey(signer),
		attributes: context(0, extensionRequest(altName(dnsName("a.test")))),
		algorithm:  algorithmOf(signer),
		signer:     signer,
		body:       seq,
		whole:      seq,
		bits:       bits,
	}
}

func (r request) with(change func(*request)) request {
	change(&r)
	return r
}

func (r request) der() []byte {
	body := r.body(r.version, r.subject, r.key, r.attributes)
	return r.whole(body, r.algorithm, r.bits(sign(r.signer, body)))
}

// certificate is a Certificate in pieces.
type certificate struct {
	version, serial, inner, issuer, validity, subject, key, ids, extensions []byte
	algorithm                                                               []byte
	signer                                                                  crypto.Signer
	body                                                                    func(parts ...[]byte) []byte
	whole                                                                   func(parts ...[]byte) []byte
	bits                                                                    func([]byte) []byte
}

func newCertificate(signer crypto.Signer) certificate {
	algorithm := algorithmOf(signer)
	subject := name(attribute(oidCommonName, utf8("leaf")))
	return certificate{
		version:    context(0, integer(2)),
		serial:     integer(0x40, 1, 2, 3, 4, 5, 6, 7),
		inner:      algorithm,
		issuer:     subject,
		validity:   seq(utcTime("270101000000Z"), utcTime("280101000000Z")),
		subject:    subject,
		key:        publicKey(signer),
		extensions: context(3, seq(altName(dnsName("a.test")))),
		algorithm:  algorithm,
		signer:     signer,
		body:       seq,
		whole:      seq,
		bits:       bits,
	}
}

func (c certificate) with(change func(*certificate)) certificate {
	change(&c)
	return c
}

func (c certificate) der() []byte {
	body := c.body(
		c.version, c.serial, c.inner, c.issuer, c.validity, c.subject, c.key, c.ids, c.extensions)
	return c.whole(body, c.algorithm, c.bits(sign(c.signer, body)))
}

func utcTime(text string) []byte         { return tlv(tagUTCTime, []byte(text)) }
func generalizedTime(text string) []byte { return tlv(tagGeneralizedTime, []byte(text)) }

func publicKey(signer crypto.Signer) []byte {
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		panic(err)
	}
	return der
}

func algorithmOf(signer crypto.Signer) []byte {
	switch signer.(type) {
	case *rsa.PrivateKey:
		return seq(oid(oidRSAWithSHA256), null())
	case *ecdsa.PrivateKey:
		return seq(oid(oidECDSAWithSHA256))
	default:
		return seq(oid(oidEd25519))
	}
}

// sign signs with SHA-256, or without a digest for Ed25519.
func sign(signer crypto.Signer, body []byte) []byte {
	digest, options := body, crypto.SignerOpts(crypto.Hash(0))
	if _, pure := signer.(ed25519.PrivateKey); !pure {
		sum := sha256.Sum256(body)
		digest, options = sum[:], crypto.SHA256
	}
	signature, err := signer.Sign(rand.Reader, digest, options)
	if err != nil {
		panic(err)
	}
	return signature
}
