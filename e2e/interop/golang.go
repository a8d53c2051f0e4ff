package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

// goKey makes a key of a kind, once.
var goKeys sync.Map

func goKey(kind string) crypto.Signer {
	if found, ok := goKeys.Load(kind); ok {
		return found.(crypto.Signer)
	}
	key, err := newGoKey(kind)
	if err != nil {
		panic(err)
	}
	goKeys.Store(kind, key)
	return key
}

func newGoKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "rsa-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa-4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "p521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
}

var keyKinds = []string{"rsa-2048", "rsa-3072", "rsa-4096", "p256", "p384", "p521", "ed25519"}

func goRequests() []draft {
	request := func(name, about, key string, change func(*x509.CertificateRequest)) draft {
		return draft{
			Case: Case{Name: "go-" + name, Kind: "request", Maker: "go", About: about},
			make: func(string) ([]byte, error) {
				template := &x509.CertificateRequest{
					Subject:  pkix.Name{CommonName: "leaf"},
					DNSNames: []string{"a.test"},
				}
				change(template)
				der, err := x509.CreateCertificateRequest(rand.Reader, template, goKey(key))
				return toPEM("request", der), err
			},
		}
	}
	drafts := []draft{
		request("empty-subject", "no subject, DNS name", "p256", func(r *x509.CertificateRequest) { r.Subject = pkix.Name{} }),
		request("multi-valued", "several values of an attribute in one relative name, as Go writes them", "p256",
			func(r *x509.CertificateRequest) {
				r.Subject = pkix.Name{
					Country: []string{"DE", "FR"}, Organization: []string{"Beta", "Alpha"},
					OrganizationalUnit: []string{"one", "two"}, Locality: []string{"Berlin"}, Province: []string{"BE"},
					StreetAddress: []string{"Street 1"}, PostalCode: []string{"10115"}, SerialNumber: "7", CommonName: "leaf",
				}
			}),
		request("all-names", "DNS, e-mail, IP and URI names", "ed25519", func(r *x509.CertificateRequest) {
			r.DNSNames = []string{"a.test", "*.b.test", "xn--bcher-kva.test"}
			r.EmailAddresses = []string{"a@a.test", "\"quoted local\"@a.test"}
			r.IPAddresses = []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1"), net.ParseIP("::ffff:192.0.2.2")}
			r.URIs = []*url.URL{{Scheme: "spiffe", Host: "td", Path: "/ns/a/sa/b"}, {Scheme: "https", Host: "a.test:8443", Path: "/p"}}
		}),
		request("many-names", "a thousand IP addresses", "p256", func(r *x509.CertificateRequest) {
			for number := range 1000 {
				r.IPAddresses = append(r.IPAddresses, net.IPv4(10, 0, byte(number>>8), byte(number)).To4())
			}
		}),
		request("too-many-names", "names beyond the bound of one request", "p256", func(r *x509.CertificateRequest) {
			for number := range 2000 {
				r.DNSNames = append(r.DNSNames, strings.Repeat("x", 20)+string(rune('a'+number%26))+".a.test")
			}
		}).refused("longer than the bound of one request (36500 bytes of PEM)"),
		request("long-label", "a DNS name of 253 characters and a URI of 2000", "p256", func(r *x509.CertificateRequest) {
			r.DNSNames = []string{strings.Repeat(strings.Repeat("a", 62)+".", 3) + strings.Repeat("b", 64)[:60] + ".t"}
			r.URIs = []*url.URL{{Scheme: "https", Host: "a.test", Path: "/" + strings.Repeat("p", 2000)}}
		}),
		request("very-long-name", "a common name of 3000 characters, beyond RFC 5280's bound", "p256",
			func(r *x509.CertificateRequest) { r.Subject.CommonName = strings.Repeat("c", 3000) }).
			accepted("bounds on the length of attributes are the CA's to apply"),
		request("usages", "usages and basic constraints", "p384", func(r *x509.CertificateRequest) {
			r.ExtraExtensions = []pkix.Extension{
				{Id: dotted("2.5.29.15"), Critical: true, Value: marshal(asn1.BitString{Bytes: []byte{0xa4}, BitLength: 6})},
				{Id: dotted("2.5.29.37"), Value: marshal([]asn1.ObjectIdentifier{dotted("1.3.6.1.5.5.7.3.2"), dotted("1.3.6.1.5.5.7.3.1")})},
				{Id: dotted("2.5.29.19"), Critical: true, Value: marshal(struct {
					IsCA       bool
					PathLength int
				}{true, 0})},
			}
		}),
		request("attribute-types", "attributes without a short name", "p521", func(r *x509.CertificateRequest) {
			r.Subject.ExtraNames = []pkix.AttributeTypeAndValue{
				{Type: dotted("0.9.2342.19200300.100.1.25"), Value: "test"},
				{Type: dotted("1.2.3.4.5"), Value: "unknown"},
				{Type: dotted("1.2.3.4.6"), Value: 7},
			}
		}).accepted("values of unknown types stay as they are"),
	}
	for _, kind := range keyKinds {
		drafts = append(drafts, request("key-"+kind, "a key of this kind", kind, func(*x509.CertificateRequest) {}))
	}
	for name, algorithm := range map[string]x509.SignatureAlgorithm{
		"rsa-sha384": x509.SHA384WithRSA, "rsa-sha512": x509.SHA512WithRSA,
		"p256-sha384": x509.ECDSAWithSHA384, "p256-sha512": x509.ECDSAWithSHA512,
	} {
		key := "p256"
		if strings.HasPrefix(name, "rsa") {
			key = "rsa-2048"
		}
		drafts = append(drafts, request(name, "signed over this digest", key,
			func(r *x509.CertificateRequest) { r.SignatureAlgorithm = algorithm }))
	}
	return append(drafts, noisyRequests()...)
}

