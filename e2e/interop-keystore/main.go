// Command interop-keystore lets Go's libraries read the keystores that Signet writes.
//
//	interop-keystore keystores DIR     write what each keystore of a folder holds beside it
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 || os.Args[1] != "keystores" {
		fmt.Fprintln(os.Stderr, "usage: interop-keystore keystores DIR")
		os.Exit(2)
	}
	if err := readKeystores(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "interop-keystore:", err)
		os.Exit(1)
	}
}
