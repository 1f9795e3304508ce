package rows

import (
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest/meaning"
	"bulkhead/pkg/packet"
)

// Decode gives a state its meaning: that of every active row of our port, whoever
// it belongs to.
func (d *Driver) Decode(s driver.State) (*driver.Decoded, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	out := &driver.Decoded{}
	for _, direction := range []string{In, Out} {
		t := meaning.Table{Hook: compile.HookInput, Otherwise: true, Name: "no row"}
		if direction == Out {
			t.Hook = compile.HookOutput
		}
		for i := range st.Rows {
			r := &st.Rows[i]
			if r.Direction != direction || r.Port != d.port {
				continue
			}
			if !r.Active {
				if d.ours(r) {
					out.Findings = append(out.Findings, driver.Finding{Object: fmt.Sprintf("%s row %d", r.Direction, r.Index),
						Text: "is left over from a change that was not finished, and means nothing", Harmless: true})
				}
				continue
			}
			t.Matches = append(t.Matches, match(r))
			if d.ours(r) && r.Tag != "" {
				out.Installed = append(out.Installed, strings.Split(r.Tag, " ")...)
			}
		}
		out.Relations = append(out.Relations, t.Relations()...)
	}
	slices.Sort(out.Installed)
	out.Installed = slices.Compact(out.Installed)
	return out, nil
}

func match(r *Row) meaning.Match {
	var spans []packet.Span
	for proto := uint32(r.ProtoLo); proto <= uint32(r.ProtoHi); proto++ {
		spans = append(spans, packet.Span{Lo: proto<<16 | uint32(r.NumLo), Hi: proto<<16 | uint32(r.NumHi)})
	}
	return meaning.Match{Src: packet.AddrRanges([]packet.Range{{From: r.SrcLo, To: r.SrcHi}}), Dst: packet.AddrRanges([]packet.Range{{From: r.DstLo, To: r.DstHi}}),
		Services: packet.Spans(spans), SrcPortLo: r.SrcPortLo, SrcPortHi: r.SrcPortHi, Permit: r.Permit, Name: r.String()}
}
