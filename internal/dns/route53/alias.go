// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// The hosted zones of services that are the same in every region (Route 53
// Developer Guide, "Values specific for simple alias records").
const (
	cloudFront        = "Z2FDTNDATAQYW2"
	globalAccelerator = "Z2BJ6XQ5FK7U4H"
)

// regional are the hosted zones of one region.
type regional struct {
	// balancer is for Application and Classic Load Balancers, network for Network
	// Load Balancers, gateway for regional domains of API Gateway.
	balancer, network, gateway string
}

// regions are the ids that AWS publishes in its General Reference, "Elastic Load
// Balancing endpoints and quotas" and "Amazon API Gateway endpoints and quotas".
// They were taken from public copies of those tables, and where copies disagree
// the id is left out. They never change; regions are added. What is not here gets
// a CNAME.
var regions = map[string]regional{
	"af-south-1":     {"Z268VQBMOI5EKX", "Z203XCE67M25HM", "Z2DHW2332DAMTN"},
	"ap-east-1":      {"Z3DQVH9N71FHZ0", "Z12Y7K3UBGUAD1", "Z3FD1VL90ND7K5"},
	"ap-northeast-1": {"Z14GRHDCWA56QT", "Z31USIVHYNEOWT", "Z1YSHQZHG15GKL"},
	"ap-northeast-2": {"ZWKZPGTI48KDX", "ZIBE1TIR4HY56", "Z20JF4UZKIW1U8"},
	"ap-northeast-3": {"Z5LXEXXYW11ES", "Z1GWIQ4HH19I5X", ""},
	"ap-south-1":     {"ZP97RAFLXTNZK", "ZVDDRBQ08TROA", "Z3VO1THU9YC4UR"},
	"ap-south-2":     {"Z0173938T07WNTVAEPZN", "Z0711778386UTO08407HT", ""},
	"ap-southeast-1": {"Z1LMS91P8CMLE5", "ZKVM4W9LS7TM", "ZL327KTPIQFUL"},
	"ap-southeast-2": {"Z1GM3OXH4ZPM65", "ZCT6FZBF4DROD", "Z2RPCDW04V8134"},
	"ap-southeast-3": {"Z08888821HLRG5A9ZRTER", "Z01971771FYVNCOVWJU1G", ""},
	"ap-southeast-4": {"Z09517862IB2WZLPXG76F", "Z01156963G8MIIL7X90IV", ""},
	"ap-southeast-5": {"Z06010284QMVVW7WO5J", "Z026317210H9ACVTRO6FB", ""},
	"ap-southeast-7": {"Z0390008CMBRTHFGWBCB", "Z054363131YWATEMWRG5L", ""},
	"ca-central-1":   {"ZQSVJUPU6J1EY", "Z2EPGBW3API2WT", "Z19DQILCV0OWEC"},
	"ca-west-1":      {"Z06473681N0SF6OS049SD", "Z02754302KBB00W2LKWZ9", ""},
	"cn-north-1":     {"Z1GDH35T77C1KE", "Z3QFB96KMJ7ED6", ""},
	"cn-northwest-1": {"ZM7IZAIOVVDZF", "ZQEIKTCZ8352D", ""},
	"eu-central-1":   {"Z215JYRZR1TBD5", "Z3F0SRJ5LGBH90", "Z1U9ULNL0V5AJ3"},
	"eu-central-2":   {"Z06391101F2ZOEP8P5EB3", "Z02239872DOALSIDCX66S", ""},
	"eu-north-1":     {"Z23TAZ6LKFMNIO", "Z1UDT6IFJ4EJM", "Z3UWIKFBOOGXPP"},
	"eu-south-1":     {"Z3ULH7SSC9OV64", "Z23146JA1KNAFP", "Z3BT4WSQ9TDYZV"},
	"eu-south-2":     {"Z0956581394HF5D5LXGAP", "Z1011216NVTVYADP1SSV", "Z02499852UI5HEQ5JVWX3"},
	"eu-west-1":      {"Z32O12XQLNTSW2", "Z2IFOLAFXWLO4F", "ZLY8HYME6SFDD"},
	"eu-west-2":      {"ZHURV8PSTC4K8", "ZD4D7Y8KGAS4G", "ZJ5UAJN8Y3Z2Q"},
	"eu-west-3":      {"Z3Q77PNBQS71R4", "Z1CMS0P5QUZ6D5", "Z3KY65QIEKYHQQ"},
	"il-central-1":   {"Z09170902867EHPV2DABU", "Z0313266YDI6ZRHTGQY4", ""},
	"me-central-1":   {"Z08230872XQRWHG2XF6I", "Z00282643NTTLPANJJG2P", "Z08780021BKYYY8U0YHTV"},
	"me-south-1":     {"ZS929ML54UICD", "Z3QSRYVP46NYYV", "Z20ZBPC0SS8806"},
	"mx-central-1":   {"Z023552324OKD1BB28BH5", "Z02031231H3ID6HYJ9A7U", ""},
	"sa-east-1":      {"Z2P70J7HTTTPLU", "ZTK26PT1VY4CU", "ZCMLWB8V5SYIT"},
	"us-east-1":      {"Z35SXDOTRQ7X7K", "Z26RNL4JYFTOTI", "Z1UJRXOUMOOFQ8"},
	"us-east-2":      {"Z3AADJGX6KTTL2", "ZLMOA37VPKANP", "ZOJJZC49E0EPZ"},
	"us-gov-east-1":  {"Z166TLBEWOO7G0", "Z1ZSMQQ6Q24QQ8", "Z3SE9ATJYCRCZJ"},
	"us-gov-west-1":  {"Z33AYJ8TM3BH4J", "ZMG1MZ2THAWF1", "Z1K6XKP9SAGWDV"},
	"us-west-1":      {"Z368ELLRRE2KJ0", "Z24FKFUX50B4VW", "Z2MUQ32089INYE"},
	"us-west-2":      {"Z1H1FL5HABSF5", "Z18D5FSROUN65G", "Z2OJLYMUO9EFXC"},
}

