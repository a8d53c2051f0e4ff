package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

// An Issued is a certificate that Signet made, with what is needed to verify it. Paths are relative to the manifest.
type Issued struct {
	Name string `json:"name"`
	// Chain is a file with the certificate and its intermediates, leaf first.
	Chain string `json:"chain"`
	// Roots is a file with what is trusted.
	Roots string `json:"roots"`
	// At is the instant of the check, in seconds of Unix time.
	At int64 `json:"at"`
	// DNSNames and IPs must be names of the certificate; NotNames must not be.
	DNSNames []string `json:"dnsNames,omitempty"`
	IPs      []string `json:"ips,omitempty"`
	NotNames []string `json:"notNames,omitempty"`
}

// A Judgement is what the peers say about one certificate. Texts are empty where they have no objection.
type Judgement struct {
	Name    string `json:"name"`
	Go      string `json:"go,omitempty"`
	OpenSSL string `json:"openssl,omitempty"`
	// Lints are the findings of zlint, "name: details", sorted.
	Lints []string `json:"lints,omitempty"`
}

// judge verifies and lints what a manifest lists.
func judge(manifest string) error {
	text, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	var issued []Issued
	if err := json.Unmarshal(text, &issued); err != nil {
		return fmt.Errorf("%s: %w", manifest, err)
	}
	lints, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: standards})
	if err != nil {
		return err
	}
	dir := filepath.Dir(manifest)
	judgements := make([]Judgement, len(issued))
	parallel(len(issued), func(number int) {
		one := issued[number]
		one.Chain, one.Roots = filepath.Join(dir, one.Chain), filepath.Join(dir, one.Roots)
		judgements[number] = one.judge(lints)
	})
	text, err = toJSON(judgements)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

// standards are the sources of lints that are standards, not the policy of somebody's root programme.
var standards = lint.SourceList{
	lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962, lint.RFC8813,
}

func (i Issued) judge(lints lint.Registry) Judgement {
	judgement := Judgement{Name: i.Name}
	chain, err := readCertificates(i.Chain)
	if err != nil {
		judgement.Go = err.Error()
		return judgement
	}
	if err := i.verifyGo(chain); err != nil {
		judgement.Go = err.Error()
	}
	if err := i.verifyOpenSSL(); err != nil {
		judgement.OpenSSL = err.Error()
	}
	judgement.Lints = findings(chain[0].Raw, lints)
	return judgement
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, certificate)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Base(path))
	}
	return found, nil
}

func (i Issued) verifyGo(chain []*x509.Certificate) error {
	trusted, err := readCertificates(i.Roots)
	if err != nil {
		return err
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range trusted {
		roots.AddCert(root)
	}
	for _, above := range chain[1:] {
		intermediates.AddCert(above)
	}
	leaf := chain[0]
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: time.Unix(i.At, 0),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Concat(i.DNSNames, i.IPs) {
		if err := leaf.VerifyHostname(name); err != nil {
			return err
		}
	}
	for _, name := range i.NotNames {
		if leaf.VerifyHostname(name) == nil {
			return fmt.Errorf("the certificate is for %s too", name)
		}
	}
	return nil
}

// verifyOpenSSL asks `openssl verify`, with every check of RFC 5280 that it has.
func (i Issued) verifyOpenSSL() error {
	common := []string{
		"verify", "-x509_strict", "-check_ss_sig", "-no-CAfile", "-no-CApath", "-no-CAstore",
		"-attime", strconv.FormatInt(i.At, 10), "-CAfile", i.Roots, "-untrusted", i.Chain,
	}
	var checks [][]string
	for _, name := range i.DNSNames {
		checks = append(checks, []string{"-verify_hostname", name})
	}
	for _, ip := range i.IPs {
		checks = append(checks, []string{"-verify_ip", ip})
	}
	if len(checks) == 0 {
		checks = append(checks, nil)
	}
	for _, check := range checks {
		if err := verifyOnce(slices.Concat(common, check, []string{i.Chain})); err != nil {
			return err
		}
	}
	for _, name := range i.NotNames {
		if verifyOnce(slices.Concat(common, []string{"-verify_hostname", name, i.Chain})) == nil {
			return fmt.Errorf("the certificate is for %s too", name)
		}
	}
	return nil
}

func verifyOnce(arguments []string) error {
	said, err := exec.Command("openssl", arguments...).CombinedOutput()
	if err == nil {
		return nil
	}
	var reasons []string
	for line := range bytes.Lines(said) {
		if text := strings.TrimSpace(string(line)); strings.HasPrefix(text, "error ") {
			reasons = append(reasons, text)
		}
	}
	if len(reasons) == 0 {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(said))
	}
	return errors.New(strings.Join(reasons, "; "))
}

// findings are what zlint notices, warns of or objects to.
func findings(der []byte, lints lint.Registry) []string {
	certificate, err := zx509.ParseCertificate(der)
	if err != nil {
		return []string{"parse: " + err.Error()}
	}
	var found []string
	for name, result := range zlint.LintCertificateEx(certificate, lints).Results {
		if result.Status >= lint.Notice {
			found = append(found, strings.TrimSuffix(name+": "+result.Details, ": "))
		}
	}
	slices.Sort(found)
	return found
}