// noisyRequests are PEM as people and tools mangle it.
func noisyRequests() []draft {
	noisy := func(name, about string, mangle func([]byte) []byte) draft {
		return draft{
			Case: Case{Name: "pem-" + name, Kind: "request", Maker: "hand", About: about},
			make: func(string) ([]byte, error) {
				return mangle(toPEM("request", newRequest(goKey("p256")).der())), nil
			},
		}
	}
	return []draft{
		noisy("crlf", "lines that end with CR LF", func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }),
		noisy("around", "words in front and behind", func(text []byte) []byte {
			return join([]byte("Bag Attributes\n    friendlyName: leaf\n"), text, []byte("\ntrailing words\n"))
		}),
		noisy("no-newline", "no newline at the end", bytes.TrimSpace),
		noisy("one-line", "the whole of the content in one line", func(text []byte) []byte {
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			last := len(lines) - 1
			return []byte(lines[0] + "\n" + strings.Join(lines[1:last], "") + "\n" + lines[last] + "\n")
		}).accepted("RFC 7468 §2 lets parsers accept any line length, and many tools write one line"),
		noisy("spaces", "spaces at the ends of lines", func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("  \n")) }),
		noisy("two-blocks", "two requests, of which the first counts", func(text []byte) []byte {
			return join(text, toPEM("request", newRequest(goKey("p384")).with(func(r *request) { r.algorithm = seq(oid(oidECDSAWithSHA256)) }).der()))
		}),
		noisy("wrong-label", "a request that is called a certificate", func(text []byte) []byte {
			return bytes.ReplaceAll(text, []byte("CERTIFICATE REQUEST"), []byte("CERTIFICATE"))
		}).refused("Go's decoder leaves the label to its caller"),
		noisy("wrong-end", "an END line with another label", func(text []byte) []byte {
			return bytes.Replace(text, []byte("END CERTIFICATE REQUEST"), []byte("END CERTIFICATE"), 1)
		}).refused("the block does not end"),
		noisy("no-end", "no END line", func(text []byte) []byte {
			before, _, _ := bytes.Cut(text, []byte("-----END"))
			return before
		}).refused("the block does not end"),
		noisy("bad-base64", "a character that is not base64", func(text []byte) []byte {
			return bytes.Replace(text, []byte("-----\nM"), []byte("-----\n*"), 1)
		}).refused("not base64"),
		noisy("no-padding", "base64 without its padding", func(text []byte) []byte {
			// The length of an ECDSA signature varies, and with it the padding.
			for !bytes.Contains(text, []byte("=\n-")) {
				text = toPEM("request", newRequest(goKey("p256")).der())
			}
			return bytes.ReplaceAll(text, []byte("="), nil)
		}).refused("RFC 7468 §3 wants the padding"),
		noisy("empty", "no content between the lines", func([]byte) []byte {
			return []byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n")
		}).refused("nothing is not a request"),
		noisy("nothing", "words without a block", func([]byte) []byte { return []byte("words\n") }).refused("no block"),
		noisy("headers", "headers of RFC 1421 inside the block", func(text []byte) []byte {
			return bytes.Replace(text, []byte("REQUEST-----\n"), []byte("REQUEST-----\nComment: words\n\n"), 1)
		}).refused("RFC 7468 §2 has no headers; they announce encryption"),
	}
}

