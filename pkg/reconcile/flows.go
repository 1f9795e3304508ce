package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// DroppedFlows sums up what devices dropped, or would have dropped in observe
// mode, between two groups.
type DroppedFlows struct {
	From string `json:"from"` // the narrowest group that holds the source; "" if none
	To   string `json:"to"`
	// Service is one literal. High ports of answers do not show: a drop is counted
	// under the flow that it belongs to.
	Service string `json:"service"`
	// By names what decides the flow by policy as it is now; Now whether policy
	// permits it now.
	By      string   `json:"by"`
	Now     bool     `json:"permittedNow"`
	Points  []string `json:"points"`
	Packets uint64   `json:"packets"`
	Pairs   int      `json:"pairs"` // pairs of addresses
	Example string   `json:"example"`
	// Policy is a policy that would permit the row, ready to paste under `policies:`.
	Policy string `json:"policy"`

	seen map[[2]netip.Addr]bool
}

// Flows reads what the devices remember as dropped and sums it up by groups and
// service. Devices that cannot be read are errors, listed.
func (s *Site) Flows(ctx context.Context, devices []*Device) ([]DroppedFlows, []error) {
	rows := map[string]*DroppedFlows{}
	var errs []error
	for _, d := range devices {
		reader, ok := d.Driver.(driver.FlowReader)
		if !ok {
			continue
		}
		drops, err := reader.Drops(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.Name, err))
			continue
		}
		for i := range drops {
			s.sumUp(rows, d, &drops[i])
		}
	}
	out := make([]DroppedFlows, 0, len(rows))
	for _, r := range rows {
		r.Pairs = len(r.seen)
		out = append(out, *r)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		if a.Packets != b.Packets {
			return a.Packets > b.Packets
		}
		return a.From+"\x00"+a.To+"\x00"+a.Service < b.From+"\x00"+b.To+"\x00"+b.Service
	})
	return out, errs
}

func (s *Site) sumUp(rows map[string]*DroppedFlows, d *Device, drop *driver.Drop) {
	from, to := s.Narrowest(drop.Src), s.Narrowest(drop.Dst)
	service := serviceLiteral(drop.Service)
	key := from + "\x00" + to + "\x00" + service
	r := rows[key]
	if r == nil {
		f := policy.Flow{Src: drop.Src, Dst: drop.Dst, Proto: uint8(drop.Service >> 16), Num: uint16(drop.Service)}
		r = &DroppedFlows{From: from, To: to, Service: service, Now: s.World.Decide(f).Permit,
			By: prove.Says(s.Matrix, drop.Src, drop.Dst, drop.Service), Points: []string{},
			Example: fmt.Sprintf("%s -> %s", drop.Src, drop.Dst), seen: map[[2]netip.Addr]bool{}}
		r.Policy = pasteable(from, to, service, drop)
		rows[key] = r
	}
	r.Packets += drop.Packets
	r.seen[[2]netip.Addr{drop.Src, drop.Dst}] = true
	for _, p := range d.Points {
		if !slices.Contains(r.Points, p.Name) {
			r.Points = append(r.Points, p.Name)
		}
	}
}

// Narrowest names the group of the fewest addresses that holds an address and is
// not built in; "" if none does.
func (s *Site) Narrowest(a netip.Addr) string {
	best, runs := "", 0
	for _, g := range s.Matrix.Groups {
		if policy.BuiltIn(g.Name) || !g.Addrs.Contains(a) {
			continue
		}
		size := 0
		for _, p := range g.Addrs.Prefixes() {
			size += 1 << min(20, p.Addr().BitLen()-p.Bits())
		}
		if best == "" || size < runs {
			best, runs = g.Name, size
		}
	}
	return best
}

func serviceLiteral(point uint32) string {
	proto := uint8(point >> 16)
	if !packet.HasPorts(proto) && !packet.IsICMP(proto) {
		return fmt.Sprintf("proto/%d", proto)
	}
	if packet.IsICMP(proto) {
		point |= 0xff // every code of the type
		return packet.Services{{Lo: point &^ 0xff, Hi: point}}.String()
	}
	return packet.Services{{Lo: point, Hi: point}}.String()
}

// pasteable writes a policy that permits the row. An end that no group holds
// needs a group first; the comment says so.
func pasteable(from, to, service string, drop *driver.Drop) string {
	note := ""
	end := func(group string, a netip.Addr) string {
		if group != "" {
			return group
		}
		note += fmt.Sprintf("  # %s is in no group: make one, for example `stranger: {prefixes: [%q]}`", a, netip.PrefixFrom(a, a.BitLen()))
		return "stranger"
	}
	f, t := end(from, drop.Src), end(to, drop.Dst)
	name := strings.NewReplacer("/", "-", ":", "-", " ", "-").Replace(f + "-to-" + t + "-" + service)
	return fmt.Sprintf("- {name: %s, from: %s, to: %s, services: [%q], action: allow}%s", name, f, t, service, note)
}
