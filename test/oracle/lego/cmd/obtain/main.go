// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command obtain gets a certificate for each of many hosts with lego, by DNS-01. It
// reads a job as JSON from its input, and ends when it has them all. The benchmark
// runs it as a peer, without linking lego.
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/lego"
	legolog "github.com/go-acme/lego/v4/log"
	"github.com/go-acme/lego/v4/registration"
)

// job is what is to be obtained.
type job struct {
	// Directory is the CA's, and Roots, as PEM, have signed its HTTPS.
	Directory string `json:"directory"`
	Roots     string `json:"roots"`
	// Publish takes a TXT record as JSON by POST; no value takes it away.
	Publish string   `json:"publish"`
	Names   []string `json:"names"`
	// Lanes is how many connections there may be to the CA.
	Lanes int `json:"lanes"`
}

func main() {
	// Every step of every certificate is a line otherwise.
	legolog.Logger = log.New(io.Discard, "", 0)
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "obtain:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	client, err := j.client(ctx)
	if err != nil {
		return err
	}
	problems := make([]error, len(j.Names))
	var running sync.WaitGroup
	for i, name := range j.Names {
		running.Go(func() {
			got, err := client.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{name}, Bundle: true})
			if err == nil && len(got.Certificate) == 0 {
				err = errors.New("there is none")
			}
			if err != nil {
				problems[i] = fmt.Errorf("getting a certificate for %s: %w", name, err)
			}
		})
	}
	running.Wait()
	return errors.Join(problems...)
}

// client has an account at the CA.
func (j job) client(ctx context.Context) (*lego.Client, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(j.Roots)) {
		return nil, errors.New("reading the job: no roots")
	}
	owner := &user{key: key}
	config := lego.NewConfig(owner)
	config.CADirURL, config.Certificate.KeyType = j.Directory, certcrypto.EC256
	config.HTTPClient = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, MaxConnsPerHost: j.Lanes, MaxIdleConnsPerHost: j.Lanes,
	}}
	client, err := lego.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	// The records are there at once, and asking the world for them would fail.
	there := dns01.WrapPreCheck(func(string, string, string, dns01.PreCheckFunc) (bool, error) { return true, nil })
	if err := client.Challenge.SetDNS01Provider(provider{ctx, j.Publish}, there); err != nil {
		return nil, fmt.Errorf("setting the provider: %w", err)
	}
	owner.registration, err = client.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
	if err != nil {
		return nil, fmt.Errorf("registering: %w", err)
	}
	return client, nil
}

// user is an account.
type user struct {
	key          crypto.PrivateKey
	registration *registration.Resource
}

func (u *user) GetEmail() string                        { return "" }
func (u *user) GetRegistration() *registration.Resource { return u.registration }
func (u *user) GetPrivateKey() crypto.PrivateKey        { return u.key }

// provider publishes where the benchmark says.
type provider struct {
	ctx context.Context
	url string
}

// Present publishes a record.
func (p provider) Present(domain, _, keyAuth string) error {
	info := dns01.GetChallengeInfo(domain, keyAuth)
	return p.post(info.FQDN, info.Value)
}

// CleanUp takes it away.
func (p provider) CleanUp(domain, _, keyAuth string) error {
	return p.post(dns01.GetChallengeInfo(domain, keyAuth).FQDN, "")
}

// Timeout says how long records may take, and how often to look: lego sleeps for
// the latter before it asks the CA.
func (p provider) Timeout() (timeout, interval time.Duration) { return time.Minute, time.Millisecond }

func (p provider) post(name, value string) error {
	body, err := json.Marshal(map[string]string{"name": name, "value": value})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("publishing a record: HTTP %d", resp.StatusCode)
	}
	return nil
}