// aliasOf finds the hosted zone that a host is in, and whether it may have
// addresses of IPv6.
func aliasOf(host dns.Name) (zone string, six bool) {
	labels := strings.Split(string(host), ".")
	if len(labels) < 3 {
		return "", false
	}
	rest, found := strings.CutSuffix(string(host), ".amazonaws.com")
	if !found {
		rest, found = strings.CutSuffix(string(host), ".amazonaws.com.cn")
	}
	switch {
	case strings.HasSuffix(string(host), ".cloudfront.net"):
		return cloudFront, true
	case strings.HasSuffix(string(host), ".awsglobalaccelerator.com"):
		// Only names of accelerators with both families have this label.
		return globalAccelerator, strings.HasSuffix(string(host), ".dualstack.awsglobalaccelerator.com")
	case !found:
		return "", false
	}
	parts := strings.Split(rest, ".")
	if len(parts) < 3 {
		return "", false
	}
	switch a, b := parts[len(parts)-2], parts[len(parts)-1]; {
	case b == "elb":
		return regions[a].balancer, true
	case a == "elb":
		return regions[b].network, true
	case a == "execute-api":
		return regions[b].gateway, false
	}
	return "", false
}

// Point makes addresses; for a host of AWS's an alias, which may stand at the apex
// and costs no query; for others a CNAME.
func (p *Provider) Point(zone dns.Zone, name dns.Name, identifier string, ttl uint32, t dns.Target) ([]dns.RecordSet, error) {
	if t.Host == "" {
		return dns.Addressed(name, identifier, ttl, t.Addresses), nil
	}
	hosted, six := aliasOf(t.Host)
	// Aliases to CloudFront are refused in private zones.
	if hosted == "" || hosted == cloudFront && zone.Private {
		if name == zone.Name {
			return nil, fmt.Errorf("pointing %s to %s: %w: it is the apex of its zone, where no CNAME may be, and Route 53 has no alias for that host; give the load balancer an address", name, t.Host, dns.ErrInvalid)
		}
		set, err := dns.NewRecordSet(dns.Key{Name: name, Type: dns.TypeCNAME, Identifier: identifier}, ttl, string(t.Host))
		return []dns.RecordSet{set}, err
	}
	out := []dns.RecordSet{{Key: dns.Key{Name: name, Type: dns.TypeA, Identifier: identifier}, Alias: &dns.Alias{Target: t.Host, Zone: hosted}}}
	if six {
		out = append(out, dns.RecordSet{Key: dns.Key{Name: name, Type: dns.TypeAAAA, Identifier: identifier}, Alias: &dns.Alias{Target: t.Host, Zone: hosted}})
	}
	return out, nil
}
