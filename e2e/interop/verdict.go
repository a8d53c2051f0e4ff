package main

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Case is one input of the corpus. Its text is in the file NAME.pem of the folder of its kind.
type Case struct {
	Name string `json:"name"`
	// Kind is "request" or "certificate".
	Kind string `json:"kind"`
	// Maker is "openssl", "go" or "hand".
	Maker string `json:"maker"`
	About string `json:"about"`
	// Signet is what Signet must say: "accepted" or "refused".
	Signet string `json:"signet"`
	// Because tells why Signet differs from a peer; empty exactly when it does not.
	Because string  `json:"because,omitempty"`
	Go      Verdict `json:"go"`
	OpenSSL Verdict `json:"openssl"`
	// Values are what Go read; absent when it refuses.
	Values *Values `json:"values,omitempty"`
}

// A Verdict is what one peer says. For a request it covers the request's own signature; for a certificate it does not.
type Verdict struct {
	Accepted bool   `json:"accepted"`
	Error    string `json:"error,omitempty"`
}

// Values are the fields that Go read. Bytes are in hexadecimal, instants in seconds of Unix time, usages in the words
// of the Kubernetes API and sorted, with dotted identifiers for purposes that it does not name.
type Values struct {
	// Subject is the DER of the name, SubjectText what people see of it: "O=Example, CN=leaf".
	Subject     string   `json:"subject"`
	SubjectText string   `json:"subjectText"`
	PublicKey   string   `json:"publicKey"`
	DNS         []string `json:"dns,omitempty"`
	Emails      []string `json:"emails,omitempty"`
	IPs         []string `json:"ips,omitempty"`
	URIs        []string `json:"uris,omitempty"`
	// OtherNames are the DER of the alternative names of all other kinds.
	OtherNames []string `json:"otherNames,omitempty"`
	// Usages is absent without both extensions.
	Usages []string `json:"usages,omitempty"`
	IsCA   bool     `json:"isCA,omitempty"`
	// PathLength is absent where there is no limit.
	PathLength  *int              `json:"pathLength,omitempty"`
	Certificate *CertificateExtra `json:"certificate,omitempty"`
}

// CertificateExtra are the fields that a request lacks.
type CertificateExtra struct {
	Issuer     string `json:"issuer"`
	Serial     string `json:"serial"`
	NotBefore  int64  `json:"notBefore"`
	NotAfter   int64  `json:"notAfter"`
	SelfSigned bool   `json:"selfSigned,omitempty"`
}

func (c *Case) path(dir string) string { return filepath.Join(dir, c.Kind+"s", c.Name+".pem") }

// askGo fills in what Go says about a case.
func (c *Case) askGo(dir string) error {
	text, err := os.ReadFile(c.path(dir))
	if err != nil {
		return err
	}
	values, refusal := goValues(c.Kind, text)
	c.Go, c.Values = verdict(refusal), values
	return nil
}

// ask fills in what both peers say about a case.
func (c *Case) ask(dir string) error {
	c.OpenSSL = verdict(opensslRefusal(c.Kind, c.path(dir)))
	return c.askGo(dir)
}

func verdict(refusal error) Verdict {
	if refusal == nil {
		return Verdict{Accepted: true}
	}
	return Verdict{Error: refusal.Error()}
}

func goValues(kind string, text []byte) (*Values, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if kind == "request" {
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return nil, err
		}
		if err := request.CheckSignature(); err != nil {
			return nil, err
		}
		return requestValues(request)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return certificateValues(certificate)
}

// pkixExtension is an extension's identifier and value.
type pkixExtension struct {
	id    string
	value []byte
}

