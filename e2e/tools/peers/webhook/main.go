// The webhook of cert-manager, as its own program runs it, for comparisons on one machine and for tests of a change from
// one to the other. The program itself lies in a Go module that is not published; its parts are. They are internal to
// cert-manager, which is why this module's path lies below cert-manager's.
package main

import (
	"flag"
	"fmt"
	"os"

	config "github.com/cert-manager/cert-manager/internal/apis/config/webhook"
	"github.com/cert-manager/cert-manager/internal/webhook"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "webhook:", err)
		os.Exit(1)
	}
}

func run() error {
	var settings config.WebhookConfiguration
	kubeconfig := flag.Lookup("kubeconfig")
	port := flag.Int("secure-port", 10250, "")
	health := flag.Int("healthz-port", 6080, "0: any")
	certificate := flag.String("tls-cert-file", "", "")
	key := flag.String("tls-private-key-file", "", "")
	flag.StringVar(&settings.MetricsListenAddress, "metrics-listen-address", "0", "0: none")
	flag.Parse()
	settings.SecurePort, settings.HealthzPort = int32(*port), int32(*health)
	if kubeconfig != nil {
		settings.KubeConfig = kubeconfig.Value.String()
	}
	settings.TLSConfig.Filesystem.CertFile, settings.TLSConfig.Filesystem.KeyFile = *certificate, *key
	server, err := webhook.NewCertManagerWebhookServer(klog.Background(), settings)
	if err != nil {
		return err
	}
	return server.Run(ctrl.SetupSignalHandler())
}
