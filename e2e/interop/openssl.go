package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// openssl runs openssl in a folder of scratch files and returns its standard output.
func openssl(scratch string, arguments ...string) ([]byte, error) {
	command := exec.Command("openssl", arguments...)
	command.Dir = scratch
	var said strings.Builder
	command.Stderr = &said
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("openssl %s: %w\n%s", strings.Join(arguments, " "), err, said.String())
	}
	return output, nil
}

// opensslKeys are the arguments of genpkey for each kind of key, the ones that Signet makes first.
var opensslKeys = map[string][]string{
	"rsa-2048":      {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
	"rsa-3072":      {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"},
	"rsa-4096":      {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"},
	"p256":          {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
	"p384":          {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
	"p521":          {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"},
	"ed25519":       {"-algorithm", "ED25519"},
	"rsa-1024":      {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"},
	"rsa-2056":      {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2056"},
	"rsa-exponent3": {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_pubexp:3"},
	"rsa-pss":       {"-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"},
	"secp256k1":     {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"},
	"p224":          {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"},
	"ed448":         {"-algorithm", "ED448"},
	"p256-explicit": {
		"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit",
	},
}

// keyFile makes a key of a kind, once in a scratch folder.
func keyFile(scratch, kind string) (string, error) {
	file := kind + ".key"
	if _, err := os.Stat(filepath.Join(scratch, file)); err == nil {
		return file, nil
	}
	_, err := openssl(scratch, append([]string{"genpkey", "-out", file}, opensslKeys[kind]...)...)
	return file, err
}

// A recipe is a configuration of openssl for one case.
type recipe struct {
	// key is the kind of key; p256 when empty.
	key string
	// subject are the lines of the section of the distinguished name.
	subject string
	// extensions are the lines of the section of the extensions.
	extensions string
	// sections are further sections that the extensions point to, and attributes.
	sections string
	// mask is the string_mask; utf8only when empty.
	mask string
	// arguments are further arguments of req.
	arguments []string
}

func (r recipe) keyKind() string {
	if r.key == "" {
		return "p256"
	}
	return r.key
}

// write puts the configuration into the scratch folder.
func (r recipe) write(scratch string) error {
	mask := r.mask
	if mask == "" {
		mask = "utf8only"
	}
	text := "[req]\nprompt = no\nutf8 = yes\ndistinguished_name = dn\nstring_mask = " + mask + "\n"
	if strings.Contains(r.sections, "[attributes]") {
		text += "attributes = attributes\n"
	}
	if r.extensions != "" {
		text += "req_extensions = ext\nx509_extensions = ext\n"
	}
	text += "[dn]\n" + r.subject + "\n"
	if r.extensions != "" {
		text += "[ext]\n" + r.extensions + "\n"
	}
	return os.WriteFile(filepath.Join(scratch, "req.cnf"), []byte(text+r.sections+"\n"), 0o600)
}

// request makes a request.
func (r recipe) request(scratch string) ([]byte, error) {
	return r.run(scratch, "req", "-new", "-config", "req.cnf")
}

// selfSigned makes a self-signed certificate.
func (r recipe) selfSigned(scratch string) ([]byte, error) {
	return r.run(scratch, "req", "-new", "-x509", "-days", "3650", "-config", "req.cnf")
}

func (r recipe) run(scratch string, arguments ...string) ([]byte, error) {
	key, err := keyFile(scratch, r.keyKind())
	if err != nil {
		return nil, err
	}
	if err := r.write(scratch); err != nil {
		return nil, err
	}
	return openssl(scratch, append(append(arguments, "-key", key), r.arguments...)...)
}

// everyAltName is one alternative name of every kind that openssl can write.
const everyAltName = `subjectAltName = @names
`

const everyAltNameSections = `[names]
DNS.1 = a.test
DNS.2 = *.wild.test
email.1 = a@a.test
IP.1 = 192.0.2.1
IP.2 = 2001:db8::1
URI.1 = spiffe://td/ns/a/sa/b
otherName.1 = 1.3.6.1.4.1.311.20.2.3;UTF8:user@a.test
RID.1 = 1.2.3.4
dirName.1 = directory
[directory]
C = DE
O = Example
CN = directory
`

func opensslRequests() []draft {
	request := func(name, about string, r recipe) draft {
		if r.subject == "" {
			r.subject = "CN = leaf"
		}
		return draft{Case: Case{Name: "openssl-" + name, Kind: "request", Maker: "openssl", About: about}, make: r.request}
	}
	drafts := []draft{
		request("empty-subject", "no subject, critical DNS name",
			recipe{extensions: "subjectAltName = critical,DNS:a.test", arguments: []string{"-subj", "/"}}),
		request("multi-valued", "two attributes in one relative name",
			recipe{subject: "C = DE\n0.OU = platform\n+1.OU = security\nO = Example\n+CN = leaf", arguments: []string{"-multivalue-rdn"}}),
		request("every-attribute", "every attribute of the API, some twice, and a few that it lacks",
			recipe{subject: "C = DE\n0.O = Beta\n1.O = Alpha\nOU = unit\nL = Berlin\nST = BE\nstreet = Street 1\n" +
				"postalCode = 10115\nCN = leaf\nserialNumber = 7\n0.DC = test\n1.DC = example\nUID = u\n" +
				"emailAddress = a@a.test\nSN = sur\nGN = given\ntitle = Dr\ninitials = X\ngenerationQualifier = III\n" +
				"dnQualifier = q\npseudonym = p"}),
		request("bmp-string", "common name of two octets a character", recipe{subject: "CN = Bücher", mask: "MASK:0x800"}),
		request("t61-string", "common name in T.61, in fact Latin-1", recipe{subject: "CN = Bücher", mask: "MASK:0x4"}),
		request("utf8-string", "common name in UTF-8", recipe{subject: "CN = Bücher"}),
		request("printable-string", "common name in PrintableString", recipe{mask: "MASK:0x2"}),
		request("long-name", "attributes as long as RFC 5280 allows",
			recipe{subject: "O = " + strings.Repeat("o", 64) + "\nCN = " + strings.Repeat("c", 64)}),
		request("every-alt-name", "one alternative name of each kind",
			recipe{extensions: everyAltName, sections: everyAltNameSections}),
		request("usages", "all key usage bits and many purposes, one of them unknown",
			recipe{extensions: "keyUsage = critical,digitalSignature,nonRepudiation,keyEncipherment,dataEncipherment," +
				"keyAgreement,keyCertSign,cRLSign,encipherOnly,decipherOnly\n" +
				"extendedKeyUsage = serverAuth,clientAuth,codeSigning,emailProtection,timeStamping,OCSPSigning," +
				"anyExtendedKeyUsage,1.2.3.4.5"}),
		request("ca", "a CA with a path length", recipe{extensions: "basicConstraints = critical,CA:TRUE,pathlen:3\nkeyUsage = critical,keyCertSign,cRLSign"}),
		request("not-ca", "basic constraints that deny", recipe{extensions: "basicConstraints = CA:FALSE\nsubjectAltName = DNS:a.test"}),
		request("name-constraints", "name constraints of every kind",
			recipe{extensions: "basicConstraints = critical,CA:TRUE\nnameConstraints = critical,permitted;DNS:a.test," +
				"permitted;IP:192.0.2.0/255.255.255.0,permitted;email:a.test,permitted;URI:.a.test,excluded;DNS:b.a.test," +
				"excluded;IP:2001:db8::/ffff:ffff::,excluded;dirName:directory",
				sections: "[directory]\nO = Example\n"}),
		request("many-names", "five hundred DNS names", recipe{extensions: "subjectAltName = @names", sections: manyNames(500)}),
		request("attributes", "a challenge password and an unstructured name beside the extensions",
			recipe{extensions: "subjectAltName = DNS:a.test",
				sections: "[attributes]\nchallengePassword = secret\nunstructuredName = something\n"}),
		request("no-extensions", "a common name and nothing else", recipe{}),
		request("unknown-extension", "extensions that only their owner knows, one of them critical",
			recipe{extensions: "1.2.3.4.5 = ASN1:UTF8String:hello\n1.2.3.4.6 = critical,ASN1:SEQUENCE:empty\ntlsfeature = status_request",
				sections: "[empty]\n"}),
		request("pss-signature", "signed with RSA-PSS by an ordinary RSA key",
			recipe{key: "rsa-2048", arguments: []string{"-sha256", "-sigopt", "rsa_padding_mode:pss"}}).
			refused("RSA-PSS is not among the API's signature algorithms"),
		request("new-header", "the label NEW CERTIFICATE REQUEST of old tools", recipe{arguments: []string{"-newhdr"}}),
		request("text", "a dump for people in front of the block", recipe{arguments: []string{"-text"}}),
	}
	for _, kind := range []string{"rsa-2048", "rsa-3072", "rsa-4096", "p256", "p384", "p521", "ed25519", "rsa-exponent3"} {
		drafts = append(drafts, request("key-"+kind, "a key of this kind",
			recipe{key: kind, extensions: "subjectAltName = DNS:a.test"}))
	}
	for kind, because := range map[string]string{
		"rsa-1024":      "RSA below 2048 bits is too weak",
		"rsa-pss":       "keys that are bound to RSA-PSS are not in the API",
		"secp256k1":     "not a curve of the API",
		"p224":          "not a curve of the API",
		"ed448":         "not an algorithm of the API",
		"p256-explicit": "a curve must be named (RFC 5480 §2.1.1)",
	} {
		drafts = append(drafts, request("key-"+kind, "a key of this kind",
			recipe{key: kind, extensions: "subjectAltName = DNS:a.test"}).refused(because))
	}
	drafts = append(drafts, request("key-rsa-2056", "an RSA key of an odd size",
		recipe{key: "rsa-2056", extensions: "subjectAltName = DNS:a.test"}))
	for _, key := range []string{"rsa-2048", "p256"} {
		for _, digest := range []string{"sha256", "sha384", "sha512"} {
			drafts = append(drafts, request(key+"-"+digest, "signed over this digest",
				recipe{key: key, arguments: []string{"-" + digest}}))
		}
		for _, digest := range []string{"md5", "sha1", "sha224", "sha3-256"} {
			// There is no identifier for ECDSA over MD5.
			if key == "p256" && digest == "md5" {
				continue
			}
			drafts = append(drafts, request(key+"-"+digest, "signed over this digest",
				recipe{key: key, arguments: []string{"-" + digest}}).refused("the digest is weak or not in the API"))
		}
	}
	return drafts
}

func manyNames(count int) string {
	text := strings.Builder{}
	text.WriteString("[names]\n")
	for number := range count {
		fmt.Fprintf(&text, "DNS.%d = host-%d.a.test\n", number, number)
	}
	return text.String()
}

func opensslCertificates() []draft {
	certificate := func(name, about string, r recipe) draft {
		if r.subject == "" {
			r.subject = "O = Example\nCN = root"
		}
		return draft{Case: Case{Name: "openssl-" + name, Kind: "certificate", Maker: "openssl", About: about}, make: r.selfSigned}
	}
	drafts := []draft{
		certificate("every-alt-name", "one alternative name of each kind",
			recipe{extensions: everyAltName, sections: everyAltNameSections}),
		certificate("name-constraints", "a CA with name constraints",
			recipe{extensions: "basicConstraints = critical,CA:TRUE,pathlen:0\nnameConstraints = critical,permitted;DNS:a.test," +
				"excluded;IP:192.0.2.0/255.255.255.0"}),
		certificate("policies", "policies, access to the issuer and revocation lists",
			recipe{extensions: "certificatePolicies = 1.2.3.4,@policy\nauthorityInfoAccess = OCSP;URI:http://ocsp.test," +
				"caIssuers;URI:http://ca.test/ca.der\ncrlDistributionPoints = URI:http://crl.test/a.crl\n" +
				"subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid,issuer",
				sections: "[policy]\npolicyIdentifier = 1.2.3.5\nCPS.1 = http://cps.test\nuserNotice.1 = @notice\n" +
					"[notice]\nexplicitText = UTF8:words\n"}),
		certificate("bmp-string", "names of two octets a character", recipe{subject: "CN = Bücher", mask: "MASK:0x800"}),
		certificate("no-usage", "no extension at all", recipe{}),
		certificate("zero-serial", "serial number 0, which RFC 5280 forbids",
			recipe{arguments: []string{"-set_serial", "0"}}),
		certificate("negative-serial", "a negative serial number",
			recipe{arguments: []string{"-set_serial", "-5"}}).refused("RFC 5280 §4.1.2.2 wants a positive number"),
		certificate("long-serial", "a serial number of 30 octets",
			recipe{arguments: []string{"-set_serial", "0x" + strings.Repeat("7f", 30)}}),
		certificate("serial-20-octets", "the longest serial number that RFC 5280 allows",
			recipe{arguments: []string{"-set_serial", "0x" + strings.Repeat("7f", 20)}}),
		certificate("serial-high-bit", "a serial number whose first bit needs an octet in front of it",
			recipe{arguments: []string{"-set_serial", "0x8000000000000001"}}),
		certificate("far-future", "ends after 2050, in GeneralizedTime", recipe{arguments: []string{"-days", "36500"}}),
		certificate("md5", "signed over MD5; parsing does not check signatures",
			recipe{key: "rsa-2048", arguments: []string{"-md5"}}),
		certificate("sha1", "signed over SHA-1", recipe{key: "rsa-2048", arguments: []string{"-sha1"}}),
		certificate("text", "a dump for people in front of the block", recipe{arguments: []string{"-text"}}),
	}
	pss := func(digest, salt string) []string {
		return []string{"-" + digest, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:" + salt}
	}
	const ca = "basicConstraints = critical,CA:TRUE\nsubjectKeyIdentifier = hash"
	for _, digest := range []string{"sha1", "sha256", "sha384", "sha512"} {
		drafts = append(drafts, certificate("pss-"+digest, "a root that signed itself with RSA-PSS",
			recipe{key: "rsa-2048", extensions: ca, arguments: pss(digest, "digest")}))
	}
	drafts = append(drafts,
		certificate("pss-long-salt", "a root that signed itself with RSA-PSS and the longest salt",
			recipe{key: "rsa-2048", extensions: ca, arguments: pss("sha256", "max")}),
		draft{
			Case: Case{Name: "openssl-pss-leaf", Kind: "certificate", Maker: "openssl",
				About: "a leaf that openssl-pss-issuer signed with RSA-PSS"},
			make: func(scratch string) ([]byte, error) {
				if _, err := pssIssuer(scratch); err != nil {
					return nil, err
				}
				return recipe{subject: "CN = leaf", extensions: "subjectAltName = DNS:a.test",
					arguments: append(pss("sha256", "digest"), "-CA", "pss-issuer.pem", "-CAkey", "rsa-2048.key")}.selfSigned(scratch)
			},
		},
		draft{
			Case: Case{Name: "openssl-pss-issuer", Kind: "certificate", Maker: "openssl", About: "the root of openssl-pss-leaf"},
			make: pssIssuer,
		})
	for _, kind := range []string{
		"rsa-2048", "rsa-3072", "rsa-4096", "p256", "p384", "p521", "ed25519", "rsa-1024", "secp256k1", "p224", "ed448",
		"p256-explicit", "rsa-pss",
	} {
		drafts = append(drafts, certificate("key-"+kind, "a root with a key of this kind",
			recipe{key: kind, extensions: "basicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\n" +
				"subjectKeyIdentifier = hash"}).
			accepted("a bundle may hold roots with keys that we cannot use"))
	}
	return drafts
}

// pssIssuer makes the root of a chain, once in a scratch folder.
func pssIssuer(scratch string) ([]byte, error) {
	file := filepath.Join(scratch, "pss-issuer.pem")
	if text, err := os.ReadFile(file); err == nil {
		return text, nil
	}
	text, err := recipe{key: "rsa-2048", subject: "CN = PSS issuer",
		extensions: "basicConstraints = critical,CA:TRUE\nsubjectKeyIdentifier = hash",
		arguments:  []string{"-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"}}.selfSigned(scratch)
	if err != nil {
		return nil, err
	}
	return text, os.WriteFile(file, text, 0o600)
}
