package render

import "encoding/binary"

// The id spaces. A mark is in exactly one of them.
const (
	classBase   uint32 = 0x10000000
	classEgress uint32 = 0x08000000 // flows out of the class that nothing decides are dropped
	classInto   uint32 = 0x04000000 // flows into the class that nothing decides are dropped
	classMask   uint32 = 0x03ffffff // the class's own number

	rulesetBase uint32 = 0x20000000
	verdictBit  uint32 = 0x40000000

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
	setHost4    = "host4"
	setHost6    = "host6"
	setNet4     = "net4"
	setNet6     = "net6"
	setPair     = "pair"
	setSvc      = "svc"
	setSvcRange = "svcr"
	setProto    = "proto"
	setRest     = "rest"
	setAfter    = "after"
	setPermit   = "permit"
	setDeny     = "deny"
	setHold     = "hold"
	setLogged   = "logged"
	setObserved = "observed"
	setLearning = "learning"
	setPickup   = "pickup"
	setKeep     = "keep"
	setPorted   = "ported"
	setFlat     = "flat"
	setDrop4    = "drops4"
	setDrop6    = "drops6"
	setDropX4   = "dropsx4"
	setDropX6   = "dropsx6"
	setDHCP4    = "dhcp4"
	setDHCP6    = "dhcp6"
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

// DefaultVerdict gives the verdict between two classes that no ruleset concerns.
func DefaultVerdict(src, dst uint32) uint32 {
	if src&classEgress != 0 || dst&classInto != 0 {
		return verdictDefaultDeny
	}
	return verdictDefaultPermit
}

// DropSets names the sets in which rules count what was dropped.
func DropSets() []string { return []string{setDrop4, setDrop6, setDropX4, setDropX6} }
