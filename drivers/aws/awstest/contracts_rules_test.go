package awstest_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// has fails unless the group has so many networks of IPv4 that may come in.
func has(n int) func(*bench) string {
	return func(b *bench) string {
		got := 0
		for _, p := range b.read(b.id).IpPermissions {
			got += len(p.IpRanges)
		}
		if got != n {
			return fmt.Sprintf("%d networks", got)
		}
		return ""
	}
}

func ofRules() []contract {
	adds := func(ps ...types.IpPermission) func(*bench) error {
		return func(b *bench) error { return b.ingress(ps...) }
	}
	echoed := func(want string) func(*bench) string {
		return func(b *bench) string {
			ps := b.read(b.id).IpPermissions
			if len(ps) != 1 || *ps[0].IpProtocol != want {
				var got []string
				for _, p := range ps {
					got = append(got, *p.IpProtocol)
				}
				return fmt.Sprintf("echoed %q", got)
			}
			return ""
		}
	}
	no := types.IpPermission{IpProtocol: aws.String("tcp"), IpRanges: []types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}}}
	twice := func(first, second types.IpPermission) func(*bench) error {
		return func(b *bench) error { b.must(b.ingress(first)); return b.ingress(second) }
	}
	var six []string
	for i := range 60 {
		six = append(six, fmt.Sprintf("2001:db8::%x/128", i+1))
	}
	return []contract{
		{name: "a rule is not there twice", call: twice(cidrs("tcp", 1, 1, "10.0.0.0/8"), cidrs("tcp", 1, 1, "10.0.0.0/8")), code: "InvalidPermission.Duplicate"},
		{name: "nor in other words", call: twice(cidrs("tcp", 1, 1, "10.0.0.0/8"), cidrs("6", 1, 1, "10.1.2.3/8")), code: "InvalidPermission.Duplicate"},
		{name: "nor of IPv6 in other words", call: twice(v6("tcp", 1, 1, "2001:db8::/32"), v6("tcp", 1, 1, "2001:0db8:0:1::1/32")), code: "InvalidPermission.Duplicate"},
		{name: "a description makes no other rule", call: func(b *bench) error {
			b.must(b.ingress(cidrs("tcp", 1, 1, "10.0.0.0/8")))
			p := cidrs("tcp", 1, 1, "10.0.0.0/8")
			p.IpRanges[0].Description = aws.String("other")
			return b.ingress(p)
		}, code: "InvalidPermission.Duplicate"},
		{name: "a rule is not given twice", call: adds(cidrs("tcp", 1, 1, "10.0.0.0/8", "10.0.0.1/8")), code: "InvalidParameterValue"},
		{name: "all rules of a call or none", call: twice(cidrs("tcp", 1, 1, "10.0.0.0/8"), cidrs("tcp", 1, 1, "192.168.0.0/16", "10.0.0.0/8")),
			code: "InvalidPermission.Duplicate", state: has(1)},
		{name: "bits of the host are cleared", call: adds(cidrs("tcp", 1, 1, "100.68.0.18/18")), state: func(b *bench) string {
			if got := *b.read(b.id).IpPermissions[0].IpRanges[0].CidrIp; got != "100.68.0.0/18" {
				return got
			}
			return ""
		}},
		{name: "6 is tcp", call: adds(cidrs("6", 1, 1, "10.0.0.0/8")), state: echoed("tcp")},
		{name: "17 is udp", call: adds(cidrs("17", 1, 1, "10.0.0.0/8")), state: echoed("udp")},
		{name: "1 is icmp", call: adds(cidrs("1", 8, -1, "10.0.0.0/8")), state: echoed("icmp")},
		{name: "58 is icmpv6", call: adds(v6("58", -1, -1, "2001:db8::/32")), state: echoed("icmpv6")},
		{name: "50 is 50", call: adds(cidrs("50", 1, 1, "10.0.0.0/8")), state: echoed("50")},
		{name: "a protocol is known", call: adds(cidrs("ftp", 1, 1, "10.0.0.0/8")), code: "InvalidParameterValue"},
		{name: "a protocol is a byte", call: adds(cidrs("256", 1, 1, "10.0.0.0/8")), code: "InvalidParameterValue"},
		{name: "tcp has ports", call: adds(no), code: "InvalidParameterValue"},
		{name: "ports go upward", call: adds(cidrs("tcp", 2, 1, "10.0.0.0/8")), code: "InvalidParameterValue"},
		{name: "ports have 16 bits", call: adds(cidrs("tcp", 1, 65536, "10.0.0.0/8")), code: "InvalidParameterValue"},
		{name: "all types mean all codes", call: adds(cidrs("icmp", -1, 0, "10.0.0.0/8")), code: "InvalidParameterValue"},
		{name: "a network has at most 32 bits", call: adds(cidrs("tcp", 1, 1, "10.0.0.0/33")), code: "InvalidParameterValue"},
		{name: "an address is no network", call: adds(cidrs("tcp", 1, 1, "10.0.0.1")), code: "InvalidParameterValue"},
		{name: "IPv6 has its own list", call: adds(cidrs("tcp", 1, 1, "2001:db8::/32")), code: "InvalidParameterValue"},
		{name: "a rule has a source", call: adds(cidrs("tcp", 1, 1)), code: "InvalidParameterValue"},
		{name: "a network and a reference are two permissions", call: func(b *bench) error {
			p := cidrs("tcp", 1, 1, "10.0.0.0/8")
			p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: &b.id2}}
			return b.ingress(p)
		}, code: "InvalidParameterCombination"},
		{name: "a description of a network has an ampersand", call: func(b *bench) error {
			p := cidrs("tcp", 1, 1, "10.0.0.0/8")
			p.IpRanges[0].Description = aws.String("a & b")
			return b.ingress(p)
		}},
		{name: "a description of a reference has none", call: func(b *bench) error {
			p := ref("tcp", 1, 1, b.id2)
			p.UserIdGroupPairs[0].Description = aws.String("a & b")
			return b.ingress(p)
		}, code: "InvalidParameterValue"},
		{name: "a description has at most 255 characters", call: func(b *bench) error {
			p := cidrs("tcp", 1, 1, "10.0.0.0/8")
			p.IpRanges[0].Description = aws.String(strings.Repeat("a", 256))
			return b.ingress(p)
		}, code: "InvalidParameterValue"},
		{name: "a reference is to what is there", call: adds(ref("tcp", 1, 1, "sg-0123456789abcdef0")), code: "InvalidGroup.NotFound"},
		{name: "a reference is not to another VPC", call: func(b *bench) error { return b.ingress(ref("tcp", 1, 1, b.group(b.other))) }, code: "InvalidGroup.NotFound"},
		{name: "sixty rules of either family", call: func(b *bench) error {
			b.must(b.ingress(cidrs("tcp", 1, 1, hosts(60)...)))
			return b.ingress(v6("tcp", 1, 1, six...))
		}, state: has(60)},
		{name: "not sixty-one", call: func(b *bench) error {
			b.must(b.ingress(cidrs("tcp", 1, 1, hosts(60)...)))
			return b.ingress(cidrs("tcp", 2, 2, "10.0.0.0/8"))
		}, code: "RulesPerSecurityGroupLimitExceeded", state: has(60)},
		{name: "nor a reference beside sixty", call: func(b *bench) error {
			b.must(b.ingress(cidrs("tcp", 1, 1, hosts(60)...)))
			return b.ingress(ref("tcp", 2, 2, b.id2))
		}, code: "RulesPerSecurityGroupLimitExceeded"},
		{name: "of either family", call: func(b *bench) error {
			b.must(b.ingress(v6("tcp", 1, 1, six...)))
			return b.ingress(ref("tcp", 2, 2, b.id2))
		}, code: "RulesPerSecurityGroupLimitExceeded"},
		{name: "a call gives at most a thousand", call: adds(cidrs("tcp", 1, 1, hosts(1001)...)), code: "InvalidParameterValue", state: has(0)},
	}
}

