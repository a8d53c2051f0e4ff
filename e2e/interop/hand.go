package main

import (
	"bytes"
	"encoding/asn1"
	"strings"
)

// Cases in the manner of Wycheproof: a correct whole with one thing wrong. Unless a case says otherwise, the signature
// covers the very bytes that are wrong, so that nothing but the check in question can refuse it.

func byHand(kind, name, about string, der func() []byte) draft {
	return draft{
		Case: Case{Name: "hand-" + name, Kind: kind, Maker: "hand", About: about},
		make: func(string) ([]byte, error) { return toPEM(kind, der()), nil },
	}
}

func handRequests() []draft {
	return append(append(frameRequests(), fieldRequests()...), extensionRequests()...)
}

func changedRequest(name, about string, change func(*request)) draft {
	return byHand("request", name, about, func() []byte { return newRequest(goKey("p256")).with(change).der() })
}

// mangledRequest changes the finished bytes.
func mangledRequest(name, about string, mangle func([]byte) []byte) draft {
	return byHand("request", name, about, func() []byte { return mangle(newRequest(goKey("p256")).der()) })
}

const notDER = "PKCS#10 is DER (RFC 2986 §4), and BER would not re-encode to the same bytes"

// frameRequests have something wrong with the frame: lengths, ends, algorithm, signature.
func frameRequests() []draft {
	flip := func(position int) func([]byte) []byte {
		return func(der []byte) []byte {
			if position < 0 {
				position += len(der)
			}
			der[position] ^= 1
			return der
		}
	}
	cut := func(size int) func([]byte) []byte { return func(der []byte) []byte { return der[:len(der)-size] } }
	outer := func(name, about string, whole func(...[]byte) []byte) draft {
		return changedRequest(name, about, func(r *request) { r.whole = whole })
	}
	rsaKey := func(name, about string, change func(*request)) draft {
		return byHand("request", name, about, func() []byte { return newRequest(goKey("rsa-2048")).with(change).der() })
	}
	algorithm := func(identifier ...[]byte) func(*request) {
		return func(r *request) { r.algorithm = seq(identifier...) }
	}
	return []draft{
		changedRequest("correct", "the whole that the other cases damage", func(*request) {}),
		mangledRequest("flipped-signature", "a flipped bit in the signature", flip(-1)).refused("the signature does not verify"),
		mangledRequest("truncated-1", "the last octet is missing", cut(1)).refused("truncated"),
		mangledRequest("truncated-50", "fifty octets are missing", cut(50)).refused("truncated"),
		mangledRequest("header-only", "tag and length without content", func(der []byte) []byte { return der[:4] }).refused("truncated"),
		mangledRequest("trailing-octet", "an octet behind the request", func(der []byte) []byte { return append(der, 0) }).refused("trailing data"),
		mangledRequest("trailing-request", "a second request in the same block", func(der []byte) []byte { return join(der, der) }).refused("trailing data"),
		byHand("request", "foreign-signature", "signed by another key", func() []byte {
			return newRequest(goKey("p256")).with(func(r *request) { r.key = publicKey(goKey("p256-other")) }).der()
		}).refused("possession of the key is not proven"),
		outer("trailing-element", "a NULL behind the signature", func(parts ...[]byte) []byte { return seq(join(parts...), null()) }).refused(notDER),
		outer("outer-long-length", "an outer length of more octets than needed", func(parts ...[]byte) []byte { return longLength(tagSequence, join(parts...)) }).refused(notDER),
		outer("outer-indefinite", "an outer length that is indefinite", func(parts ...[]byte) []byte { return indefinite(tagSequence, join(parts...)) }).refused(notDER),
		outer("outer-set", "a SET for the outer SEQUENCE", func(parts ...[]byte) []byte { return set(parts...) }).refused(notDER),
		outer("huge-length", "a length of four gigabytes", func(parts ...[]byte) []byte {
			return join([]byte{tagSequence, 0x84, 0xff, 0xff, 0xff, 0xff}, join(parts...))
		}).refused("truncated"),
		changedRequest("body-long-length", "a signed length of more octets than needed", func(r *request) {
			r.body = func(parts ...[]byte) []byte { return longLength(tagSequence, join(parts...)) }
		}).refused(notDER),
		changedRequest("body-indefinite", "a signed length that is indefinite", func(r *request) {
			r.body = func(parts ...[]byte) []byte { return indefinite(tagSequence, join(parts...)) }
		}).refused(notDER),
		changedRequest("body-trailing", "an element behind the attributes", func(r *request) {
			r.body = func(parts ...[]byte) []byte { return seq(join(parts...), null()) }
		}).refused(notDER),
		changedRequest("signature-unused-bits", "a signature with three unused bits", func(r *request) {
			r.bits = func(signature []byte) []byte { return tlv(tagBitString, []byte{3}, append(signature, 0)) }
		}).refused("the signature is not whole octets"),
		changedRequest("signature-empty", "a signature without any bit", func(r *request) {
			r.bits = func([]byte) []byte { return bits(nil) }
		}).refused("the signature does not verify"),
		changedRequest("signature-zero", "r and s are zero", func(r *request) {
			r.bits = func([]byte) []byte { return bits(seq(integer(0), integer(0))) }
		}).refused("the signature does not verify"),
		changedRequest("signature-padded", "r has a superfluous zero octet", func(r *request) {
			r.bits = func(signature []byte) []byte { return bits(paddedR(signature)) }
		}).refused("ECDSA signatures are DER (RFC 3279 §2.2.3)"),
		changedRequest("signature-trailing", "an octet behind r and s", func(r *request) {
			r.bits = func(signature []byte) []byte { return bits(append(signature, 0)) }
		}).refused("the signature does not verify"),
		changedRequest("algorithm-wrong-digest", "SHA-384 is named, SHA-256 was used", algorithm(oid(oidECDSAWithSHA384))).refused("the signature does not verify"),
		changedRequest("algorithm-wrong-kind", "an RSA algorithm with an ECDSA key", algorithm(oid(oidRSAWithSHA256), null())).refused("algorithm and key are of two kinds"),
		changedRequest("algorithm-unknown", "an algorithm that nobody knows", algorithm(oid("1.2.3.4"))).refused("unknown algorithm"),
		changedRequest("algorithm-null", "ECDSA with NULL parameters", algorithm(oid(oidECDSAWithSHA256), null())),
		changedRequest("algorithm-junk", "ECDSA with text for parameters", algorithm(oid(oidECDSAWithSHA256), utf8("x"))).
			refused("RFC 5758 §3.2 wants no parameters"),
		rsaKey("rsa-no-null", "RSA without the NULL parameters", algorithm(oid(oidRSAWithSHA256))).
			accepted("RFC 4055 §5 lets readers take absent parameters"),
		rsaKey("rsa-junk", "RSA with text for parameters", algorithm(oid(oidRSAWithSHA256), utf8("x"))).
			refused("RFC 4055 §5 wants NULL parameters"),
		rsaKey("rsa-sha1-named", "SHA-1 is named, SHA-256 was used", algorithm(oid(oidRSAWithSHA1), null())).refused("weak digest"),
		rsaKey("rsa-md5-named", "MD5 is named, SHA-256 was used", algorithm(oid(oidRSAWithMD5), null())).refused("weak digest"),
		byHand("request", "ed25519-parameters", "Ed25519 with NULL parameters", func() []byte {
			return newRequest(goKey("ed25519")).with(func(r *request) { r.algorithm = seq(oid(oidEd25519), null()) }).der()
		}).refused("RFC 8410 §3 forbids parameters"),
	}
}

