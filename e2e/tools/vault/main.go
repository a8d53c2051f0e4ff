// Vault with what the tests of issuers need, and no more: the PKI engine, and the methods to log in that issuers know. Built
// with the tag "minimal" Vault has them all but the Kubernetes method, which is added here.
package main

import (
	"os"

	"github.com/hashicorp/cli"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/command"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
)

func main() {
	arguments := os.Args[1:]
	if len(arguments) == 0 || arguments[0] != "server" {
		os.Exit(command.Run(arguments))
	}
	ui := &cli.BasicUi{Reader: os.Stdin, Writer: os.Stdout, ErrorWriter: os.Stderr}
	server := &command.ServerCommand{
		BaseCommand:        &command.BaseCommand{UI: &command.VaultUI{Ui: ui}},
		AuditBackends:      map[string]audit.Factory{"file": audit.NewFileBackend},
		CredentialBackends: map[string]logical.Factory{"kubernetes": kubernetes.Factory},
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory},
		PhysicalBackends:   map[string]physical.Factory{"inmem": inmem.NewInmem},
		ShutdownCh:         command.MakeShutdownCh(),
		SighupCh:           command.MakeSighupCh(),
		SigUSR2Ch:          command.MakeSigUSR2Ch(),
	}
	os.Exit(server.Run(arguments[1:]))
}