func ofRevoking() []contract {
	ten := cidrs("tcp", 1, 1, "10.0.0.0/8")
	modify := func(b *bench, r types.SecurityGroupRuleRequest) error {
		b.must(b.ingress(ten, cidrs("tcp", 2, 2, "10.0.0.0/8")))
		if len(b.rules) != 2 {
			return errors.New("rules have no ids")
		}
		_, err := b.api.ModifySecurityGroupRules(b.t.Context(), &ec2.ModifySecurityGroupRulesInput{GroupId: &b.id,
			SecurityGroupRules: []types.SecurityGroupRuleUpdate{{SecurityGroupRuleId: b.rules[0].SecurityGroupRuleId, SecurityGroupRule: &r}}})
		return err
	}
	tcp := func(port int32, network string) types.SecurityGroupRuleRequest {
		return types.SecurityGroupRuleRequest{IpProtocol: aws.String("tcp"), FromPort: &port, ToPort: &port, CidrIpv4: &network}
	}
	return []contract{
		{name: "a rule goes by its id", call: func(b *bench) error {
			b.must(b.ingress(ten))
			if len(b.rules) == 0 {
				return errors.New("rules have no ids")
			}
			return b.revokeID(*b.rules[0].SecurityGroupRuleId)
		}, state: has(0)},
		{name: "an id must be there", call: func(b *bench) error { return b.revokeID("sgr-0123456789abcdef0") }, code: "InvalidSecurityGroupRuleId.NotFound"},
		{name: "all ids or none", call: func(b *bench) error {
			b.must(b.ingress(ten))
			if len(b.rules) == 0 {
				return errors.New("rules have no ids")
			}
			return b.revokeID(*b.rules[0].SecurityGroupRuleId, "sgr-0123456789abcdef0")
		}, code: "InvalidSecurityGroupRuleId.NotFound", state: has(1)},
		{name: "an id of egress is none of ingress", call: func(b *bench) error {
			out, err := b.api.DescribeSecurityGroupRules(b.t.Context(), &ec2.DescribeSecurityGroupRulesInput{Filters: []types.Filter{by("group-id", b.id)}})
			if err != nil {
				return err
			}
			return b.revokeID(*out.SecurityGroupRules[0].SecurityGroupRuleId)
		}, code: "InvalidSecurityGroupRuleId.NotFound"},
		{name: "a rule goes by what it is", call: func(b *bench) error {
			p := cidrs("tcp", 1, 1, "10.0.0.0/8")
			p.IpRanges[0].Description = aws.String("why")
			b.must(b.ingress(p))
			return b.revoke(cidrs("6", 1, 1, "10.9.9.9/8"))
		}, state: has(0)},
		{name: "what it is must be there", call: func(b *bench) error { return b.revoke(ten) }, code: "InvalidPermission.NotFound"},
		{name: "all of what it is or none", call: func(b *bench) error {
			b.must(b.ingress(ten))
			return b.revoke(cidrs("tcp", 1, 1, "10.0.0.0/8", "192.168.0.0/16"))
		}, code: "InvalidPermission.NotFound", state: has(1)},
		{name: "a rule is changed under its id", call: func(b *bench) error { return modify(b, tcp(3, "10.1.1.1/16")) }, state: func(b *bench) string {
			out, err := b.api.DescribeSecurityGroupRules(b.t.Context(), &ec2.DescribeSecurityGroupRulesInput{SecurityGroupRuleIds: []string{*b.rules[0].SecurityGroupRuleId}})
			b.must(err)
			if r := out.SecurityGroupRules[0]; *r.FromPort != 3 || *r.CidrIpv4 != "10.1.0.0/16" {
				return fmt.Sprintf("port %d, network %s", *r.FromPort, *r.CidrIpv4)
			}
			return ""
		}},
		{name: "a rule is not changed into another", call: func(b *bench) error { return modify(b, tcp(2, "10.0.0.0/8")) }, code: "InvalidPermission.Duplicate"},
		{name: "a rule keeps its kind of source", call: func(b *bench) error {
			r := tcp(3, "")
			r.CidrIpv4, r.ReferencedGroupId = nil, &b.id2
			return modify(b, r)
		}, code: "InvalidParameterValue"},
		{name: "a rule has one source", call: func(b *bench) error {
			r := tcp(3, "10.0.0.0/8")
			r.CidrIpv6 = aws.String("::/0")
			return modify(b, r)
		}, code: "InvalidParameterValue"},
	}
}