// paddedName has a common name under an identifier with a superfluous octet.
func paddedName() []byte {
	return seq(set(seq(tlv(tagOID, []byte{0x55, 0x80, 0x04, 0x03}), utf8("x"))))
}

// paddedR puts a zero octet in front of r, whether or not there is one.
func paddedR(signature []byte) []byte {
	var parts []asn1.RawValue
	if _, err := asn1.Unmarshal(signature, &parts); err != nil {
		panic(err)
	}
	return seq(tlv(tagInteger, []byte{0, 0}, bytes.TrimLeft(parts[0].Bytes, "\x00")), parts[1].FullBytes)
}

// fieldRequests have something wrong with version, subject, key or attributes.
func fieldRequests() []draft {
	subject := func(name, about string, subject ...[]byte) draft {
		return changedRequest("subject-"+name, about, func(r *request) { r.subject = join(subject...) })
	}
	common := func(value []byte) []byte { return name(attribute(oidCommonName, value)) }
	version := func(name, about string, version []byte) draft {
		return changedRequest("version-"+name, about, func(r *request) { r.version = version })
	}
	key := func(name, about string, change func(spki []byte) []byte) draft {
		return changedRequest("key-"+name, about, func(r *request) { r.key = change(r.key) })
	}
	form := func(name, kind, about string, change func(spki []byte) []byte) draft {
		return byHand("request", "key-"+name, about, func() []byte {
			return newRequest(goKey(kind)).with(func(r *request) { r.key = change(r.key) }).der()
		}).refused("the key would be copied into a certificate that Go cannot read")
	}
	point := func(change func([]byte) []byte) func([]byte) []byte {
		return func(spki []byte) []byte {
			parts := elements(content(spki))
			return seq(parts[0], bits(change(content(parts[1])[1:])))
		}
	}
	attributes := func(name, about string, attributes ...[]byte) draft {
		return changedRequest("attributes-"+name, about, func(r *request) { r.attributes = join(attributes...) })
	}
	names := extensionRequest(altName(dnsName("a.test")))
	deep := func(levels int) []byte {
		nested := null()
		for range levels {
			nested = seq(nested)
		}
		return nested
	}
	return []draft{
		version("3", "version 3 (2), which requests do not have", integer(2)).refused("RFC 2986 §4.1 has version 0 alone"),
		version("2", "version 2 (1)", integer(1)).refused("RFC 2986 §4.1 has version 0 alone"),
		version("negative", "version -1", integer(0xff)).refused("RFC 2986 §4.1 has version 0 alone"),
		version("long", "version 0 in two octets", integer(0, 0)).refused(notDER),
		version("huge", "a version of a hundred octets", integer(bytes.Repeat([]byte{0x55}, 100)...)).refused("RFC 2986 §4.1 has version 0 alone"),
		version("missing", "no version", nil).refused("RFC 2986 §4.1 wants the version"),
		subject("not-sequence", "text for a subject", utf8("leaf")).refused("the subject is a Name"),
		subject("empty-set", "a relative name without attributes", seq(set())).refused("RFC 5280 §4.1.2.4: a relative name has at least one attribute"),
		subject("no-value", "an attribute without a value", seq(set(seq(oid(oidCommonName))))).refused("an attribute has a value"),
		subject("null-value", "NULL for a common name", common(null())).
			refused("a common name that is no text would pass by every rule on common names"),
		subject("integer-value", "a number for a common name", common(integer(7))).
			refused("a common name that is no text would pass by every rule on common names"),
		subject("bad-printable", "a PrintableString with a character that it lacks", common(printable("a*b@c"))).
			accepted("many tools write such strings; the bytes stay as they are"),
		subject("bad-utf8", "a UTF8String that is not UTF-8", common(tlv(tagUTF8String, []byte{'a', 0xff, 'b'}))).
			refused("text that cannot be read must not become a name"),
		subject("bad-bmp", "a BMPString of an odd number of octets", common(tlv(tagBMPString, []byte{0, 'a', 0}))).
			refused("text that cannot be read must not become a name"),
		subject("nul", "a NUL inside the common name", common(utf8("a.test\x00.b.test"))).
			accepted("the bytes stay as they are; rules on names refuse it later"),
		subject("unsorted-set", "a multi-valued relative name in the wrong order",
			seq(set(attribute(oidOrganization, utf8("x")), attribute(oidCommonName, utf8("leaf"))))),
		subject("long-length", "an attribute with a length of more octets than needed",
			common(longLength(tagUTF8String, []byte("leaf")))).refused(notDER),
		subject("indefinite", "a subject of indefinite length", indefinite(tagSequence, content(common(utf8("leaf"))))).refused(notDER),
		subject("constructed-string", "a string in pieces", common(tlv(0x2c, utf8("le"), utf8("af")))).refused(notDER),
		subject("deep", "a value of a thousand nested sequences", common(deep(1000))).
			refused("a common name that is no text would pass by every rule on common names"),
		subject("huge-oid", "an attribute type of two thousand octets",
			seq(set(seq(tlv(tagOID, bytes.Repeat([]byte{0x81}, 1999), []byte{1}), utf8("x"))))).refused("no identifier is that long"),
		subject("padded-oid", "an identifier with a superfluous octet",
			paddedName()).refused(notDER),
		subject("cut-oid", "an identifier that ends inside a number",
			seq(set(seq(tlv(tagOID, []byte{0x55, 0x04, 0x83}), utf8("x"))))).refused("truncated"),
		subject("empty-oid", "an identifier without octets", seq(set(seq(tlv(tagOID), utf8("x"))))).refused("truncated"),
		subject("high-tag", "a value with a tag of several octets",
			common(join([]byte{0x1f, 0x81, 0x01}, []byte{1, 'x'}))).refused("no string has such a tag"),
		key("off-curve", "a point that is not on the curve", point(func(point []byte) []byte { point[len(point)-1] ^= 1; return point })).refused("not a key"),
		key("infinity", "the point at infinity", point(func([]byte) []byte { return []byte{0} })).refused("not a key"),
		key("short", "a point that is cut", point(func(point []byte) []byte { return point[:40] })).refused("not a key"),
		key("empty", "a key without bits", point(func([]byte) []byte { return nil })).refused("not a key"),
		key("wrong-curve", "a P-256 point that is called P-384", func(spki []byte) []byte {
			return seq(seq(oid("1.2.840.10045.2.1"), oid("1.3.132.0.34")), elements(content(spki))[1])
		}).refused("not a key"),
		key("no-curve", "an ECDSA key without its curve", func(spki []byte) []byte {
			return seq(seq(oid("1.2.840.10045.2.1")), elements(content(spki))[1])
		}).refused("a curve must be named (RFC 5480 §2.1.1)"),
		key("unknown", "a key of an unknown kind", func(spki []byte) []byte {
			return seq(seq(oid("1.2.3.4")), elements(content(spki))[1])
		}).refused("not a key that we know"),
		form("compressed", "p256", "a point of which one coordinate and a sign are written", func(spki []byte) []byte {
			parts := elements(content(spki))
			point := content(parts[1])[1:]
			return seq(parts[0], bits(join([]byte{2 + point[64]&1}, point[1:33])))
		}),
		form("nested-p256", "p256", "the whole key inside the BIT STRING of the key", nestedKey),
		form("nested-p521", "p521", "the whole key inside the BIT STRING of the key", nestedKey),
		form("nested-ed25519", "ed25519", "the whole key inside the BIT STRING of the key", nestedKey),
		form("nested-rsa", "rsa-2048", "the whole key inside the BIT STRING of the key", nestedKey),
		form("rsa-no-null", "rsa-2048", "an RSA key without the NULL parameters", func(spki []byte) []byte {
			return seq(seq(oid(oidRSA)), elements(content(spki))[1])
		}),
		form("ed25519-null", "ed25519", "an Ed25519 key with NULL parameters", func(spki []byte) []byte {
			return seq(seq(oid(oidEd25519), null()), elements(content(spki))[1])
		}),
		key("trailing", "an element behind the key", func(spki []byte) []byte { return seq(content(spki), null()) }).refused(notDER),
		attributes("missing", "no attributes, which RFC 2986 wants even when empty", nil).
			refused("RFC 2986 §4.1: the attributes are not optional"),
		attributes("empty", "an empty set of attributes", context(0)),
		attributes("wrong-tag", "attributes under tag 1", context(1, names)).refused("the tag is 0"),
		attributes("set-tag", "attributes under the tag of a SET", set(names)).refused("the tag is 0"),
		attributes("two-requests", "the extension request twice", context(0, names, names)).
			refused("which of the two counts is anybody's guess"),
		attributes("two-values", "an extension request of two values",
			context(0, seq(oid(oidExtensionRequest), set(seq(altName(dnsName("a.test"))), seq(altName(dnsName("b.test"))))))).
			refused("RFC 2985 §5.4.2: single value"),
		attributes("no-value", "an extension request without a value", context(0, seq(oid(oidExtensionRequest), set()))).
			refused("RFC 2985 §5.4.2: single value"),
		attributes("not-extensions", "text for the extensions", context(0, seq(oid(oidExtensionRequest), set(utf8("x"))))).
			refused("not a list of extensions"),
		attributes("unsorted", "attributes in the wrong order",
			context(0, seq(oid("1.2.840.113549.1.9.7"), set(utf8("longer-than-the-other"))), seq(oid("1.2.840.113549.1.9.2"), set(utf8("x"))))),
		attributes("unknown", "an attribute that nobody knows", context(0, seq(oid("1.2.3.4"), set(null())))),
		attributes("microsoft", "the extensions under Microsoft's identifier of the attribute",
			context(0, seq(oid("1.3.6.1.4.1.311.2.1.14"), set(seq(altName(dnsName("a.test"))))))),
	}
}

