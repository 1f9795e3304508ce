package render

import (
	"encoding/binary"
	"strings"
)

// The id spaces. A mark is in exactly one of them.
const (
	classEgress uint32 = 0x80000000 // flows out of the class that nothing decides are dropped
	classInto   uint32 = 0x10000000 // flows into the class that nothing decides are dropped
	classMask   uint32 = 0x0fffffff // the class's own number, or its values in all dimensions
	classBits          = 28

	rulesetBase uint32 = 0x20000000
	verdictBit  uint32 = 0x40000000
	// Both bits: what one side says, while the other is open or says the opposite.
	partialBits    uint32 = 0x60000000
	partialEgress  uint32 = 0x10000000 // the egress side allows, the ingress side is open
	partialIngress uint32 = 0x08000000 // the ingress side allows, the egress side is open

	// VerdictBase and VerdictMask delimit the conntrack marks that are ours: 0x42
	// and a verdict's number.
	VerdictBase uint32 = 0x42000000
	VerdictMask uint32 = 0xff000000
	// ReversedBase marks a TCP flow that was picked up in mid-stream from its
	// server's side: its verdict is that of the opposite direction.
	ReversedBase uint32 = 0x43000000
	reversedBit  uint32 = 0x01000000
	numberMask   uint32 = 0x00ffffff
)

// Well-known verdicts, in every table.
const (
	verdictDefaultPermit = VerdictBase | 1
	verdictDefaultDeny   = VerdictBase | 2
	firstVerdict         = VerdictBase | 16
)

// NFLOG groups.
const (
	// LogGroup gets the packets that were dropped, or would have been.
	LogGroup = 5
	logRate  = 100 // packets a second, over all drops together
	logBurst = 200
)

// Names of sets and maps.
const (
	setHost4    = "host4" // its first shard; see shardName
	setHost6    = "host6"
	setNet4     = "net4"
	setNet6     = "net6"
	setPair     = "pair" // of the first space; those of the others have a number as well
	setPartial  = "partial"
	setOut      = "partial_out"
	setIn       = "partial_in"
	setSvc      = "svc"
	setSvcRange = "svcr"
	setProto    = "proto"
	setRest     = "rest"
	setAfter    = "after"
	setPermit   = "permit"
	// Verdicts that end by themselves have a set of their own: the kernel looks up sets
	// without timeouts faster, and every packet of every flow asks for its verdict.
	setPermitTimed = "permit_timed"
	setDeny        = "deny"
	setHold        = "hold"
	setHoldAll     = "hold_all"
	setMoved4      = "moved4"
	setMoved6      = "moved6"
	setLogged      = "logged"
	setObserved    = "observed"
	setLearning    = "learning"
	setPickup      = "pickup"
	setKeep        = "keep"
	setPorted      = "ported"
	setFlat        = "flat"
	setDrop4       = "drops4"
	setDrop6       = "drops6"
	setDropX4      = "dropsx4"
	setDropX6      = "dropsx6"
	setDHCP4       = "dhcp4"
	setDHCP6       = "dhcp6"
)

// TableName gives the name of a site's table.
func TableName(site string) string { return "bulkhead_" + site }

// native gives a number as the kernel holds host-order registers.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func big32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// big16 gives a port padded to a register.
func big16(v uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, v), 0, 0) }

// byte4 gives a one-byte field padded to a register.
func byte4(v uint8) []byte { return []byte{v, 0, 0, 0} }

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// DefaultVerdict gives the verdict between two classes for what nothing decides,
// where one side may be allowed already.
func DefaultVerdict(src, dst uint32, egress, ingress bool) uint32 {
	if !egress && src&classEgress != 0 || !ingress && dst&classInto != 0 {
		return verdictDefaultDeny
	}
	return verdictDefaultPermit
}

// SpaceOf names the set of a space's pairs and the bits of the two words that it
// looks up, from the rows of a table's `keep` map.
func SpaceOf(keep map[uint32]uint32, space int) (set string, src, dst uint32, ok bool) {
	src, ok = keep[keepMask+2*uint32(space)]
	return pairSet(space), src, keep[keepMask+2*uint32(space)+1], ok
}

// Partial reports whether an id decides less than the whole flow.
func Partial(id uint32) bool { return id&partialBits == partialBits }

// Allows says which side a partial verdict allows while the other is open.
func Allows(id uint32) (egress, ingress bool) {
	return id&partialEgress != 0, id&partialIngress != 0
}

// DropSets names the sets in which rules count what was dropped.
func DropSets() []string { return []string{setDrop4, setDrop6, setDropX4, setDropX6} }

// HoldSets names the sets that say which live flows are judged packet by packet
// until a change is done with: none while `hold` is empty; all if `hold_all` is
// not; else those that have an end in `moved4` or `moved6`.
func HoldSets() (hold, all, moved4, moved6 string) {
	return setHold, setHoldAll, setMoved4, setMoved6
}

// Judges reports whether the elements of a set decide which verdict a flow gets.
func Judges(set string) bool {
	switch set {
	case setSvc, setSvcRange, setProto, setRest:
		return true
	}
	return HostSet(set) || IsNetSet(set) || strings.HasPrefix(set, setPair) || strings.HasPrefix(set, setPartial)
}
