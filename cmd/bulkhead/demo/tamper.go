package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/lab"
)

// The map that sorts single IPv4 addresses into classes, in the table that the
// gateway has. The demo pretends to be somebody who edits it by hand.
const (
	table   = "bulkhead_plant"
	hostMap = "host4"
)

// tamper changes one element of the map over netlink, behind the controller's
// back: the stranger becomes one more hmi-1, or hmi-1 becomes nobody.
func (d *demo) tamper(ctx context.Context, how string) error {
	c, err := kernel.Open(d.net.Gateway.Path)
	if err != nil {
		return err
	}
	defer c.Close()
	hmi, other := d.net.Addr("hmi-1", true).AsSlice(), d.net.Addr(stranger, true).AsSlice()
	elements, err := c.Elements(ctx, ruleset.FamilyInet, table, hostMap)
	if err != nil {
		return fmt.Errorf("find the element to change: %w", err)
	}
	i := slices.IndexFunc(elements, func(e ruleset.Element) bool { return slices.Equal(e.Key, hmi) })
	if i < 0 {
		return fmt.Errorf("find the element to change: map %q of table %q has none for hmi-1", hostMap, table)
	}
	b := &kernel.Batch{}
	if how == BreakClose {
		b.DelElements(ruleset.FamilyInet, table, hostMap, elements[i:i+1])
		return c.Commit(ctx, b, 0)
	}
	for _, e := range elements {
		if slices.Equal(e.Key, other) {
			b.DelElements(ruleset.FamilyInet, table, hostMap, []ruleset.Element{{Key: e.Key, Data: e.Data}})
		}
	}
	b.AddElements(ruleset.FamilyInet, table, hostMap, []ruleset.Element{{Key: other, Data: elements[i].Data}})
	return c.Commit(ctx, b, 0)
}

func (d *demo) tamperAndRepair(ctx context.Context, live *liveFlows) error {
	d.title("Break the ruleset behind the controller's back")
	d.say("Somebody adds one element to one map in the kernel: a stranger in the VPN now")
	d.say("counts as hmi-1. No file of the site has changed.")
	if err := d.tamper(ctx, BreakOpen); err != nil {
		return err
	}
	got, err := d.prober.Run(ctx, []lab.Probe{{From: stranger, Dst: d.net.Addr("plc-11", true), Proto: 6, Num: 102}}, lab.ProbeOptions{})
	if err != nil {
		return err
	}
	if !got[0].Got {
		return fmt.Errorf("the changed element opens nothing: the demo's own hole does not work")
	}
	d.say("It is a real hole: an S7 packet from the stranger has just reached plc-11.")
	d.say("verify finds it, with the packet and the rule that lets it through:")
	text, _, err := d.bulkhead(ctx, 2, "verify")
	if err != nil {
		return err
	}
	d.quote(text, 8)
	who := d.net.Addr(stranger, true).String()
	if !strings.Contains(text, "lets through") || !strings.Contains(text, who) {
		return fmt.Errorf("verify names no packet to or from %s that the hole lets through", who)
	}
	d.say("apply puts it right:")
	return d.applyAndCompare(ctx, live, "repaired")
}

// spoof sends packets with somebody else's source address. What must come of each
// is said by hand: it follows from the zones' antispoof settings.
func (d *demo) spoof(ctx context.Context, _ *liveFlows) error {
	d.title("Lie about who one is")
	d.say("A desktop sends with the address of an HMI, and with that of the management")
	d.say("host. Policy would permit both, if it were them; `antispoof: enforce` knows")
	d.say("that these addresses live behind other interfaces.")
	var probes []lab.Probe
	var want []bool
	for _, four := range []bool{true, false} {
		lie := func(from, as, to string, port uint16, arrives bool) {
			probes = append(probes, lab.Probe{From: from, Src: d.net.Addr(as, four), Dst: d.net.Addr(to, four), Proto: 6, Num: port})
			want = append(want, arrives)
		}
		lie("office-1", "hmi-1", "plc-11", 102, false)
		lie("office-1", "mgmt-1", "hmi-1", 22, false)
		lie("plc-11", "historian-1", "plc-21", 4840, false)
		lie("cam-1", "recorder-1", "cam-2", 554, true) // inside one network: the gateway never sees it
		lie(stranger, "ada", "hmi-1", 3389, true)      // a neighbour of hers: only a switch could tell
	}
	got, err := d.prober.Run(ctx, probes, lab.ProbeOptions{})
	if err != nil {
		return err
	}
	stopped := 0
	for i, g := range got {
		d.tally("spoofed sources", want[i], g.Got)
		if g.Got != want[i] {
			return fmt.Errorf("%w: %s sent as %s to %s: arrived %v, want %v", ErrDisagree, probes[i].From, probes[i].Src, probes[i].Dst, g.Got, want[i])
		}
		stopped += number(!g.Got)
	}
	d.say("%d lies were stopped. %d were not, and could not be: liar and victim sit in", stopped, len(got)-stopped)
	d.say("one network, where no gateway is between them. `plan` lists such pairs.")
	return nil
}