// nestedKey puts a whole SubjectPublicKeyInfo where its own bits were.
func nestedKey(spki []byte) []byte { return seq(elements(content(spki))[0], bits(spki)) }

// elements splits concatenated elements.
func elements(der []byte) [][]byte {
	var all [][]byte
	for len(der) > 0 {
		var raw asn1.RawValue
		rest, err := asn1.Unmarshal(der, &raw)
		if err != nil {
			panic(err)
		}
		all, der = append(all, raw.FullBytes), rest
	}
	return all
}

// brokenExtensions are extensions that are wrong in requests and certificates alike.
func brokenExtensions() []struct {
	name, about, because string
	extensions           []byte
} {
	type broken = struct {
		name, about, because string
		extensions           []byte
	}
	bad := func(name, about, because string, extensions ...[]byte) broken {
		return broken{name, about, because, join(extensions...)}
	}
	raw := func(identifier string, value []byte) []byte { return extension(identifier, false, value) }
	names := altName(dnsName("a.test"))
	const malformed = "an extension that we read must be whole"
	const minimal = "X.690 §8.19.2: an identifier has one encoding, and another one would pass by the rules on it"
	return []broken{
		bad("repeated-names", "two extensions of alternative names", "RFC 5280 §4.2: each extension once", names, altName(dnsName("b.test"))),
		bad("repeated-same", "the same extension twice", "RFC 5280 §4.2: each extension once", names, names),
		bad("repeated-unknown", "an unknown extension twice", "RFC 5280 §4.2: each extension once",
			raw("1.2.3.4", null()), raw("1.2.3.4", null())),
		bad("names-empty", "alternative names without a name", "RFC 5280 §4.2.1.6: at least one name", altName()),
		bad("names-ip-5", "an IP address of five octets", "RFC 5280 §4.2.1.6: four or sixteen octets", altName(primitive(7, []byte{1, 2, 3, 4, 5}))),
		bad("names-ip-0", "an IP address without octets", "RFC 5280 §4.2.1.6: four or sixteen octets", altName(primitive(7, nil))),
		bad("names-not-ascii", "a DNS name in UTF-8", "RFC 5280 §4.2.1.6: IA5String", altName(dnsName("bücher.test"))),
		bad("names-email-not-ascii", "an e-mail address in UTF-8", "RFC 5280 §4.2.1.6: IA5String", altName(primitive(1, []byte("bü@a.test")))),
		bad("names-uri-not-ascii", "a URI in UTF-8", "RFC 5280 §4.2.1.6: IA5String", altName(primitive(6, []byte("https://bücher.test")))),
		bad("names-trailing", "octets behind the alternative names", malformed, raw(oidAltName, join(seq(dnsName("a.test")), null()))),
		bad("names-registered-padded", "a registered identifier with a superfluous octet", minimal, altName(primitive(8, []byte{0x2a, 0x80, 0x03}))),
		bad("names-directory-padded", "a directory name with a superfluous octet in an identifier", minimal,
			altName(context(4, paddedName()))),
		bad("padded", "alternative names under an identifier with a superfluous octet", minimal,
			seq(tlv(tagOID, []byte{0x55, 0x1d, 0x80, 0x11}), octets(seq(dnsName("a.test"))))),
		bad("purposes-padded", "a purpose with a superfluous octet", minimal,
			raw(oidPurposes, seq(tlv(tagOID, []byte{0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x80, 0x01})))),
		bad("names-truncated", "alternative names that are cut", malformed, raw(oidAltName, seq(dnsName("a.test"))[:6])),
		bad("names-long-length", "alternative names with a length of more octets than needed", malformed, raw(oidAltName, longLength(tagSequence, dnsName("a.test")))),
		bad("names-indefinite", "alternative names of indefinite length", malformed, raw(oidAltName, indefinite(tagSequence, dnsName("a.test")))),
		bad("names-unknown-tag", "an alternative name under tag 9", "RFC 5280 §4.2.1.6: tags 0 to 8", altName(primitive(9, []byte("x")))),
		bad("names-constructed", "a DNS name in pieces", malformed, altName(context(2, tlv(tagIA5String, []byte("a.test"))))),
		bad("usage-unused-set", "a key usage whose unused bits are set", "X.690 §11.2.1: unused bits are zero", raw(oidKeyUsage, tlv(tagBitString, []byte{5, 0xbf}))),
		bad("usage-octets", "octets for a key usage", malformed, raw(oidKeyUsage, octets([]byte{0xa0}))),
		bad("purposes-empty", "extended usages without a purpose", "RFC 5280 §4.2.1.12: at least one purpose", raw(oidPurposes, seq())),
		bad("purposes-text", "text for a purpose", malformed, raw(oidPurposes, seq(utf8("x")))),
		bad("constraints-number", "a number for the CA flag", malformed, raw(oidConstraints, seq(integer(1), integer(1)))),
		bad("constraints-negative", "a negative path length", "RFC 5280 §4.2.1.9: zero or more", raw(oidConstraints, seq(truth(), integer(0xff)))),
		bad("constraints-loose-true", "TRUE as 1", "X.690 §11.1: TRUE is 255", raw(oidConstraints, seq(tlv(tagBoolean, []byte{1})))),
		bad("constraints-trailing", "an element behind the path length", malformed, raw(oidConstraints, seq(truth(), integer(1), null()))),
		bad("not-octets", "an extension whose value is no OCTET STRING", malformed, seq(oid(oidAltName), utf8("x"))),
		bad("no-value", "an extension without a value", malformed, seq(oid(oidAltName))),
		bad("loose-critical", "an extension whose critical flag is 1", "X.690 §11.1: TRUE is 255",
			seq(oid(oidAltName), tlv(tagBoolean, []byte{1}), octets(seq(dnsName("a.test"))))),
		bad("name-constraints-junk", "name constraints that are text", malformed, raw(oidNameConstraints, utf8("x"))),
	}
}

