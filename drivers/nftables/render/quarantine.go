package render

import (
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Addresses in quarantine are dropped by base chains of their own, in front of those
// that judge. They are there only while somebody is in quarantine, so that nobody pays
// for them otherwise; and they refer to nothing else of the table but a host's own
// addresses, so that they can be put there without rendering it.

const (
	setQuarantine4 = "quarantined4"
	setQuarantine6 = "quarantined6"
	// priorityQuarantine is in front of our own filter chains.
	priorityQuarantine = priorityFilter - 1
)

// Quarantine gives the sets and base chains that cut addresses off at the points that
// enforce; nothing where there is nobody to cut off.
func Quarantine(points []compile.Point, cut packet.Addrs) ([]ruleset.Set, []ruleset.Chain, error) {
	if cut.IsEmpty() {
		return nil, nil, nil
	}
	var chains []ruleset.Chain
	for i := range points {
		p := &points[i]
		if p.Mode == policy.Observe {
			continue
		}
		for _, c := range quarantineChains(p) {
			if c.err != nil {
				return nil, nil, c.err
			}
			chains = append(chains, c.Chain)
		}
	}
	if len(chains) == 0 {
		return nil, nil, nil
	}
	return []ruleset.Set{
		intervalSet(setQuarantine4, kindAddr4, intervalElements(runsOf(cut, true), nil)),
		intervalSet(setQuarantine6, kindAddr6, intervalElements(runsOf(cut, false), nil)),
	}, chains, nil
}

// OfQuarantine reports whether a chain or a set cuts addresses off.
func OfQuarantine(name string) bool {
	return name == setQuarantine4 || name == setQuarantine6 || strings.HasPrefix(name, "quarantine.") || strings.HasPrefix(name, "quarantine_own.") ||
		strings.HasPrefix(name, "quarantine_input.") || strings.HasPrefix(name, "quarantine_output.")
}

// relatedErrors lets ICMP errors about flows go on to where they are judged. Other
// related packets are flows of their own.
func relatedErrors(c *chain) {
	c.add(ctState("related", stateRelated), l4("icmp", unix.IPPROTO_ICMP), accept())
	c.add(ctState("related", stateRelated), l4("ipv6-icmp", unix.IPPROTO_ICMPV6), accept())
}

func quarantineChains(p *compile.Point) []*chain {
	var out []*chain
	drops := func(c *chain) *chain {
		for _, f := range []frag{in(setQuarantine4, false, saddr4), in(setQuarantine4, false, daddr4), in(setQuarantine6, false, saddr6), in(setQuarantine6, false, daddr6)} {
			c.addNamed("in quarantine", f, counted(), drop())
		}
		return c
	}
	if p.Transit {
		c := baseChain(pointChain("quarantine", p.Name), hookForward, priorityQuarantine, policyAccept)
		// What is essential is left to the chain that judges.
		relatedErrors(c)
		if !p.Off[compile.EssentialDHCP] && !p.DHCPServers.IsEmpty() {
			for _, port4 := range []frag{port(udpDport, 67), port(udpSport, 67)} {
				c.add(ofFamily(unix.NFPROTO_IPV4), l4("udp", unix.IPPROTO_UDP), port4, accept())
			}
			for _, port6 := range []frag{port(udpDport, 547), port(udpSport, 547)} {
				c.add(ofFamily(unix.NFPROTO_IPV6), l4("udp", unix.IPPROTO_UDP), port6, accept())
			}
		}
		out = append(out, drops(c))
	}
	if p.Endpoint {
		isolate := drops(newChain(pointChain("quarantine", p.Name)))
		if p.Transit {
			isolate.Name = pointChain("quarantine_own", p.Name)
		}
		out = append(out, isolate)
		for _, hook := range []string{compile.HookInput, compile.HookOutput} {
			num, loKey, lo := uint32(hookInput), expr.MetaKeyIIFNAME, "iifname"
			if hook == compile.HookOutput {
				num, loKey, lo = hookOutput, expr.MetaKeyOIFNAME, "oifname"
			}
			c := baseChain(pointChain("quarantine_"+hook, p.Name), num, priorityQuarantine, policyAccept)
			c.add(ifname(lo, loKey, "lo"), accept())
			relatedErrors(c)
			essentialRules(c, p)
			// As where the point judges: other flows of the machine are not its business.
			own4, own6 := pointChain("own4", p.Name), pointChain("own6", p.Name)
			for _, f := range []frag{in(own4, false, saddr4), in(own4, false, daddr4), in(own6, false, saddr6), in(own6, false, daddr6)} {
				c.add(f, jump(isolate.Name))
			}
			if hook == compile.HookInput {
				for _, m := range compile.Multicast().Prefixes() {
					c.add(toPrefix(m), jump(isolate.Name))
				}
			}
			out = append(out, c)
		}
	}
	return out
}
