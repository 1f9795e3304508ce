package rules

import (
	"fmt"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest/meaning"
	"bulkhead/pkg/packet"
)

// Decode gives a state its meaning: what every group on our port allows, ours or
// not, for what the port's filters judge.
func (d *Driver) Decode(s driver.State) (*driver.Decoded, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	out := &driver.Decoded{}
	port := st.Config.port(d.port)
	for _, native := range []string{In, Out} {
		hook := compile.HookInput
		if native == Out {
			hook = compile.HookOutput
		}
		t := meaning.Table{Hook: hook, Name: fmt.Sprintf("no rule on port %q", d.port)}
		t.Matches = append(t.Matches, unjudged(port, native))
		for _, name := range port.Groups {
			g := st.group(name)
			if g == nil {
				out.Findings = append(out.Findings, driver.Finding{Object: fmt.Sprintf("port %q", d.port), Text: fmt.Sprintf("names group %q, which is not there", name)})
				continue
			}
			for _, r := range g.Rules {
				if r.Hook == native {
					t.Matches = append(t.Matches, allows(g, r))
				}
			}
		}
		out.Relations = append(out.Relations, t.Relations()...)
	}
	for _, name := range port.Groups {
		if g := st.group(name); g != nil && g.Owner == d.owner() {
			out.Installed = append(out.Installed, g.Points...)
		}
	}
	return out, nil
}

// unjudged is what the port's filters leave alone.
func unjudged(p *Port, native string) meaning.Match {
	var hosts, listens packet.Addrs
	for _, f := range p.Filters {
		switch {
		case !f.Listen:
			hosts = hosts.Union(packet.AddrsOf(f.Prefix))
		case native == In:
			listens = listens.Union(packet.AddrsOf(f.Prefix))
		}
	}
	all := packet.AllAddrs()
	return meaning.Match{Src: all.Subtract(hosts), Dst: all.Subtract(hosts.Union(listens)), Services: packet.AllServices(),
		SrcPortHi: 65535, Permit: true, Name: fmt.Sprintf("no filter of port %q", p.Name)}
}

func allows(g *Group, r Rule) meaning.Match {
	var spans []packet.Span
	for proto := uint32(r.ProtoLo); proto <= uint32(r.ProtoHi); proto++ {
		spans = append(spans, packet.Span{Lo: proto<<16 | uint32(r.Lo), Hi: proto<<16 | uint32(r.Hi)})
	}
	return meaning.Match{Src: packet.AddrRanges([]packet.Range{r.Src}), Dst: packet.AddrRanges([]packet.Range{r.Dst}), Services: packet.Spans(spans),
		SrcPortHi: 65535, Permit: true, Name: fmt.Sprintf("rule %s of group %q (%s)", r.ID, g.Name, r)}
}