// takenFromIssuers are the broken extensions that are refused in a request, for they would be copied, and taken in a
// certificate that somebody else made; with the reason why.
var takenFromIssuers = map[string]string{
	"names-empty":           "it names nobody, and other readers take it",
	"purposes-empty":        "it restricts nothing, and other readers take it",
	"name-constraints-junk": "a CA with them signs nothing and is warned about; a bundle may hold it",
}

// oddExtensions are unusual, yet whole.
func oddExtensions() []struct {
	name, about, because string
	extensions           []byte
} {
	type odd = struct {
		name, about, because string
		extensions           []byte
	}
	deep := null()
	for range 2000 {
		deep = seq(deep)
	}
	return []odd{
		{"explicit-false", "a critical flag that is written although it is false",
			"many tools write the default; the bytes stay as they are", seq(oid(oidAltName), tlv(tagBoolean, []byte{0}), octets(seq(dnsName("a.test"))))},
		{"deep-unknown", "an unknown extension of two thousand nested sequences", "nothing looks into it", extension("1.2.3.4", false, deep)},
		{"huge-unknown", "an unknown extension of twenty thousand octets", "nothing looks into it",
			extension("1.2.3.4", false, octets([]byte(strings.Repeat("x", 20_000))))},
		{"usage-trailing-zeros", "a key usage with zero bits at the end", "",
			extension(oidKeyUsage, true, tlv(tagBitString, []byte{0, 0xa0, 0}))},
		{"usage-empty", "a key usage without a bit", "", extension(oidKeyUsage, false, tlv(tagBitString, []byte{0}))},
		{"usage-zeros", "a key usage of zero bits and two purposes, as cert-manager writes them into every request for purposes alone", "",
			join(extension(oidKeyUsage, true, tlv(tagBitString, []byte{0, 0})), extension(oidPurposes, false, seq(oid(oidServerAuth), oid(oidClientAuth))))},
		{"long-path", "a path length of 255", "", extension(oidConstraints, true, seq(truth(), integer(0, 255)))},
		{"path-without-ca", "a path length without the CA flag", "the path length is of no effect", extension(oidConstraints, true, seq(integer(1)))},
	}
}