func goCertificates() []draft {
	certificate := func(name, about, key string, change func(*x509.Certificate)) draft {
		return draft{
			Case: Case{Name: "go-" + name, Kind: "certificate", Maker: "go", About: about},
			make: func(string) ([]byte, error) {
				template := &x509.Certificate{
					SerialNumber: big.NewInt(0x1234567890),
					Subject:      pkix.Name{Organization: []string{"Example"}, CommonName: "leaf"},
					NotBefore:    time.Unix(1_790_000_000, 0), NotAfter: time.Unix(1_900_000_000, 0),
					DNSNames: []string{"a.test"}, BasicConstraintsValid: true,
				}
				change(template)
				signer := goKey(key)
				der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
				return toPEM("certificate", der), err
			},
		}
	}
	drafts := []draft{
		certificate("ca", "a CA without a path length", "p256", func(c *x509.Certificate) {
			c.IsCA, c.MaxPathLen, c.KeyUsage = true, -1, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		}),
		certificate("ca-path-0", "a CA for leaves alone", "p256", func(c *x509.Certificate) {
			c.IsCA, c.MaxPathLenZero, c.KeyUsage = true, true, x509.KeyUsageCertSign
		}),
		certificate("ca-path-200", "a CA with a path length that nobody needs", "p256", func(c *x509.Certificate) {
			c.IsCA, c.MaxPathLen, c.KeyUsage = true, 200, x509.KeyUsageCertSign
		}),
		certificate("usages", "every usage that Go knows", "p256", func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment |
				x509.KeyUsageDataEncipherment | x509.KeyUsageKeyAgreement | x509.KeyUsageEncipherOnly | x509.KeyUsageDecipherOnly
			for usage := x509.ExtKeyUsageAny; usage <= x509.ExtKeyUsageMicrosoftKernelCodeSigning; usage++ {
				c.ExtKeyUsage = append(c.ExtKeyUsage, usage)
			}
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{dotted("1.2.3.4")}
		}),
		certificate("all-names", "DNS, e-mail, IP and URI names and no subject", "p256", func(c *x509.Certificate) {
			c.Subject = pkix.Name{}
			c.EmailAddresses = []string{"a@a.test"}
			c.IPAddresses = []net.IP{net.ParseIP("192.0.2.1").To4(), net.ParseIP("2001:db8::1")}
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "td", Path: "/ns/a/sa/b"}}
		}),
		certificate("name-constraints", "constraints of the four kinds that Go writes", "p256", func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage, c.PermittedDNSDomainsCritical = true, x509.KeyUsageCertSign, true
			c.PermittedDNSDomains, c.ExcludedDNSDomains = []string{"a.test"}, []string{"b.a.test"}
			c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(192, 0, 2, 0).To4(), Mask: net.CIDRMask(24, 32)}}
			c.PermittedEmailAddresses, c.PermittedURIDomains = []string{"a.test"}, []string{".a.test"}
		}),
		certificate("far-future", "valid until the last second of year 9999", "p256", func(c *x509.Certificate) {
			c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		}),
		certificate("last-utc-time", "valid until the last second of UTCTime", "p256", func(c *x509.Certificate) {
			c.NotAfter = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
		}),
		certificate("before-1970", "valid since 1960", "p256", func(c *x509.Certificate) {
			c.NotBefore = time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)
		}).refused("nothing that was valid before 1970 is of use, and no clock of ours goes there"),
	}
	for _, kind := range keyKinds {
		drafts = append(drafts, certificate("key-"+kind, "a key of this kind", kind, func(*x509.Certificate) {}))
	}
	return drafts
}

func dotted(text string) asn1.ObjectIdentifier {
	var identifier asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(oid(text), &identifier); err != nil {
		panic(err)
	}
	return identifier
}

func marshal(value any) []byte {
	der, err := asn1.Marshal(value)
	if err != nil {
		panic(err)
	}
	return der
}
