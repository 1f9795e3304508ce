package driver

import (
	"net/netip"
	"time"

	"bulkhead/pkg/packet"
)

// Tracking is what a device's connection tracking says of a packet.
type Tracking string

// The tracking situations that a proof looks at. A device that keeps no state has New, Mid
// and Later.
const (
	// TrackNew is the first packet of a flow.
	TrackNew Tracking = "new"
	// TrackForward is a later packet in the flow's direction that bears no verdict
	// yet: it must be judged as if it were new.
	TrackForward Tracking = "forward, unjudged"
	// TrackReply is a later packet against the flow's direction that bears no
	// verdict yet: it must be judged as the flow that it belongs to.
	TrackReply Tracking = "reply, unjudged"
	// TrackRelated is a packet that a connection tracking helper relates to another
	// flow: it must be judged as a flow of its own.
	TrackRelated Tracking = "related"
	// TrackUntracked is a packet that somebody took out of tracking.
	TrackUntracked Tracking = "untracked"
	// TrackMid is, on a device that keeps no state, a TCP segment with ACK or RST set, which
	// opens nothing. It must pass where it belongs to a permitted flow in either direction. A
	// device with this situation at a hook is taken for one that keeps no state there: its
	// TrackNew is every other packet, answers of other protocols among them.
	TrackMid Tracking = "acknowledging"
	// TrackLater is, on a device that keeps no state, a fragment but the first, which has no
	// ports: whatever of a protocol passes, it may be a piece of.
	TrackLater Tracking = "later fragment"
)

// Situation is one way in which packets of flows reach a device.
type Situation struct {
	Point    string   `json:"point"`
	Hook     string   `json:"hook"` // "forward", "input", "output", or a driver's own
	Tracking Tracking `json:"tracking"`
	// In is the interface that the packet came in by. "" stands for every interface
	// that nothing on the device tells apart.
	In string `json:"in,omitempty"`
	// Port is the port of a switch that the packet goes through: at the output hook the one
	// that its sender hangs on, at the input hook the one of its receiver. "" stands for every
	// port of which no other relation speaks; it is the only one of devices without ports.
	Port string `json:"port,omitempty"`
	// SrcPort is the run of source ports (of protocols that have ports) to which the
	// relation applies; 0 to 65535 where the device does not look at source ports.
	SrcPortLo uint16 `json:"srcPortLo"`
	SrcPortHi uint16 `json:"srcPortHi"`
	// Expired is set for the state after every timed element of the device has run
	// out with nobody there to renew it.
	Expired bool `json:"expired,omitempty"`
}

// Relation is what a device does with every flow in one situation. Src and Dst
// are each a partition of the whole address space; the flow (source address in
// Src[i], destination address in Dst[j], service) is let through exactly if
// Permit(i, j) holds the service. In a TrackReply situation the addresses and the
// service are still those of the flow, not those of the packet.
type Relation struct {
	Situation Situation
	Src, Dst  []packet.Addrs
	Permit    func(src, dst int) packet.Services
	// Rest, if it is not nil, says that Permit is not all: the services of the cases
	// that it gives for a pair are decided by tables. Permit holds none of them.
	Rest func(src, dst int) []Case
	// ByWord is set if Src and Dst depend on the words that the device holds for
	// addresses, and not on what Rest gives alone.
	ByWord bool
	// Open is set for a port's input where nothing filters: what hangs on other ports of the
	// device is filtered there.
	Open bool
	// Domain holds the services that can occur in the situation at all; nil is every
	// service. (An ICMP message that is no query never opens a tracked flow, so it has
	// no replies.)
	Domain packet.Services
	// Why names the native rule or element that decides one flow.
	Why func(src, dst netip.Addr, service uint32) string
}

// Finding is something on a device that keeps a proof from being complete, or
// that is plainly wrong.
type Finding struct {
	Point  string `json:"point,omitempty"` // "" concerns all points of the device
	Object string `json:"object"`          // the native object, named as an operator finds it
	Text   string `json:"text"`
	// Foreign names the table or the like of somebody else's that it is about, as a site
	// names it, if all that it can do is to drop what would pass: then the site may accept
	// that, and Accepted says so.
	Foreign  string `json:"foreign,omitempty"`
	Accepted bool   `json:"accepted,omitempty"`
	// Harmless findings are shown and do not stop a proof.
	Harmless bool `json:"harmless,omitempty"`
	// Observing is how long the device still drops nothing, before it begins to
	// enforce by itself: the proof is of what it does then.
	Observing time.Duration `json:"observing,omitempty"`
}

// Decoded is the meaning of a device's native state, worked out from the
// device's semantics alone.
type Decoded struct {
	Relations []Relation
	Findings  []Finding
	// Installed names the points that the state enforces.
	Installed []string
}
