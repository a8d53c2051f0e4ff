package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// readKeystores reads the files *.key.pkcs12, *.trust.pkcs12, *.key.jks and *.trust.jks of a folder, whose password is
// in the file password, and writes the keys and certificates of each into a file that ends in .pem instead.
func readKeystores(folder string) error {
	password, err := os.ReadFile(filepath.Join(folder, "password"))
	if err != nil {
		return err
	}
	readers := map[string]func(file, password []byte) ([]byte, error){
		".key.pkcs12":   readPKCS12Keys,
		".trust.pkcs12": readPKCS12Trust,
		".key.jks":      readJKS,
		".trust.jks":    readJKS,
	}
	read := 0
	for suffix, reader := range readers {
		names, err := filepath.Glob(filepath.Join(folder, "*"+suffix))
		if err != nil {
			return err
		}
		for _, name := range names {
			file, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text, err := reader(file, password)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			found := strings.TrimSuffix(name, filepath.Ext(name)) + ".pem"
			if err := os.WriteFile(found, text, 0o600); err != nil {
				return err
			}
			read++
		}
	}
	if read == 0 {
		return fmt.Errorf("there is no keystore in %s", folder)
	}
	return nil
}

func readPKCS12Keys(file, password []byte) ([]byte, error) {
	key, leaf, above, err := pkcs12.DecodeChain(file, string(password))
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := block("PRIVATE KEY", der)
	for _, certificate := range append([]*x509.Certificate{leaf}, above...) {
		text = append(text, block("CERTIFICATE", certificate.Raw)...)
	}
	return text, nil
}

func readPKCS12Trust(file, password []byte) ([]byte, error) {
	trusted, err := pkcs12.DecodeTrustStore(file, string(password))
	if err != nil {
		return nil, err
	}
	var text []byte
	for _, certificate := range trusted {
		text = append(text, block("CERTIFICATE", certificate.Raw)...)
	}
	return text, nil
}

// readJKS gives the key and its chain first, then the trusted certificates in the order of their aliases.
func readJKS(file, password []byte) ([]byte, error) {
	store := keystore.New()
	if err := store.Load(bytes.NewReader(file), password); err != nil {
		return nil, err
	}
	aliases := store.Aliases()
	slices.Sort(aliases)
	var keys, trusted []byte
	for _, alias := range aliases {
		if store.IsPrivateKeyEntry(alias) {
			entry, err := store.GetPrivateKeyEntry(alias, password)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", alias, err)
			}
			keys = append(keys, block("PRIVATE KEY", entry.PrivateKey)...)
			for _, certificate := range entry.CertificateChain {
				keys = append(keys, block("CERTIFICATE", certificate.Content)...)
			}
			continue
		}
		entry, err := store.GetTrustedCertificateEntry(alias)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", alias, err)
		}
		trusted = append(trusted, block("CERTIFICATE", entry.Certificate.Content)...)
	}
	return append(keys, trusted...), nil
}

func block(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}