// nameText shows a name's attributes in their order; Go's own String reverses and regroups them.
func nameText(raw []byte) (string, error) {
	var sequence pkix.RDNSequence
	if err := unmarshal(raw, &sequence); err != nil {
		return "", err
	}
	var shown []string
	for _, relative := range sequence {
		for _, attribute := range relative {
			kind, known := shortNames[attribute.Type.String()]
			if !known {
				kind = attribute.Type.String()
			}
			value, text := attribute.Value.(string)
			if !text {
				value = "(not text)"
			}
			shown = append(shown, kind+"="+value)
		}
	}
	return strings.Join(shown, ", "), nil
}

var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.17": "postalCode",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
}

// requestValues reads the usages and constraints of a request with encoding/asn1, since crypto/x509 leaves them alone.
func requestValues(request *x509.CertificateRequest) (*Values, error) {
	values := &Values{
		Subject:   hex.EncodeToString(request.RawSubject),
		PublicKey: hex.EncodeToString(request.RawSubjectPublicKeyInfo),
		DNS:       request.DNSNames,
		Emails:    request.EmailAddresses,
	}
	var err error
	if values.SubjectText, err = nameText(request.RawSubject); err != nil {
		return nil, err
	}
	for _, ip := range request.IPAddresses {
		values.IPs = append(values.IPs, hex.EncodeToString(ip))
	}
	for _, uri := range request.URIs {
		values.URIs = append(values.URIs, uri.String())
	}
	for _, extension := range request.Extensions {
		if err := values.extension(pkixExtension{extension.Id.String(), extension.Value}); err != nil {
			return nil, fmt.Errorf("extension %v: %w", extension.Id, err)
		}
	}
	slices.Sort(values.Usages)
	return values, nil
}

func certificateValues(certificate *x509.Certificate) (*Values, error) {
	values := &Values{
		Subject:   hex.EncodeToString(certificate.RawSubject),
		PublicKey: hex.EncodeToString(certificate.RawSubjectPublicKeyInfo),
		DNS:       certificate.DNSNames,
		Emails:    certificate.EmailAddresses,
		Certificate: &CertificateExtra{
			Issuer:    hex.EncodeToString(certificate.RawIssuer),
			Serial:    fmt.Sprintf("%x", certificate.SerialNumber.FillBytes(make([]byte, max(1, (certificate.SerialNumber.BitLen()+7)/8)))),
			NotBefore: certificate.NotBefore.Unix(),
			NotAfter:  certificate.NotAfter.Unix(),
			SelfSigned: bytes.Equal(certificate.RawIssuer, certificate.RawSubject) &&
				certificate.CheckSignature(
					certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature) == nil,
		},
	}
	var err error
	if values.SubjectText, err = nameText(certificate.RawSubject); err != nil {
		return nil, err
	}
	for _, ip := range certificate.IPAddresses {
		values.IPs = append(values.IPs, hex.EncodeToString(ip))
	}
	for _, uri := range certificate.URIs {
		values.URIs = append(values.URIs, uri.String())
	}
	for _, extension := range certificate.Extensions {
		if err := values.extension(pkixExtension{extension.Id.String(), extension.Value}); err != nil {
			return nil, fmt.Errorf("extension %v: %w", extension.Id, err)
		}
	}
	// What crypto/x509 itself says wins over the raw reading above.
	values.IsCA = certificate.IsCA
	values.PathLength = nil
	if certificate.BasicConstraintsValid && (certificate.MaxPathLen > 0 || certificate.MaxPathLenZero) {
		values.PathLength = &certificate.MaxPathLen
	}
	slices.Sort(values.Usages)
	return values, nil
}

