// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Manager is one HTTP connection manager, compiled.
type Manager struct {
	unknown string

	// The codec.
	http10         bool
	defaultHost    string
	chunkedLength  bool
	absoluteURL    bool
	anyMethod      bool
	underscores    corev3.HttpProtocolOptions_HeadersWithUnderscoresAction
	maxHeaders     int
	maxHeaderBytes int
	upgrades       map[string]bool

	// The path and the host.
	normalize, merge bool
	escapedSlashes   hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction
	stripPort        stripping
	stripDot         bool
	// rejectFragment and stripFragment are what is done with a "#" in the path:
	// Istio turns the first one off.
	rejectFragment, stripFragment bool

	// The client.
	address       addressing
	schemeToSet   string
	internalOnly  []string
	forwardedPort bool
	certificate   hcmv3.HttpConnectionManager_ForwardClientCertDetails
	details       *hcmv3.HttpConnectionManager_SetCurrentClientCertDetails
	via           string
	by            string // of x-forwarded-client-cert; empty for nothing
}

type stripping int8

const (
	keepPort stripping = iota
	stripMatching
	stripAny
)

// Surroundings are what a connection manager takes from elsewhere in the proxy's
// configuration. The zero value is a proxy that says nothing of it.
type Surroundings struct {
	// Runtime are the values of the proxy's runtime layers, by key
	// (https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/runtime).
	Runtime map[string]string
	// InternalOnlyHeaders are those of the route configuration.
	InternalOnlyHeaders []string
	// LocalURI is the first URI in the certificate that the proxy shows to this
	// client: "By" of x-forwarded-client-cert.
	LocalURI string
}

// Compile reads a connection manager. What it has that cannot be decided makes
// requests Unknown; it never fails.
func Compile(m *hcmv3.HttpConnectionManager, s Surroundings) *Manager {
	http1, protocol := m.GetHttpProtocolOptions(), m.GetCommonHttpProtocolOptions()
	out := &Manager{
		unknown:        undecidable(m),
		http10:         http1.GetAcceptHttp_10(),
		defaultHost:    http1.GetDefaultHostForHttp_10(),
		chunkedLength:  http1.GetAllowChunkedLength(),
		absoluteURL:    orElse(http1.GetAllowAbsoluteUrl(), true),
		anyMethod:      http1.GetAllowCustomMethods(),
		underscores:    protocol.GetHeadersWithUnderscoresAction(),
		maxHeaders:     orNumber(protocol.GetMaxHeadersCount(), 100),
		maxHeaderBytes: orNumber(m.GetMaxRequestHeadersKb(), 60) * 1024,
		merge:          m.GetMergeSlashes(),
		stripDot:       m.GetStripTrailingHostDot(),
		address:        compileAddressing(m),
		schemeToSet:    m.GetSchemeHeaderTransformation().GetSchemeToOverwrite(),
		internalOnly:   lowered(s.InternalOnlyHeaders),
		forwardedPort:  m.GetAppendXForwardedPort(),
		certificate:    m.GetForwardClientCertDetails(),
		details:        m.GetSetCurrentClientCertDetails(),
		via:            m.GetVia(),
	}
	if s.LocalURI != "" {
		out.by = "By=" + s.LocalURI
	}
	out.rejectFragment = !off(s.Runtime, "envoy.reloadable_features.http_reject_path_with_fragment")
	out.stripFragment = !off(s.Runtime, "envoy.reloadable_features.http_strip_fragment_from_path_unsafe_if_disabled")
	out.normalize = orElse(m.GetNormalizePath(), enabled(s.Runtime, "http_connection_manager.normalize_path"))
	out.escapedSlashes = slashesAction(m, s.Runtime)
	switch {
	case m.GetStripAnyHostPort():
		out.stripPort = stripAny
	case m.GetStripMatchingHostPort():
		out.stripPort = stripMatching
	}
	out.upgrades = map[string]bool{}
	for _, u := range m.GetUpgradeConfigs() {
		out.upgrades[strings.ToLower(u.GetUpgradeType())] = orElse(u.GetEnabled(), true)
	}
	return out
}

// slashesAction is what is done with escaped slashes. Left to the
// implementation, the runtime says.
func slashesAction(m *hcmv3.HttpConnectionManager, runtime map[string]string) hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction {
	action := m.GetPathWithEscapedSlashesAction()
	if action != hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT {
		return action
	}
	const key = "http_connection_manager.path_with_escaped_slashes_action"
	if n, err := strconv.Atoi(runtime[key]); err == nil {
		return hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction(n)
	}
	return hcmv3.HttpConnectionManager_KEEP_UNCHANGED
}

// undecidable says what of a connection manager this package cannot decide, or
// what Envoy would not take; empty for nothing.
func undecidable(m *hcmv3.HttpConnectionManager) string {
	for _, c := range []struct {
		is  bool
		why string
	}{
		{m == nil, "the connection manager is missing"},
		{len(m.GetEarlyHeaderMutationExtensions()) > 0, "early_header_mutation_extensions change headers before anything else"},
		{m.GetPathNormalizationOptions() != nil, "path_normalization_options are not known"},
		{m.GetTypedHeaderValidationConfig() != nil, "a header validator of its own checks the request"},
		{m.GetForwardProtoConfig() != nil, "x-forwarded-proto depends on the PROXY protocol"},
		{m.GetForwardClientCertMatcher() != nil, "forward_client_cert_matcher chooses what becomes of the client's certificate"},
		{m.GetAddUserAgent().GetValue(), "add_user_agent adds what is in the proxy's bootstrap"},
		{m.GetHttp2ProtocolOptions().GetAllowConnect(), "extended CONNECT of HTTP/2 is not known"},
		{m.GetScopedRoutes() != nil, "scoped routes choose the route configuration by request"},
		{m.GetUseRemoteAddress().GetValue() && len(m.GetOriginalIpDetectionExtensions()) > 0,
			"use_remote_address together with original_ip_detection_extensions is refused by the proxy"},
		{m.GetXffNumTrustedHops() > 0 && len(m.GetOriginalIpDetectionExtensions()) > 0,
			"xff_num_trusted_hops together with original_ip_detection_extensions is refused by the proxy"},
	} {
		if c.is {
			return c.why
		}
	}
	return ""
}

// RewritesReplies says whether local_reply_config may change the code or the body
// of the proxy's own answers. It does not open or close anything.
func RewritesReplies(m *hcmv3.HttpConnectionManager) bool {
	return len(m.GetLocalReplyConfig().GetMappers()) > 0
}

// enabled reads a runtime feature whose default is off.
func enabled(runtime map[string]string, key string) bool {
	n, err := strconv.Atoi(runtime[key])
	return runtime[key] == "true" || err == nil && n >= 100
}

// off reports whether a feature that is on by default was turned off.
func off(runtime map[string]string, key string) bool { return runtime[key] == "false" }

func orElse(b *wrapperspb.BoolValue, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return b.GetValue()
}

func orNumber(n *wrapperspb.UInt32Value, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return int(n.GetValue())
}

func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}
