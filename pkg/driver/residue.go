package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

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
	Tracking             Tracking // the only situation that they are of; "" is any
	Src, Dst             packet.Addrs
	Services             packet.Services
	SrcPortLo, SrcPortHi uint16
}

// flowsForm is Flows as JSON: texts for people, and the services once more as runs of the
// 24-bit line, which programs read.
type flowsForm struct {
	Hook     string      `json:"hook"`
	Tracking Tracking    `json:"tracking,omitempty"` // "" is any
	Src      string      `json:"src"`
	Dst      string      `json:"dst"`
	Services string      `json:"services"`
	Line     [][2]uint32 `json:"line"`
	SrcPorts string      `json:"srcPorts,omitempty"` // LO-HI; "" is all
}

// MarshalJSON spells the sets out, which have no fields of their own to show.
func (f Flows) MarshalJSON() ([]byte, error) {
	form := flowsForm{Hook: f.Hook, Tracking: f.Tracking, Src: f.Src.String(), Dst: f.Dst.String(), Services: f.Services.String(), Line: [][2]uint32{}}
	if f.SrcPortLo != 0 || f.SrcPortHi != 65535 {
		form.SrcPorts = fmt.Sprintf("%d-%d", f.SrcPortLo, f.SrcPortHi)
	}
	for _, s := range f.Services {
		form.Line = append(form.Line, [2]uint32{s.Lo, s.Hi})
	}
	return json.Marshal(form)
}

// UnmarshalJSON reads what MarshalJSON wrote: plans are kept, and read again.
func (f *Flows) UnmarshalJSON(b []byte) error {
	var form flowsForm
	err := json.Unmarshal(b, &form)
	if err != nil {
		return err
	}
	out := Flows{Hook: form.Hook, Tracking: form.Tracking, SrcPortHi: 65535}
	if out.Src, err = readAddrs(form.Src); err != nil {
		return err
	}
	if out.Dst, err = readAddrs(form.Dst); err != nil {
		return err
	}
	var spans []packet.Span
	for _, l := range form.Line {
		if l[0] > l[1] || l[1] > packet.MaxService {
			return fmt.Errorf("%d-%d is no run of services", l[0], l[1])
		}
		spans = append(spans, packet.Span{Lo: l[0], Hi: l[1]})
	}
	out.Services = packet.Spans(spans)
	if form.SrcPorts != "" {
		if _, err := fmt.Sscanf(form.SrcPorts, "%d-%d", &out.SrcPortLo, &out.SrcPortHi); err != nil {
			return fmt.Errorf("%q is no run of source ports: %w", form.SrcPorts, err)
		}
	}
	*f = out
	return nil
}

// readAddrs reads a set as packet.Addrs prints it: addresses, prefixes and FIRST-LAST.
func readAddrs(s string) (packet.Addrs, error) {
	var runs []packet.Range
	if s == "nothing" {
		return packet.Addrs{}, nil
	}
	for _, w := range strings.Fields(s) {
		var r packet.Range
		var err error
		if strings.Contains(w, "/") {
			var p netip.Prefix
			if p, err = netip.ParsePrefix(w); err == nil {
				r = packet.PrefixRange(p)
			}
		} else {
			from, to, two := strings.Cut(w, "-")
			if !two {
				to = from
			}
			var bad error
			r.From, err = netip.ParseAddr(from)
			r.To, bad = netip.ParseAddr(to)
			err = errors.Join(err, bad)
		}
		if err != nil {
			return packet.Addrs{}, fmt.Errorf("%q is no set of addresses: %w", s, err)
		}
		runs = append(runs, r)
	}
	return packet.AddrRanges(runs), nil
}
