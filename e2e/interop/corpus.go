package main

import (
	"cmp"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
)

// A draft is a case before its input is made.
type draft struct {
	Case
	// make returns the text of the input; the argument is a folder for scratch files.
	make func(scratch string) ([]byte, error)
}

// refused says that Signet must refuse the case, and why, whatever the peers do.
func (d draft) refused(because string) draft {
	d.Signet, d.Because = "refused", because
	return d
}

// accepted says why Signet accepts what a peer refuses.
func (d draft) accepted(because string) draft {
	d.Signet, d.Because = "accepted", because
	return d
}

// makeCorpus writes every input and the verdicts about them.
func makeCorpus(dir string) error {
	scratch, err := os.MkdirTemp("", "interop")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	for _, kind := range []string{"requests", "certificates"} {
		if err := os.RemoveAll(filepath.Join(dir, kind)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(dir, kind), 0o755); err != nil {
			return err
		}
	}
	drafts := slices.Concat(
		opensslRequests(), opensslCertificates(), goRequests(), goCertificates(), handRequests(), handCertificates())
	slices.SortFunc(drafts, func(a, b draft) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	var cases []Case
	for _, draft := range drafts {
		text, err := draft.make(scratch)
		if err != nil {
			return fmt.Errorf("%s %s: %w", draft.Kind, draft.Name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, draft.Kind+"s", draft.Name+".pem"), text, 0o644); err != nil {
			return err
		}
		if draft.Signet == "" {
			draft.Signet = "accepted"
		}
		cases = append(cases, draft.Case)
	}
	if err := askAll(dir, cases); err != nil {
		return err
	}
	var unexplained []error
	for number := range cases {
		unexplained = append(unexplained, cases[number].explain())
	}
	if err := errors.Join(unexplained...); err != nil {
		return err
	}
	text, err := toJSON(cases)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, verdictsFile), text, 0o644)
}

// explain drops the reason of a verdict that everybody shares, and misses that of one that a peer does not share.
func (c *Case) explain() error {
	expected := c.Signet == "accepted"
	if c.Go.Accepted == expected && c.OpenSSL.Accepted == expected {
		c.Because = ""
	} else if c.Because == "" {
		return fmt.Errorf("%s %s: it is to be %s, and nothing says why a peer differs: Go %+v, OpenSSL %+v",
			c.Kind, c.Name, c.Signet, c.Go, c.OpenSSL)
	}
	return nil
}

// askAll asks the peers about all cases, as many at once as there are processors.
func askAll(dir string, cases []Case) error {
	errs := make([]error, len(cases))
	parallel(len(cases), func(number int) { errs[number] = cases[number].ask(dir) })
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// parallel calls work with 0 to count-1.
func parallel(count int, work func(int)) {
	var group sync.WaitGroup
	numbers := make(chan int)
	for range runtime.NumCPU() {
		group.Go(func() {
			for number := range numbers {
				work(number)
			}
		})
	}
	for number := range count {
		numbers <- number
	}
	close(numbers)
	group.Wait()
}

func toPEM(kind string, der []byte) []byte {
	label := "CERTIFICATE"
	if kind == "request" {
		label = "CERTIFICATE REQUEST"
	}
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}
