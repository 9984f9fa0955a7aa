// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// KeyType is an algorithm with its size, among those that public certificate
// authorities sign.
type KeyType string

// The key types. The zero value means P256.
const (
	P256    KeyType = "ECDSA-P256"
	P384    KeyType = "ECDSA-P384"
	RSA2048 KeyType = "RSA-2048"
	RSA3072 KeyType = "RSA-3072"
	RSA4096 KeyType = "RSA-4096"
)

// maxPEM bounds what is parsed, in octets: far above a chain of 100 names.
const maxPEM = 256 << 10

// OrDefault is the key type that is meant: P256 where none is said.
func (t KeyType) OrDefault() KeyType {
	if t == "" {
		return P256
	}
	return t
}

// NewKey makes a private key.
func NewKey(t KeyType) (crypto.Signer, error) {
	switch t.OrDefault() {
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("making a key: the type %q is none of %s, %s, %s, %s, %s", t, P256, P384, RSA2048, RSA3072, RSA4096)
}

// TypeOf is the type of a public key, or what it is when it is none of ours.
func TypeOf(public crypto.PublicKey) KeyType {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return KeyType("ECDSA-P" + fmt.Sprint(k.Curve.Params().BitSize))
	case *rsa.PublicKey:
		return KeyType(fmt.Sprintf("RSA-%d", k.N.BitLen()))
	}
	return KeyType(fmt.Sprintf("%T", public))
}

// EncodeKey writes a private key as PEM of PKCS #8 (RFC 5958).
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads a private key from PEM: PKCS #8, SEC 1 (RFC 5915) or PKCS #1.
// Errors never say what is in the text.
func ParseKey(text []byte) (crypto.Signer, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("reading a private key: it has more than %d octets", maxPEM)
	}
	for {
		var block *pem.Block
		// Other tools write "EC PARAMETERS" before the key.
		if block, text = pem.Decode(text); block == nil {
			return nil, errors.New("reading a private key: there is no PEM block of a key")
		}
		switch block.Type {
		case "PRIVATE KEY":
			return signer(x509.ParsePKCS8PrivateKey(block.Bytes))
		case "EC PRIVATE KEY":
			k, err := x509.ParseECPrivateKey(block.Bytes)
			return signer(k, err)
		case "RSA PRIVATE KEY":
			k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			return signer(k, err)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("reading a private key: it is encrypted, and a proxy cannot ask for the password")
		}
	}
}

// signer leaves the parser's text out: it could quote a piece of the key.
func signer(key any, err error) (crypto.Signer, error) {
	if err != nil {
		return nil, errors.New("reading a private key: its PEM block does not hold a key of the kind it says")
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading a private key: a %T cannot sign", key)
	}
	return s, nil
}

// Fingerprint identifies a public key: the SHA-256 of its SubjectPublicKeyInfo in
// hexadecimal, as RFC 7469 §2.4 pins it. It tells nothing of the private key.
func Fingerprint(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("taking the fingerprint of a key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}
