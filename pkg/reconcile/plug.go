package reconcile

import (
	"fmt"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// plug has a point of a device that judges at its ports protect what hangs there: at each port
// the addresses of those assets that the point chooses and that attachments put there, and
// nothing else. What it chooses and cannot protect is told: an asset that was taken for
// protected, and hangs elsewhere, is one that nobody looks after.
func (s *Site) plug(p *compile.Point, plug driver.Plug) (notes []string) {
	device := plug.Device
	p.SendsOnly = plug.SendsOnly
	p.Ports, p.Protects = map[string]packet.Addrs{}, packet.Addrs{}
	var away, adrift []string
	for _, id := range s.Members.Extra[p.Name] {
		a := s.Inventory.Lookup(id)
		if a == nil {
			continue
		}
		addrs, plugged, known := packet.AddrsOf(a.Addresses...), false, false
		if addrs.IsEmpty() {
			continue
		}
		for _, at := range a.Attachments {
			if at.Switch != device {
				continue
			}
			known = true
			if at.Port != "" {
				name := plug.Port(at.Port)
				plugged, p.Ports[name] = true, p.Ports[name].Union(addrs)
			}
		}
		if known {
			// Without a port it stays protected: the proof fails, and names its addresses.
			p.Protects = p.Protects.Union(addrs)
		}
		switch {
		case !known:
			away = append(away, id)
		case !plugged:
			adrift = append(adrift, id)
		}
	}
	if n := len(away); n > 0 {
		notes = append(notes, fmt.Sprintf("assets that the point chooses and that are not attached to %q are not protected here: %d, the first is %q", device, n, away[0]))
	}
	if n := len(adrift); n > 0 {
		notes = append(notes, fmt.Sprintf("assets that are attached to %q at no port that is known cannot be protected: %d, the first is %q; name the port in its attachments", device, n, adrift[0]))
	}
	return notes
}