func extensionRequests() []draft {
	var drafts []draft
	for _, broken := range brokenExtensions() {
		drafts = append(drafts, changedRequest("ext-"+broken.name, broken.about, func(r *request) {
			r.attributes = context(0, extensionRequest(broken.extensions))
		}).refused(broken.because))
	}
	for _, odd := range oddExtensions() {
		drafts = append(drafts, changedRequest("ext-"+odd.name, odd.about, func(r *request) {
			r.attributes = context(0, extensionRequest(odd.extensions))
		}).accepted(odd.because))
	}
	return append(drafts, changedRequest("ext-none", "an extension request without extensions", func(r *request) {
		r.attributes = context(0, extensionRequest())
	}).accepted("an empty list asks for nothing; RFC 5280's lower bound of one is for certificates"))
}

func handCertificates() []draft {
	changed := func(name, about string, change func(*certificate)) draft {
		return byHand("certificate", name, about, func() []byte { return newCertificate(goKey("p256")).with(change).der() })
	}
	mangled := func(name, about string, mangle func([]byte) []byte) draft {
		return byHand("certificate", name, about, func() []byte { return mangle(newCertificate(goKey("p256")).der()) })
	}
	dates := func(name, about string, from, to []byte) draft {
		return changed("dates-"+name, about, func(c *certificate) { c.validity = seq(from, to) })
	}
	const positive = "RFC 5280 §4.1.2.2 wants a positive number"
	from, to := utcTime("270101000000Z"), utcTime("280101000000Z")
	drafts := []draft{
		changed("correct", "the whole that the other cases damage", func(*certificate) {}),
		mangled("flipped-signature", "a flipped bit in the signature; parsing does not check it", func(der []byte) []byte {
			der[len(der)-1] ^= 1
			return der
		}),
		mangled("truncated", "the last octet is missing", func(der []byte) []byte { return der[:len(der)-1] }).refused("truncated"),
		mangled("trailing-octet", "an octet behind the certificate", func(der []byte) []byte { return append(der, 0) }).refused("trailing data"),
		changed("outer-long-length", "an outer length of more octets than needed", func(c *certificate) {
			c.whole = func(parts ...[]byte) []byte { return longLength(tagSequence, join(parts...)) }
		}).refused("certificates are DER (RFC 5280 §4.1)"),
		changed("outer-indefinite", "an outer length that is indefinite", func(c *certificate) {
			c.whole = func(parts ...[]byte) []byte { return indefinite(tagSequence, join(parts...)) }
		}).refused("certificates are DER (RFC 5280 §4.1)"),
		changed("body-indefinite", "a signed length that is indefinite", func(c *certificate) {
			c.body = func(parts ...[]byte) []byte { return indefinite(tagSequence, join(parts...)) }
		}).refused("certificates are DER (RFC 5280 §4.1)"),
		changed("version-1", "version 1, without extensions", func(c *certificate) { c.version, c.extensions = nil, nil }),
		changed("version-1-extensions", "version 1 with extensions", func(c *certificate) { c.version = nil }).
			refused("RFC 5280 §4.1.2.9: version 3 alone has extensions; Go passes over them"),
		changed("version-4", "version 4", func(c *certificate) { c.version = context(0, integer(3)) }).refused("RFC 5280 §4.1 has versions 1 to 3"),
		changed("serial-negative", "a negative serial number", func(c *certificate) { c.serial = integer(0x80, 1) }).refused(positive),
		changed("serial-padded", "a serial number with a superfluous zero octet", func(c *certificate) { c.serial = integer(0, 1) }).refused("certificates are DER (RFC 5280 §4.1)"),
		changed("serial-empty", "a serial number without octets", func(c *certificate) { c.serial = integer() }).refused("a number has at least one octet"),
		changed("algorithms-differ", "the signed algorithm is another than the outer one", func(c *certificate) { c.inner = seq(oid(oidECDSAWithSHA384)) }).refused("RFC 5280 §4.1.1.2: the two are the same"),
		changed("unique-ids", "unique identifiers of issuer and subject", func(c *certificate) {
			c.ids = join(tlv(0x81, []byte{0, 1}), tlv(0x82, []byte{0, 2}))
		}),
		changed("empty-extensions", "a list of extensions without any", func(c *certificate) { c.extensions = context(3, seq()) }),
		changed("empty-issuer", "no issuer", func(c *certificate) { c.issuer, c.subject = seq(), seq() }).
			accepted("parsed; RFC 5280 §4.1.2.4 forbids it, and SelfSigned users get it with a note"),
		changed("key-identifier-empty", "a key identifier without octets", func(c *certificate) {
			c.extensions = context(3, seq(extension(oidSubjectKeyID, false, octets())))
		}).accepted("of no use, yet harmless"),
		changed("key-unknown", "a key of an unknown kind", func(c *certificate) {
			c.key = seq(seq(oid("1.2.3.4")), elements(content(c.key))[1])
		}),
		dates("reversed", "ends before it begins", to, from).accepted("parsed; it is never valid"),
		dates("no-seconds", "UTCTime without seconds", utcTime("2701010000Z"), to).refused("RFC 5280 §4.1.2.5.1 wants seconds"),
		dates("offset", "UTCTime with an offset", utcTime("270101000000+0100"), to).refused("RFC 5280 §4.1.2.5.1 wants Z"),
		dates("month-13", "a thirteenth month", utcTime("271301000000Z"), to).refused("not a date"),
		dates("february-30", "the thirtieth of February", utcTime("270230000000Z"), to).refused("not a date"),
		dates("leap-second", "a sixtieth second", utcTime("270101000060Z"), to).refused("not an instant"),
		dates("fraction", "GeneralizedTime with a fraction", generalizedTime("20270101000000.5Z"), to).refused("RFC 5280 §4.1.2.5.2 forbids fractions"),
		dates("early-generalized", "GeneralizedTime before 2050", generalizedTime("20270101000000Z"), to).
			accepted("RFC 5280 §4.1.2.5 forbids it to CAs, and readers take it"),
		dates("text", "text for an instant", utf8("270101000000Z"), to).refused("not an instant"),
		dates("missing-end", "no end", from, nil).refused("RFC 5280 §4.1.2.5: two instants"),
	}
	for _, broken := range brokenExtensions() {
		draft := changed("ext-"+broken.name, broken.about, func(c *certificate) {
			c.extensions = context(3, seq(broken.extensions))
		}).refused(broken.because)
		if because, taken := takenFromIssuers[broken.name]; taken {
			draft = draft.accepted(because)
		}
		drafts = append(drafts, draft)
	}
	for _, odd := range oddExtensions() {
		drafts = append(drafts, changed("ext-"+odd.name, odd.about, func(c *certificate) {
			c.extensions = context(3, seq(odd.extensions))
		}).accepted(odd.because))
	}
	return drafts
}
