package driver

import (
	"encoding/json"
	"fmt"

	"bulkhead/pkg/packet"
)

// Inexact says what to do with a verdict that a device cannot express.
type Inexact string

// The ways. Refuse leaves the decision to whoever reads Rendered.Residue: the
// state is rendered as for Narrow, and must not be applied unless the operator
// accepts the kinds of residue that come with it.
const (
	Refuse Inexact = ""
	Narrow Inexact = "narrow" // drop more
	Widen  Inexact = "widen"  // permit more
)

// Residue is a set of flows that a device cannot express exactly.
type Residue struct {
	Point string `json:"point"`
	Kind  string `json:"kind"`
	Wider bool   `json:"wider"` // permits more than policy; else less
	Text  string `json:"text"`
	// Flows are all flows of the residue and no others. A residue without flows
	// explains nothing: a proof takes the state as it is without it.
	Flows []Flows `json:"flows,omitempty"`
}

// Flows is a set of flows at one hook: from any of the sources to any of the
// destinations, with any of the services, from any of a run of source ports.
type Flows struct {
	Hook                 string
	Src, Dst             packet.Addrs
	Services             packet.Services
	SrcPortLo, SrcPortHi uint16
}

// MarshalJSON spells the sets out, which have no fields of their own to show.
func (f Flows) MarshalJSON() ([]byte, error) {
	ports := ""
	if f.SrcPortLo != 0 || f.SrcPortHi != 65535 {
		ports = fmt.Sprintf("%d-%d", f.SrcPortLo, f.SrcPortHi)
	}
	return json.Marshal(struct {
		Hook     string `json:"hook"`
		Src      string `json:"src"`
		Dst      string `json:"dst"`
		Services string `json:"services"`
		SrcPorts string `json:"srcPorts,omitempty"`
	}{f.Hook, f.Src.String(), f.Dst.String(), f.Services.String(), ports})
}
