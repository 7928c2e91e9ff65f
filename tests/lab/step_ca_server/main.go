// Copyright: zerotrust.pomerium contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command step-ca is smallstep's server as its own cmd/step-ca starts it, without what a lab never uses and takes
// most of that program's build: the KMS of every cloud, hardware tokens, and (by build tags) databases but bbolt.
//
// Usage: step-ca -resolver ADDRESS:PORT CA.JSON
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"

	"github.com/smallstep/certificates/acme"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"

	_ "github.com/smallstep/certificates/cas/softcas"
	_ "go.step.sm/crypto/kms/softkms"
)

func main() {
	resolver := flag.String("resolver", "", "`address:port` of the DNS server to ask; required, there is no default")
	flag.Parse()
	if *resolver == "" || flag.NArg() != 1 {
		log.Fatal("usage: step-ca -resolver ADDRESS:PORT CA.JSON")
	}
	if err := serve(flag.Arg(0), *resolver); err != nil {
		log.Fatal(err)
	}
}

// serve runs the CA until SIGTERM or SIGINT; SIGHUP reloads its configuration.
func serve(path, resolver string) error {
	settings, err := config.LoadConfiguration(path)
	if err != nil {
		return err
	}
	net.DefaultResolver.PreferGo = true
	net.DefaultResolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, resolver)
	}
	acme.StrictFQDN = true // never with the search domains of this machine
	server, err := ca.New(settings, ca.WithConfigFile(path))
	if err != nil {
		return err
	}
	go ca.StopReloaderHandler(server)
	if err := server.Run(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
