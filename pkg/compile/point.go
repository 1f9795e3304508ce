package compile

import (
	"net/netip"
	"slices"
	"time"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// AntiSpoof is what a zone does with packets whose source belongs elsewhere.
type AntiSpoof string

// The anti-spoofing modes.
const (
	SpoofEnforce AntiSpoof = "enforce"
	SpoofObserve AntiSpoof = "observe"
	SpoofOff     AntiSpoof = "off"
)

// Zone is a set of interfaces with the prefixes behind them.
type Zone struct {
	Name       string
	Interfaces []string
	Prefixes   packet.Addrs
	// Masks are the prefixes as given, for the longest match.
	Masks []netip.Prefix
	// Known is false where nobody says what lies behind the zone: no check then.
	Known bool
	// Default is set where a default route leaves by the zone.
	Default   bool
	AntiSpoof AntiSpoof
}

// Failsafe is one way in that must always work: From may reach To, both ways and
// without tracking.
type Failsafe struct {
	From, To packet.Addrs
	Services packet.Services
	Cause    string // file:line
}

// The names of essential traffic.
const (
	EssentialARP    = "arp"
	EssentialND     = "nd"
	EssentialMLD    = "mld"
	EssentialIGMP   = "igmp"
	EssentialDHCP   = "dhcp"
	EssentialErrors = "icmp-errors"
)

// Point is an enforcement point with everything resolved that its configuration
// leaves to the network: the prefixes behind zones, its own addresses.
type Point struct {
	Name    string
	Mode    policy.Mode
	Transit bool
	Zones   []Zone
	// Endpoint is set if the point protects assets; Protects may be empty then, and
	// such a point filters nothing.
	Endpoint bool
	Protects packet.Addrs
	// Ports are the ports of the point's device that protected addresses hang on, by name,
	// with the addresses, on a device that judges at its ports. One may hang on several.
	Ports map[string]packet.Addrs
	// SendsOnly is set for a point that judges at ports, and there what devices send, not what
	// they receive.
	SendsOnly bool
	// Own are the addresses of the machine that the point runs on, where known. A
	// transit point never sees flows to them at the forward hook.
	Own         packet.Addrs
	Failsafe    []Failsafe
	Off         map[string]bool // essential traffic that the site switched off
	DHCPServers packet.Addrs
	// Unsure says why nothing can be counted on at the point ("is unreachable", "is
	// not proved"); "" where it does its work.
	Unsure string
	// AcceptForeign names tables of others that may drop what policy permits.
	AcceptForeign []string
	// Learn is how long a first enforcement observes before it drops.
	Learn time.Duration
}

// Hooks lists the hooks at which the point judges packets.
func (p *Point) Hooks() []string {
	var out []string
	if p.Transit {
		out = append(out, HookForward)
	}
	if p.Endpoint {
		out = append(out, HookInput, HookOutput)
	}
	return out
}

// The hooks of points that sit on a host's packet path.
const (
	HookForward = "forward"
	HookInput   = "input"
	HookOutput  = "output"
)

// Multicast is every group address and the limited broadcast: what an endpoint
// receives without owning the address.
func Multicast() packet.Addrs { return multicast }

var multicast = packet.AddrsOf(netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("ff00::/8"))

// Sees reports whether the point judges a packet with this header at the hook.
// What an endpoint does not judge passes: it is none of its business.
func (p *Point) Sees(hook string, src, dst netip.Addr) bool {
	if hook == HookForward {
		return p.Transit
	}
	return p.Protects.Contains(src) || p.Protects.Contains(dst) || hook == HookInput && Multicast().Contains(dst)
}

// ICMPErrors lists the ICMP and ICMPv6 messages that report about other packets
// (RFC 792, RFC 4443).
func ICMPErrors() packet.Services { return icmpErrors }

var icmpErrors = packet.Services{
	{Lo: 1<<16 | 3<<8, Hi: 1<<16 | 5<<8 | 0xff},
	{Lo: 1<<16 | 11<<8, Hi: 1<<16 | 12<<8 | 0xff},
	{Lo: 58<<16 | 1<<8, Hi: 58<<16 | 4<<8 | 0xff},
}

// Answers gives the services of packets that answer flows of some services, sent from all of a
// run of ports: whatever of a protocol with ports of which the run is asked, other protocols
// as they are, and the replies to queries. It is for devices that keep no state.
func Answers(s packet.Services, lo, hi uint16) packet.Services {
	out := slices.Clone(Replies(s))
	next, ported := uint32(0), uint32(0)
	for _, span := range s {
		for proto := max(next, span.Lo>>16); proto <= span.Hi>>16; proto++ {
			whole := packet.Span{Lo: proto << 16, Hi: proto<<16 | 0xffff}
			switch {
			case packet.HasPorts(uint8(proto)):
				// The run is asked as a whole only if it lies in one span: they are merged.
				if span.Lo <= proto<<16|uint32(lo) && proto<<16|uint32(hi) <= span.Hi && ported != proto {
					out, ported = append(out, whole), proto
				}
			case !packet.IsICMP(uint8(proto)):
				out = append(out, packet.Span{Lo: max(span.Lo, whole.Lo), Hi: min(span.Hi, whole.Hi)})
			}
		}
		next = span.Hi >> 16
	}
	return packet.Spans(out)
}

// Replies gives the replies to the queries in s (RFC 792, RFC 4443).
func Replies(s packet.Services) packet.Services {
	var out []packet.Span
	for query, reply := range map[uint32]uint32{1<<8 | 8: 1 << 8, 1<<8 | 13: 1<<8 | 14, 58<<8 | 128: 58<<8 | 129} {
		if !s.Intersect(packet.Services{{Lo: query << 8, Hi: query<<8 | 0xff}}).IsEmpty() {
			out = append(out, packet.Span{Lo: reply << 8, Hi: reply<<8 | 0xff})
		}
	}
	return packet.Spans(out)
}
