package acl

import (
	"fmt"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest/meaning"
	"bulkhead/pkg/packet"
)

// Decode gives a state its meaning: that of the lists bound to our port, whoever
// they belong to.
func (d *Driver) Decode(s driver.State) (*driver.Decoded, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	out := &driver.Decoded{}
	for _, dir := range []string{In, Out} {
		t := meaning.Table{Hook: compile.HookInput, Name: "implicit deny"}
		if dir == Out {
			t.Hook = compile.HookOutput
		}
		name := *st.Config.port(d.port).bound(dir)
		l := st.list(name)
		switch {
		case name == "":
			t.Otherwise, t.Name = true, fmt.Sprintf("no list on port %q", d.port)
		case l == nil:
			out.Findings = append(out.Findings, driver.Finding{Object: fmt.Sprintf("port %q", d.port), Text: fmt.Sprintf("binds list %q, which is not there", name)})
		default:
			for _, e := range l.Entries {
				t.Matches = append(t.Matches, match(l, e))
			}
			if d.ours(name) {
				out.Installed = append(out.Installed, l.Remark...)
			}
		}
		out.Relations = append(out.Relations, t.Relations()...)
	}
	slices.Sort(out.Installed)
	out.Installed = slices.Compact(out.Installed)
	return out, nil
}

func match(l *List, e Entry) meaning.Match {
	services := packet.AllServices()
	if e.Proto != AnyProto {
		services = packet.Services{{Lo: uint32(e.Proto)<<16 | uint32(e.Lo), Hi: uint32(e.Proto)<<16 | uint32(e.Hi)}}
	}
	return meaning.Match{Src: packet.AddrsOf(e.Src), Dst: packet.AddrsOf(e.Dst), Services: services,
		SrcPortLo: e.SrcLo, SrcPortHi: e.SrcHi, Permit: e.Permit, Name: fmt.Sprintf("list %q: %s", l.Name, e)}
}