func (v *Values) extension(extension pkixExtension) error {
	switch extension.id {
	case oidKeyUsage:
		var usage asn1.BitString
		if err := unmarshal(extension.value, &usage); err != nil {
			return err
		}
		for bit, word := range bitWords {
			if usage.At(bit) != 0 {
				v.Usages = append(v.Usages, word)
			}
		}
	case oidPurposes:
		var purposes []asn1.ObjectIdentifier
		if err := unmarshal(extension.value, &purposes); err != nil {
			return err
		}
		for _, purpose := range purposes {
			word, known := purposeWords[purpose.String()]
			if !known {
				word = purpose.String()
			}
			v.Usages = append(v.Usages, word)
		}
	case oidConstraints:
		var constraints struct {
			IsCA       bool `asn1:"optional"`
			PathLength int  `asn1:"optional,default:-1"`
		}
		if err := unmarshal(extension.value, &constraints); err != nil {
			return err
		}
		v.IsCA = constraints.IsCA
		if constraints.PathLength >= 0 {
			v.PathLength = &constraints.PathLength
		}
	case oidAltName:
		var names []asn1.RawValue
		if err := unmarshal(extension.value, &names); err != nil {
			return err
		}
		for _, name := range names {
			if name.Tag != 1 && name.Tag != 2 && name.Tag != 6 && name.Tag != 7 {
				v.OtherNames = append(v.OtherNames, hex.EncodeToString(name.FullBytes))
			}
		}
	}
	return nil
}

func unmarshal(der []byte, value any) error {
	rest, err := asn1.Unmarshal(der, value)
	if err == nil && len(rest) != 0 {
		err = errors.New("trailing data")
	}
	return err
}

// bitWords are the API's names of the bits of KeyUsage, from bit 0.
var bitWords = []string{
	"digital signature", "content commitment", "key encipherment", "data encipherment", "key agreement",
	"cert sign", "crl sign", "encipher only", "decipher only",
}

// purposeWords are the API's names of extended key usages.
var purposeWords = map[string]string{
	"2.5.29.37.0":            "any",
	"1.3.6.1.5.5.7.3.1":      "server auth",
	"1.3.6.1.5.5.7.3.2":      "client auth",
	"1.3.6.1.5.5.7.3.3":      "code signing",
	"1.3.6.1.5.5.7.3.4":      "email protection",
	"1.3.6.1.5.5.7.3.5":      "ipsec end system",
	"1.3.6.1.5.5.7.3.6":      "ipsec tunnel",
	"1.3.6.1.5.5.7.3.7":      "ipsec user",
	"1.3.6.1.5.5.7.3.8":      "timestamping",
	"1.3.6.1.5.5.7.3.9":      "ocsp signing",
	"1.3.6.1.4.1.311.10.3.3": "microsoft sgc",
	"2.16.840.1.113730.4.1":  "netscape sgc",
}

// opensslRefusal asks `openssl req -verify` about a request and `openssl x509` about a certificate.
func opensslRefusal(kind, path string) error {
	arguments := []string{"x509", "-noout", "-in", path}
	if kind == "request" {
		arguments = []string{"req", "-noout", "-verify", "-in", path}
	}
	said, err := exec.Command("openssl", arguments...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("openssl cannot be run: %w", err)
	}
	// `req` of OpenSSL 3.0 ends with 0 when the signature does not verify.
	if err == nil && (kind == "certificate" || strings.Contains(string(said), "verify OK")) {
		return nil
	}
	return errors.New(opensslReason(string(said)))
}

// opensslReason is the innermost reason in openssl's messages, without its numbers, which change from run to run.
func opensslReason(said string) string {
	for line := range strings.Lines(said) {
		if fields := strings.Split(line, ":"); len(fields) > 5 && fields[1] == "error" {
			return strings.TrimSpace(fields[5])
		}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	return first
}

// verdictsFile is the name of the verdicts in the folder of a corpus.
const verdictsFile = "verdicts.json"

// printVerdicts asks Go again and prints what it says now.
func printVerdicts(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, verdictsFile))
	if err != nil {
		return err
	}
	var cases []Case
	if err := json.Unmarshal(text, &cases); err != nil {
		return fmt.Errorf("%s: %w", verdictsFile, err)
	}
	for number := range cases {
		if err := cases[number].askGo(dir); err != nil {
			return err
		}
	}
	text, err = toJSON(cases)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
