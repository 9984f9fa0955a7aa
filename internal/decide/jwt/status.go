// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// status is the result of verifying one token, in Envoy's words
// (source/common/jwt/status.cc).
type status string

// The statuses that are not of a single claim.
const (
	ok                 status = ""
	missing            status = "Jwt is missing"
	notYetValid        status = "Jwt not yet valid"
	expired            status = "Jwt is expired"
	badFormat          status = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
	badHeaderBase64    status = "Jwt header is an invalid Base64url encoded"
	badHeaderJSON      status = "Jwt header is an invalid JSON"
	badAlgorithm       status = "Jwt header [alg] field is required and must be a string"
	unknownAlgorithm   status = "Jwt header [alg] is not supported"
	badKeyID           status = "Jwt header [kid] field is not a string"
	badPayloadBase64   status = "Jwt payload is an invalid Base64url encoded"
	badPayloadJSON     status = "Jwt payload is an invalid JSON"
	badAudience        status = "Jwt payload [aud] field is not a string or string list"
	badSignatureBase64 status = "Jwt signature is an invalid Base64url encoded"
	badEd25519         status = "Jwt ED25519 signature is wrong length"
	unknownIssuer      status = "Jwt issuer is not configured"
	audienceNotAllowed status = "Audiences in Jwt are not allowed"
	notVerified        status = "Jwt verification fails"
	noKeys             status = "Jwks doesn't have any valid public key"
	noMatchingKey      status = "Jwks doesn't have key to match kid or alg from Jwt"
	// undecided is no status of Envoy's: nobody knows it here.
	undecided status = "?"
)

func notAString(claim string) status {
	return status("Jwt payload [" + claim + "] field is not a string")
}
func notAnInteger(claim string) status {
	return status("Jwt payload [" + claim + "] field is not an integer")
}
func outOfRange(claim string) status {
	return status("Jwt payload [" + claim + "] field is not a positive 64 bit integer")
}

// numbers are the statuses in the order of Envoy's enumeration, which
// failed_status_in_metadata shows; the first is 1. Empty places are of statuses
// that no request gets.
var numbers = []status{
	missing, notYetValid, expired, badFormat, badHeaderBase64, badHeaderJSON, badAlgorithm, unknownAlgorithm, badKeyID,
	badPayloadBase64, badPayloadJSON, notAString("iss"), notAString("sub"), notAnInteger("iat"), outOfRange("iat"),
	notAnInteger("nbf"), outOfRange("nbf"), notAnInteger("exp"), outOfRange("exp"), notAString("jti"), badAudience,
	badSignatureBase64, badEd25519, unknownIssuer, audienceNotAllowed, notVerified, "", "", "", "", noKeys, noMatchingKey,
}

// failure is what failed_status_in_metadata shows of a status.
func (s status) failure() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"code":    structpb.NewNumberValue(float64(slices.Index(numbers, s) + 1)),
		"message": structpb.NewStringValue(string(s)),
	}}
}

// details are the response code details of a request that is refused.
func details(reason string) string {
	return "jwt_authn_access_denied{" + withoutSpaces.Replace(reason) + "}"
}

// withoutSpaces keeps the details one word of an access log.
var withoutSpaces = strings.NewReplacer(" ", "_", "\t", "_", "\n", "_", "\v", "_", "\f", "_", "\r", "_")
