// Command interop lets other implementations judge what Signet reads and writes.
//
//	interop corpus DIR          make the corpus of requests and certificates anew, with its verdicts
//	interop verdicts DIR        ask Go again about the inputs of a corpus and print the verdicts
//	interop judge MANIFEST      verify and lint the certificates that a manifest lists
//	interop keystores DIR       write what each keystore of a folder holds beside it, as PEM
//
// The peers are crypto/x509 of Go, the openssl program on the path, zlint, and the libraries with which cert-manager
// writes its keystores. Verdicts are JSON on standard output.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: interop corpus DIR | verdicts DIR | judge MANIFEST | keystores DIR")
		os.Exit(2)
	}
	commands := map[string]func(string) error{
		"corpus":    makeCorpus,
		"verdicts":  printVerdicts,
		"judge":     judge,
		"keystores": readKeystores,
	}
	command, known := commands[os.Args[1]]
	if !known {
		fmt.Fprintf(os.Stderr, "interop: %q is no command; use corpus, verdicts, judge or keystores\n", os.Args[1])
		os.Exit(2)
	}
	if err := command(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// toJSON writes a value as people read it, with a newline at the end.
func toJSON(value any) ([]byte, error) {
	text, err := json.MarshalIndent(value, "", "  ")
	return append(text, '\n'), err
}
